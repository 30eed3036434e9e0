//! One plain sentence for each event, with the names that the plan gives to devices.

use crate::event::{CallFrame, Cause, DeviceIndex, Event, Part, QueueIndex, Seen};
use crate::output::stuck;
use crate::saved::Facts;
use ultravisor::{Effect, PageOp};

/// The device's id, or `the hypervisor`.
pub fn device(facts: &Facts, by: Option<DeviceIndex>) -> &str {
    let Some(DeviceIndex(index)) = by else { return "the hypervisor" };
    facts.devices.get(usize::from(index)).map_or("a device", |device| &device.id)
}

/// `disk queue 0`, or `the hypervisor`.
pub fn toucher(facts: &Facts, by: Option<DeviceIndex>, queue: Option<QueueIndex>) -> String {
    match queue {
        Some(QueueIndex(queue)) => format!("{} queue {queue}", device(facts, by)),
        None => device(facts, by).to_owned(),
    }
}

/// What a part of a request is called in sentences.
pub const fn part(part: Part) -> &'static str {
    match part {
        Part::Desc => "the descriptor table",
        Part::Avail => "the available ring",
        Part::Used => "the used ring",
        Part::Indirect => "an indirect table",
        Part::Header => "a request's header",
        Part::Data => "a request's data",
        Part::Status => "the status byte",
        Part::Hypercall => "a hypercall's list",
    }
}

const fn seen_words(seen: Seen) -> &'static str {
    match seen {
        Seen::Plain => "sees plain bytes",
        Seen::Sealed => "sees ciphertext",
        Seen::Own => "sees a page of the host's own",
        Seen::Fault => "fails",
    }
}

/// The innermost function of a call chain, or its address.
pub fn place(chain: &[CallFrame]) -> String {
    match chain.first() {
        None => "an unknown place".to_owned(),
        Some(frame) if frame.function.is_empty() => format!("{:#x}", frame.pc),
        Some(frame) => frame.function.clone(),
    }
}

/// Why a unit went out or who wrote there.
pub fn cause(facts: &Facts, cause: Cause) -> String {
    match cause {
        Cause::Touch { device, queue, part: what } => {
            format!("{} touched {}", toucher(facts, device, queue), part(what))
        }
        Cause::Asked => "the hypervisor asked for it".to_owned(),
    }
}

/// What happened to a unit.
fn page(facts: &Facts, event: &Event) -> String {
    let Event::Page { gfn, op, from, to, effect, bytes, cause: why } = event else {
        return String::new();
    };
    let why = why.map_or_else(String::new, |why| format!(": {}", cause(facts, why)));
    match (op, effect) {
        (PageOp::PageOut, _) => {
            let how = if *bytes > 0 { "is encrypted and goes out" } else { "goes out unsealed" };
            format!("unit {gfn:#x} {how}{why}")
        }
        (PageOp::PageIn, Effect::Unseal) => {
            let how = if *bytes > 0 { "is decrypted and verified" } else { "is taken back" };
            format!("unit {gfn:#x} comes back in: the guest needs it, it {how}")
        }
        (PageOp::PageIn, _) => format!("shared unit {gfn:#x} is mapped for the guest"),
        (PageOp::TakeIn, _) => format!("unit {gfn:#x} is copied into secure memory"),
        (PageOp::ShareCommit, _) => {
            format!("the guest shares unit {gfn:#x}: it is zeroed, and the host may see it")
        }
        (PageOp::UnshareCommit, _) => {
            format!("the guest takes unit {gfn:#x} back: it is zeroed, and secure again")
        }
        (other, _) => format!("unit {gfn:#x}: {} ({} to {})", other.name(), from.name(), to.name()),
    }
}

