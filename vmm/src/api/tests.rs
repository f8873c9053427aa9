//! Clients, good and bad, against a server whose service is made for this.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::answer::{Answer, Completions, Progress, Responder, Stream};
use super::connection::Service;
use super::http::{Request, Response};
use super::{limits, server};

/// How long anything may take that does not wait for a limit.
const SOON: Duration = Duration::from_secs(60);

/// `/now` and `/echo` answer at once, `/later` from another thread, `/lost` never, `/large` much, `/count` counts for ever.
struct Fake {
    completions: Arc<Completions>,
    answered: Arc<AtomicUsize>,
}

impl Service for Fake {
    fn answer(&self, request: &Request, connection: u64) -> Answer {
        self.answered.fetch_add(1, Ordering::Relaxed);
        match request.path.as_str() {
            "/echo" => Answer::Now(Response::text(request.body.clone())),
            "/large" => Answer::Now(Response::text(vec![b'x'; 300_000])),
            "/later" => {
                let responder = self.completions.responder(connection);
                thread::spawn(move || later(responder));
                Answer::Later
            }
            "/lost" => {
                drop(self.completions.responder(connection));
                Answer::Later
            }
            "/never" => {
                std::mem::forget(self.completions.responder(connection));
                Answer::Later
            }
            "/count" => Answer::Stream(Response::text(""), Box::new(Count(0))),
            _ => Answer::Now(Response::text("now")),
        }
    }
}

fn later(responder: Responder) {
    thread::sleep(Duration::from_millis(20));
    responder.answer(Response::text("later"));
}

/// Says numbers without end; the last is a farewell.
struct Count(u64);

impl Stream for Count {
    fn advance(&mut self, out: &mut Vec<u8>) -> Progress {
        for _ in 0..1000 {
            self.0 += 1;
            out.extend_from_slice(format!("{}\n", self.0).as_bytes());
        }
        Progress::Goes
    }

    fn farewell(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"farewell\n");
    }
}

