//! A reader of tar archives: POSIX pax and GNU, made for archives that nobody vouches for.
//!
//! Of sparse files those of pax format 1.0 are known, whose pieces [`sparse_map`] reads.
//!
//! Names and pax records are bounded, checksums are checked, and where a pax record and the header
//! disagree the pax record wins, always (the confusion of the two has been used to smuggle entries).

use std::io::{self, Read};
use std::ops::Range;

/// Longest name or link target taken, in bytes.
const MAX_NAME: u64 = 4096;
/// Longest pax record block taken, in bytes: names and times, not whole extended attributes of any size.
const MAX_PAX: u64 = 1 << 20;
/// Most pieces of a sparse file that are taken.
pub const MAX_PIECES: u64 = 1 << 20;
const BLOCK: u64 = 512;
const HEADER: usize = 512;

/// What kind of entry it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A file that is zero but for some pieces ([`sparse_map`]).
    Sparse {
        /// Its length.
        bytes: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Symlink(String),
    /// Another name of this entry.
    Hardlink(String),
    /// A device, or something else.
    Other,
}

/// The header of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As written, which may be absolute or full of `..`.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of contents that follow.
    pub size: u64,
}

/// Walks an archive.
pub struct Tarball<R> {
    from: R,
    /// Bytes of the current entry that have not been read, and of the padding after it.
    left: u64,
    padding: u64,
}

/// What extension headers say about the entry that follows them.
#[derive(Default)]
struct Overrides {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
    sparse: Option<Sparse>,
}

/// What is said of a sparse file.
#[derive(Default)]
struct Sparse {
    major: Option<u64>,
    minor: Option<u64>,
    bytes: Option<u64>,
    name: Option<String>,
}

impl<R: Read> Tarball<R> {
    /// An archive from its beginning.
    pub fn new(from: R) -> Tarball<R> {
        Tarball { from, left: 0, padding: 0 }
    }

    /// The next entry, or `None` at the archive's end.
    ///
    /// # Errors
    /// The archive is malformed or cut off, or cannot be read.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let mut overrides = Overrides::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.size()?;
            self.left = size;
            self.padding = size.wrapping_neg() % BLOCK;
            match header.kind() {
                b'L' => overrides.path = Some(name(&self.text(MAX_NAME)?)?),
                b'K' => overrides.link = Some(name(&self.text(MAX_NAME)?)?),
                b'x' => {
                    let text = self.text(MAX_PAX)?;
                    overrides.pax(&text)?;
                }
                // Global records: nothing in them that we use may be global.
                b'g' => {}
                kind => return self.entry(&header, kind, size, overrides).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &Header, kind: u8, size: u64, over: Overrides) -> io::Result<Entry> {
        let size = over.size.unwrap_or(size);
        let (sparse, named) = over.sparse.map_or((None, None), |sparse| (Some(sparse.kind()), sparse.name));
        let path = match named.or(over.path) {
            Some(path) => path,
            None => header.path()?,
        };
        let link = || over.link.map_or_else(|| header.link(), Ok);
        let kind = match kind {
            b'0' | b'7' | 0 if let Some(kind) = sparse => kind,
            b'0' | b'7' | 0 if path.ends_with('/') => EntryKind::Directory,
            b'0' | b'7' | 0 => EntryKind::File,
            b'1' => EntryKind::Hardlink(link()?),
            b'2' => EntryKind::Symlink(link()?),
            b'5' => EntryKind::Directory,
            b'S' => return Err(bad("a sparse entry of the GNU kind, which is not supported")),
            _ => EntryKind::Other,
        };
        // Only files have contents, whatever their headers say (POSIX pax, "size").
        let has_contents = matches!(kind, EntryKind::File | EntryKind::Sparse { .. } | EntryKind::Other);
        self.left = if has_contents { size } else { 0 };
        self.padding = self.left.wrapping_neg() % BLOCK;
        Ok(Entry { path, kind, size: self.left })
    }

