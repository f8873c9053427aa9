//! What a plan has to know of the host's processor.

use std::arch::x86_64::__cpuid;

/// Leaf that tells address sizes.
const ADDRESS_SIZES: u32 = 0x8000_0008;
/// What every 64-bit processor has.
const LEAST_BITS: u8 = 36;

/// Physical address bits of the host's processor.
pub(super) fn physical_bits() -> u8 {
    let leaves = __cpuid(0x8000_0000).eax;
    let bits = if leaves >= ADDRESS_SIZES { __cpuid(ADDRESS_SIZES).eax.to_le_bytes()[0] } else { 0 };
    bits.max(LEAST_BITS)
}
