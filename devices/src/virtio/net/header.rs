//! The header in front of a frame that the guest sends (virtio 1.3 §5.1.6.2): what it may ask of the host.
//!
//! The host's network stack believes what a header says of a frame: where its headers are, how it is to be cut. So each
//! is checked against its frame and against what was negotiated, and what reaches the host is the checked copy, not
//! the guest's memory, which could have changed since.

use net::HEADER_LEN;

use super::features::{CSUM, HOST_ECN, HOST_TSO4, HOST_TSO6, HOST_USO};

/// A header's bytes.
pub(super) type Header = [u8; HEADER_LEN as usize];

/// Flag: the checksum has to be filled in.
const NEEDS_CSUM: u8 = 1;
/// In the segments' type: they may carry congestion marks.
const ECN: u8 = 0x80;
const NONE: u8 = 0;
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const UDP: u8 = 5;

/// Length of an Ethernet header.
const ETHERNET: u64 = 14;
/// TCP's shortest header, and where its checksum is (RFC 9293 §3.1).
const TCP_HEADER: u64 = 20;
const TCP_CSUM: u16 = 16;
/// UDP's header, and where its checksum is (RFC 768).
const UDP_HEADER: u64 = 8;
const UDP_CSUM: u16 = 6;
/// Least bytes in a TCP segment: Linux takes no maximum segment size below 48, of which options may take 40
/// (`TCP_MIN_SND_MSS`). Less would make the host cut a frame into ten thousands.
const MIN_TCP_SEGMENT: u16 = 8;
/// Most datagrams in a train: Linux's `UDP_MAX_SEGMENTS`.
const MAX_DATAGRAMS: u64 = 128;

/// The header as the host may have it, in front of `len` bytes of frame; `None` if it makes no sense or asks for what
/// was not negotiated.
pub(super) fn checked(header: &Header, len: u64, features: u64) -> Option<Header> {
    let [flags, gso_type, hdr_len @ .., s0, s1, c0, c1, o0, o1, _, _] = *header;
    let gso_size = u16::from_le_bytes([s0, s1]);
    let csum_start = u16::from_le_bytes([c0, c1]);
    let csum_offset = u16::from_le_bytes([o0, o1]);
    // Flags that the device does not know are ignored, as are fields that no flag names (§5.1.6.2.2).
    if flags & NEEDS_CSUM == 0 {
        return (gso_type == NONE).then_some([0; HEADER_LEN as usize]);
    }
    let start = u64::from(csum_start);
    if features & CSUM == 0 || start < ETHERNET || start + u64::from(csum_offset) + 2 > len {
        return None;
    }
    let mut clean = [0; HEADER_LEN as usize];
    if gso_type != NONE {
        let payload = |header| len.checked_sub(start + header).filter(|payload| *payload > 0);
        let (needed, at) = match gso_type & !ECN {
            TCP4 => (HOST_TSO4, TCP_CSUM),
            TCP6 => (HOST_TSO6, TCP_CSUM),
            UDP if gso_type & ECN == 0 => (HOST_USO, UDP_CSUM),
            _ => return None,
        };
        let needed = if gso_type & ECN == 0 { needed } else { needed | HOST_ECN };
        let sane = if at == UDP_CSUM {
            gso_size > 0 && payload(UDP_HEADER)?.div_ceil(u64::from(gso_size)) <= MAX_DATAGRAMS
        } else {
            payload(TCP_HEADER)?;
            gso_size >= MIN_TCP_SEGMENT
        };
        if features & needed != needed || csum_offset != at || !sane {
            return None;
        }
        // How long the headers are is a hint that nobody may rely on; but it must not lie beyond the frame.
        let hdr_len = u64::from(u16::from_le_bytes(hdr_len)).min(len);
        let [h0, h1, ..] = hdr_len.to_le_bytes();
        clean = [0, gso_type, h0, h1, s0, s1, 0, 0, 0, 0, 0, 0];
    }
    let [_, kind, h0, h1, s0, s1, ..] = clean;
    Some([NEEDS_CSUM, kind, h0, h1, s0, s1, c0, c1, o0, o1, 0, 0])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: u64 = CSUM | HOST_TSO4 | HOST_TSO6 | HOST_ECN | HOST_USO;

    fn header(flags: u8, kind: u8, size: u16, start: u16, offset: u16) -> Header {
        let ([s0, s1], [c0, c1], [o0, o1]) = (size.to_le_bytes(), start.to_le_bytes(), offset.to_le_bytes());
        [flags, kind, 54, 0, s0, s1, c0, c1, o0, o1, 0, 0]
    }

    fn passes(header: &Header, len: u64, features: u64) -> bool {
        checked(header, len, features).is_some()
    }

    #[test]
    fn plain_frames_pass_whatever_else_is_set() {
        assert_eq!(checked(&[0; 12], 14, 0), Some([0; 12]));
        assert_eq!(
            checked(&header(6, NONE, 9, 9, 9), 60, 0),
            Some([0; 12]),
            "only flags make fields mean something"
        );
    }

    #[test]
    fn checksums_lie_within_the_frame() {
        let wanted = |start, offset| header(1, NONE, 0, start, offset);
        let expected = [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0];
        assert_eq!(checked(&wanted(34, 16), 60, CSUM), Some(expected));
        assert!(passes(&wanted(34, 24), 60, CSUM), "the very end");
        for (bad, len) in [((34, 25), 60), ((u16::MAX, u16::MAX), 65550), ((13, 16), 60), ((0, 0), 60)] {
            assert!(!passes(&wanted(bad.0, bad.1), len, CSUM), "{bad:?}");
        }
        assert!(!passes(&wanted(34, 16), 60, 0), "not negotiated");
    }

    #[test]
    fn segments_are_of_a_kind_that_was_negotiated_and_of_a_sane_size() {
        for (kind, feature, offset) in [
            (TCP4, HOST_TSO4, 16),
            (TCP6, HOST_TSO6, 16),
            (UDP, HOST_USO, 6),
            (TCP4 | ECN, HOST_TSO4 | HOST_ECN, 16),
        ] {
            let good = header(1, kind, 1448, 34, offset);
            assert_eq!(checked(&good, 9000, CSUM | feature), Some(good), "{kind}");
            for missing in [CSUM, feature] {
                assert!(!passes(&good, 9000, ALL & !missing), "{kind}");
            }
            for bad in [
                header(0, kind, 1448, 34, offset),
                header(1, kind, 0, 34, offset),
                header(1, kind, 7, 34, offset),
                header(1, kind, 1448, 34, offset + 1),
                header(1, kind, 1448, 8995, offset),
            ] {
                assert!(!passes(&bad, 9000, ALL), "{bad:?}");
            }
        }
        for kind in [2, 3, 6, 0x7f, ECN, UDP | ECN] {
            assert!(!passes(&header(1, kind, 1448, 34, 16), 9000, u64::MAX), "{kind}");
            assert!(!passes(&header(1, kind, 1448, 34, 6), 9000, u64::MAX), "{kind}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_keeps_within_its_frame(bytes: [u8; 12], len in 14..65551u64, features: u64) {
            if let Some(clean) = checked(&bytes, len, features) {
                let word = |at: usize| u64::from(u16::from_le_bytes([clean[at], clean[at + 1]]));
                prop_assert!(word(2) <= len && clean[10..] == [0, 0] && clean[0] & !1 == 0);
                prop_assert!(clean[0] == 0 || word(6) + word(8) + 2 <= len);
                prop_assert!(clean[1] == 0 || (clean[0] == 1 && word(4) > 0));
            }
        }
    }
}