    /// The contents of the current entry.
    pub fn contents(&mut self) -> impl Read + '_ {
        Contents(self)
    }

    fn skip(&mut self) -> io::Result<()> {
        let rest = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut (&mut self.from).take(rest), &mut io::sink())?;
        (self.left, self.padding) = (0, 0);
        if skipped == rest { Ok(()) } else { Err(bad("it ends in the middle of an entry")) }
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut block = [0; HEADER];
        let mut have = 0;
        while let Some(rest) = block.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match self.from.read(rest)? {
                // Some writers leave out the two zero blocks at the end.
                0 if have == 0 => return Ok(None),
                0 => return Err(bad("it ends in the middle of a header")),
                read => have += read,
            }
        }
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let header = Header(block);
        header.check()?;
        Ok(Some(header))
    }

    fn text(&mut self, max: u64) -> io::Result<Vec<u8>> {
        if self.left > max {
            return Err(bad("a name or an extension header is too long"));
        }
        let mut text = Vec::new();
        Contents(self).read_to_end(&mut text)?;
        Ok(text)
    }
}

struct Contents<'a, R>(&'a mut Tarball<R>);

impl<R: Read> Read for Contents<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let max = usize::try_from(self.0.left).unwrap_or(usize::MAX).min(buf.len());
        let read = self.0.from.read(buf.get_mut(..max).unwrap_or_default())?;
        if read == 0 && max > 0 {
            return Err(bad("it ends in the middle of an entry"));
        }
        self.0.left = self.0.left.saturating_sub(read as u64);
        Ok(read)
    }
}

/// A header block: POSIX.1-1988 ustar, with GNU's base-256 numbers.
struct Header([u8; HEADER]);

impl Header {
    fn field(&self, at: usize, len: usize) -> &[u8] {
        self.0.get(at..at.saturating_add(len)).unwrap_or_default()
    }

    fn kind(&self) -> u8 {
        self.field(156, 1).first().copied().unwrap_or(0)
    }

    fn size(&self) -> io::Result<u64> {
        let size = number(self.field(124, 12))?;
        // Room for the arithmetic on it.
        if size > 1 << 60 { Err(bad("an entry is impossibly large")) } else { Ok(size) }
    }

    /// Whether the sum of all bytes, the checksum taken as blanks, is the one written.
    fn check(&self) -> io::Result<()> {
        let written = number(self.field(148, 8))?;
        let sum: u64 = self.0.iter().map(|&byte| u64::from(byte)).sum();
        let own: u64 = self.field(148, 8).iter().map(|&byte| u64::from(byte)).sum();
        if sum - own + 8 * u64::from(b' ') == written {
            Ok(())
        } else {
            Err(bad("a header's checksum is wrong"))
        }
    }

    fn path(&self) -> io::Result<String> {
        let base = name(self.field(0, 100))?;
        let is_posix = self.field(257, 6) == b"ustar\0";
        let prefix = if is_posix { name(self.field(345, 155))? } else { String::new() };
        Ok(if prefix.is_empty() { base } else { format!("{prefix}/{base}") })
    }

    fn link(&self) -> io::Result<String> {
        name(self.field(157, 100))
    }
}

impl Overrides {
    /// Records of the form `LENGTH KEY=VALUE\n`.
    fn pax(&mut self, mut text: &[u8]) -> io::Result<()> {
        let broken = || bad("an extension header is malformed");
        while !text.is_empty() {
            let blank = text.iter().position(|&byte| byte == b' ').ok_or_else(broken)?;
            let digits = text.get(..blank).and_then(|digits| std::str::from_utf8(digits).ok());
            let len: usize = digits.and_then(|digits| digits.parse().ok()).ok_or_else(broken)?;
            let record = text.get(blank.saturating_add(1)..len).ok_or_else(broken)?;
            let record = record.strip_suffix(b"\n").ok_or_else(broken)?;
            let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(broken)?;
            let (key, value) = record.split_at_checked(equals).ok_or_else(broken)?;
            self.record(key, value.get(1..).unwrap_or_default())?;
            text = text.get(len..).unwrap_or_default();
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        match key {
            b"path" => self.path = Some(name(value)?),
            b"linkpath" => self.link = Some(name(value)?),
            b"size" => {
                let text = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                self.size =
                    Some(text.filter(|&size| size <= 1 << 60).ok_or_else(|| bad("a size is malformed"))?);
            }
            _ if key.starts_with(b"GNU.sparse.") => self.sparse.get_or_insert_default().record(key, value)?,
            _ => {}
        }
        Ok(())
    }
}

impl Sparse {
    fn record(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let number = || {
            let text = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            text.filter(|&number: &u64| number <= 1 << 60).ok_or_else(|| bad("a size is malformed")).map(Some)
        };
        match key {
            b"GNU.sparse.major" => self.major = number()?,
            b"GNU.sparse.minor" => self.minor = number()?,
            b"GNU.sparse.realsize" => self.bytes = number()?,
            b"GNU.sparse.name" => self.name = Some(name(value)?),
            _ => {}
        }
        Ok(())
    }

