//! Giving a machine its state while a part of its memory is still coming.

use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::{Duration, Instant};

use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::ArrivalError;
use crate::demand::{Demand, NotFetched, PATIENCE, Presence};
use crate::machine::Machine;
use crate::sys::poll::{Interest, wait};
use crate::sys::signals::Signals;

/// How long it may take. Whoever has the memory, and waits to hear that the machine is ready, waits longer.
const LIMIT: Duration = PATIENCE;

/// A machine has not got its state.
#[derive(Debug, thiserror::Error)]
enum NotLoaded {
    /// Somebody wants the process to end.
    #[error("its end was wished before the memory had come that it needs to go on")]
    EndWished,
    /// It takes too long.
    #[error("memory that it needs to go on does not come: {0}")]
    Memory(String),
}

/// Has `load` give the machine its state. What that touches of its memory may have to come: if it does not, or somebody wants the process to
/// end, the memory is given up, and with it the machine.
///
/// # Errors
/// The machine has not got its state, and is of no further use.
pub(crate) fn load(
    machine: &mut Machine,
    demand: Option<&Demand>,
    signals: &Signals,
    load: impl FnOnce(&mut Machine) -> Result<(), ArrivalError>,
) -> Result<(), ArrivalError> {
    let Some(demand) = demand else { return load(machine) };
    let end = End { fd: &signals.as_fd(), is_wished: &|| signals.wish_the_end() };
    within(LIMIT, demand, end, || {
        load(machine)?;
        // Once it is the machine's, its owner does not wait for that any more.
        Ok(have_come(demand, machine.kernel_rings())?)
    })
}

/// Whether `load` has failed because somebody wants the process to end.
pub(super) fn is_end_wished(error: &ArrivalError) -> bool {
    matches!(error.downcast_ref(), Some(NotLoaded::EndWished))
}

/// Has these parts of a memory come: so many bytes from each address on.
fn have_come(demand: &Demand, parts: Vec<(GuestAddress, u64)>) -> Result<(), NotFetched> {
    let presence = Presence::Coming(demand.fetcher());
    parts.into_iter().try_for_each(|(start, bytes)| presence.fetch(start, bytes, &|| false))
}

/// How it is heard that the process is to end.
struct End<'a> {
    /// There is something to be read.
    fd: &'a (dyn AsRawFd + Sync),
    is_wished: &'a (dyn Fn() -> bool + Sync),
}

/// Has `load` do what it does in this time, unless the end is wished. If it does not, `demand` is given up: whoever waits for a page goes on,
/// and what came of it does not count.
fn within(
    limit: Duration,
    demand: &Demand,
    end: End<'_>,
    load: impl FnOnce() -> Result<(), ArrivalError>,
) -> Result<(), ArrivalError> {
    let done = EventFd::new(EFD_NONBLOCK)?;
    thread::scope(|scope| {
        let watcher = thread::Builder::new().name("loading".into()).stack_size(128 << 10);
        let watcher = watcher.spawn_scoped(scope, || watch(limit, demand, &end, &done))?;
        let loaded = load();
        // The counter cannot overflow from one.
        let _ = done.write(1);
        match watcher.join() {
            Ok(Some(why)) => Err(why.into()),
            Ok(None) => loaded,
            Err(_) => Err("the thread died that was to watch it".into()),
        }
    })
}

