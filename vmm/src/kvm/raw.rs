//! Structs of the kernel's interface in a saved state.
//!
//! Linux never changes the layout of what it gave to programs once, so that their bytes are the best way to keep them.
//! They are written as hexadecimal digits.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A struct of KVM's, kept as the bytes that it is made of.
pub struct Raw<T>(pub T);

// Not derived: some of these structs end in an array without a length, and are no `Clone` for it.
impl<T: FromBytes + IntoBytes + Immutable> Clone for Raw<T> {
    fn clone(&self) -> Self {
        Self(T::read_from_bytes(self.0.as_bytes()).unwrap_or_else(|_| T::new_zeroed()))
    }
}

impl<T: IntoBytes + Immutable> PartialEq for Raw<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes() == other.0.as_bytes()
    }
}

impl<T> fmt::Debug for Raw<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<T>())
    }
}

impl<T: IntoBytes + Immutable> Serialize for Raw<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_hex(self.0.as_bytes()))
    }
}

impl<'de, T: FromBytes> Deserialize<'de> for Raw<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = deserializer.deserialize_str(Hex(size_of::<T>()))?;
        T::read_from_bytes(&bytes).map(Self).map_err(|_| Error::custom("the struct has another length"))
    }
}

fn to_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Reads so many bytes. Fewer are filled up with zeroes, which is what a struct means that has grown since.
struct Hex(usize);

impl Visitor<'_> for Hex {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} bytes as hexadecimal digits", self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
        let digits = text.as_bytes();
        if !digits.len().is_multiple_of(2) || digits.len() / 2 > self.0 {
            return Err(E::invalid_length(digits.len() / 2, &self));
        }
        let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        let byte = |pair: &[u8]| match pair {
            [high, low] => Some(value(*high)? << 4 | value(*low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
        let mut bytes = bytes.ok_or_else(|| E::custom("a hexadecimal digit is none"))?;
        bytes.resize(self.0, 0);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use kvm_bindings::kvm_regs;

    use super::*;

    #[test]
    fn a_struct_comes_back_as_it_was() {
        let regs = Raw(kvm_regs { rax: 0x1234, rip: u64::MAX, ..kvm_regs::default() });
        let text = serde_json::to_string(&regs).unwrap();
        assert!(text.starts_with("\"3412000000000000"), "{text}");
        assert_eq!(serde_json::from_str::<Raw<kvm_regs>>(&text).unwrap(), regs);
    }

    #[test]
    fn a_shorter_one_is_filled_up_and_nonsense_is_refused() {
        let short: Raw<kvm_regs> = serde_json::from_str("\"ff\"").unwrap();
        assert_eq!(short.0.rax, 0xff);
        for bad in ["\"f\"", "\"fx\"", "\"+1\"", "\"ä\"", "5", &format!("\"{}\"", "00".repeat(145))] {
            assert!(serde_json::from_str::<Raw<kvm_regs>>(bad).is_err(), "{bad}");
        }
    }
}
