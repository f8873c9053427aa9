//! What clients may send, well or ill.

use proptest::prelude::*;

use super::super::limits;
use super::*;

fn whole(input: &[u8]) -> (Request, usize) {
    match parse(input) {
        Parsed::Whole(request, used) => (*request, used),
        other => panic!("{other:?}"),
    }
}

fn code(input: &[u8]) -> u16 {
    match parse(input) {
        Parsed::Bad(fault) => fault.code,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(input)),
    }
}

fn is_unfinished(input: &[u8]) -> bool {
    matches!(parse(input), Parsed::More { .. })
}

#[test]
fn requests_are_taken_one_by_one() {
    let two = b"GET /a%20b?c=d&e HTTP/1.1\r\nHost: x\r\n\r\nDELETE /f HTTP/1.1\r\nhost:y\r\ncontent-length: 2\r\n\r\n{}";
    let (first, used) = whole(two);
    assert_eq!((first.method, first.path.as_str(), first.query.as_str()), (Method::Get, "/a%20b", "c=d&e"));
    assert!(first.keeps && first.knows_chunks && first.body.is_empty());
    let (second, rest) = whole(&two[used..]);
    assert_eq!((second.method, second.body.as_slice()), (Method::Delete, &b"{}"[..]));
    assert_eq!(used + rest, two.len());
}

