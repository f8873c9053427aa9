//! Tests by TCP and HTTP.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Bytes that are read of an answer to find its status.
const STATUS_LINE: usize = 256;

/// Opens a connection.
pub(super) fn tcp(address: SocketAddr, timeout: Duration) -> Result<TcpStream, String> {
    TcpStream::connect_timeout(&address, timeout).map_err(|error| format!("dial tcp {address}: {error}"))
}

/// Asks for `path`, and looks at the answer's status.
pub(super) fn http(
    address: SocketAddr,
    host: &str,
    path: &str,
    headers: &[(String, String)],
    timeout: Duration,
) -> Result<(), String> {
    let deadline = Instant::now() + timeout;
    let mut stream = tcp(address, timeout)?;
    let failed = |error: io::Error| format!("Get \"http://{host}{path}\": {error}");
    stream.set_write_timeout(Some(left(deadline))).map_err(failed)?;
    stream.write_all(request(host, path, headers).as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    while answer.len() < STATUS_LINE && !answer.contains(&b'\n') {
        stream.set_read_timeout(Some(left(deadline))).map_err(failed)?;
        let mut chunk = [0; STATUS_LINE];
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    match status(&answer) {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!("HTTP probe failed with statuscode: {status}")),
        None => Err(format!("Get \"http://{host}{path}\": the answer is no HTTP")),
    }
}

/// What a socket waits for: zero would be for ever.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn request(host: &str, path: &str, headers: &[(String, String)]) -> String {
    let has = |name: &str| headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name));
    let mut lines = vec![format!("GET {path} HTTP/1.1")];
    let usual = [
        ("Host", host),
        ("User-Agent", concat!("kubevmm-probe/", env!("CARGO_PKG_VERSION"))),
        ("Accept", "*/*"),
        ("Connection", "close"),
    ];
    lines.extend(usual.iter().filter(|(name, _)| !has(name)).map(|(name, value)| format!("{name}: {value}")));
    lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.join("\r\n") + "\r\n\r\n"
}

/// The status of an answer that begins so.
fn status(answer: &[u8]) -> Option<u16> {
    let rest = answer.strip_prefix(b"HTTP/1.")?;
    let digits = rest.get(2..5).filter(|_| rest.get(1) == Some(&b' '))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The address of `host`, or of the guest.
pub(super) fn address(host: Option<&str>, guest: Option<IpAddr>, port: u16) -> Result<SocketAddr, String> {
    match host {
        None => guest.map(|guest| SocketAddr::new(guest, port)).ok_or_else(|| {
            "the guest's address is not known: neither its agent nor a lease has told it yet".into()
        }),
        Some(host) => {
            let found = (host, port).to_socket_addrs().map_err(|error| format!("{host}: {error}"))?.next();
            found.ok_or_else(|| format!("{host} has no address"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn serve(answer: &'static [u8]) -> (SocketAddr, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 1024];
            let count = stream.read(&mut asked).unwrap();
            for piece in answer.chunks(5) {
                let _ = stream.write_all(piece);
                thread::sleep(Duration::from_millis(2));
            }
            if answer.is_empty() {
                thread::sleep(Duration::from_millis(600));
            }
            String::from_utf8_lossy(&asked[..count]).into_owned()
        });
        (address, server)
    }

    fn ask(answer: &'static [u8]) -> (Result<(), String>, String) {
        let (address, server) = serve(answer);
        let headers = [("X-Test".to_owned(), "yes".to_owned()), ("host".to_owned(), "other".to_owned())];
        let timeout = Duration::from_millis(if answer.is_empty() { 200 } else { 10_000 });
        let result = http(address, "guest:80", "/healthz?full=1", &headers, timeout);
        (result, server.join().unwrap())
    }

    #[test]
    fn answers_are_judged_by_their_status() {
        let (result, asked) = ask(b"HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(result, Ok(()));
        assert!(asked.starts_with("GET /healthz?full=1 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("X-Test: yes\r\n") && asked.contains("host: other\r\n"), "{asked}");
        assert!(!asked.contains("guest:80"), "a header of the manifest takes the place of ours: {asked}");
        assert_eq!(ask(b"HTTP/1.0 302 Found\r\n\r\n").0, Ok(()));
        assert_eq!(
            ask(b"HTTP/1.1 503 Busy\r\n\r\n").0.unwrap_err(),
            "HTTP probe failed with statuscode: 503"
        );
        for odd in [&b"SSH-2.0-OpenSSH\r\n"[..], b"HTTP/1.1 \xff\xff\xff\n", b"HTTP/9\n", b"\n"] {
            assert!(ask(odd).0.unwrap_err().contains("no HTTP"));
        }
    }

    #[test]
    fn a_server_that_says_nothing_has_failed_in_time() {
        let before = Instant::now();
        assert!(ask(b"").0.is_err());
        assert!(before.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_port_that_nobody_listens_at_has_failed() {
        // An address where no other test gets the port once it is free again.
        let listener = TcpListener::bind("127.83.71.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(tcp(address, Duration::from_secs(60)).is_ok());
        drop(listener);
        // A program that another test starts has the listener, too, until it runs.
        let begun = Instant::now();
        while tcp(address, Duration::from_secs(60)).is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(60), "somebody listens");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_guest_is_meant_where_no_host_is_named() {
        let guest = Some("10.0.2.2".parse().unwrap());
        assert_eq!(address(None, guest, 80).unwrap().to_string(), "10.0.2.2:80");
        assert!(address(None, None, 80).unwrap_err().contains("not known"));
        assert_eq!(address(Some("127.0.0.1"), guest, 1).unwrap().to_string(), "127.0.0.1:1");
    }
}
