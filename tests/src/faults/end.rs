//! The end of a migration in which something went wrong, and what it leaves.

use super::fault::Fault;
use super::scene::{Fate, PATIENCE, Scene};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::vm::{Ended, Vm};

impl Scene<'_> {
    /// Ends what is left, and looks at what it leaves.
    pub(super) fn end(&mut self, fate: Fate) -> Outcome {
        let processes = [self.source.pid(), self.destination.pid()];
        if fate == Fate::Moves {
            self.source_ends()?;
        }
        let said = match fate {
            Fate::Stays | Fate::TakenBack => Some(power_off(&mut self.source)?),
            Fate::Moves => Some(power_off(&mut self.destination)?),
            Fate::Dies | Fate::Waits => None,
        };
        for vm in [&self.source, &self.destination] {
            let text = vm.console().text();
            ensure!(!text.contains("wrong"), "the guest says {text:?}");
        }
        match fate {
            Fate::Moves => {}
            Fate::Waits => {
                self.destination.signal(libc::SIGKILL)?;
                self.destination.wait_exit(PATIENCE)?;
            }
            Fate::Stays | Fate::TakenBack | Fate::Dies => self.destination_ends()?,
        }
        if fate == Fate::Dies && self.source.is_running()? {
            // It stands still for ever.
            self.source.signal(libc::SIGKILL)?;
            self.source.wait_exit(PATIENCE)?;
        }
        if let Some(impostor) = &self.impostor {
            let said = impostor.errors();
            ensure!(!said.contains("is on its way"), "a machine went to somebody else: {said}");
        }
        let sound = self.disks.check(fate, said, processes);
        sound.map_err(|Failure(why)| Failure(format!("{why}: {}", self.logs())))
    }

    /// One whose machine has gone hears of it, as soon as it gets through.
    fn source_ends(&mut self) -> Outcome {
        if self.cell.fault == Fault::KillSource && self.link.has_tripped() {
            return Ok(());
        }
        self.link.revive();
        self.source.wait_exit(PATIENCE)?.expect(0, "migrated").map(drop)
    }

    /// One to which no machine came has said so.
    fn destination_ends(&mut self) -> Outcome {
        if self.destination.is_running()? {
            // It waits for a source that may ask, or for another one.
            self.destination.signal(libc::SIGTERM)?;
        }
        let Ended { code, signal, .. } = self.destination.wait_exit(PATIENCE)?;
        let was_killed = signal == Some(libc::SIGKILL) && self.cell.fault == Fault::KillDestination;
        ensure!(
            was_killed || matches!(code, Some(1 | 3)),
            "the destination ended with {code:?}: {}",
            self.logs()
        );
        if was_killed { Ok(()) } else { self.disks.check_unmade() }
    }
}

/// Asks the guest for its number, and then to power off.
fn power_off(vm: &mut Vm) -> Result<u32, Failure> {
    vm.type_in("cq")?;
    vm.wait_exit(PATIENCE)?.expect(0, "guest-shutdown")?;
    let text = vm.console().text().replace('\r', "");
    ensure!(!text.contains("wrong"), "the guest says {text:?}");
    let last = text.lines().last().unwrap_or_default();
    u32::from_str_radix(last, 16).doing(&format!("reading the number {last:?}"))
}