    /// Older formats have their pieces elsewhere.
    fn kind(&self) -> EntryKind {
        match (self.major, self.minor, self.bytes) {
            (Some(1), Some(0), Some(bytes)) => EntryKind::Sparse { bytes },
            _ => EntryKind::Other,
        }
    }
}

/// The pieces of a sparse file of `bytes` bytes, in order: read from the beginning of its entry's contents, of which there are
/// `size` bytes. The pieces' bytes follow.
///
/// # Errors
/// They lie outside of the file or overlap, there are too many of them, or their bytes are not there.
pub fn sparse_map(contents: &mut impl Read, size: u64, bytes: u64) -> io::Result<Vec<Range<u64>>> {
    let broken = || bad("the map of a sparse file is malformed");
    let mut numbers = MapNumbers { from: contents, block: [0; HEADER], at: HEADER, read: 0 };
    let count = numbers.next()?;
    if count > MAX_PIECES {
        return Err(bad("a sparse file has too many pieces"));
    }
    let (mut pieces, mut end, mut data) = (Vec::new(), 0, 0u64);
    for _ in 0..count {
        let (start, length) = (numbers.next()?, numbers.next()?);
        let last =
            start.checked_add(length).filter(|last| start >= end && *last <= bytes).ok_or_else(broken)?;
        end = last;
        data = data.saturating_add(length);
        // GNU tar ends the map of a file that ends with a hole by an empty piece.
        if length != 0 {
            pieces.push(start..last);
        }
    }
    if numbers.read.checked_add(data) == Some(size) { Ok(pieces) } else { Err(broken()) }
}

/// Decimal numbers, one a line, in whole blocks.
struct MapNumbers<'a, R> {
    from: &'a mut R,
    block: [u8; HEADER],
    at: usize,
    read: u64,
}

impl<R: Read> MapNumbers<'_, R> {
    fn next(&mut self) -> io::Result<u64> {
        let broken = || bad("the map of a sparse file is malformed");
        let mut number = None;
        loop {
            if self.at == HEADER {
                self.from.read_exact(&mut self.block)?;
                self.read += BLOCK;
                self.at = 0;
            }
            let byte = self.block.get(self.at).copied().ok_or_else(broken)?;
            self.at += 1;
            match byte {
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    let next = number.unwrap_or(0u64).checked_mul(10).and_then(|all| all.checked_add(digit));
                    number = Some(next.ok_or_else(broken)?);
                }
                b'\n' => return number.ok_or_else(broken),
                _ => return Err(broken()),
            }
        }
    }
}

/// A number: octal digits, or base 256 where the first bit is set.
fn number(field: &[u8]) -> io::Result<u64> {
    let broken = || bad("a number in a header is malformed");
    match field.split_first() {
        Some((0x80, rest)) => rest
            .iter()
            .try_fold(0u64, |sum, &byte| Some(sum.checked_mul(256)?.saturating_add(byte.into())))
            .ok_or_else(broken),
        Some((first, _)) if first & 0x80 != 0 => Err(broken()),
        _ => {
            let text = std::str::from_utf8(field).map_err(|_| broken())?;
            let text = text.trim_matches(|c| c == ' ' || c == '\0');
            if text.is_empty() { Ok(0) } else { u64::from_str_radix(text, 8).map_err(|_| broken()) }
        }
    }
}

/// A name, which ends at the first NUL.
fn name(bytes: &[u8]) -> io::Result<String> {
    let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    if bytes.len() as u64 > MAX_NAME {
        return Err(bad("a name is too long"));
    }
    match std::str::from_utf8(bytes) {
        Ok(name) => Ok(name.to_owned()),
        // Such a name cannot be asked for; it still has to be told apart from others.
        Err(_) => Ok(bytes.iter().flat_map(|byte| byte.escape_ascii()).map(char::from).collect()),
    }
}

fn bad(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
#[path = "tarball_tests.rs"]
mod tests;
