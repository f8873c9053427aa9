//! Traffic for measurements: one side serves (the guest), the other asks (the host).
//!
//! Each connection to [`PORT`] is one run. Its first line says what the server does: `source BYTES` sends them,
//! `sink BYTES` takes them and answers with a byte, `echo COUNT` returns as many single bytes, `datagrams SIZE COUNT PORT`
//! sends datagrams to the client, `swallow SIZE COUNT` takes some. Nothing is paced, so that both ends are
//! never idle; datagrams come in windows that fit any socket's buffer, so that none is lost.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Where the server listens, for connections and datagrams.
pub const PORT: u16 = 5000;
/// What is written and read at once, as iperf3 does.
const CHUNK: usize = 128 << 10;
/// Datagrams sent before the receiver has said that it has them.
const WINDOW: usize = 32;
/// When a datagram is taken for lost.
const LOST: Duration = Duration::from_secs(5);

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// Serves one run after the other, for as long as the process lives.
pub fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    loop {
        let (stream, peer) = listener.accept()?;
        if let Err(error) = serve_one(stream, peer) {
            println!("guest: traffic: {error}");
        }
    }
}

fn serve_one(stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let what = words.next().unwrap_or_default();
    let numbers = words.map(|word| word.parse::<usize>().map_err(|error| invalid(error.to_string())));
    let numbers = numbers.collect::<io::Result<Vec<_>>>()?;
    match (what, numbers.as_slice()) {
        ("source", [bytes]) => send(&stream, *bytes),
        ("sink", [bytes]) => receive(&mut reader, *bytes).and_then(|()| (&stream).write_all(b"!")),
        ("echo", [count]) => echo(&mut reader, &stream, *count),
        ("datagrams", [size, count, port]) => {
            let port = u16::try_from(*port).map_err(|_| invalid("no such port"))?;
            let socket = socket(0)?;
            socket.connect((peer.ip(), port))?;
            send_datagrams(&socket, *size, *count)
        }
        ("swallow", [size, count]) => {
            let socket = socket(PORT)?;
            (&stream).write_all(b"!")?;
            receive_datagrams(&socket, *size, *count)
        }
        _ => Err(invalid(format!("{line:?} is not understood"))),
    }
}

fn socket(port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
    socket.set_read_timeout(Some(LOST))?;
    Ok(socket)
}

fn send(mut stream: &TcpStream, bytes: usize) -> io::Result<()> {
    let chunk = vec![0x55; CHUNK];
    let mut left = bytes;
    while left > 0 {
        left -= stream.write(chunk.get(..left.min(CHUNK)).unwrap_or_default())?;
    }
    Ok(())
}

fn receive(stream: &mut impl Read, bytes: usize) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        match stream.read(chunk.get_mut(..left.min(CHUNK)).unwrap_or_default())? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => left -= count,
        }
    }
    Ok(())
}

fn echo(reader: &mut impl Read, mut stream: &TcpStream, count: usize) -> io::Result<()> {
    let mut byte = [0];
    for _ in 0..count {
        reader.read_exact(&mut byte)?;
        stream.write_all(&byte)?;
    }
    Ok(())
}

fn send_datagrams(socket: &UdpSocket, size: usize, count: usize) -> io::Result<()> {
    let datagram = vec![0x55; size];
    for sent in 1..=count {
        socket.send(&datagram)?;
        if sent % WINDOW == 0 || sent == count {
            socket.recv(&mut [0])?;
        }
    }
    Ok(())
}

fn receive_datagrams(socket: &UdpSocket, size: usize, count: usize) -> io::Result<()> {
    let mut datagram = vec![0; size + 1];
    for received in 1..=count {
        let (len, from) = socket.recv_from(&mut datagram)?;
        if len != size {
            return Err(invalid(format!("a datagram of {len} bytes where {size} were sent")));
        }
        if received % WINDOW == 0 || received == count {
            socket.send_to(&[1], from)?;
        }
    }
    Ok(())
}

/// A run, seen from the client.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// So many bytes of TCP from the server.
    StreamFrom(usize),
    /// So many bytes of TCP to the server.
    StreamTo(usize),
    /// Datagrams from the server: size, number.
    DatagramsFrom(usize, usize),
    /// Datagrams to the server: size, number.
    DatagramsTo(usize, usize),
    /// So many bytes sent and returned, one by one.
    Echo(usize),
}

/// Makes a run with the server at `address`; how long it took without its set-up.
pub fn run(address: Ipv4Addr, run: Run) -> io::Result<Duration> {
    let mut stream = TcpStream::connect_timeout(&SocketAddrV4::new(address, PORT).into(), LOST)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOST * 4))?;
    let local = socket(0)?;
    let port = local.local_addr()?.port();
    let order = match run {
        Run::StreamFrom(bytes) => format!("source {bytes}\n"),
        Run::StreamTo(bytes) => format!("sink {bytes}\n"),
        Run::DatagramsFrom(size, count) => format!("datagrams {size} {count} {port}\n"),
        Run::DatagramsTo(size, count) => format!("swallow {size} {count}\n"),
        Run::Echo(count) => format!("echo {count}\n"),
    };
    let mut byte = [0];
    let mut started = Instant::now();
    stream.write_all(order.as_bytes())?;
    match run {
        Run::StreamFrom(bytes) => receive(&mut stream, bytes)?,
        Run::StreamTo(bytes) => {
            send(&stream, bytes)?;
            stream.read_exact(&mut byte)?;
        }
        Run::DatagramsFrom(size, count) => receive_datagrams(&local, size, count)?,
        Run::DatagramsTo(size, count) => {
            // The server says when it listens.
            stream.read_exact(&mut byte)?;
            started = Instant::now();
            local.connect((address, PORT))?;
            send_datagrams(&local, size, count)?;
        }
        Run::Echo(count) => {
            for _ in 0..count {
                stream.write_all(&byte)?;
                stream.read_exact(&mut byte)?;
            }
        }
    }
    Ok(started.elapsed())
}
