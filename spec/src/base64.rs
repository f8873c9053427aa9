//! Base64 (RFC 4648 §4) as Kubernetes writes it: padded, line breaks allowed when reading.

/// Why a text is not base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Base64Error {
    /// A character outside the alphabet.
    #[error("the character at position {0} is not of the base64 alphabet")]
    Character(usize),
    /// The length or the padding is wrong.
    #[error("the text ends in the middle of a group of four characters")]
    Length,
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte.wrapping_sub(b'A'),
        b'a'..=b'z' => byte.wrapping_sub(b'a').wrapping_add(26),
        b'0'..=b'9' => byte.wrapping_sub(b'0').wrapping_add(52),
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// The bytes that the text stands for; line breaks are skipped.
///
/// # Errors
/// Anything that is not padded base64.
pub fn decode(text: &str) -> Result<Vec<u8>, Base64Error> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut count, mut padding) = (0u32, 0u32, 0u32);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\r' | b'\n' => continue,
            b'=' if count >= 2 && count.saturating_add(padding) < 4 => padding = padding.saturating_add(1),
            _ if padding > 0 => return Err(Base64Error::Character(at)),
            _ => {
                let value = sextet(byte).ok_or(Base64Error::Character(at))?;
                group = group << 6 | value;
                count = count.saturating_add(1);
            }
        }
        if count == 4 {
            let [_, bytes @ ..] = group.to_be_bytes();
            out.extend_from_slice(&bytes);
            (group, count) = (0, 0);
        }
    }
    match (count, padding) {
        (0, 0) => Ok(out),
        (2, 2) => {
            let [_, first, ..] = (group << 12).to_be_bytes();
            out.push(first);
            Ok(out)
        }
        (3, 1) => {
            let [_, first, second, _] = (group << 6).to_be_bytes();
            out.extend_from_slice(&[first, second]);
            Ok(out)
        }
        _ => Err(Base64Error::Length),
    }
}

/// The bytes as padded base64.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4usize {
            let index = group >> (18 - 6 * place) & 63;
            let letter = usize::try_from(index).ok().and_then(|index| ALPHABET.get(index));
            let shown = if place <= chunk.len() { letter.copied().unwrap_or(b'=') } else { b'=' };
            out.push(char::from(shown));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648_hold() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in vectors {
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(decode(coded).unwrap(), plain.as_bytes());
        }
        assert_eq!(decode("Zm9v\nYmFy\n").unwrap(), b"foobar");
    }

    #[test]
    fn broken_texts_are_refused() {
        for text in ["Zg", "Zg=", "Z", "=", "Zg==Zg==", "Zm9v!", "Zm9vY===", "Zg==="] {
            assert!(decode(text).is_err(), "{text}");
        }
    }
}