/// Waits until it is done; if that does not come, gives the memory up, and says why.
fn watch(limit: Duration, demand: &Demand, end: &End<'_>, done: &EventFd) -> Option<NotLoaded> {
    let until = Instant::now() + limit;
    let why = loop {
        if done.read().is_ok() {
            return None;
        }
        if (end.is_wished)() {
            break NotLoaded::EndWished;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let lost = demand.lost();
            let seconds = limit.as_secs();
            break NotLoaded::Memory(
                lost.unwrap_or_else(|| format!("who has it has not sent it in {seconds} s")),
            );
        }
        if wait([(done, Interest::Read), (end.fd, Interest::Read)], Some(left)).is_err() {
            // It is not known to happen; without a pause this would be all that the processor does.
            thread::sleep(Duration::from_millis(10));
        }
    };
    demand.releaser().release();
    Some(why)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use devices::GuestRam;
    use vm_memory::Bytes;

    use super::*;
    use crate::demand::testing::Stalled;
    use crate::sys::userfault::is_allowed;

    fn memory() -> GuestRam {
        Arc::new(ram::Ram::from_ranges(&[(GuestAddress(0), 64 << 12)]).unwrap())
    }

    /// What comes of a load that touches this memory, which does not come, in this time, or when this was done.
    fn loads(
        limit: Duration,
        (ram, stalled): (&GuestRam, &Stalled),
        what: impl Fn(&EventFd) + Sync,
    ) -> ArrivalError {
        let (asked, is_over) = (EventFd::new(EFD_NONBLOCK).unwrap(), AtomicBool::new(false));
        let end = End { fd: &asked, is_wished: &|| asked.read().is_ok() };
        let loaded = thread::scope(|scope| {
            scope.spawn(|| {
                while stalled.demand.faults() == 0 && !is_over.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(1));
                }
                what(&asked);
            });
            let loaded = within(limit, &stalled.demand, end, || {
                // It goes on with what nobody is to use.
                assert_eq!(ram.read_obj::<u8>(GuestAddress(0x3000)).unwrap(), 0);
                Ok(())
            });
            is_over.store(true, Ordering::SeqCst);
            loaded
        });
        loaded.unwrap_err()
    }

    const SHORT: Duration = Duration::from_millis(500);
    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_machine_does_not_wait_for_ever_for_memory_that_its_state_needs() {
        if !is_allowed() {
            return;
        }
        let scene = || {
            let ram = memory();
            let stalled = Stalled::begin(&ram);
            (ram, stalled)
        };
        let (ram, stalled) = scene();
        let silent = loads(SHORT, (&ram, &stalled), |_| ());
        let text = silent.to_string();
        assert!(text.ends_with("does not come: who has it has not sent it in 0 s"), "{text}");
        assert!(!is_end_wished(&silent));
        stalled.demand.release();
        let (ram, stalled) = scene();
        stalled.lose();
        while stalled.demand.lost().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        let lost = loads(SHORT, (&ram, &stalled), |_| ()).to_string();
        assert!(lost.ends_with("does not come: it is gone"), "{lost}");
        stalled.demand.release();
        let (ram, stalled) = scene();
        let ended = loads(LONG, (&ram, &stalled), |asked| asked.write(1).unwrap());
        assert!(is_end_wished(&ended) && ended.to_string().starts_with("its end was wished"), "{ended}");
        stalled.demand.release();
    }

    #[test]
    fn a_machine_does_not_wait_for_ever_for_the_queues_that_the_kernel_serves() {
        if !is_allowed() {
            return;
        }
        let stalled = Stalled::begin(&memory());
        let never = EventFd::new(EFD_NONBLOCK).unwrap();
        let end = End { fd: &never, is_wished: &|| false };
        let rings = vec![(GuestAddress(0x2800), 0x2000), (GuestAddress(0x8000), 6)];
        let missing = within(SHORT, &stalled.demand, end, || Ok(have_come(&stalled.demand, rings)?));
        let missing = missing.unwrap_err().to_string();
        assert!(missing.ends_with("does not come: who has it has not sent it in 0 s"), "{missing}");
        assert_eq!(stalled.demand.faults(), 3, "all pages of the first are asked for in one go");
        stalled.demand.release();
    }

    #[test]
    fn one_that_gets_its_state_keeps_its_memory() {
        if !is_allowed() {
            return;
        }
        let stalled = Stalled::begin(&memory());
        let asked = EventFd::new(EFD_NONBLOCK).unwrap();
        let end = || End { fd: &asked, is_wished: &|| false };
        within(LONG, &stalled.demand, end(), || Ok(())).unwrap();
        let failed = within(LONG, &stalled.demand, end(), || Err("it does not fit".into()));
        assert_eq!(failed.unwrap_err().to_string(), "it does not fit");
        assert_eq!(stalled.demand.lacking_bytes(), 64 << 12);
        stalled.demand.release();
    }
}
