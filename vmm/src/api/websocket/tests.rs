//! Frames and handshakes, with the examples of RFC 6455.

use proptest::prelude::*;

use super::*;
use crate::api::http::{Method, Request};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn frame(input: &[u8], masking: Masking) -> (Frame, usize) {
    match read(input, masking) {
        Ok(Read::Frame(frame, used)) => (frame, used),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_examples_of_the_standard_hold() {
    // §5.7
    let plain = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let hello = Frame { opcode: Opcode::Text, ends: true, payload: b"Hello".to_vec() };
    assert_eq!(frame(&plain, Masking::Plain), (hello.clone(), 7));
    assert_eq!(frame(&masked, Masking::Masked), (hello, 11));
    let mut out = Vec::new();
    write(Opcode::Text, b"Hello", None, &mut out);
    write(Opcode::Text, b"Hello", Some(MASK), &mut out);
    assert_eq!(out, [plain.as_slice(), &masked].concat());
    let part = frame(&[0x01, 0x03, 0x48, 0x65, 0x6c], Masking::Plain).0;
    assert!(!part.ends && part.opcode == Opcode::Text);
    // §1.3
    assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn peers_that_do_not_keep_to_the_protocol_are_found_out() {
    let bad: [(&[u8], u16); 8] = [
        (&[0xc2, 0x80], close_code::PROTOCOL),
        (&[0x83, 0x80], close_code::PROTOCOL),
        (&[0x82, 0x00], close_code::PROTOCOL),
        (&[0x09, 0x80], close_code::PROTOCOL),
        (&[0x89, 0xfe, 0, 126], close_code::PROTOCOL),
        (&[0x82, 0xfe, 0, 125], close_code::PROTOCOL),
        (&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1], close_code::TOO_BIG),
        (&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], close_code::TOO_BIG),
    ];
    for (input, code) in bad {
        assert_eq!(read(input, Masking::Masked).unwrap_err().code, code, "{input:x?}");
    }
}

fn request(fields: &[(&str, &str)]) -> Request {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Request {
        method: Method::Get,
        path: "/".into(),
        query: String::new(),
        fields,
        body: Vec::new(),
        keeps: true,
        knows_chunks: true,
    }
}

#[test]
fn a_handshake_is_agreed_to_if_it_is_one() {
    let good = [
        ("Upgrade", "WebSocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "other, plain.kubevirt.io"),
    ];
    let response = accept(&request(&good)).unwrap();
    let has = |name, value: &str| response.fields.iter().any(|field| *field == (name, value.to_owned()));
    assert_eq!(response.code, 101);
    assert!(
        has("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") && has("Sec-WebSocket-Protocol", PLAIN)
    );
    let without = accept(&request(&good[..4])).unwrap();
    assert!(without.fields.iter().all(|(name, _)| *name != "Sec-WebSocket-Protocol"));
    for left_out in 0..4 {
        let fields: Vec<_> =
            good.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, f)| *f).collect();
        assert_eq!(accept(&request(&fields)).unwrap_err().code, 426);
    }
    assert_ne!(new_key(), new_key());
    assert_eq!(spec::base64::decode(&new_key()).unwrap().len(), 16);
}

/// Around the lengths at which frames are written in another way.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let of = |lengths| proptest::collection::vec(any::<u8>(), lengths);
    prop_oneof![of(0..130), of(65_530..65_537)]
}

proptest! {
    #[test]
    fn frames_come_back_however_they_are_cut(
        payload in payload(),
        mask in proptest::option::of(any::<[u8; 4]>()),
        rest in proptest::collection::vec(any::<u8>(), 0..5),
    ) {
        let mut bytes = Vec::new();
        write(Opcode::Binary, &payload, mask, &mut bytes);
        let masking = if mask.is_some() { Masking::Masked } else { Masking::Plain };
        let (found, used) = frame(&[bytes.as_slice(), &rest].concat(), masking);
        prop_assert_eq!(found, Frame { opcode: Opcode::Binary, ends: true, payload });
        prop_assert_eq!(used, bytes.len());
        for length in (0..bytes.len()).step_by(1 + bytes.len() / 50) {
            prop_assert_eq!(read(&bytes[..length], masking), Ok(Read::More));
        }
    }

    #[test]
    fn whatever_comes_is_a_frame_or_found_out(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        for masking in [Masking::Masked, Masking::Plain] {
            if let Ok(Read::Frame(frame, used)) = read(&input, masking) {
                prop_assert!(used <= input.len() && frame.payload.len() <= used);
            }
        }
    }
}
