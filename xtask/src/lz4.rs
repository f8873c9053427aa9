//! LZ4's legacy frame format, as in the payload of Debian's cloud kernels:
//! a magic number, then blocks of at most 8 MiB, each after its size
//! (LZ4 Frame Format Description, "Legacy frame"; LZ4 Block Format Description).

use crate::error::Result;

/// The magic number, in the file's order.
pub(crate) const MAGIC: [u8; 4] = [0x02, 0x21, 0x4C, 0x18];

/// Decompresses a frame. What follows a last block is ignored: the kernel keeps its size there.
pub(crate) fn decompress(frame: &[u8]) -> Result<Vec<u8>> {
    let mut rest = frame.strip_prefix(&MAGIC).ok_or("no LZ4 frame")?;
    let mut out = Vec::new();
    while let Some((size, body)) = rest.split_first_chunk::<4>() {
        let size = usize::try_from(u32::from_le_bytes(*size)).map_err(|_| "LZ4 block too large")?;
        let Some((block, next)) = body.split_at_checked(size) else { break };
        decode_block(block, &mut out)?;
        rest = next;
    }
    Ok(out)
}

fn decode_block(mut block: &[u8], out: &mut Vec<u8>) -> Result<()> {
    while let Some((&token, rest)) = block.split_first() {
        block = rest;
        let literals = length(token >> 4, &mut block)?;
        let (literal, rest) = block.split_at_checked(literals).ok_or("LZ4 literals are cut short")?;
        out.extend_from_slice(literal);
        block = rest;
        // The last sequence of a block has no match.
        let Some((offset, rest)) = block.split_first_chunk::<2>() else { break };
        block = rest;
        let copy = length(token & 15, &mut block)?.saturating_add(4);
        copy_match(out, usize::from(u16::from_le_bytes(*offset)), copy)?;
    }
    Ok(())
}

/// A length of four bits, continued in bytes while they are 255.
fn length(bits: u8, block: &mut &[u8]) -> Result<usize> {
    let mut total = usize::from(bits);
    if bits == 15 {
        loop {
            let (&more, rest) = block.split_first().ok_or("an LZ4 length is cut short")?;
            *block = rest;
            total = total.saturating_add(usize::from(more));
            if more != 255 {
                break;
            }
        }
    }
    Ok(total)
}

/// Appends `length` bytes from `offset` back, which may reach into what is being appended.
fn copy_match(out: &mut Vec<u8>, offset: usize, length: usize) -> Result<()> {
    let start = out.len().checked_sub(offset).filter(|_| offset > 0).ok_or("an LZ4 match points outside")?;
    if offset >= length {
        out.extend_from_within(start..start.saturating_add(length));
    } else {
        for index in start..start.saturating_add(length) {
            let byte = out.get(index).copied().ok_or("an LZ4 match points outside")?;
            out.push(byte);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(block: &[u8]) -> Vec<u8> {
        [&MAGIC[..], &u32::try_from(block.len()).unwrap().to_le_bytes(), block].concat()
    }

    #[test]
    fn literals_and_overlapping_matches() {
        // "ab", then 6 bytes from 2 back, then "!" as the last literals.
        let block = [0x22, b'a', b'b', 2, 0, 0x10, b'!'];
        assert_eq!(decompress(&frame(&block)).unwrap(), b"abababab!");
    }

    #[test]
    fn damage_is_an_error() {
        assert!(decompress(b"nothing").is_err());
        assert!(decompress(&frame(&[0x12, b'a', 9, 0])).is_err());
        assert!(decompress(&frame(&[0xF0])).is_err());
        assert!(decompress(&frame(&[0x50, b'a'])).is_err());
    }
}