/// The sentence of an event.
pub fn of(facts: &Facts, event: &Event) -> String {
    match event {
        Event::Page { .. } => page(facts, event),
        Event::Touch { .. }
        | Event::Tampered { .. }
        | Event::Measured { .. }
        | Event::Sigbus { .. }
        | Event::Secret { .. }
        | Event::Leak { .. }
        | Event::LeaksLeftOut { .. }
        | Event::Comparison { .. } => memory(facts, event),
        Event::Exit { .. }
        | Event::UvCall { .. }
        | Event::HvCall { .. }
        | Event::Life { .. }
        | Event::Wait { .. }
        | Event::Taken { .. }
        | Event::Woken { .. }
        | Event::Mark { .. }
        | Event::Retired { .. }
        | Event::Report { .. }
        | Event::Console { .. } => guest(event),
        Event::Kick { .. }
        | Event::Popped { .. }
        | Event::Completed { .. }
        | Event::Interrupt { .. }
        | Event::Broken { .. }
        | Event::Frame { .. }
        | Event::IotlbMiss { .. }
        | Event::IotlbHits { .. } => queue(facts, event),
        Event::Register { .. }
        | Event::Status { .. }
        | Event::Balloon { .. }
        | Event::Flip { .. }
        | Event::Plugged { .. } => of_device(facts, event),
        Event::Decision { .. }
        | Event::DmaMap { .. }
        | Event::DmaUnmap { .. }
        | Event::DmaAlloc { .. }
        | Event::DmaFree { .. }
        | Event::Bounce { .. }
        | Event::Foreign { .. } => dma(facts, event),
        Event::Actor { device: by, doing, queue, at_ns, chain } => {
            let who = by.map_or("the guest", |_| device(facts, *by));
            let place = chain.as_deref().map_or_else(String::new, place);
            stuck::actor(who, *doing, (*queue, *at_ns), &place)
        }
        Event::Unwoken { source, device: by, why } => {
            stuck::unwoken(*source, device(facts, *by), *why)
        }
        Event::Hot { frame, samples, of } => {
            let place = place(std::slice::from_ref(frame));
            format!("the guest was in {place} in {samples} of {of} looks")
        }
    }
}

/// What happened to guest memory.
#[expect(clippy::wildcard_enum_match_arm, reason = "`of` sends no others")]
fn memory(facts: &Facts, event: &Event) -> String {
    match event {
        Event::Touch { device, queue, part: what, direction, gpa, bytes, state, seen, .. } => {
            format!(
                "{} is {} {bytes} bytes of {} at {gpa:#x} ({} unit) and {}",
                toucher(facts, *device, *queue),
                direction.doing(),
                part(*what),
                state.name(),
                seen_words(*seen),
            )
        }
        Event::Tampered { gfn, writer } => {
            let who = writer.map_or_else(
                || ", and nobody of ours wrote there".to_owned(),
                |writer| format!(": {} last", cause(facts, writer)),
            );
            format!("unit {gfn:#x} fails verification{who}")
        }
        Event::Measured { units, .. } => format!("UV_ESM measured {units} units"),
        Event::Sigbus { gfn } => format!("QEMU gets SIGBUS: unit {gfn:#x} could not be paged out"),
        Event::Secret { gpa, bytes } => {
            format!("the guest declares {bytes} bytes at {gpa:#x} secret")
        }
        Event::Leak { place, at } => {
            format!("a declared secret shows in plain: {place:?} at {at:#x}")
        }
        Event::LeaksLeftOut { count } => {
            format!("a declared secret shows in plain in {count} more places")
        }
        Event::Comparison { device: by, bytes, wrong, .. } => {
            format!("{}: {wrong} of {bytes} bytes are wrong", device(facts, Some(*by)))
        }
        _ => String::new(),
    }
}

/// What the guest did.
#[expect(clippy::wildcard_enum_match_arm, reason = "`of` sends no others")]
fn guest(event: &Event) -> String {
    match event {
        Event::Exit { reason } => format!("the guest exits to the hypervisor ({reason:?})"),
        Event::UvCall { call, status, caller, .. } => {
            format!("{} by the {}: {}", call.name(), caller.name(), status.name())
        }
        Event::HvCall { call, status, by_ultravisor, .. } => {
            let how = if *by_ultravisor { ", through the ultravisor" } else { "" };
            format!("{}{how}: {}", call.name(), status.name())
        }
        Event::Life { from, to } => format!("the VM goes from {} to {}", from.name(), to.name()),
        Event::Wait { ns, .. } => format!("the guest waits {ns} ns"),
        Event::Taken { vector } => format!("interrupt {vector:#x} reaches the guest"),
        Event::Woken { vector: Some(vector) } => {
            format!("interrupt {vector:#x} wakes the guest, which had halted")
        }
        Event::Woken { vector: None } => {
            "a non-maskable interrupt wakes the guest, which had halted".to_owned()
        }
        Event::Mark { mark } => format!("the guest marks {mark:?}"),
        Event::Retired { instructions, .. } => format!("the guest ran {instructions} instructions"),
        Event::Report { report, name } => format!("the guest reports {}: {name}", report.name()),
        Event::Console { bytes, .. } => format!("{} bytes of console text", bytes.len()),
        _ => String::new(),
    }
}

