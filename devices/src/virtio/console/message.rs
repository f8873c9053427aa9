//! Control messages (virtio 1.3 §5.3.6.2).

/// Bytes of `struct virtio_console_control`.
pub(super) const HEADER_LEN: usize = 8;

const DEVICE_READY: u16 = 0;
const DEVICE_ADD: u16 = 1;
const PORT_READY: u16 = 3;
const CONSOLE_PORT: u16 = 4;
const RESIZE: u16 = 5;
const PORT_OPEN: u16 = 6;
const PORT_NAME: u16 = 7;

/// What the device tells the driver of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ToDriver {
    /// It exists.
    Add,
    /// It is a console.
    Console,
    /// Its terminal has this many columns and rows.
    Resize(u16, u16),
    /// It has this name.
    Name(String),
    /// The host has it open, or not.
    Open(bool),
}

/// What the driver tells the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FromDriver {
    /// It can handle several ports, or not.
    DeviceReady(bool),
    /// It can use a port, or not.
    PortReady(u32, bool),
    /// A process has a port open, or not.
    Open(u32, bool),
}

impl ToDriver {
    /// The message about port `id` as it is sent.
    pub(super) fn encode(&self, id: u32) -> Vec<u8> {
        let (event, value) = match self {
            Self::Add => (DEVICE_ADD, 1),
            Self::Console => (CONSOLE_PORT, 1),
            Self::Resize(..) => (RESIZE, 0),
            Self::Name(_) => (PORT_NAME, 1),
            Self::Open(open) => (PORT_OPEN, u16::from(*open)),
        };
        let mut bytes = [&id.to_le_bytes()[..], &u16::to_le_bytes(event), &u16::to_le_bytes(value)].concat();
        match self {
            Self::Resize(columns, rows) => {
                bytes.extend_from_slice(&columns.to_le_bytes());
                bytes.extend_from_slice(&rows.to_le_bytes());
            }
            Self::Name(name) => bytes.extend_from_slice(name.as_bytes()),
            _ => {}
        }
        bytes
    }
}

impl FromDriver {
    /// Reads a message; `None` if it is none that drivers send.
    pub(super) fn decode([i0, i1, i2, i3, e0, e1, v0, v1]: [u8; HEADER_LEN]) -> Option<Self> {
        let id = u32::from_le_bytes([i0, i1, i2, i3]);
        let yes = match u16::from_le_bytes([v0, v1]) {
            0 => false,
            1 => true,
            _ => return None,
        };
        match u16::from_le_bytes([e0, e1]) {
            DEVICE_READY => Some(Self::DeviceReady(yes)),
            PORT_READY => Some(Self::PortReady(id, yes)),
            PORT_OPEN => Some(Self::Open(id, yes)),
            _ => None,
        }
    }
}
