//! The thread between the serial port and its host side.
//!
//! It never lets the guest wait: output that nobody takes stays in the port's ring, which drops its oldest bytes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use devices::platform::serial::{ConsoleRing, Serial};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::Console;
use super::target::SocketFile;
use crate::state::{Event, Mailbox};

/// Ctrl-]: the key that `virtctl console` and telnet use.
const ESCAPE: u8 = 0x1d;
/// At most this much is written at once: a pipe that is writable takes it without blocking (POSIX PIPE_BUF).
const WRITE_CHUNK: usize = 4096;
/// How long the end of a run waits for a slow reader.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long a reader that takes nothing is left alone, in milliseconds.
const STALLED_MS: i32 = 20;

const RING: u64 = 0;
const STOP: u64 = 1;
const INPUT: u64 = 2;
const ROOM: u64 = 3;
const LISTENER: u64 = 4;

/// A running pump; dropping it shows what is left and ends the thread.
#[derive(Debug)]
pub struct ConsolePump {
    stop: EventFd,
    thread: Option<JoinHandle<()>>,
}

impl ConsolePump {
    /// Starts a pump between `serial`, whose output is in `ring`, and `console`. `mailbox` hears of the escape key.
    pub fn spawn(
        console: &Console,
        serial: Arc<Serial>,
        ring: Arc<ConsoleRing>,
        mailbox: Mailbox,
    ) -> io::Result<Self> {
        let stop = EventFd::new(EFD_NONBLOCK)?;
        let side = Side::of(console)?;
        let pump =
            Pump { epoll: Epoll::new()?, side, serial, ring, mailbox, keys: Vec::new(), pending: Vec::new() };
        pump.watch(pump.ring.event().as_raw_fd(), RING, EventSet::IN)?;
        pump.watch(stop.as_raw_fd(), STOP, EventSet::IN)?;
        pump.watch(pump.serial.room().as_raw_fd(), ROOM, EventSet::IN)?;
        pump.watch_side();
        let thread = std::thread::Builder::new()
            .name("console".into())
            .stack_size(128 << 10)
            .spawn(move || pump.run())?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for ConsolePump {
    fn drop(&mut self) {
        if self.stop.write(1).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// The host side as the thread owns it.
enum Side {
    Stream { input: Option<File>, output: File, escape: bool },
    Socket { listener: std::os::unix::net::UnixListener, client: Option<UnixStream> },
    Off,
}

impl Side {
    fn of(console: &Console) -> io::Result<Self> {
        Ok(match console {
            Console::Stream { input, output, raw } => Self::Stream {
                input: input.as_ref().map(|fd| fd.try_clone().map(File::from)).transpose()?,
                output: output.try_clone()?.into(),
                escape: raw.is_some(),
            },
            Console::Socket(socket) => {
                Self::Socket { listener: SocketFile::listener(socket).try_clone()?, client: None }
            }
            Console::Off => Self::Off,
        })
    }

    fn input(&self) -> Option<RawFd> {
        match self {
            Self::Stream { input, .. } => input.as_ref().map(AsRawFd::as_raw_fd),
            Self::Socket { client, .. } => client.as_ref().map(AsRawFd::as_raw_fd),
            Self::Off => None,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stream { input: Some(input), .. } => input.read(buffer),
            Self::Socket { client: Some(client), .. } => client.read(buffer),
            _ => Ok(0),
        }
    }

    /// Writes what the other side takes without blocking; `None` if nobody is there to take anything.
    fn write(&mut self, data: &[u8]) -> Option<io::Result<usize>> {
        match self {
            Self::Stream { output, .. } => Some(output.write(data)),
            Self::Socket { client: Some(client), .. } => Some(client.write(data)),
            _ => None,
        }
    }
}

struct Pump {
    epoll: Epoll,
    side: Side,
    serial: Arc<Serial>,
    ring: Arc<ConsoleRing>,
    mailbox: Mailbox,
    /// Keys that the port had no room for.
    keys: Vec<u8>,
    /// Output on its way.
    pending: Vec<u8>,
}

impl Pump {
    fn run(mut self) {
        let mut events = [EpollEvent::default(); 6];
        loop {
            // Output that nobody takes at present is offered again after a while; there is none most of the time.
            let patience = if self.pending.is_empty() { -1 } else { STALLED_MS };
            let count = match self.epoll.wait(patience, &mut events) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => {
                    devices::say!("kubevmm: the console stopped: {error}");
                    return;
                }
            };
            let mut stop = false;
            for event in events.iter().take(count) {
                match event.data() {
                    RING => {
                        let _ = self.ring.event().read();
                    }
                    ROOM => {
                        let _ = self.serial.room().read();
                    }
                    INPUT => self.read_keys(),
                    LISTENER => self.accept(),
                    _ => stop = true,
                }
            }
            self.give_keys();
            self.show();
            if stop {
                return self.show_last_words();
            }
        }
    }

    fn watch(&self, fd: RawFd, token: u64, events: EventSet) -> io::Result<()> {
        self.epoll.ctl(ControlOperation::Add, fd, EpollEvent::new(events, token))
    }

    /// Watches what the host side brings. Regular files cannot be watched and need not be: they have no keys.
    fn watch_side(&self) {
        if let Side::Socket { listener, .. } = &self.side {
            let _ = self.watch(listener.as_raw_fd(), LISTENER, EventSet::IN);
        }
        if let Some(input) = self.side.input() {
            let _ = self.watch(input, INPUT, EventSet::IN);
        }
    }

    fn accept(&mut self) {
        let Side::Socket { listener, client } = &mut self.side else { return };
        let Ok((stream, _)) = listener.accept() else { return };
        // One client at a time: others are turned away by closing their connection.
        if client.is_some() || stream.set_nonblocking(true).is_err() {
            return;
        }
        let fd = stream.as_raw_fd();
        *client = Some(stream);
        let _ = self.watch(fd, INPUT, EventSet::IN);
    }

    fn read_keys(&mut self) {
        let mut buffer = [0; 256];
        match self.side.read(&mut buffer) {
            Ok(0) => self.close_input(),
            Ok(count) => {
                let escape = matches!(self.side, Side::Stream { escape: true, .. });
                for key in buffer.iter().take(count) {
                    if escape && *key == ESCAPE {
                        self.mailbox.post(Event::Escape);
                    } else {
                        self.keys.push(*key);
                    }
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.close_input(),
        }
    }

    fn close_input(&mut self) {
        if let Some(fd) = self.side.input() {
            let _ = self.epoll.ctl(ControlOperation::Delete, fd, EpollEvent::default());
        }
        match &mut self.side {
            Side::Stream { input, .. } => *input = None,
            Side::Socket { client, .. } => *client = None,
            Side::Off => {}
        }
    }

    /// Gives the port as many keys as it takes; while it is full nothing more is read.
    fn give_keys(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        let taken = self.serial.input(&self.keys);
        self.keys.drain(..taken.min(self.keys.len()));
        if let Some(input) = self.side.input() {
            let wanted = if self.keys.is_empty() { EventSet::IN } else { EventSet::empty() };
            let _ = self.epoll.ctl(ControlOperation::Modify, input, EpollEvent::new(wanted, INPUT));
        }
    }

    /// Shows what the other side takes now.
    fn show(&mut self) {
        if self.pending.is_empty() {
            self.ring.drain(&mut self.pending);
        }
        while !self.pending.is_empty() && self.is_writable() {
            let chunk = self.pending.get(..WRITE_CHUNK).unwrap_or(&self.pending);
            match self.side.write(chunk) {
                Some(Ok(count)) => {
                    self.pending.drain(..count.min(self.pending.len()));
                }
                Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Nobody is there, or is there any more: as on a cable that is not plugged in.
                _ => self.pending.clear(),
            }
            if self.pending.is_empty() {
                self.ring.drain(&mut self.pending);
            }
        }
    }

    /// Whether a write would go through at once. A pipe or terminal whose reader sleeps would block this thread.
    fn is_writable(&mut self) -> bool {
        let Side::Stream { output, .. } = &self.side else { return true };
        crate::sys::poll::is_writable(output)
    }

    fn show_last_words(&mut self) {
        let deadline = Instant::now() + LAST_WORDS;
        self.show();
        while !self.pending.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
            self.show();
        }
    }
}
