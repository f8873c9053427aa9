//! Giving a machine its state while a part of its memory is still coming.

use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::ArrivalError;
use crate::demand::{Demand, PATIENCE, Presence};
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
        let presence = Presence::Coming(demand.fetcher());
        let fetch = |(start, bytes)| presence.fetch(start, bytes, &|| false);
        Ok(machine.kernel_rings().into_iter().try_for_each(fetch)?)
    })
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

    use devices::GuestRam;
    use vm_memory::{Bytes, GuestAddress};

    use super::*;
    use crate::demand::testing::Stalled;
    use crate::sys::userfault::is_allowed;

    /// What comes of a load that touches a memory that does not come, in this time, or when this was done.
    fn loads(limit: Duration, what: impl Fn(&Stalled, &EventFd) + Sync) -> String {
        let ram: GuestRam = Arc::new(ram::Ram::from_ranges(&[(GuestAddress(0), 64 << 12)]).unwrap());
        let stalled = Stalled::begin(&ram);
        let asked = EventFd::new(EFD_NONBLOCK).unwrap();
        let end = End { fd: &asked, is_wished: &|| asked.read().is_ok() };
        let loaded = thread::scope(|scope| {
            scope.spawn(|| {
                while stalled.demand.faults() == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
                what(&stalled, &asked);
            });
            within(limit, &stalled.demand, end, || {
                // It goes on with what nobody is to use.
                assert_eq!(ram.read_obj::<u8>(GuestAddress(0x3000)).unwrap(), 0);
                Ok(())
            })
        });
        stalled.demand.release();
        loaded.unwrap_err().to_string()
    }

    const SHORT: Duration = Duration::from_millis(500);
    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_machine_does_not_wait_for_ever_for_memory_that_its_state_needs() {
        if !is_allowed() {
            return;
        }
        let silent = loads(SHORT, |_, _| ());
        assert!(silent.ends_with("does not come: who has it has not sent it in 0 s"), "{silent}");
        let lost = loads(SHORT, |stalled, _| stalled.lose());
        assert!(lost.ends_with("does not come: it is gone"), "{lost}");
        let ended = loads(LONG, |_, asked| asked.write(1).unwrap());
        assert!(ended.starts_with("its end was wished"), "{ended}");
    }

    #[test]
    fn one_that_gets_its_state_keeps_its_memory() {
        if !is_allowed() {
            return;
        }
        let ram: GuestRam = Arc::new(ram::Ram::from_ranges(&[(GuestAddress(0), 64 << 12)]).unwrap());
        let stalled = Stalled::begin(&ram);
        let asked = EventFd::new(EFD_NONBLOCK).unwrap();
        let end = || End { fd: &asked, is_wished: &|| false };
        within(LONG, &stalled.demand, end(), || Ok(())).unwrap();
        let failed = within(LONG, &stalled.demand, end(), || Err("it does not fit".into()));
        assert_eq!(failed.unwrap_err().to_string(), "it does not fit");
        assert_eq!(stalled.demand.lacking_bytes(), 64 << 12);
        stalled.demand.release();
    }
}
