//! Leaf 0xD: the parts of a processor's state that XSAVE keeps follow from the features that use them.

use super::leaves::{Leaves, Reg};

const XSAVE: u32 = 0xD;
/// Leaf 1 ECX.
const HAS_XSAVE: u32 = 1 << 26;
/// Leaf 0xD subleaf 1 EAX.
const HAS_XSAVES: u32 = 1 << 3;
/// Size of the oldest part and the header.
const LEGACY: u32 = 576;
/// x87 and SSE, which are always kept.
const ALWAYS: u64 = 0b11;

/// A feature's leaf, subleaf, register and bit, and the parts of the state (XCR0 or IA32_XSS) that are its own (Intel SDM
/// vol. 1 §13.1).
const PARTS: &[(u32, u32, Reg, u32, u64)] = &[
    (1, 0, Reg::Ecx, 28, 1 << 2),     // AVX
    (7, 0, Reg::Ebx, 14, 0b11 << 3),  // MPX
    (7, 0, Reg::Ebx, 16, 0b111 << 5), // AVX-512
    (7, 0, Reg::Ebx, 25, 1 << 8),     // processor trace
    (7, 0, Reg::Ecx, 3, 1 << 9),      // protection keys
    (7, 0, Reg::Ecx, 7, 0b11 << 11),  // control-flow enforcement
    (7, 0, Reg::Edx, 19, 1 << 15),    // last branch records
    (7, 0, Reg::Edx, 24, 0b11 << 17), // AMX
];

/// What becomes of parts that no feature here uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    Kept,
    Hidden,
}

/// Hides the parts whose features are not there.
pub(super) fn describe(leaves: &mut Leaves, unknown: Unknown) {
    if leaves.get(XSAVE, 0).is_none() {
        return;
    }
    if leaves.value(1, 0, Reg::Ecx) & HAS_XSAVE == 0 {
        for entry in leaves.subleaves_mut(XSAVE) {
            (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0);
        }
        return;
    }
    let allowed = allowed(leaves, unknown);
    let (low, high) = halves(allowed);
    let supervisor = leaves.value(XSAVE, 1, Reg::Eax) & HAS_XSAVES != 0;
    for entry in leaves.subleaves_mut(XSAVE) {
        match entry.index {
            0 => {
                entry.eax &= low;
                entry.edx &= high;
            }
            1 => {
                entry.ecx &= if supervisor { low } else { 0 };
                entry.edx &= if supervisor { high } else { 0 };
            }
            part if allowed.checked_shr(part).unwrap_or(0) & 1 == 0 => {
                (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0);
            }
            _ => {}
        }
    }
    let user =
        u64::from(leaves.value(XSAVE, 0, Reg::Edx)) << 32 | u64::from(leaves.value(XSAVE, 0, Reg::Eax));
    let end = (2..63)
        .filter(|part| user >> part & 1 == 1)
        .map(|part| leaves.value(XSAVE, part, Reg::Ebx).saturating_add(leaves.value(XSAVE, part, Reg::Eax)));
    let size = end.max().unwrap_or(0).max(LEGACY);
    let entry = leaves.at(XSAVE, 0);
    // KVM keeps EBX, the size of what is in use, up to date by itself.
    (entry.ebx, entry.ecx) = (entry.ebx.min(size), size);
}

fn allowed(leaves: &Leaves, unknown: Unknown) -> u64 {
    let mut known = ALWAYS;
    let mut allowed = ALWAYS;
    for (leaf, index, register, bit, parts) in PARTS {
        known |= parts;
        if leaves.value(*leaf, *index, *register) >> bit & 1 == 1 {
            allowed |= parts;
        }
    }
    match unknown {
        Unknown::Kept => allowed | !known,
        Unknown::Hidden => allowed,
    }
}

fn halves(mask: u64) -> (u32, u32) {
    let low = u32::try_from(mask & u64::from(u32::MAX)).unwrap_or_default();
    (low, u32::try_from(mask >> 32).unwrap_or_default())
}
