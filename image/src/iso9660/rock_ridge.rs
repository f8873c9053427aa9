//! Rock Ridge: POSIX names and modes in the system use fields of directory records
//! (System Use Sharing Protocol 1.10, Rock Ridge Interchange Protocol 1991A).

use super::bytes::{both32, record_len};
use super::{IsoError, SECTOR};

/// Longest directory record.
const MAX_RECORD: usize = 254;
const CE_LEN: usize = 28;
const PX_LEN: usize = 36;
/// Name bytes in one NM field that has all of the continuation area to itself.
const MAX_NM: usize = 250;

const FILE_MODE: u32 = 0o100_444;
const DIR_MODE: u32 = 0o040_555;

/// Fields that did not fit into their records.
#[derive(Default)]
pub(super) struct Continuation {
    pub(super) bytes: Vec<u8>,
}

impl Continuation {
    /// Puts fields into the area, which starts at `sector`; returns the CE field that points at them.
    fn hold(&mut self, fields: &[u8], sector: u32) -> Result<Vec<u8>, IsoError> {
        if self.bytes.len() % SECTOR + fields.len() > SECTOR {
            self.bytes.resize(self.bytes.len().next_multiple_of(SECTOR), 0);
        }
        let at = self.bytes.len();
        self.bytes.extend(fields);
        let number = |value: usize| u32::try_from(value).map_err(|_| IsoError::TooLarge);
        let mut ce = b"CE\x1c\x01".to_vec();
        ce.extend(both32(sector.saturating_add(number(at / SECTOR)?)));
        ce.extend(both32(number(at % SECTOR)?));
        ce.extend(both32(number(fields.len())?));
        Ok(ce)
    }
}

/// The fields of a file's or directory's record.
pub(super) fn entry(
    ident: &[u8],
    name: &str,
    links: Option<u32>,
    area: &mut Continuation,
    area_sector: u32,
) -> Result<Vec<u8>, IsoError> {
    let mut fields = px(links).to_vec();
    let room = MAX_RECORD.saturating_sub(record_len(ident) + PX_LEN);
    if name.len() + 5 <= room {
        fields.extend(nm(name.as_bytes(), false)?);
        return Ok(fields);
    }
    let here = room.saturating_sub(5 + CE_LEN);
    let (first, mut rest) = name.as_bytes().split_at_checked(here).unwrap_or_default();
    fields.extend(nm(first, true)?);
    let mut beyond = Vec::new();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at_checked(MAX_NM).unwrap_or((rest, &[]));
        beyond.extend(nm(piece, !after.is_empty())?);
        rest = after;
    }
    fields.extend(area.hold(&beyond, area_sector)?);
    Ok(fields)
}

/// The fields of the `.` and `..` records.
pub(super) fn dot(links: u32) -> Vec<u8> {
    px(Some(links)).to_vec()
}

/// The fields of the root's `.` record, which say that there are such fields at all.
pub(super) fn root(links: u32, area: &mut Continuation, area_sector: u32) -> Result<Vec<u8>, IsoError> {
    let mut fields = b"SP\x07\x01\xbe\xef\x00".to_vec();
    fields.extend(px(Some(links)));
    fields.extend(area.hold(&er(), area_sector)?);
    Ok(fields)
}

/// POSIX attributes: mode, links, user, group. `links` are a directory's.
fn px(links: Option<u32>) -> [u8; PX_LEN] {
    let mode = if links.is_some() { DIR_MODE } else { FILE_MODE };
    let numbers = [mode, links.unwrap_or(1), 0, 0].map(both32);
    let mut field = [0; PX_LEN];
    let bytes = b"PX\x24\x01".iter().chain(numbers.as_flattened());
    for (to, from) in field.iter_mut().zip(bytes) {
        *to = *from;
    }
    field
}

/// A name, or a part of one.
fn nm(name: &[u8], continues: bool) -> Result<Vec<u8>, IsoError> {
    let len = u8::try_from(name.len() + 5).map_err(|_| IsoError::TooLarge)?;
    let mut field = vec![b'N', b'M', len, 1, u8::from(continues)];
    field.extend(name);
    Ok(field)
}

/// Which extension it is, in the words that its specification prescribes.
fn er() -> Vec<u8> {
    const ID: &[u8] = b"RRIP_1991A";
    const DESCRIPTION: &[u8] =
        b"THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS";
    const SOURCE: &[u8] =
        b"PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN \
        PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION.";
    // 10, 84 and 135 bytes: 237 in all.
    let mut field = vec![b'E', b'R', 237, 1, 10, 84, 135, 1];
    field.extend([ID, DESCRIPTION, SOURCE].concat());
    field
}
