//! Lengths and checksums of a snapshot's files.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::SnapshotError;
use super::manifest::is_plain_name;

/// A line for each file: CRC-32 (or `-` for files that are checked otherwise), length, name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums(Vec<Sum>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) crc: Option<u32>,
}

/// Longest text of one that is taken.
pub(super) const LONGEST: u64 = 1 << 20;
/// The first line.
const TITLE: &str = "kubevmm snapshot, format 1";
/// Files of one snapshot, at most.
const MOST: usize = 4096;

impl Sums {
    pub(super) fn add(&mut self, name: &str, bytes: u64, crc: Option<u32>) {
        self.0.push(Sum { name: name.to_owned(), bytes, crc });
    }

    pub(super) fn all(&self) -> &[Sum] {
        &self.0
    }

    pub(super) fn get(&self, name: &str) -> Option<&Sum> {
        self.0.iter().find(|sum| sum.name == name)
    }

    /// The file's text. Its last line is the checksum of those before.
    pub(super) fn to_text(&self) -> String {
        let mut text = format!("{TITLE}\n");
        for Sum { name, bytes, crc } in &self.0 {
            let crc = crc.map_or_else(|| "-".to_owned(), |crc| format!("{crc:08x}"));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{crc} {bytes} {name}");
        }
        let crc = crc32fast::hash(text.as_bytes());
        let _ = writeln!(text, "{crc:08x} end");
        text
    }

    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it. It is of kind `Unsupported` if it is nothing that this program wrote.
    pub(super) fn parse(text: &str) -> io::Result<Self> {
        let damaged = |why: &'static str| io::Error::new(io::ErrorKind::InvalidData, why);
        let title = text.lines().next().unwrap_or_default();
        if title != TITLE {
            let why = format!("it begins with {:?}, not with {TITLE:?}", title.get(..40).unwrap_or(title));
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let cut_off = || damaged("its list of checksums is cut off");
        let body = text.strip_suffix(" end\n").ok_or_else(cut_off)?;
        let (body, crc) = body.split_at_checked(body.len().saturating_sub(8)).ok_or_else(cut_off)?;
        if crc != format!("{:08x}", crc32fast::hash(body.as_bytes())) {
            return Err(damaged("its list of checksums was altered"));
        }
        let lines = body.lines().skip(1);
        let sums = lines.take(MOST).map(|line| Sum::parse(line).ok_or_else(cut_off));
        Ok(Self(sums.collect::<io::Result<_>>()?))
    }
}

/// Reads the list of the snapshot at `path`.
///
/// # Errors
/// It is none, or is damaged.
pub(super) fn list_of(path: &Path, text: &[u8]) -> Result<Sums, SnapshotError> {
    Sums::parse(&String::from_utf8_lossy(text)).map_err(|error| {
        let (path, why) = (path.to_owned(), error.to_string());
        match error.kind() {
            io::ErrorKind::Unsupported => SnapshotError::Unknown { path, why },
            _ => SnapshotError::Damaged { path, why },
        }
    })
}

impl Sum {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(3, ' ');
        let crc = match words.next()? {
            "-" => None,
            digits => Some(u32::from_str_radix(digits, 16).ok()?),
        };
        let bytes = words.next()?.parse().ok()?;
        let name = words.next().filter(|name| is_plain_name(name))?.to_owned();
        Some(Self { name, bytes, crc })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sums() -> Sums {
        let mut sums = Sums::default();
        sums.add("state.json", 12, Some(0xab));
        sums.add("memory", 4096, None);
        sums
    }

    #[test]
    fn every_altered_byte_and_every_cut_is_noticed() {
        let text = sums().to_text();
        assert_eq!(Sums::parse(&text).unwrap(), sums());
        for at in 0..text.len() {
            assert!(Sums::parse(&text[..at]).is_err(), "cut at {at}");
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(String::from_utf8(bytes).is_err() || Sums::parse(&flipped(&text, at)).is_err(), "{at}");
        }
    }

    fn flipped(text: &str, at: usize) -> String {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] ^= 1;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["../x", "a/b", "", ".", "..", ".hidden"] {
            let mut sums = Sums::default();
            sums.add(name, 1, None);
            assert!(Sums::parse(&sums.to_text()).is_err(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in ".{0,200}") {
            let _ = Sums::parse(&text);
            let _ = Sums::parse(&format!("{TITLE}\n{text} end\n"));
        }
    }
}