/// What happened to a queue.
#[expect(clippy::wildcard_enum_match_arm, reason = "`of` sends no others")]
fn queue(facts: &Facts, event: &Event) -> String {
    let name = |by: &DeviceIndex| device(facts, Some(*by));
    let who = |by: &DeviceIndex, queue: &QueueIndex| toucher(facts, Some(*by), Some(*queue));
    match event {
        Event::Kick { device, queue, chain } => {
            format!("the guest kicks {} in {}", who(device, queue), place(chain))
        }
        Event::Popped { device, queue, head, readable, writable } => format!(
            "{} takes chain {head}: {readable} bytes to read, {writable} to write",
            who(device, queue)
        ),
        Event::Completed { device, queue, head, written, .. } => {
            format!("{} gives chain {head} back with {written} bytes written", who(device, queue))
        }
        Event::Interrupt { device, queue } => format!("{} notifies the guest", who(device, queue)),
        Event::Broken { device, queue, reason, .. } => {
            format!("{} gives up its ring: {reason}", who(device, queue))
        }
        Event::Frame { device, queue, bytes, .. } => {
            let way = if queue.0 == 0 { "receives" } else { "sends" };
            format!("the guest {way} a frame of {bytes} bytes by {}", name(device))
        }
        Event::IotlbMiss { device, dma, .. } => format!("{} asks for {dma:#x}", name(device)),
        Event::IotlbHits { device, hits, .. } => format!("{} knew {hits} addresses", name(device)),
        _ => String::new(),
    }
}

/// What happened to a device as a whole.
#[expect(clippy::wildcard_enum_match_arm, reason = "`of` sends no others")]
fn of_device(facts: &Facts, event: &Event) -> String {
    let name = |by: &DeviceIndex| device(facts, Some(*by));
    match event {
        Event::Register { device, offset, write, value, .. } => {
            let verb = if *write { "written" } else { "read" };
            format!("register {offset:#x} of {} is {verb}: {value:#x}", name(device))
        }
        Event::Status { device, status } => format!("{}'s status is {status:#x}", name(device)),
        Event::Balloon { inflate, pages, .. } => {
            format!("{pages} pages go {} the balloon", if *inflate { "into" } else { "out of" })
        }
        Event::Flip { device } => format!("QEMU turns iommu_platform on for {}", name(device)),
        Event::Plugged { device } => format!("QEMU plugs {}", name(device)),
        _ => String::new(),
    }
}

/// What the guest's DMA operations did.
#[expect(clippy::wildcard_enum_match_arm, reason = "`of` sends no others")]
fn dma(facts: &Facts, event: &Event) -> String {
    match event {
        Event::Decision { path, instructions } => {
            format!("the guest decides on its DMA path: {path} ({instructions} instructions)")
        }
        Event::DmaMap { address, bytes, dma, .. } => {
            format!("dma_map: {bytes} bytes at {address:#x} are {dma:#x} to the device")
        }
        Event::DmaUnmap { dma, bytes, .. } => format!("dma_unmap: {bytes} bytes at {dma:#x}"),
        Event::DmaAlloc { bytes, dma } => format!("dma_alloc: {bytes} bytes at {dma:#x}"),
        Event::DmaFree { dma, bytes } => format!("dma_free: {bytes} bytes at {dma:#x}"),
        Event::Bounce { slot, original, bytes, back } => {
            let (from, to) = if *back { (slot, original) } else { (original, slot) };
            format!("the guest bounces {bytes} bytes from {from:#x} to {to:#x}")
        }
        Event::Foreign { device: by, dma, .. } => {
            let who = device(facts, Some(*by));
            format!("{who} was given {dma:#x}, which the DMA API did not make")
        }
        _ => String::new(),
    }
}
