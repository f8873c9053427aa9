//! Getting a vCPU thread out of `KVM_RUN`.
//!
//! A signal alone could arrive just before the thread enters the kernel and be lost. Its handler therefore also sets
//! `immediate_exit` in the shared page of the vCPU that the thread runs, so that the next `KVM_RUN` returns at once.
#![expect(unsafe_code, reason = "a signal handler writes to the vCPU's shared page")]

use std::cell::Cell;
use std::ffi::c_int;
use std::marker::PhantomData;
use std::os::unix::thread::JoinHandleExt;
use std::ptr;
use std::thread::JoinHandle;

use kvm_ioctls::VcpuFd;
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

thread_local! {
    /// `immediate_exit` of the vCPU that this thread runs; null while it runs none.
    static IMMEDIATE_EXIT: Cell<*mut u8> = const { Cell::new(ptr::null_mut()) };
}

fn signal() -> c_int {
    SIGRTMIN()
}

extern "C" fn on_kick(_: c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let flag = IMMEDIATE_EXIT.get();
    if !flag.is_null() {
        // SAFETY: the pointer is set only between `enter` and the drop of its guard, while the page is mapped.
        unsafe { ptr::write_volatile(flag, 1) };
    }
}

/// Installs the handler, once for the process.
pub fn install() -> Result<(), vmm_sys_util::errno::Error> {
    register_signal_handler(signal(), on_kick)
}

/// Kicks the vCPU thread behind `thread` out of the kernel.
pub fn kick<T>(thread: &JoinHandle<T>) {
    // SAFETY: the handle keeps the thread's identifier valid until it is joined.
    let _ = unsafe { libc::pthread_kill(thread.as_pthread_t(), signal()) };
}

/// A vCPU that belongs to the current thread and can be kicked.
#[derive(Debug)]
pub struct KickableVcpu {
    vcpu: VcpuFd,
    /// Stays on the thread whose handler knows its page.
    not_send: PhantomData<*mut u8>,
}

impl KickableVcpu {
    /// Ties `vcpu` to the current thread.
    pub fn enter(mut vcpu: VcpuFd) -> Self {
        IMMEDIATE_EXIT.set(ptr::from_mut(&mut vcpu.get_kvm_run().immediate_exit));
        Self { vcpu, not_send: PhantomData }
    }

    /// The vCPU.
    pub fn vcpu(&mut self) -> &mut VcpuFd {
        &mut self.vcpu
    }

    /// Forgets a kick that was noticed.
    pub fn clear(&mut self) {
        self.vcpu.set_kvm_immediate_exit(0);
    }
}

impl Drop for KickableVcpu {
    fn drop(&mut self) {
        IMMEDIATE_EXIT.set(ptr::null_mut());
    }
}
