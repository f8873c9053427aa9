//! Slowing a guest down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Machine;
use crate::vcpu::{Gate, VcpuKick, VcpuThread};

/// A vCPU rests and runs by turns, once each in this time. It is also the longest by which a pause may come later.
const TURN: Duration = Duration::from_millis(10);

/// Takes a share of the vCPUs' time away. Dropped, it lets go.
#[derive(Debug)]
pub struct Brake {
    gate: Arc<Gate>,
    vcpus: Vec<VcpuKick>,
    /// Kicks the vCPUs, while they are slowed down.
    turns: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Machine {
    /// A brake on this machine.
    pub fn brake(&self) -> Brake {
        let vcpus = self.vcpus.iter().map(VcpuThread::kicker).collect();
        Brake { gate: Arc::clone(&self.gate), vcpus, turns: None }
    }
}

impl Brake {
    /// Takes this share away, in percent; 0 lets go.
    pub fn set(&mut self, percent: u8) {
        let rest = TURN.saturating_mul(percent.min(99).into()) / 100;
        self.gate.set_rest(rest);
        if rest.is_zero() {
            return self.release();
        }
        if self.turns.is_some() {
            return;
        }
        let on = Arc::new(AtomicBool::new(true));
        let (of_thread, vcpus) = (Arc::clone(&on), self.vcpus.clone());
        let turns = move || {
            while of_thread.load(Ordering::Acquire) {
                vcpus.iter().for_each(VcpuKick::kick);
                thread::sleep(TURN);
            }
        };
        // Without a thread, the guest is as fast as ever, which is no fault but slow.
        let thread = thread::Builder::new().name("brake".into()).stack_size(64 << 10).spawn(turns);
        self.turns = thread.ok().map(|thread| (on, thread));
    }

    fn release(&mut self) {
        if let Some((on, thread)) = self.turns.take() {
            on.store(false, Ordering::Release);
            // It has nothing to panic about, and is over within a turn.
            let _ = thread.join();
        }
    }
}

impl Drop for Brake {
    fn drop(&mut self) {
        self.set(0);
    }
}
