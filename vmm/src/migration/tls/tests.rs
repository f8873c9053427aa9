//! Both sides over a socket, with certificates of `testdata/` (made by `testdata/make.sh`).

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/migration/tls/testdata").join(name)
}

/// Who somebody is, and whose word they take.
fn credentials(who: &str, ca: &str) -> Credentials {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [
        (format!("{ca}.crt"), "ca.crt"),
        (format!("{who}.crt"), "tls.crt"),
        (format!("{who}.key"), "tls.key"),
    ] {
        std::fs::copy(data(&from), folder.path().join(to)).unwrap();
    }
    Credentials::read(folder.path()).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// For those who are found to be too slow.
fn at_once() -> Instant {
    Instant::now() + Duration::from_millis(200)
}

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

/// What each side finds once they have met and, if all is well, have said something: a client knows only from an answer that
/// it was accepted.
fn meet(client: &Client, server: &Server) -> [Result<(), String>; 2] {
    let (near, far) = sockets();
    let server = server.clone();
    let there = thread::spawn(move || -> Result<(), String> {
        let mut stream = server.greet(far, soon()).map_err(|error| error.to_string())?;
        stream.write_all(b"welcome").map_err(|error| error.to_string())
    });
    let here = client.greet(near, soon()).map_err(|error| error.to_string()).and_then(|mut stream| {
        let mut word = [0; 7];
        stream.read_exact(&mut word).map_err(|error| error.to_string())?;
        assert_eq!(&word, b"welcome");
        Ok(())
    });
    [here, there.join().unwrap()]
}

#[test]
fn those_of_one_ca_meet_and_nobody_else_does() {
    // Who calls, whose word it takes, whom it wants; who is called, whose word it takes, whom it wants; what each is told.
    for (caller, called, [here, there]) in [
        (("node", "ca", "node.test"), ("node", "ca", None), ["", ""]),
        (("node", "ca", "127.0.0.1"), ("node", "ca", Some("node.test")), ["", ""]),
        (("rsa", "ca", "rsa.test"), ("rsa", "ca", Some("rsa.test")), ["", ""]),
        (("serves", "ca", "node.test"), ("node", "ca", None), ["does not accept", "clientAuth"]),
        (("node", "ca", "node.test"), ("serves", "ca", None), ["", ""]),
        (("node", "ca", "elsewhere.test"), ("node", "ca", None), ["somebody else", "does not accept"]),
        (("node", "ca", "node.test"), ("node", "ca", Some("rsa.test")), ["does not accept", "somebody else"]),
        (("expired", "ca", "node.test"), ("node", "ca", None), ["does not accept", "has expired"]),
        (("node", "ca", "node.test"), ("expired", "ca", None), ["has expired", "does not accept"]),
        (("stranger", "ca", "node.test"), ("node", "ca", None), ["does not accept", "no CA"]),
        (("node", "ca", "node.test"), ("stranger", "ca", None), ["no CA", "does not accept"]),
        (("stranger", "other-ca", "node.test"), ("node", "ca", None), ["no CA", "does not accept"]),
        (("stranger", "other-ca", "node.test"), ("stranger", "other-ca", None), ["", ""]),
    ] {
        let what = format!("{caller:?} {called:?}");
        let client = credentials(caller.0, caller.1).client(caller.2).unwrap();
        let server = credentials(called.0, called.1).server(called.2).unwrap();
        for (verdict, word) in meet(&client, &server).into_iter().zip([here, there]) {
            match verdict {
                Ok(()) => assert_eq!(word, "", "{what}"),
                Err(why) => assert!(!word.is_empty() && why.contains(word), "{what}: {why}"),
            }
        }
    }
}

#[test]
fn who_shows_nothing_is_sent_away() {
    let server = credentials("node", "ca").server(None).unwrap();
    let roots = {
        let mut roots = rustls::RootCertStore::empty();
        let pem = std::fs::read(data("ca.crt")).unwrap();
        let root = rustls::pki_types::pem::PemObject::from_pem_slice(&pem).unwrap();
        roots.add(root).unwrap();
        roots
    };
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Client::new(config.into(), "node.test".try_into().unwrap());
    let [here, there] = meet(&client, &server);
    assert!(here.unwrap_err().contains("does not accept"));
    assert!(there.unwrap_err().contains("shows no certificate"));
}

/// What a server that waits until `limit` finds of somebody who says these bytes and no more, and goes or stays.
fn heard(bytes: &[u8], stays: bool, limit: Instant) -> TlsError {
    let (mut near, far) = sockets();
    near.write_all(bytes).unwrap();
    let kept = stays.then_some(near);
    let server = credentials("node", "ca").server(None).unwrap();
    let error = server.greet(far, limit).unwrap_err();
    drop(kept);
    error
}

#[test]
fn others_are_told_from_the_first_bytes_and_nobody_takes_long() {
    let plain = b"KVMM\x01\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0{}";
    assert!(matches!(heard(plain, true, soon()), TlsError::Foreign(_)));
    assert!(matches!(heard(b"GET / HTTP/1.1\r\n\r\n", true, soon()), TlsError::Foreign(_)));
    assert!(matches!(heard(b"", true, at_once()), TlsError::Slow));
    assert!(matches!(heard(b"", false, soon()), TlsError::Lost(_)));
    // The beginning of a greeting.
    let client = credentials("node", "ca").client("node.test").unwrap();
    let (near, mut far) = sockets();
    let caller = client.clone();
    let there = thread::spawn(move || caller.greet(near, soon()));
    let mut hello = vec![0; 100];
    far.read_exact(&mut hello).unwrap();
    drop(far);
    assert!(matches!(there.join().unwrap(), Err(TlsError::Lost(_))));
    for count in [1, 5, 99] {
        assert!(matches!(heard(&hello[..count], true, at_once()), TlsError::Slow), "{count}");
    }
    assert!(matches!(heard(&hello[..50], false, soon()), TlsError::Lost(_)));
    // Somebody who is called, and says nothing.
    let (near, _far) = sockets();
    assert!(matches!(client.greet(near, at_once()), Err(TlsError::Slow)));
    // Bytes that come one by one do not make it longer.
    let (near, far) = sockets();
    let dripping = thread::spawn(move || {
        let mut near = near;
        for byte in hello {
            if near.write_all(&[byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        // It stays until it was found to be slow.
        near
    });
    let server = credentials("node", "ca").server(None).unwrap();
    let error = server.greet(far, at_once()).unwrap_err();
    assert!(matches!(error, TlsError::Slow), "{error}");
    dripping.join().unwrap();
}

/// As a terminal's `^Z`, and whoever looks at a process from outside, do it.
#[test]
fn who_is_stopped_for_a_moment_goes_on_waiting() {
    const STOPPED: &str = "KUBEVMM_TEST_IS_STOPPED";
    if std::env::var_os(STOPPED).is_some() {
        let (_near, far) = sockets();
        let server = credentials("node", "ca").server(None).unwrap();
        let error = server.greet(far, Instant::now() + Duration::from_secs(1)).unwrap_err();
        assert!(matches!(error, TlsError::Slow), "{error}");
        return;
    }
    let name = thread::current().name().unwrap().to_owned();
    let mut again = Command::new(std::env::current_exe().unwrap());
    // What it prints would be counted as this run's.
    again.args([&name, "--exact", "--test-threads=2"]).env(STOPPED, "").stdout(Stdio::null());
    let mut child = again.spawn().unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        for signal in ["-STOP", "-CONT"] {
            // It may have ended.
            let _ = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        }
        thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success());
}

fn pair() -> (TlsStream, TlsStream) {
    let (near, far) = sockets();
    let server = credentials("node", "ca").server(None).unwrap();
    let there = thread::spawn(move || server.greet(far, soon()).unwrap());
    let client = credentials("node", "ca").client("node.test").unwrap();
    (client.greet(near, soon()).unwrap(), there.join().unwrap())
}

/// Bytes that tell their places.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap()).collect()
}

#[test]
fn both_directions_carry_at_once_what_is_longer_than_all_buffers() {
    const LEN: usize = 5 << 20;
    let (near, far) = pair();
    let ends = [near, far].map(|stream| {
        // Nobody reads before all was written by a thread of its own: neither waits for the other.
        let mut out = stream.clone();
        let writer = thread::spawn(move || out.write_all(&pattern(LEN)).unwrap());
        let mut from = stream;
        let reader = thread::spawn(move || {
            let mut bytes = vec![0; LEN];
            from.read_exact(&mut bytes).unwrap();
            assert!(bytes == pattern(LEN));
        });
        (writer, reader)
    });
    for (writer, reader) in ends {
        writer.join().unwrap();
        reader.join().unwrap();
    }
}

#[test]
fn whoever_reads_for_long_does_not_keep_others_from_writing() {
    let (near, mut far) = pair();
    let mut reads = near.clone();
    let waiting = thread::spawn(move || {
        let mut bytes = [0; 4];
        reads.read_exact(&mut bytes).map(|()| bytes)
    });
    // It waits by now, or will soon; both have to do.
    thread::sleep(Duration::from_millis(50));
    let mut writes = near;
    writes.write_all(b"ask?").unwrap();
    let mut bytes = [0; 4];
    far.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"ask?");
    far.write_all(b"told").unwrap();
    assert_eq!(&waiting.join().unwrap().unwrap(), b"told");
}

#[test]
fn what_is_altered_or_cut_on_its_way_does_not_arrive() {
    let (mut near, mut far) = pair();
    near.write_all(b"good").unwrap();
    let mut bytes = [0; 4];
    far.read_exact(&mut bytes).unwrap();
    // A record of what was never encrypted with the right key.
    let record = [&[23, 3, 3, 0, 32][..], &[9; 32]].concat();
    near.socket().write_all(&record).unwrap();
    assert_eq!(far.read_exact(&mut bytes).unwrap_err().kind(), io::ErrorKind::InvalidData);
    let (near, mut far) = pair();
    drop(near);
    assert_eq!(far.read_exact(&mut bytes).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn files_that_do_not_do_are_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let read = || Credentials::read(folder.path());
    let say = |error: CredentialsError| error.to_string();
    assert!(say(read().unwrap_err()).contains("ca.crt cannot be read"));
    std::fs::write(folder.path().join("ca.crt"), "no certificate").unwrap();
    assert!(say(read().unwrap_err()).contains("ca.crt has no certificate"));
    std::fs::copy(data("ca.crt"), folder.path().join("ca.crt")).unwrap();
    std::fs::copy(data("node.crt"), folder.path().join("tls.crt")).unwrap();
    std::fs::copy(data("node.crt"), folder.path().join("tls.key")).unwrap();
    assert!(say(read().unwrap_err()).contains("tls.key has no private key"));
    // The key of somebody else.
    std::fs::copy(data("rsa.key"), folder.path().join("tls.key")).unwrap();
    assert!(say(read().unwrap().client("x").unwrap_err()).contains("cannot be used"));
    assert!(say(read().unwrap().server(None).unwrap_err()).contains("cannot be used"));
    std::fs::copy(data("node.key"), folder.path().join("tls.key")).unwrap();
    assert!(say(read().unwrap().client("no name").unwrap_err()).contains("\"no name\""));
    read().unwrap().client("[::1]").unwrap_err();
    read().unwrap().client("::1").unwrap();
}
