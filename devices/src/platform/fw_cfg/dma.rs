//! DMA: the guest names a request in its RAM, which says what to read and where to, or what to write.

use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

use super::{Cursor, FwCfg};

/// Bits of a request's control field; its upper half is a key if [`SELECT`] is set.
const ERROR: u32 = 1 << 0;
const READ: u32 = 1 << 1;
const SKIP: u32 = 1 << 2;
const SELECT: u32 = 1 << 3;
const WRITE: u32 = 1 << 4;

/// Zeroes that one request may ask for past the end of an item. The interface sets no limit, but guests ask for what
/// the directory says, and a vCPU must not be kept busy clearing gigabytes.
const EXCESS_MAX: usize = 1 << 20;
const ZEROES: [u8; 4096] = [0; 4096];

/// A request as it lies in guest RAM, big-endian.
struct Request {
    control: u32,
    length: u32,
    address: GuestAddress,
}

impl Request {
    fn from_bytes(bytes: [u8; 16]) -> Self {
        let all = u128::from_be_bytes(bytes);
        let part = |shift: u32| u32::try_from(all >> shift & 0xffff_ffff).unwrap_or(0);
        let address = u64::from(part(32)) << 32 | u64::from(part(0));
        Self { control: part(96), length: part(64), address: GuestAddress(address) }
    }

    fn key(&self) -> u16 {
        let [high, low, ..] = self.control.to_be_bytes();
        u16::from_be_bytes([high, low])
    }
}

/// The guest asked for something that cannot be done.
struct Refused;

impl FwCfg {
    /// Does the request at `address` and writes its outcome to its control field. A request outside RAM has no place
    /// for an outcome and is dropped.
    pub(super) fn transfer(&self, cursor: &mut Cursor, address: u64) {
        let address = GuestAddress(address);
        let mut bytes = [0u8; 16];
        if self.ram.read_slice(&mut bytes, address).is_err() {
            return;
        }
        let control = match self.perform(cursor, &Request::from_bytes(bytes)) {
            Ok(()) => 0,
            Err(Refused) => ERROR,
        };
        // The same bytes were readable just now.
        let _ = self.ram.write_slice(&control.to_be_bytes(), address);
    }

    fn perform(&self, cursor: &mut Cursor, request: &Request) -> Result<(), Refused> {
        if request.control & SELECT != 0 {
            cursor.select(request.key());
        }
        if request.control & READ != 0 {
            self.copy_out(cursor, request)?;
        } else if request.control & WRITE != 0 {
            self.copy_in(cursor, request)?;
        } else if request.control & SKIP == 0 {
            return Ok(());
        }
        cursor.offset = cursor.offset.saturating_add(request.length.into());
        Ok(())
    }

    /// Copies the item to RAM, and zeroes behind its end; all or nothing where RAM is missing.
    fn copy_out(&self, cursor: &Cursor, request: &Request) -> Result<(), Refused> {
        let length = usize::try_from(request.length).map_err(|_| Refused)?;
        if length == 0 {
            return Ok(());
        }
        let rest = self.rest(cursor);
        let data = rest.get(..length).unwrap_or(rest);
        let mut excess = length - data.len();
        if excess > EXCESS_MAX || !self.ram.check_range(request.address, length, Permissions::Write) {
            return Err(Refused);
        }
        self.put(request.address, data)?;
        let mut at = advance(request.address, data.len())?;
        while let Some(zeroes) = ZEROES.get(..excess.min(ZEROES.len())).filter(|zeroes| !zeroes.is_empty()) {
            self.put(at, zeroes)?;
            at = advance(at, zeroes.len())?;
            excess -= zeroes.len();
        }
        Ok(())
    }

    /// Takes what is in RAM over into a file that is there to be written, as a whole or not at all.
    fn copy_in(&self, cursor: &mut Cursor, request: &Request) -> Result<(), Refused> {
        let name = self.items.writable(cursor.key).ok_or(Refused)?;
        let length = usize::try_from(request.length).map_err(|_| Refused)?;
        let start = usize::try_from(cursor.offset).map_err(|_| Refused)?;
        let before = cursor.written.get(name).map_or_else(|| self.items.get(cursor.key), Vec::as_slice);
        let mut contents = before.to_vec();
        let place = start.checked_add(length).and_then(|end| contents.get_mut(start..end)).ok_or(Refused)?;
        self.ram.read_slice(place, request.address).map_err(|_| Refused)?;
        cursor.written.insert(name.to_owned(), contents);
        Ok(())
    }

    fn put(&self, at: GuestAddress, bytes: &[u8]) -> Result<(), Refused> {
        self.ram.write_slice(bytes, at).map_err(|_| Refused)
    }
}

fn advance(at: GuestAddress, by: usize) -> Result<GuestAddress, Refused> {
    u64::try_from(by).ok().and_then(|by| at.0.checked_add(by)).map(GuestAddress).ok_or(Refused)
}
