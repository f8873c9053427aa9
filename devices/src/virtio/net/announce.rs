//! A frame by which switches learn where a card is.
#![expect(unsafe_code, reason = "links take frames by their address; this one is a local variable")]

use std::sync::atomic::Ordering;

use ::net::{HEADER_LEN, IoBuf};

use super::NetShared;
use super::header::Header;

/// Bytes of a frame without its checksum, at least (IEEE 802.3).
const SHORTEST: usize = 60;

/// Sends it, if the cable is plugged in. A link that does not take it now is no worse than a network that loses it.
pub(super) fn shout(shared: &NetShared) {
    if !shared.link_up.load(Ordering::Acquire) {
        return;
    }
    let mut header = Header::default();
    let mut frame = frame(shared.settings.get().mac);
    let Ok(mut queue) = shared.link.open_queue(0) else { return };
    // SAFETY: both are local, mapped as long as the call takes, which only reads them.
    let bufs = unsafe {
        [IoBuf::from_raw(header.as_mut_ptr(), header.len()), IoBuf::from_raw(frame.as_mut_ptr(), frame.len())]
    };
    debug_assert_eq!(u32::try_from(header.len()), Ok(HEADER_LEN));
    let _ = queue.send(&bufs);
}

/// A reverse ARP request about the card's own address (RFC 903).
fn frame(mac: [u8; 6]) -> [u8; SHORTEST] {
    let mut frame = [0; SHORTEST];
    let everybody = [0xff; 6];
    // Reverse ARP; Ethernet, IPv4, lengths of their addresses, request.
    let kind = [0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3];
    let no_address = [0; 4];
    let parts: [&[u8]; 7] = [&everybody, &mac, &kind, &mac, &no_address, &mac, &no_address];
    frame.iter_mut().zip(parts.concat()).for_each(|(to, from)| *to = from);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_from_the_card_to_all() {
        let mac = [2, 0, 0, 0, 0, 7];
        let frame = frame(mac);
        assert_eq!(
            (&frame[..6], &frame[6..12], &frame[12..14]),
            (&[0xff; 6][..], &mac[..], &[0x80, 0x35][..])
        );
        assert_eq!((&frame[14..22], &frame[22..28]), (&[0, 1, 8, 0, 6, 4, 0, 3][..], &mac[..]));
        assert_eq!((&frame[32..38], &frame[42..]), (&mac[..], &[0; 18][..]));
    }
}
