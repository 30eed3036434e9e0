//! virtio-balloon: page numbers in, pages given back.

use crate::rig::{BUFFERS, MEMORY_BYTES, Rig, options, readable};
use host_sim::device::{Due, Effect, Serviced};
use host_sim::event::Event;
use host_sim::scenario::plan::DeviceKind;

const INFLATE: u16 = 0;
const DEFLATE: u16 = 1;
/// Pages of the rig's memory.
const PAGES: u32 = (MEMORY_BYTES / 4096) as u32;

fn balloon() -> Rig {
    Rig::new(DeviceKind::Balloon, options())
}

/// Offers the numbers in one buffer.
fn offer(rig: &mut Rig, queue: u16, numbers: &[u32]) {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    rig.write(BUFFERS, &bytes);
    rig.offer(queue, &[readable(BUFFERS, bytes.len() as u32)]);
}

/// What was told: inflated, pages, skipped, bytes reclaimed.
fn told(rig: &Rig) -> Vec<(bool, u64, u64, u64)> {
    let events = rig.host.events.iter().filter_map(|event| {
        if let Event::Balloon { inflate, pages, skipped, reclaimed, .. } = *event {
            Some((inflate, pages, skipped, reclaimed))
        } else {
            None
        }
    });
    events.collect()
}

#[test]
fn it_says_what_it_is_and_wants_nothing() {
    let mut rig = balloon();
    assert_eq!(rig.get(0x08), 5);
    assert_eq!((rig.get(0x100), rig.get(0x104)), (0, 0), "num_pages, actual");
    assert_eq!(rig.device.write(0x104, 4, 77), Effect::Configured);
    assert_eq!(rig.device.write(0x100, 4, 77), Effect::Nothing);
    assert_eq!((rig.get(0x100), rig.get(0x104)), (0, 77), "actual is the driver's");
}

#[test]
fn pages_that_are_inflated_are_given_back_and_others_stay() {
    let mut rig = balloon();
    for page in [0x90, 0x91, 0x92] {
        rig.write(page * 4096, &[page as u8; 4096]);
    }
    offer(&mut rig, INFLATE, &[0x90, 0x92]);
    rig.serve_all(INFLATE);
    assert_eq!(told(&rig), [(true, 2, 0, 2 * 4096)]);
    assert_eq!(rig.read(0x90 * 4096, 4096), [0; 4096]);
    assert_eq!(rig.read(0x91 * 4096, 4096), [0x91; 4096]);
    assert_eq!(rig.used(INFLATE), [(0, 0)]);
    assert_eq!(rig.touches()[..4], ["avail r2", "avail r2", "desc r16", "data r8"]);
}

#[test]
fn deflating_gives_the_host_nothing_and_changes_no_page() {
    let mut rig = balloon();
    rig.write(0x90 * 4096, &[7; 4096]);
    offer(&mut rig, DEFLATE, &[0x90]);
    rig.serve_all(DEFLATE);
    assert_eq!(told(&rig), [(false, 1, 0, 0)]);
    assert_eq!(rig.read(0x90 * 4096, 4096), [7; 4096]);
}

#[test]
fn numbers_that_name_no_ram_are_skipped() {
    let mut rig = balloon();
    offer(&mut rig, INFLATE, &[PAGES - 1, PAGES, u32::MAX, 0x8000_0000]);
    rig.serve_all(INFLATE);
    assert_eq!(told(&rig), [(true, 1, 3, 4096)]);
    assert!(!rig.device.broken());
}

#[test]
fn a_part_of_a_number_at_the_end_is_not_one() {
    let mut rig = balloon();
    rig.write(BUFFERS, &[0x90, 0, 0, 0, 0x91, 0]);
    rig.offer(INFLATE, &[readable(BUFFERS, 6)]);
    rig.offer(INFLATE, &[]);
    rig.serve(INFLATE);
    assert_eq!(told(&rig)[0], (true, 1, 0, 4096));
}

#[test]
fn a_step_that_has_done_enough_lets_others_run_and_goes_on_later() {
    let mut rig = balloon();
    let far_beyond_a_chain = 0x5_0000;
    for _ in 0..6 {
        rig.offer(INFLATE, &[readable(0x1_3000, far_beyond_a_chain)]);
    }
    let again = Serviced::Done(Due { again: true, also: None });
    assert_eq!(rig.serve(INFLATE), again);
    let numbers = |rig: &Rig| told(rig).iter().map(|(_, pages, skipped, _)| pages + skipped).sum();
    let first: u64 = numbers(&rig);
    assert_eq!(first, 4 * 4096);
    assert!(rig.host.worked >= first, "the budget is told");
    rig.serve_all(INFLATE);
    assert_eq!((numbers(&rig), rig.used(INFLATE).len()), (6 * 4096, 6));
}
