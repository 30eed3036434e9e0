//! The binary form of the log, over which its hash runs.
//!
//! A record is: time in nanoseconds (u64), the event's number (u8, below), its fields in the
//! order of [`Event`]'s declaration. All integers little-endian; an enum is its place in its
//! `ALL` list or declaration (u8); `Option` is a u8 (0 or 1) and then the value; text and byte
//! strings are a u32 length and the bytes. The sequence number is not part of it: it follows from
//! the order.

use super::{Cause, Chain, DeviceIndex, Event, Mark, QueueIndex, Record};

macro_rules! put {
    ($out:expr; $($value:expr),* $(,)?) => {{ $( ($value).put($out); )* }};
}

impl Record {
    /// Appends the binary form to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        // Most records are shorter: then the pushes below need not grow the vector.
        out.reserve(128);
        put!(out; self.t_ns);
        self.event.encode(out);
    }
}

trait Put {
    fn put(&self, out: &mut Vec<u8>);
}

impl Put for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
}

macro_rules! integers {
    ($($ty:ty),*) => {
        $(impl Put for $ty {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        })*
    };
}
integers!(u16, u32, u64);

impl Put for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Put for DeviceIndex {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.0);
    }
}

impl Put for QueueIndex {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
}

impl<T: Put> Put for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.put(out);
        }
    }
}

impl Put for [u8] {
    fn put(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).unwrap_or(u32::MAX).put(out);
        out.extend_from_slice(self);
    }
}

impl Put for [u64; 6] {
    fn put(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|value| value.put(out));
    }
}

impl Put for Chain {
    fn put(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).unwrap_or(u32::MAX).put(out);
        for frame in self.iter() {
            put!(out; frame.pc, frame.function.as_bytes());
        }
    }
}

impl Put for Cause {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Touch { device, queue, part } => put!(out; 0u8, *device, *queue, *part as u8),
            Self::Asked => put!(out; 1u8),
        }
    }
}

impl Put for Mark {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ready => put!(out; 0u8),
            Self::Done => put!(out; 1u8),
            Self::Label(name) => put!(out; 2u8, name.as_bytes()),
        }
    }
}