#[test]
fn connections_stay_if_both_sides_want_it() {
    assert!(!whole(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, Close\r\n\r\n").0.keeps);
    let old = whole(b"GET / HTTP/1.0\r\n\r\n").0;
    assert!(!old.keeps && !old.knows_chunks);
}

#[test]
fn proxies_name_the_server_in_the_target() {
    let (request, _) = whole(b"GET http://x:80/a?b HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((request.path.as_str(), request.query.as_str()), ("/a", "b"));
    assert_eq!(whole(b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n").0.path, "/");
}

#[test]
fn bodies_come_in_chunks_too() {
    let request = b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n\
                    3;a=b\r\nabc\r\n1\r\nd\r\n0\r\nTrailer: x\r\n\r\nGET";
    let (found, used) = whole(request);
    assert_eq!((found.body.as_slice(), used), (&b"abcd"[..], request.len() - 3));
    for length in 0..used {
        assert!(is_unfinished(&request[..length]), "{length}");
    }
}

#[test]
fn what_two_readers_could_read_in_two_ways_is_refused() {
    let bad = [
        ("Content-Length: 1\r\nContent-Length: 1", 400),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked", 400),
        ("Content-Length: +1", 400),
        ("Content-Length: 1, 1", 400),
        ("Content-Length:", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: identity", 501),
        ("Content-Length: 99999999999999999999999999", 413),
        ("Content-Length: 262145", 413),
        ("X: y\r\n folded", 400),
        ("X : y", 400),
    ];
    for (field, wanted) in bad {
        assert_eq!(
            code(format!("PUT / HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\nabc").as_bytes()),
            wanted,
            "{field}"
        );
    }
    for (chunks, wanted) in
        [("x\r\n", 400), ("1\r\nabc", 400), ("40001\r\n", 413), ("fffffffffffffffff\r\n", 400)]
    {
        let head = "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(code(format!("{head}{chunks}").as_bytes()), wanted, "{chunks}");
    }
}

#[test]
fn heads_make_sense_or_are_refused() {
    let bad = [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        ("\x16\x03\x01\x02", 400),
        ("GET / HTTP/1.1\r\nHost\r\n\r\n", 400),
    ];
    for (request, wanted) in bad {
        assert_eq!(code(request.as_bytes()), wanted, "{request:?}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(limits::HEAD));
    assert_eq!(code(long.as_bytes()), 431);
    assert_eq!(code(&long.as_bytes()[..limits::HEAD + 1]), 431, "its end need not have come");
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(limits::FIELDS));
    assert_eq!(code(many.as_bytes()), 431);
}

#[test]
fn endless_chunks_come_to_an_end() {
    let head = "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let bloated = format!("{head}{}", "1;aaaaaaaaaaaaaaaa\r\nx\r\n".repeat(20_000));
    assert_eq!(code(bloated.as_bytes()), 413);
    let trailers = format!("{head}0\r\n{}", "a: b\r\n".repeat(60_000));
    assert_eq!(code(trailers.as_bytes()), 413);
    let size = format!("{head}1;{}", "a".repeat(limits::BODY + limits::CHUNKS));
    assert_eq!(code(size.as_bytes()), 413);
}

#[test]
fn leave_to_send_a_body_is_given_once_its_head_is_there() {
    let head = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n";
    assert!(matches!(parse(&head[..30]), Parsed::More { asks_leave: false }));
    assert!(matches!(parse(head), Parsed::More { asks_leave: true }));
    assert!(matches!(parse(&[head.as_slice(), b"a"].concat()), Parsed::More { asks_leave: false }));
}

#[test]
fn queries_are_decoded() {
    let query = Query::parse("a=1&b=x%20y+z%&c&watch=true&a=2&%e4=%C3%A4&d=%+1");
    assert_eq!(query.get("a"), Some("1"));
    assert_eq!(query.get("b"), Some("x y z%"));
    assert_eq!(query.get("c"), Some(""));
    assert_eq!(query.get("\u{fffd}"), Some("ä"));
    assert!(query.is_set("watch") && !query.is_set("c") && query.get("none").is_none());
    assert_eq!(query.get("d"), Some("% 1"));
}

#[test]
fn responses_say_where_they_end() {
    let written = |framing, keeps| {
        let mut out = Vec::new();
        Response::json(409, "{}").with("Allow", "GET").write(framing, keeps, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        written(Framing::Length, true),
        "HTTP/1.1 409 Conflict\r\nAllow: GET\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    );
    assert!(written(Framing::HeadOnly, false).ends_with("Content-Length: 2\r\nConnection: close\r\n\r\n"));
    assert!(written(Framing::Chunks, true).ends_with("Transfer-Encoding: chunked\r\n\r\n"));
    let mut out = Vec::new();
    chunk(b"", &mut out);
    chunk(&[b'x'; 17], &mut out);
    last_chunk(&mut out);
    assert_eq!(out, b"11\r\nxxxxxxxxxxxxxxxxx\r\n0\r\n\r\n");
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let field = ("[A-Za-z-]{1,12}", "[ -~]{0,40}");
    let fields = proptest::collection::vec(field, 0..8);
    (
        "(GET|PUT|DELETE|POST|HEAD)",
        "/[a-z0-9/%?=&]{0,60}",
        fields,
        proptest::collection::vec(any::<u8>(), 0..300),
    )
        .prop_map(|(method, target, fields, body)| {
            let mut text =
                format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
            for (name, value) in fields {
                text.push_str(&format!("X{name}: {}\r\n", value.trim()));
            }
            [text.as_bytes(), b"\r\n", &body].concat()
        })
}

proptest! {
    /// A request is the same request however its bytes come, and none of what comes behind it is taken.
    #[test]
    fn requests_may_be_cut_anywhere(request in request(), rest in proptest::collection::vec(any::<u8>(), 0..20)) {
        let (_, used) = whole(&[request.as_slice(), &rest].concat());
        prop_assert_eq!(used, request.len());
        for length in 0..request.len() {
            prop_assert!(is_unfinished(&request[..length]));
        }
    }

    /// Whatever comes is a request, the beginning of one, or refused with a code that there is.
    #[test]
    fn nothing_is_worse_than_refused(
        start in prop_oneof![Just(Vec::new()), request(), Just(b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec())],
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        rest in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut input = [start, rest].concat();
        for (at, value) in flips {
            if !input.is_empty() {
                let at = at.index(input.len());
                input[at] = value;
            }
        }
        match parse(&input) {
            Parsed::More { .. } => {}
            Parsed::Whole(request, used) => {
                prop_assert!(used <= input.len() && request.path.starts_with('/'));
                prop_assert!(request.body.len() <= limits::BODY);
            }
            Parsed::Bad(fault) => {
                prop_assert!(matches!(fault.code, 400 | 413 | 431 | 501));
                prop_assert_ne!(reason(fault.code), "Internal Server Error");
            }
        }
    }
}
