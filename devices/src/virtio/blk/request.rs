//! What a chain asks of the disk (virtio 1.3 §5.2.6).

use vm_memory::GuestAddress;

use super::config::SECTOR;
use crate::GuestRam;
use crate::virtio::buffers::{BadChain, Buffers, Segment, read_at, skip, total};

/// Bytes of `struct virtio_blk_req` before the data.
pub(super) const HEADER: u64 = 16;
/// Bytes of `struct virtio_blk_discard_write_zeroes`.
const RANGE: u64 = 16;
/// Request types (virtio 1.3 §5.2.6).
pub(super) mod kind {
    pub(crate) const IN: u32 = 0;
    pub(crate) const OUT: u32 = 1;
    pub(crate) const FLUSH: u32 = 4;
    pub(crate) const GET_ID: u32 = 8;
    pub(crate) const DISCARD: u32 = 11;
    pub(crate) const WRITE_ZEROES: u32 = 13;
}
/// Its flag that lets the host give space back.
const RANGE_UNMAP: u32 = 1;

/// Answers to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

/// What the disk is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Fill the writable part but for its last byte.
    Read { offset: u64, len: u64 },
    /// Store the readable part after the header.
    Write { offset: u64, len: u64 },
    /// Make completed writes durable.
    Flush,
    /// Say the serial number.
    GetId { room: u64 },
    /// Forget a range.
    Discard { offset: u64, len: u64 },
    /// Zero a range.
    WriteZeroes { offset: u64, len: u64, unmap: bool },
}

/// Where the last writable byte of a chain is, which takes the status.
pub(super) fn status_address(buffers: &Buffers) -> Result<GuestAddress, BadChain> {
    let last = buffers.writable.last().ok_or(BadChain::TooShort)?;
    let end = last.address.0.checked_add(u64::from(last.len)).ok_or(BadChain::OutsideRam)?;
    Ok(GuestAddress(end.wrapping_sub(1)))
}

/// Reads a request out of its chain.
pub(super) fn parse(mem: &GuestRam, buffers: &Buffers) -> Result<Command, Status> {
    let header = read_struct(mem, buffers, 0)?;
    let offset = u64::from_le_bytes(field(&header, 8)).checked_mul(SECTOR);
    let out = total(&buffers.readable).saturating_sub(HEADER);
    let room = total(&buffers.writable).saturating_sub(1);
    let whole = |len: u64| if len > 0 && len.is_multiple_of(SECTOR) { Ok(len) } else { Err(Status::IoError) };
    match u32::from_le_bytes(field(&header, 0)) {
        kind::IN => Ok(Command::Read { offset: offset.ok_or(Status::IoError)?, len: whole(room)? }),
        kind::OUT => Ok(Command::Write { offset: offset.ok_or(Status::IoError)?, len: whole(out)? }),
        kind::FLUSH => Ok(Command::Flush),
        kind::GET_ID => Ok(Command::GetId { room }),
        kind::DISCARD => match range(mem, buffers)? {
            (offset, len, 0) => Ok(Command::Discard { offset, len }),
            _ => Err(Status::Unsupported),
        },
        kind::WRITE_ZEROES => match range(mem, buffers)? {
            (offset, len, flags @ (0 | RANGE_UNMAP)) => {
                Ok(Command::WriteZeroes { offset, len, unmap: flags == RANGE_UNMAP })
            }
            _ => Err(Status::Unsupported),
        },
        _ => Err(Status::Unsupported),
    }
}

/// The one range that a discard or write-zeroes request holds: offset and length in bytes, flags.
fn range(mem: &GuestRam, buffers: &Buffers) -> Result<(u64, u64, u32), Status> {
    if total(&buffers.readable) != HEADER + RANGE {
        return Err(Status::IoError);
    }
    let range = read_struct(mem, buffers, HEADER)?;
    let sector = u64::from_le_bytes(field(&range, 0));
    let count = u32::from_le_bytes(field(&range, 8));
    let flags = u32::from_le_bytes(field(&range, 12));
    let offset = sector.checked_mul(SECTOR).ok_or(Status::IoError)?;
    Ok((offset, u64::from(count) * SECTOR, flags))
}

/// The 16 bytes that start `offset` bytes into the readable part.
fn read_struct(mem: &GuestRam, buffers: &Buffers, offset: u64) -> Result<[u8; 16], Status> {
    let mut bytes = [0; 16];
    read_at(mem, &buffers.readable, offset, &mut bytes).map_err(|_| Status::IoError)?;
    Ok(bytes)
}

fn field<const N: usize>(bytes: &[u8; 16], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// The data that a write brings.
pub(super) fn written_data(buffers: &Buffers) -> impl Iterator<Item = Segment> {
    skip(&buffers.readable, HEADER)
}
