//! The leaves that tell sockets, cores, threads and shared caches.

use kvm_bindings::kvm_cpuid_entry2;

use super::leaves::{Leaves, Reg};
use super::{Vendor, has};
use crate::topology::Topology;

/// Leaf 1 EDX: EBX[23:16] holds a count of logical processors.
const HTT: u32 = 1 << 28;
/// Leaf 0x80000001 ECX: HTT means cores, not threads (AMD).
const CMP_LEGACY: u32 = 1 << 1;
/// Leaf 0x80000001 ECX: leaves 0x8000001D and 0x8000001E exist (AMD).
const TOPOLOGY_EXTENSIONS: u32 = 1 << 22;
const EXTENDED_TOPOLOGY: [u32; 2] = [0xB, 0x1F];
const LEVEL_SMT: u32 = 1;
const LEVEL_CORE: u32 = 2;

/// Sets the flag for the leaves without which an AMD guest takes threads for cores. They tell the guest's own
/// topology, so the processor need not have them.
pub(super) fn allow_topology_extensions(leaves: &mut Leaves) {
    leaves.at(0x8000_0001, 0).ecx |= TOPOLOGY_EXTENSIONS;
}

/// Writes all that is the same on every vCPU.
pub(super) fn describe(leaves: &mut Leaves, vendor: Vendor, topology: &Topology) {
    describe_package(leaves, topology);
    describe_extended_topology(leaves, vendor, topology);
    match vendor {
        Vendor::Intel => describe_intel_caches(leaves, topology),
        Vendor::Amd => describe_amd(leaves, topology),
        Vendor::Other => {}
    }
}

/// Writes the APIC id of vCPU `index` where `entry` carries one.
pub(super) fn set_apic_id(entry: &mut kvm_cpuid_entry2, topology: &Topology, index: u32) {
    let id = topology.apic_id(index);
    match entry.function {
        1 => entry.ebx = entry.ebx & 0x00FF_FFFF | id << 24,
        0xB | 0x1F => entry.edx = id,
        0x8000_001E => {
            let place = topology.place(index);
            entry.eax = id;
            // Core ids beyond 8 bits cannot be told here; leaf 0xB tells them.
            entry.ebx = (topology.threads() - 1).min(0xFF) << 8 | place.core & 0xFF;
            // One memory node per socket, and the node's number.
            entry.ecx = place.socket & 0xFF;
            entry.edx = 0;
        }
        _ => {}
    }
}

/// Size of a field of APIC ids that holds `count` ids.
fn id_room(count: u32) -> u32 {
    count.next_power_of_two()
}

fn ids_per_socket(topology: &Topology) -> u32 {
    1 << topology.socket_shift()
}

fn describe_package(leaves: &mut Leaves, topology: &Topology) {
    let leaf = leaves.at(1, 0);
    let logical = ids_per_socket(topology).min(0xFF);
    leaf.ebx = leaf.ebx & 0x0000_FFFF | logical << 16;
    if topology.vcpus_per_socket() > 1 {
        leaf.edx |= HTT;
    } else {
        leaf.edx &= !HTT;
    }
}

/// Leaves 0xB and, where the processor knows it, 0x1F: thread level, core level, end of list.
fn describe_extended_topology(leaves: &mut Leaves, vendor: Vendor, topology: &Topology) {
    let with_1f = vendor == Vendor::Intel && leaves.max_basic() >= 0x1F;
    // AMD's leaf 0x80000026 would tell the host's topology; 0xB serves in its stead.
    leaves.remove(|function| EXTENDED_TOPOLOGY.contains(&function) || function == 0x8000_0026);
    leaves.announce(0xB);
    for function in EXTENDED_TOPOLOGY.into_iter().take(1 + usize::from(with_1f)) {
        let levels = [
            (LEVEL_SMT, topology.thread_bits(), topology.threads()),
            (LEVEL_CORE, topology.socket_shift(), topology.vcpus_per_socket()),
            (0, 0, 0),
        ];
        for (index, (kind, shift, logical)) in (0..).zip(levels) {
            let leaf = leaves.at(function, index);
            leaf.eax = shift;
            leaf.ebx = logical;
            leaf.ecx = kind << 8 | index;
        }
    }
}

/// Leaf 4: first and second level caches belong to a core, the third to the socket.
fn describe_intel_caches(leaves: &mut Leaves, topology: &Topology) {
    let cores = id_room(topology.cores()).min(64) - 1;
    for leaf in leaves.subleaves_mut(4).filter(|leaf| leaf.eax & 0x1F != 0) {
        let sharing =
            if leaf.eax >> 5 & 7 >= 3 { ids_per_socket(topology) } else { id_room(topology.threads()) };
        leaf.eax = leaf.eax & 0x3FFF | (sharing.min(4096) - 1) << 14 | cores << 26;
    }
}

fn describe_amd(leaves: &mut Leaves, topology: &Topology) {
    let per_socket = topology.vcpus_per_socket();
    if let Some(sizes) = leaves.get_mut(0x8000_0008, 0) {
        let threads = (per_socket - 1).min(0xFF);
        sizes.ecx = sizes.ecx & !0xF0FF | topology.socket_shift() << 12 | threads;
    }
    if let Some(features) = leaves.get_mut(0x8000_0001, 0) {
        if per_socket > 1 {
            features.ecx |= CMP_LEGACY;
        } else {
            features.ecx &= !CMP_LEGACY;
        }
    }
    if !has(leaves, 0x8000_0001, 0, Reg::Ecx, TOPOLOGY_EXTENSIONS) {
        leaves.remove(|function| matches!(function, 0x8000_001D | 0x8000_001E));
        return;
    }
    for leaf in leaves.subleaves_mut(0x8000_001D).filter(|leaf| leaf.eax & 0x1F != 0) {
        let sharing = if leaf.eax >> 5 & 7 >= 3 { per_socket } else { topology.threads() };
        leaf.eax = leaf.eax & 0x3FFF | (sharing.min(4096) - 1) << 14;
    }
    leaves.announce(0x8000_001E);
    leaves.at(0x8000_001E, 0);
}
