//! A client against servers that answer as they like.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::thread::JoinHandle;

use super::*;
use crate::api;
use crate::status::VMI_FILE;

/// A machine whose API gives `answers`, one a connection, and what it was asked.
fn server(root: &Path, answers: Vec<&'static [u8]>) -> (Machine, JoinHandle<Vec<String>>) {
    let directory = root.join("ns/vm");
    fs::create_dir_all(&directory).unwrap();
    let listener = net::socket::listen(&directory.join(api::SOCKET)).unwrap();
    let thread = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut text = vec![0; 4096];
            let count = stream.read(&mut text).unwrap();
            asked.push(String::from_utf8_lossy(&text[..count]).into_owned());
            // Who has all that it wants may go.
            let _ = answer.chunks(7).try_for_each(|piece| stream.write_all(piece));
        }
        asked
    });
    (Machine::find(root, "ns", "vm").unwrap(), thread)
}

#[test]
fn answers_end_by_length_by_chunks_or_with_the_connection() {
    let root = tempfile::tempdir().unwrap();
    let (machine, asked) = server(
        root.path(),
        vec![
            b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}garbage",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n{\"a\":1}",
        ],
    );
    for _ in 0..3 {
        assert_eq!(machine.ask("PUT", "/x", "{}").unwrap().json().unwrap()["a"], 1);
    }
    for request in asked.join().unwrap() {
        assert!(
            request.starts_with("PUT /x HTTP/1.1\r\nHost: kubevmm\r\n") && request.ends_with("\r\n\r\n{}")
        );
    }
}

#[test]
fn lines_come_one_by_one_however_they_are_cut() {
    let root = tempfile::tempdir().unwrap();
    let chunks =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\nc\nd\r\n2\r\nef\r\n0\r\n\r\n";
    let (machine, _asked) = server(root.path(), vec![chunks, &chunks[..chunks.len() - 9]]);
    let lines: Vec<_> = machine.stream("/").unwrap().map(Result::unwrap).collect();
    assert_eq!(lines, ["abc\n", "def"]);
    let broken: Vec<_> = machine.stream("/").unwrap().collect();
    assert!(
        matches!(broken.last(), Some(Err(ClientError::Broken { .. }))),
        "a stream that was cut short is no end"
    );
}

#[test]
fn refusals_say_why_and_nonsense_is_found_out() {
    let root = tempfile::tempdir().unwrap();
    let (machine, _asked) = server(
        root.path(),
        vec![
            b"HTTP/1.1 409 Conflict\r\nContent-Length: 49\r\n\r\n{\"message\":\"VMI is not paused\",\"reason\":\"Conflict\"}",
            b"HTTP/1.1 503 X\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Len",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        ],
    );
    let ask = || machine.ask("GET", "/", "").unwrap_err();
    assert!(matches!(ask(), ClientError::Refused { code: 409, .. }));
    assert!(matches!(ask(), ClientError::Refused { code: 503, .. }));
    assert!(matches!(ask(), ClientError::Nonsense(_)));
    for _ in 0..3 {
        assert!(matches!(ask(), ClientError::Broken { .. }));
    }
}

#[test]
fn machines_are_found_by_what_they_leave() {
    let root = tempfile::tempdir().unwrap();
    for (name, file) in [("b/vm", VMI_FILE), ("a/vm", VMI_FILE), ("a/empty", "lock")] {
        fs::create_dir_all(root.path().join(name)).unwrap();
        fs::write(root.path().join(name).join(file), "{\"kind\":\"x\"}").unwrap();
    }
    let names: Vec<_> = all(root.path()).iter().map(Machine::to_string).collect();
    assert_eq!(names, ["a/vm", "b/vm"]);
    let ended = Machine::find(root.path(), "a", "vm").unwrap();
    assert!(!ended.runs() && ended.object().unwrap()["kind"] == "x");
    assert!(matches!(ended.ask("GET", "/", ""), Err(ClientError::Ended(_))));
    ended.forget().unwrap();
    assert!(!root.path().join("a/vm").exists() && root.path().join("a/empty").exists());
    let missing = Machine::find(root.path(), "default", "vm").unwrap_err();
    assert!(missing.to_string().contains("did you mean b/vm?"), "{missing}");
    for bad in ["..", "", "a/b", ".x"] {
        assert!(
            Machine::find(root.path(), bad, "vm").is_err() && Machine::find(root.path(), "b", bad).is_err()
        );
    }
}
