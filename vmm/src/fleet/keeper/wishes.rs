//! What others ask of a fleet.

use devices::say;

use super::super::instance::Instance;
use super::super::orders::Wish as Asked;
use super::super::record::{Key, Scale};
use super::Supervisor;
use crate::state::{Done, Refusal, RefusalKind};
use crate::sys::signals::Wish;

impl Supervisor {
    /// Does what others ask for.
    pub(super) fn asked(&mut self) {
        while let Some((wish, reply)) = self.inbox.take() {
            let done = self.obey(wish);
            if done.is_ok() {
                self.changed = true;
            }
            reply.send(done);
        }
    }

    fn obey(&mut self, wish: Asked) -> Result<Done, Refusal> {
        match wish {
            Asked::Start(key) => self.machine(&key)?.start(&key),
            Asked::Stop(key) => self.machine(&key)?.stop(&key),
            Asked::Restart(key) => self.machine(&key)?.restart(&key),
            Asked::Scale { id, replicas } => {
                let scale = self.record.scales.entry(id).or_default();
                *scale = Scale { replicas: Some(replicas), ..Scale::default() };
                Ok(Done::Begun)
            }
        }
    }

    /// The machine of a VirtualMachine, its own or a pool's.
    fn machine(&mut self, key: &Key) -> Result<&mut Instance, Refusal> {
        let missing = || {
            Refusal::new(
                RefusalKind::NotFound,
                format!("virtualmachines.kubevirt.io \"{}\" not found", key.name),
            )
        };
        let is_vm = |instance: &Instance| {
            instance.owner.starts_with("VirtualMachine/") || instance.owner.starts_with("VirtualMachinePool/")
        };
        self.record
            .instances
            .get_mut(key)
            .filter(|instance| is_vm(instance) && !instance.leaving)
            .ok_or_else(missing)
    }

    pub(super) fn signalled(&mut self) {
        while let Some(wish) = self.signals.next() {
            if wish != Wish::End {
                continue;
            }
            // The first has machines move that have somewhere to go, which one more breaks off.
            if self.closing && self.record.launch.evicts() && !std::mem::replace(&mut self.insists, true) {
                say!(
                    "kubevmm: moves are broken off, and guests are asked to power off; another signal ends them by force"
                );
                self.power_off();
                continue;
            }
            if self.closing {
                say!("kubevmm: machines that still run are ended by force");
            }
            self.close(self.closing);
        }
    }
}
