//! The thread that faults of guest memory come to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use devices::say;
use ram::PAGE;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::ALIVE;
use super::lacking::Fault;
use super::shared::{End, News, Pages, Shared};
use crate::dirty::PageRun;
use crate::migration::wire::Message;
use crate::sys::poll::{Interest, wait};
use crate::sys::userfault::{MemoryEvent, Placed, Userfault};

/// Events that are seen to at most until the other side is asked for what they need: a guest can make them without end.
const AT_A_TIME: u32 = 1024;

/// Serves faults until it is over.
pub(super) fn run(shared: &Shared, faults: Arc<Userfault>) {
    let mut said = Instant::now();
    let zeroes = zeroes(shared.pages().lacking.unit(GuestAddress(0)));
    loop {
        let silent_for = ALIVE.saturating_sub(said.elapsed());
        let ready = wait([(&*faults, Interest::Read), (&shared.wake, Interest::Read)], Some(silent_for));
        let wanted = take(shared, &faults, &zeroes);
        let end = shared.pages().end;
        match end {
            Some(End::Complete) => return complete(shared, faults),
            Some(End::Released) => return release(shared, faults),
            // Closed, it would show zeroes to whoever waits.
            Some(End::Abandoned) => return std::mem::forget(faults),
            None => {}
        }
        // Not every fault is news for the other side: a page that was dropped is zero.
        if !wanted.is_empty() {
            shared.ask(wanted);
            said = Instant::now();
        } else if said.elapsed() >= ALIVE {
            shared.say(&Message::Alive);
            said = Instant::now();
        }
        match ready {
            // Nothing to be read is as good.
            Ok(_) => drop(shared.wake.read()),
            // It is not known to happen; without a pause this would be all that the processor does.
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Sees to what has happened; the pages that are to be asked for.
fn take(shared: &Shared, faults: &Userfault, zeroes: &[u8]) -> Vec<u64> {
    let mut wanted = Vec::new();
    let mut zero = VecDeque::new();
    // The lock is held while an event is read: between the news that pages are dropped and the note of it, none may be put there.
    let mut pages = shared.pages();
    for _ in 0..AT_A_TIME {
        match faults.next(&shared.ram) {
            Ok(Some(MemoryEvent::Fault(page))) => {
                if pages.lacking.fault(page, &mut wanted) == Fault::Zero {
                    zero.push_back(pages.lacking.unit(page));
                }
            }
            Ok(Some(MemoryEvent::Dropped { start, bytes })) => {
                // Huge pages are dropped as a whole.
                let dropped = PageRun { start, pages: bytes / PAGE as u64 };
                pages.lacking.take_out(dropped);
                pages.parts.forget(dropped);
            }
            Ok(None) => match zero.pop_front() {
                None => break,
                Some(unit) if fill(shared, faults, unit, zeroes) => {}
                // There is an event to be read before.
                Some(unit) => zero.push_back(unit),
            },
            Err(error) => {
                say!("kubevmm: faults of guest memory cannot be read any more: {error}");
                break;
            }
        }
    }
    for unit in zero {
        // Whoever waits for it tries again, and comes here again.
        let _ = faults.wake(&shared.ram, unit.start, unit.bytes());
    }
    finish_if_complete(&mut pages);
    drop(pages);
    shared.changed.notify_all();
    wanted
}

/// Notes that all has come, if it has.
pub(super) fn finish_if_complete(pages: &mut Pages) {
    if pages.lacking.len() == 0 {
        pages.end.get_or_insert(End::Complete);
    }
}

/// What a huge page is filled with that is to be zero; nothing for pages that come alone.
fn zeroes(unit: PageRun) -> Vec<u8> {
    if unit.pages == 1 { Vec::new() } else { vec![0; usize::try_from(unit.bytes()).unwrap_or(0)] }
}

/// Has a page be zero, or a huge page, which `zeroes` are as long as; false if it is to be tried again.
fn fill(shared: &Shared, faults: &Userfault, unit: PageRun, zeroes: &[u8]) -> bool {
    let placed = match unit.pages {
        1 => faults.zero(&shared.ram, unit.start, unit.bytes()),
        // The kernel has no other way for them.
        _ => faults.copy(&shared.ram, unit.start, zeroes),
    };
    match placed {
        Ok(placed) => placed != Placed::NotNow,
        Err(error) => {
            say!("kubevmm: the page at {:#x} of the guest's memory could not be had: {error}", unit.start.0);
            std::thread::sleep(Duration::from_millis(10));
            // Whoever waits for it tries again, and comes here again.
            let _ = faults.wake(&shared.ram, unit.start, unit.bytes());
            true
        }
    }
}

/// All has come: memory is as any other from now on.
fn complete(shared: &Shared, faults: Arc<Userfault>) {
    shared.say(&Message::Complete);
    for region in shared.ram.iter() {
        // What was never registered is no harm; closing does the same.
        let _ = faults.unregister(&shared.ram, region.start_addr(), region.len());
    }
    // Who is about to drop pages waits until that was read, or until there is nobody to read it.
    shared.pages().faults = None;
    drop(faults);
    shared.report(News::Complete);
}

/// Nobody needs the rest: the other side need not keep it.
fn release(shared: &Shared, faults: Arc<Userfault>) {
    shared.pages().faults = None;
    drop(faults);
    shared.say(&Message::Complete);
}
