//! Port accesses of a vCPU, element by element.
//!
//! A string instruction (`rep outsb`) ends in one exit with many elements; only the shared page tells how wide one is.
#![expect(unsafe_code, reason = "the shared page of a vCPU is a C union")]

use kvm_bindings::KVM_EXIT_IO_IN;
use kvm_ioctls::VcpuFd;

/// Direction of an access, as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// A port access that waits to be carried out.
pub(super) struct PortAccess<'a> {
    pub(super) port: u16,
    pub(super) direction: Direction,
    /// Bytes of one element: 1, 2 or 4.
    pub(super) width: usize,
    /// All elements, to be read (out) or filled (in).
    pub(super) data: &'a mut [u8],
}

/// The access that made `vcpu` exit; to be called after a `KVM_EXIT_IO` only.
pub(super) fn port_access(vcpu: &mut VcpuFd, port: u16, len: usize) -> PortAccess<'_> {
    let run = vcpu.get_kvm_run();
    // SAFETY: all variants of the union are plain integers; `io` is the one that KVM filled for this exit.
    let io = unsafe { run.__bindgen_anon_1.io };
    let offset = usize::try_from(io.data_offset).unwrap_or_default();
    let start = (&raw mut *run).cast::<u8>().wrapping_add(offset);
    // SAFETY: KVM's data lies `data_offset` bytes into the mapping that `run` starts, `len` is what kvm-ioctls
    // computed from the same exit, and the exclusive borrow of the vCPU keeps KVM out meanwhile.
    let data = unsafe { std::slice::from_raw_parts_mut(start, len) };
    let direction = if u32::from(io.direction) == KVM_EXIT_IO_IN { Direction::In } else { Direction::Out };
    PortAccess { port, direction, width: usize::from(io.size).max(1), data }
}
