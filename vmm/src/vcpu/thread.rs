//! The thread of one vCPU.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use devices::bus::{Action, Panic};
use kvm_ioctls::{VcpuExit, VcpuFd};

use super::counters::Exit;
use super::io_exit::{Direction, port_access};
use super::state::rearm_deadline;
use super::{Gate, GuestEvent, VcpuCounters, VcpuSetup};
use crate::kvm::{Hypervisor, KvmError, set_tsc_back};
use crate::machine::AddressSpace;
use crate::metrics::Metrics;
use crate::milestone::{Milestone, Milestones};
use crate::state::Mailbox;
use crate::sys::kick::{self, KickableVcpu};

/// KVM_SYSTEM_EVENT_SHUTDOWN and its neighbours.
const SYSTEM_EVENT_SHUTDOWN: u32 = 1;
const SYSTEM_EVENT_RESET: u32 = 2;

/// A vCPU that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum VcpuError {
    /// The vCPU could not be set up.
    #[error(transparent)]
    SetUp(#[from] KvmError),
    /// `KVM_RUN` itself failed.
    #[error("KVM could not run the guest")]
    Run(#[source] kvm_ioctls::Error),
    /// KVM met guest code that it cannot emulate.
    #[error("KVM gave up on an instruction of the guest{}", limitation())]
    Internal,
    /// The processor refused the guest's state.
    #[error("the processor refused to enter the guest (reason {reason:#x})")]
    Entry {
        /// Hardware's reason.
        reason: u64,
    },
    /// An exit that nothing here asked for.
    #[error("KVM returned an exit that is not handled: {0}")]
    Unexpected(String),
}

fn limitation() -> String {
    Hypervisor::limitation().map(|why| format!(": {why}")).unwrap_or_default()
}

/// What the threads of one machine share.
#[derive(Clone)]
pub struct Shared {
    /// The guest's address spaces.
    pub space: Arc<AddressSpace>,
    /// The gate in front of the guest.
    pub gate: Arc<Gate>,
    /// Where events go.
    pub mailbox: Mailbox,
    /// Time stamps.
    pub milestones: Arc<Milestones>,
    /// What is counted.
    pub metrics: Metrics,
}

/// A running vCPU thread.
#[derive(Debug)]
pub struct VcpuThread {
    kick: VcpuKick,
    counters: Arc<VcpuCounters>,
}

/// Kicks a vCPU's thread, as long as there is one.
#[derive(Clone, Debug)]
pub struct VcpuKick(Arc<Mutex<Option<JoinHandle<()>>>>);

impl VcpuKick {
    /// Gets the thread out of the guest.
    pub fn kick(&self) {
        if let Some(thread) = &*self.thread() {
            kick::kick(thread);
        }
    }

    fn thread(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VcpuThread {
    /// Starts the thread of a vCPU, which sets itself up, then waits at the gate.
    pub fn spawn(setup: VcpuSetup, shared: Shared) -> io::Result<Self> {
        let index = setup.index();
        let counters = shared.metrics.vcpu(index);
        let of_thread = Arc::clone(&counters);
        let thread = std::thread::Builder::new().name(format!("vcpu{index}")).stack_size(128 << 10).spawn(
            move || {
                of_thread.enter();
                let ended = run(setup, &shared, &of_thread);
                of_thread.leave();
                if let Some(event) = ended {
                    shared.mailbox.post(event.into());
                }
                shared.gate.leave();
            },
        )?;
        Ok(Self { kick: VcpuKick(Arc::new(Mutex::new(Some(thread)))), counters })
    }

    /// Gets the thread out of the guest, so that it notices a gate that was closed or ended.
    pub fn kick(&self) {
        self.kick.kick();
    }

    /// Whether it runs, or lacks nothing but a processor.
    pub fn is_ready(&self) -> bool {
        self.counters.is_ready()
    }

    /// The same as [`VcpuThread::kick`] for others.
    pub fn kicker(&self) -> VcpuKick {
        self.kick.clone()
    }

    /// Waits for the thread's end.
    pub fn join(self) {
        // A panic of the thread was printed by the panic hook already.
        let thread = self.kick.thread().take();
        let _ = thread.map(JoinHandle::join);
    }
}

/// Runs a vCPU until it ends; the event says why, unless the thread was sent home.
fn run(setup: VcpuSetup, shared: &Shared, counters: &VcpuCounters) -> Option<GuestEvent> {
    let index = setup.index();
    let fail = |error| Some(GuestEvent::VcpuFailed { vcpu: index, error });
    let vcpu = match setup.finish() {
        Ok(vcpu) => vcpu,
        Err(error) => return fail(error.into()),
    };
    let mut vcpu = KickableVcpu::enter(vcpu);
    let mut hidden = 0;
    if !pass(&mut vcpu, index, shared, &mut hidden) {
        return None;
    }
    shared.milestones.reach(Milestone::FirstInstruction);
    loop {
        match step(vcpu.vcpu(), shared, counters) {
            Step::Continue => {}
            Step::Interrupted => {
                vcpu.clear();
                if !pass(&mut vcpu, index, shared, &mut hidden) {
                    return None;
                }
                // Whoever slows the guest down kicks it again and again.
                std::thread::sleep(shared.gate.rest());
                // The time that it stood at the gate is no fault of the guest's; kernels without the call find out.
                let _ = vcpu.vcpu().kvmclock_ctrl();
            }
            Step::TripleFault => return Some(GuestEvent::TripleFault { vcpu: index }),
            Step::Event(event) => return Some(event),
            Step::Failed(error) => return fail(error),
        }
    }
}

/// Passes the gate, and hides from the vCPU what is to be hidden of the time there, of which `hidden` ticks are already;
/// false if the thread is to end.
fn pass(vcpu: &mut KickableVcpu, index: u32, shared: &Shared, hidden: &mut u64) -> bool {
    let vcpu = vcpu.vcpu();
    if !shared.gate.pass(|errand| errand(index, vcpu)) {
        return false;
    }
    let all = shared.gate.hidden();
    if all != *hidden {
        // A host that cannot do it leaves the guest a counter that has jumped.
        let _ = set_tsc_back(vcpu, all.wrapping_sub(*hidden));
        let _ = rearm_deadline(vcpu);
        *hidden = all;
    }
    true
}

/// How one run of the guest ended.
enum Step {
    Continue,
    Interrupted,
    TripleFault,
    Event(GuestEvent),
    Failed(VcpuError),
}

fn step(vcpu: &mut VcpuFd, shared: &Shared, counters: &VcpuCounters) -> Step {
    let exit = vcpu.run();
    counters.count(Exit::of(&exit));
    let (port, len) = match exit {
        Ok(VcpuExit::IoIn(port, data)) => (port, data.len()),
        Ok(VcpuExit::IoOut(port, data)) => (port, data.len()),
        Ok(VcpuExit::MmioRead(address, data)) => {
            shared.space.mmio.read(address, data);
            return Step::Continue;
        }
        Ok(VcpuExit::MmioWrite(address, data)) => {
            return carry_out(shared.space.mmio.write(address, data), shared);
        }
        Ok(VcpuExit::Intr) => return Step::Interrupted,
        Err(error) => {
            return match error.errno() {
                libc::EINTR => Step::Interrupted,
                libc::EAGAIN => Step::Continue,
                _ => Step::Failed(VcpuError::Run(error)),
            };
        }
        Ok(VcpuExit::Shutdown) => return Step::TripleFault,
        Ok(VcpuExit::SystemEvent(SYSTEM_EVENT_SHUTDOWN, _)) => return Step::Event(GuestEvent::PowerOff),
        Ok(VcpuExit::SystemEvent(SYSTEM_EVENT_RESET, _)) => return Step::Event(GuestEvent::Reset),
        Ok(VcpuExit::InternalError) => return Step::Failed(VcpuError::Internal),
        Ok(VcpuExit::FailEntry(reason, _)) => return Step::Failed(VcpuError::Entry { reason }),
        // With in-kernel interrupt controllers HLT does not come here; if it does, the guest waits for nothing.
        Ok(VcpuExit::Hlt | VcpuExit::IrqWindowOpen) => return Step::Continue,
        Ok(other) => return Step::Failed(VcpuError::Unexpected(format!("{other:?}"))),
    };
    access_port(vcpu, port, len, shared)
}

/// Carries out a port access, one element after the other.
fn access_port(vcpu: &mut VcpuFd, port: u16, len: usize, shared: &Shared) -> Step {
    let access = port_access(vcpu, port, len);
    let port = u64::from(access.port);
    for element in access.data.chunks_mut(access.width) {
        match access.direction {
            Direction::In => {
                shared.space.pio.read(port, element);
            }
            Direction::Out => match carry_out(shared.space.pio.write(port, element), shared) {
                Step::Continue => {}
                end => return end,
            },
        }
    }
    Step::Continue
}

/// Does what a device asked for.
fn carry_out(action: Option<Action>, shared: &Shared) -> Step {
    match action {
        None | Some(Action::None) => Step::Continue,
        Some(Action::Remap(remaps)) => {
            shared.space.remap(remaps);
            Step::Continue
        }
        Some(Action::Reset) => Step::Event(GuestEvent::Reset),
        Some(Action::PowerOff) => Step::Event(GuestEvent::PowerOff),
        Some(Action::Panicked(Panic::Panicked)) => Step::Event(GuestEvent::Panicked),
        // A crash kernel takes over, or an orderly power-off follows: the guest goes on.
        Some(Action::Panicked(Panic::CrashLoaded | Panic::Shutdown)) => Step::Continue,
    }
}