impl Event {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Exit { reason } => put!(out; 1u8, *reason as u8),
            Self::UvCall { caller, call, args, status } => {
                put!(out; 2u8, *caller as u8, call.number(), *args, status.code() as u64);
            }
            Self::HvCall { call, args, status, by_ultravisor } => {
                put!(out; 3u8, call.number(), *args, status.code() as u64, *by_ultravisor);
            }
            Self::Page { gfn, op, from, to, effect, bytes, cause } => {
                put!(out; 4u8, *gfn, *op as u8, *from as u8, *to as u8, *effect as u8);
                put!(out; *bytes, *cause);
            }
            Self::Tampered { gfn, writer } => put!(out; 5u8, *gfn, *writer),
            Self::Life { from, to } => put!(out; 6u8, *from as u8, *to as u8),
            Self::Measured { units, digest } => put!(out; 7u8, *units, digest.as_bytes()),
            Self::Touch { device, queue, part, direction, gpa, bytes, gfn, state, seen, chain } => {
                put!(out; 8u8, *device, *queue, *part as u8, *direction as u8, *gpa, *bytes);
                put!(out; *gfn, *state as u8, *seen as u8, *chain);
            }
            Self::Register { device, offset, write, bytes, value } => {
                put!(out; 9u8, *device, *offset, *write, *bytes, *value);
            }
            Self::Kick { device, queue, chain } => put!(out; 10u8, *device, *queue, *chain),
            Self::Popped { device, queue, head, readable, writable } => {
                put!(out; 11u8, *device, *queue, *head, *readable, *writable);
            }
            Self::Completed { device, queue, head, written, data } => {
                put!(out; 12u8, *device, *queue, *head, *written, *data);
            }
            Self::Interrupt { device, queue } => put!(out; 13u8, *device, *queue),
            Self::Status { device, status } => put!(out; 14u8, *device, *status),
            Self::Broken { device, queue, needs_reset, reason } => {
                put!(out; 15u8, *device, *queue, *needs_reset, reason.as_bytes());
            }
            Self::Sigbus { gfn } => put!(out; 16u8, *gfn),
            Self::Wait { by, ns } => put!(out; 17u8, *by as u8, *ns),
            Self::Mark { mark } => put!(out; 18u8, *mark),
            Self::Retired { instructions, units } => put!(out; 19u8, *instructions, *units),
            Self::Secret { .. }
            | Self::Report { .. }
            | Self::Console { .. }
            | Self::Decision { .. }
            | Self::DmaMap { .. }
            | Self::DmaUnmap { .. }
            | Self::DmaAlloc { .. }
            | Self::DmaFree { .. }
            | Self::Bounce { .. }
            | Self::Foreign { .. }
            | Self::Leak { .. }
            | Self::Comparison { .. } => self.encode_guest(out),
            Self::Balloon { .. }
            | Self::Flip { .. }
            | Self::Plugged { .. }
            | Self::IotlbMiss { .. }
            | Self::IotlbHits { .. }
            | Self::Frame { .. }
            | Self::Taken { .. }
            | Self::Woken { .. }
            | Self::Unwoken { .. }
            | Self::Actor { .. }
            | Self::Hot { .. }
            | Self::LeaksLeftOut { .. } => self.encode_qemu(out),
        }
    }

    /// The events that come from the guest's own words, its probe points and the judges.
    fn encode_guest(&self, out: &mut Vec<u8>) {
        match self {
            Self::Secret { gpa, bytes } => put!(out; 20u8, *gpa, *bytes),
            Self::Report { report, name } => put!(out; 21u8, *report as u8, name.as_bytes()),
            Self::Console { device, bytes } => put!(out; 22u8, *device, bytes.as_slice()),
            Self::Decision { path, instructions } => put!(out; 23u8, *path, *instructions),
            Self::DmaMap { address, bytes, direction, dma, instructions } => {
                put!(out; 24u8, *address, *bytes, *direction, *dma, *instructions);
            }
            Self::DmaUnmap { dma, bytes, direction, instructions } => {
                put!(out; 25u8, *dma, *bytes, *direction, *instructions);
            }
            Self::DmaAlloc { bytes, dma } => put!(out; 26u8, *bytes, *dma),
            Self::DmaFree { dma, bytes } => put!(out; 27u8, *dma, *bytes),
            Self::Bounce { slot, original, bytes, back } => {
                put!(out; 28u8, *slot, *original, *bytes, *back);
            }
            Self::Foreign { device, queue, dma } => put!(out; 29u8, *device, *queue, *dma),
            Self::Leak { place, at } => put!(out; 30u8, *place as u8, *at),
            Self::Comparison { device, what, bytes, wrong, first_wrong } => {
                put!(out; 31u8, *device, *what as u8, *bytes, *wrong, *first_wrong);
            }
            Self::Exit { .. }
            | Self::UvCall { .. }
            | Self::HvCall { .. }
            | Self::Page { .. }
            | Self::Tampered { .. }
            | Self::Life { .. }
            | Self::Measured { .. }
            | Self::Touch { .. }
            | Self::Register { .. }
            | Self::Kick { .. }
            | Self::Popped { .. }
            | Self::Completed { .. }
            | Self::Interrupt { .. }
            | Self::Status { .. }
            | Self::Broken { .. }
            | Self::Sigbus { .. }
            | Self::Wait { .. }
            | Self::Mark { .. }
            | Self::Retired { .. }
            | Self::Balloon { .. }
            | Self::Flip { .. }
            | Self::Plugged { .. }
            | Self::IotlbMiss { .. }
            | Self::IotlbHits { .. }
            | Self::Frame { .. }
            | Self::Taken { .. }
            | Self::Woken { .. }
            | Self::Unwoken { .. }
            | Self::Actor { .. }
            | Self::Hot { .. }
            | Self::LeaksLeftOut { .. } => {}
        }
    }

    /// What QEMU does of its own accord, or without touching guest memory.
    fn encode_qemu(&self, out: &mut Vec<u8>) {
        if let Self::Balloon { device, inflate, pages, skipped, reclaimed } = self {
            put!(out; 32u8, *device, *inflate, *pages, *skipped, *reclaimed);
        }
        if let Self::Flip { device } = self {
            put!(out; 33u8, *device);
        }
        if let Self::Plugged { device } = self {
            put!(out; 34u8, *device);
        }
        if let Self::IotlbMiss { device, queue, dma } = self {
            put!(out; 35u8, *device, *queue, *dma);
        }
        if let Self::IotlbHits { device, queue, hits } = self {
            put!(out; 36u8, *device, *queue, *hits);
        }
        if let Self::Frame { device, queue, bytes, head } = self {
            put!(out; 37u8, *device, *queue, *bytes, head.as_slice());
        }
        if let Self::Actor { device, doing, queue, at_ns, chain } = self {
            put!(out; 38u8, *device, *doing as u8, *queue, *at_ns, *chain);
        }
        if let Self::Hot { frame, samples, of } = self {
            put!(out; 39u8, frame.pc, frame.function.as_bytes(), *samples, *of);
        }
        if let Self::LeaksLeftOut { count } = self {
            put!(out; 40u8, *count);
        }
        if let Self::Taken { vector } = self {
            put!(out; 41u8, *vector);
        }
        if let Self::Woken { vector } = self {
            put!(out; 42u8, *vector);
        }
        if let Self::Unwoken { source, device, why } = self {
            put!(out; 43u8, *source as u8, *device, *why as u8);
        }
    }
}
