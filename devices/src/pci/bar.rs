//! Base address registers (PCI 3.0 §6.2.5.1).

/// What kind of window a register describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// Memory below 4 GiB; one register.
    Mem32,
    /// Memory anywhere, prefetchable; this register and the next.
    Mem64,
    /// Ports; one register.
    Io,
}

impl BarKind {
    /// Read-only low bits of the register.
    pub(super) const fn flags(self) -> u64 {
        match self {
            Self::Mem32 => 0,
            Self::Mem64 => 0b1100,
            Self::Io => 1,
        }
    }

    /// Address bits that the register holds.
    pub(super) const fn address_bits(self) -> u64 {
        match self {
            Self::Mem32 => 0xffff_fff0,
            Self::Mem64 => 0xffff_ffff_ffff_fff0,
            Self::Io => 0xfffc,
        }
    }

    /// Bit of the command register that switches such windows on.
    pub(super) const fn command_bit(self) -> u16 {
        match self {
            Self::Mem32 | Self::Mem64 => 2,
            Self::Io => 1,
        }
    }
}

/// One window of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Register index, 0 to 5 (0 to 4 for [`BarKind::Mem64`]).
    pub index: u8,
    /// Kind of window.
    pub kind: BarKind,
    /// Length in bytes: a power of two, at least 16 (4 for ports).
    pub size: u64,
}

/// A window that moved because the guest wrote its register or the command register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarChange {
    /// Which window.
    pub bar: Bar,
    /// Where it was decoded until now.
    pub from: Option<u64>,
    /// Where it is decoded from now on.
    pub to: Option<u64>,
}
