//! UUIDs (RFC 9562): text form and the name-based version 5.

use std::fmt;
use std::str::FromStr;

/// A UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid([u8; 16]);

/// The text is not a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a UUID such as 5a9fc181-957e-5c32-9e5a-2de5e9673531")]
pub struct UuidError;

/// KubeVirt's name space for the firmware UUIDs it derives from VM names
/// (`6a1a24a1-4061-4607-8bf4-a3963d0c5895`).
const FIRMWARE_NAMES: Uuid =
    Uuid([0x6a, 0x1a, 0x24, 0xa1, 0x40, 0x61, 0x46, 0x07, 0x8b, 0xf4, 0xa3, 0x96, 0x3d, 0x0c, 0x58, 0x95]);

impl Uuid {
    /// The bytes in network order, as SMBIOS before 2.6 and RFC 9562 write them.
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// The firmware UUID that KubeVirt gives a VM of this name.
    pub fn of_machine(name: &str) -> Self {
        Self::v5(&FIRMWARE_NAMES, name.as_bytes())
    }

    /// The version 5 UUID of a name in a name space (RFC 9562 §5.5).
    pub fn v5(space: &Self, name: &[u8]) -> Self {
        let mut text = space.0.to_vec();
        text.extend_from_slice(name);
        let digest = sha1(&text);
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        let [.., version, _, variant, _, _, _, _, _, _, _] = &mut bytes;
        *version = *version & 0x0f | 0x50;
        *variant = *variant & 0x3f | 0x80;
        Self(bytes)
    }
}

impl FromStr for Uuid {
    type Err = UuidError;

    fn from_str(text: &str) -> Result<Self, UuidError> {
        let dashes_fit = text.len() == 32
            || text.len() == 36
                && text.char_indices().all(|(at, c)| (c == '-') == matches!(at, 8 | 13 | 18 | 23));
        let digits: Vec<u8> = text.chars().filter(|c| *c != '-').filter_map(hex).collect();
        if !dashes_fit || digits.len() != 32 {
            return Err(UuidError);
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |value, digit| value << 4 | digit);
        }
        Ok(Self(bytes))
    }
}

fn hex(c: char) -> Option<u8> {
    c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// SHA-1 (FIPS 180-4 §6.1), needed by version 5 UUIDs alone and by nothing that must be secret.
fn sha1(text: &[u8]) -> [u8; 20] {
    let mut padded = text.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    let bits = u64::try_from(text.len()).unwrap_or(u64::MAX).wrapping_mul(8);
    padded.extend_from_slice(&bits.to_be_bytes());
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.chunks_exact(64) {
        sha1_block(&mut state, block);
    }
    let mut digest = [0; 20];
    let bytes = state.iter().flat_map(|word| word.to_be_bytes());
    digest.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    digest
}

fn sha1_block(state: &mut [u32; 5], block: &[u8]) {
    let mut words: Vec<u32> = block
        .chunks_exact(4)
        .map(|bytes| bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
        .collect();
    for at in 16..80usize {
        let back = |by: usize| words.get(at.wrapping_sub(by)).copied().unwrap_or(0);
        words.push((back(3) ^ back(8) ^ back(14) ^ back(16)).rotate_left(1));
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (round, word) in words.iter().enumerate() {
        let (mix, constant) = match round / 20 {
            0 => (b & c | !b & d, 0x5a82_7999u32),
            1 => (b ^ c ^ d, 0x6ed9_eba1),
            2 => (b & c | b & d | c & d, 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6),
        };
        let next =
            a.rotate_left(5).wrapping_add(mix).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
    }
    for (to, from) in state.iter_mut().zip([a, b, c, d, e]) {
        *to = to.wrapping_add(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_uuids_are_those_kubevirt_gives() {
        let vectors = [
            ("testvm", "5a9fc181-957e-5c32-9e5a-2de5e9673531"),
            ("testvmi", "f8918e71-270a-598e-a2a4-1afac39e1394"),
            ("vm-cirros", "0d2a2043-41c0-59c3-9b17-025022203668"),
            ("vm1", "133bf63e-9459-5126-9b21-b56e9b3d17b3"),
        ];
        for (name, want) in vectors {
            assert_eq!(Uuid::of_machine(name).to_string(), want);
        }
    }

    #[test]
    fn texts_are_read_with_and_without_dashes() {
        let uuid: Uuid = "5A9FC181-957e-5c32-9e5a-2de5e9673531".parse().unwrap();
        assert_eq!(uuid.to_string(), "5a9fc181-957e-5c32-9e5a-2de5e9673531");
        assert_eq!("5a9fc181957e5c329e5a2de5e9673531".parse(), Ok(uuid));
        for text in
            ["", "x", "5a9fc181-957e-5c32-9e5a-2de5e967353", "5a9fc181957e-5c32-9e5a-2de5e96735-31", "зз"]
        {
            assert_eq!(text.parse::<Uuid>(), Err(UuidError), "{text}");
        }
    }
}
