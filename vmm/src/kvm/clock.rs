//! The guest's clocks while its machine is paused.
#![expect(unsafe_code, reason = "the attributes of a vCPU have no safe wrapper in our dependencies")]

use std::arch::x86_64::_rdtsc;
use std::time::{SystemTime, UNIX_EPOCH};

use kvm_bindings::{KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, KVMIO, kvm_clock_data, kvm_device_attr};
use kvm_ioctls::{VcpuFd, VmFd};
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;

use super::{KvmError, failed};

ioctl_iow_nr!(KVM_SET_DEVICE_ATTR, KVMIO, 0xe1, kvm_device_attr);
ioctl_iow_nr!(KVM_GET_DEVICE_ATTR, KVMIO, 0xe2, kvm_device_attr);

/// The clocks of a guest at the moment when it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoppedClocks {
    /// Nanoseconds of KVM's clock.
    pub kvm: u64,
    /// The host's time stamp counter.
    pub tsc: u64,
    /// The host's wall clock: nanoseconds since 1970.
    pub wall: u64,
}

impl StoppedClocks {
    /// Reads the clocks of a VM whose vCPUs have just stopped.
    pub fn read(vm: &VmFd) -> Result<Self, KvmError> {
        let kvm = vm.get_clock().map_err(failed("read the guest's clock"))?.clock;
        Ok(Self { kvm, tsc: host_tsc(), wall: wall_clock() })
    }

    /// Those of a guest that stopped elsewhere, where KVM's clock stood at `kvm`: it counts as stopped now.
    pub fn arrived(vm: &VmFd, kvm: u64) -> Result<Self, KvmError> {
        set_kvm_clock(vm, kvm)?;
        Ok(Self { kvm, tsc: host_tsc(), wall: wall_clock() })
    }

    /// Has KVM's clock go on from where it stopped. Gives back the ticks by which the vCPUs' time stamp counters have to
    /// be set back for the same effect ([`set_tsc_back`]).
    pub fn go_on(self, vm: &VmFd) -> Result<u64, KvmError> {
        set_kvm_clock(vm, self.kvm)?;
        Ok(host_tsc().saturating_sub(self.tsc))
    }
}

fn set_kvm_clock(vm: &VmFd, clock: u64) -> Result<(), KvmError> {
    let clock = kvm_clock_data { clock, ..kvm_clock_data::default() };
    vm.set_clock(&clock).map_err(failed("set the guest's clock"))
}

/// Nanoseconds since 1970.
fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The host's time stamp counter.
fn host_tsc() -> u64 {
    // SAFETY: every x86_64 processor has the instruction, and Linux lets programs use it.
    unsafe { _rdtsc() }
}

/// Sets a vCPU's time stamp counter back by so many of the host's ticks. A vCPU whose counter runs at another rate than the
/// host's, which no machine here has, would be set back by another time.
pub fn set_tsc_back(vcpu: &VcpuFd, ticks: u64) -> Result<(), KvmError> {
    set_tsc_offset(vcpu, tsc_offset(vcpu)?.wrapping_sub(ticks))
}

/// By how much the vCPU's counter is ahead of the host's.
pub fn tsc_offset(vcpu: &VcpuFd) -> Result<u64, KvmError> {
    let mut offset = 0;
    access_tsc_offset(vcpu, KVM_GET_DEVICE_ATTR(), &mut offset)?;
    Ok(offset)
}

/// Sets by how much the vCPU's counter is ahead of the host's.
pub fn set_tsc_offset(vcpu: &VcpuFd, mut offset: u64) -> Result<(), KvmError> {
    access_tsc_offset(vcpu, KVM_SET_DEVICE_ATTR(), &mut offset)
}

/// Reads or writes the distance between the vCPU's counter and the host's (Linux 5.16,
/// Documentation/virt/kvm/devices/vcpu.rst §4).
fn access_tsc_offset(vcpu: &VcpuFd, request: libc::c_ulong, offset: &mut u64) -> Result<(), KvmError> {
    let attribute = kvm_device_attr {
        flags: 0,
        group: KVM_VCPU_TSC_CTRL,
        attr: KVM_VCPU_TSC_OFFSET.into(),
        addr: std::ptr::from_mut(offset) as u64,
    };
    // SAFETY: the attribute is 8 bytes long, and `offset` is borrowed until the call is over.
    let result = unsafe { ioctl_with_ref(vcpu, request, &attribute) };
    if result == 0 {
        return Ok(());
    }
    Err(failed("change the time stamp counter")(kvm_ioctls::Error::last()))
}
