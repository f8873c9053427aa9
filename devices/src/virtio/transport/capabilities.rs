//! The capability list of a virtio function (virtio 1.3 §4.1.4).

use super::layout::{self, Part, WINDOW_BAR};
use crate::pci::{Capability, ConfigSpace};

/// Vendor-specific capability.
const VENDOR: u8 = 0x09;
/// MSI-X capability.
const MSIX: u8 = 0x11;

const COMMON_CFG: u8 = 1;
const NOTIFY_CFG: u8 = 2;
const ISR_CFG: u8 = 3;
const DEVICE_CFG: u8 = 4;
const PCI_CFG: u8 = 5;

/// Where the two capabilities that have state ended up in the configuration space.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offsets {
    /// MSI-X capability.
    pub(super) msix: u16,
    /// Window into the BAR through configuration space.
    pub(super) pci_cfg: u16,
}

impl Offsets {
    /// Message control register of MSI-X.
    pub(super) fn msix_control(self) -> u16 {
        self.msix + 2
    }

    /// Data register of the configuration window.
    pub(super) fn pci_cfg_data(self) -> u16 {
        self.pci_cfg + 16
    }
}

/// Adds all capabilities for a function with `vectors` MSI-X vectors.
pub(super) fn add(config: &mut ConfigSpace, vectors: u16) -> Offsets {
    let stride = layout::NOTIFY_STRIDE.to_le_bytes();
    let mut add = |body: Body<'_>, writable| config.add_capability(&body_of(body, writable)).unwrap_or(0);
    let msix = add(Body::Msix(vectors), vec![0x00, 0xc0]);
    add(Body::Virtio(COMMON_CFG, layout::COMMON, &[]), vec![]);
    add(Body::Virtio(ISR_CFG, layout::ISR, &[]), vec![]);
    add(Body::Virtio(DEVICE_CFG, layout::DEVICE, &[]), vec![]);
    add(Body::Virtio(NOTIFY_CFG, layout::NOTIFY, &stride), vec![]);
    let mut writable = vec![0, 0, 0xff, 0, 0, 0];
    writable.extend([0xff; 12]);
    let pci_cfg = add(Body::Virtio(PCI_CFG, Part { offset: 0, size: 0 }, &[0; 4]), writable);
    Offsets { msix, pci_cfg }
}

enum Body<'a> {
    /// Table size.
    Msix(u16),
    /// Structure type, place, and what follows `struct virtio_pci_cap`.
    Virtio(u8, Part, &'a [u8]),
}

fn body_of(body: Body<'_>, writable: Vec<u8>) -> Capability {
    match body {
        Body::Msix(vectors) => {
            let bar = u32::from(WINDOW_BAR);
            let mut bytes = vectors.saturating_sub(1).to_le_bytes().to_vec();
            bytes.extend((layout::MSIX_TABLE.offset | bar).to_le_bytes());
            bytes.extend((layout::MSIX_PENDING.offset | bar).to_le_bytes());
            Capability { id: MSIX, body: bytes, writable }
        }
        Body::Virtio(kind, part, rest) => {
            let length = u8::try_from(16 + rest.len()).unwrap_or(16);
            let mut bytes = vec![length, kind, WINDOW_BAR, 0, 0, 0];
            bytes.extend(part.offset.to_le_bytes());
            bytes.extend(part.size.to_le_bytes());
            bytes.extend(rest);
            Capability { id: VENDOR, body: bytes, writable }
        }
    }
}