struct Server {
    folder: tempfile::TempDir,
    answered: Arc<AtomicUsize>,
    thread: Option<server::Thread>,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = net::socket::listen(&folder.path().join("api.sock")).unwrap();
        let wake = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        let completions = Arc::new(Completions::new(Arc::clone(&wake)));
        let answered = Arc::new(AtomicUsize::new(0));
        let fake = Fake { completions: Arc::clone(&completions), answered: Arc::clone(&answered) };
        let thread = server::Thread::spawn(listener, wake, completions, fake).unwrap();
        Self { folder, answered, thread: Some(thread) }
    }

    fn connect(&self) -> UnixStream {
        let stream = net::socket::connect(&self.folder.path().join("api.sock")).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    /// Whether a new client is served.
    fn is_well(&self) -> bool {
        let mut client = self.connect();
        client.write_all(&get("/now")).unwrap();
        read(&mut client).0 == 200
    }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

/// Reads one response.
fn read(stream: &mut UnixStream) -> (u16, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (code, String::from_utf8(body).unwrap())
}

/// Whether the server has closed the connection.
fn is_closed(stream: &mut UnixStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn answers_come_in_the_order_of_requests() {
    let server = Server::start();
    let mut client = server.connect();
    let all = [get("/now"), get("/later"), get("/lost"), get("/now")].concat();
    client.write_all(&all).unwrap();
    let codes: Vec<_> = (0..4).map(|_| read(&mut client)).map(|(code, _)| code).collect();
    assert_eq!(codes, [200, 200, 503, 200]);
    for byte in get("/later") {
        client.write_all(&[byte]).unwrap();
    }
    assert_eq!(read(&mut client), (200, "later".into()));
}

#[test]
fn bodies_are_asked_for_and_taken() {
    let server = Server::start();
    let mut client = server.connect();
    client
        .write_all(b"PUT /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        .unwrap();
    assert_eq!(read(&mut client).0, 100);
    client.write_all(b"abc").unwrap();
    assert_eq!(read(&mut client), (200, "abc".into()));
    client
        .write_all(b"HEAD /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")
        .unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("Content-Length: 3\r\n") && rest.ends_with("\r\n\r\n"), "{rest}");
}

#[test]
fn those_who_send_nonsense_are_told_so_and_left() {
    let server = Server::start();
    for (nonsense, code) in [
        (b"\x16\x03\x01garbage".to_vec(), 400),
        (format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(20_000)).into_bytes(), 431),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n".to_vec(), 413),
    ] {
        let mut client = server.connect();
        client.write_all(&nonsense).unwrap();
        assert_eq!(read(&mut client).0, code);
        assert!(is_closed(&mut client));
    }
    assert!(server.is_well());
}

#[test]
fn those_who_take_too_long_are_left() {
    let server = Server::start();
    let (mut slow, mut idle) = (server.connect(), server.connect());
    let start = Instant::now();
    let end = get("/now").len() - 1;
    let mut sent = 0;
    // A byte now and then does not help.
    while start.elapsed() < limits::ARRIVAL + Duration::from_millis(500) && sent < end {
        if slow.write_all(&get("/now")[sent..=sent]).is_err() {
            break;
        }
        sent += 1;
        thread::sleep(limits::ARRIVAL / 10);
    }
    assert!(sent < end, "it was left before it had sent all");
    assert_eq!(read(&mut slow).0, 408);
    assert!(is_closed(&mut slow));
    idle.write_all(&get("/now")).unwrap();
    assert_eq!(read(&mut idle).0, 200, "who does nothing is not slow");
}

#[test]
fn those_who_do_not_read_do_not_fill_the_memory_and_are_left() {
    let server = Server::start();
    let mut deaf = server.connect();
    deaf.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let requests = get("/large").repeat(1000);
    // Nothing more is read of it once answers wait.
    assert!(deaf.write_all(&requests).is_err() || server.answered.load(Ordering::Relaxed) < 20);
    assert!(server.answered.load(Ordering::Relaxed) < 20);
    assert!(server.is_well());
    // Whatever it says is of no use any more once it was left.
    let deadline = Instant::now() + SOON;
    while !matches!(deaf.write(b"x"), Err(error) if error.kind() != ErrorKind::WouldBlock) {
        assert!(Instant::now() < deadline, "it is waited for");
    }
    let mut all = Vec::new();
    let _ = deaf.read_to_end(&mut all);
    assert!(all.len() < 20 * 300_000);
    assert!(server.is_well());
}

#[test]
fn those_who_vanish_leave_nothing() {
    let server = Server::start();
    for request in [get("/later"), get("/large"), get("/count"), get("/never"), get("/now")[..5].to_vec()] {
        for _ in 0..limits::CONNECTIONS {
            let mut client = server.connect();
            client.write_all(&request).unwrap();
        }
        assert!(server.is_well());
    }
}

#[test]
fn a_thousand_clients_do_not_keep_others_out() {
    let server = Server::start();
    let idle: Vec<_> = (0..1000)
        .filter_map(|_| {
            let client = net::socket::connect(&server.folder.path().join("api.sock"));
            client.ok()
        })
        .collect();
    assert_eq!(idle.len(), 1000);
    assert!(server.is_well());
    let busy: Vec<_> = (0..limits::CONNECTIONS)
        .map(|_| {
            let mut client = server.connect();
            client.write_all(&get("/never")).unwrap();
            client
        })
        .collect();
    let deadline = Instant::now() + SOON;
    while server.answered.load(Ordering::Relaxed) <= limits::CONNECTIONS && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    let mut turned_away = server.connect();
    assert_eq!(read(&mut turned_away).0, 503);
    drop(busy);
    // It may hear of somebody new before it hears that the others are gone.
    let deadline = Instant::now() + SOON;
    while !server.is_well() {
        assert!(Instant::now() < deadline, "those who are gone keep others out");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn streams_go_on_until_either_side_ends_them() {
    let mut server = Server::start();
    let mut client = server.connect();
    client.write_all(&get("/count")).unwrap();
    let mut some = vec![0; 200_000];
    client.read_exact(&mut some).unwrap();
    assert!(some.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(server.is_well());
    let thread = server.thread.take();
    let ending = thread::spawn(move || drop(thread));
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    ending.join().unwrap();
    let end = String::from_utf8_lossy(&rest);
    assert!(end.ends_with("farewell\n\r\n0\r\n\r\n"), "{:?}", &end[end.len() - 40..]);
}

#[test]
fn those_who_still_wait_at_the_end_are_answered() {
    let mut server = Server::start();
    let mut client = server.connect();
    client.write_all(&get("/later")).unwrap();
    let deadline = Instant::now() + SOON;
    while server.answered.load(Ordering::Relaxed) == 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    let thread = server.thread.take();
    let ending = thread::spawn(move || drop(thread));
    assert_eq!(read(&mut client), (200, "later".into()));
    drop(client);
    ending.join().unwrap();
}

#[test]
fn many_clients_are_answered_at_once_and_none_is_forgotten() {
    let server = Server::start();
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                let mut client = server.connect();
                for _ in 0..200 {
                    client.write_all(&get("/now")).unwrap();
                    assert_eq!(read(&mut client), (200, "now".into()));
                }
            });
        }
    });
    assert_eq!(server.answered.load(Ordering::Relaxed), 10_000);
}
