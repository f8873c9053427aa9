//! The console's thread: between the guest's serial port, the hub, and the side that `--console` names.
//!
//! It never lets the guest wait. It starts with the process and stays over resets of the guest.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::Console;
use super::hub::{ConsoleHub, Keyboard, Listener, Port, Typed};
use super::log::ConsoleLog;
use super::side::Side;
use crate::state::{Event, Mailbox};

/// Ctrl-]: the key that `virtctl console` and telnet use.
pub const ESCAPE: u8 = 0x1d;
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
const NEWS: u64 = 5;

/// The running thread; dropping it shows what is left, ends it, and gives the terminal its mode back.
#[derive(Debug)]
pub struct ConsolePump {
    stop: EventFd,
    thread: Option<JoinHandle<()>>,
    _console: Console,
}

impl ConsolePump {
    /// Starts a thread between `hub` and `console`, which also writes `log`. `mailbox` hears of the escape key.
    pub fn spawn(
        console: Console,
        log: Option<ConsoleLog>,
        hub: ConsoleHub,
        mailbox: Mailbox,
    ) -> io::Result<Self> {
        let stop = EventFd::new(EFD_NONBLOCK)?;
        let side = Side::of(&console)?;
        // It is this thread that brings the hub what there is to listen to.
        let listener = hub.listen(Keyboard::No, usize::MAX, None);
        let log = log.map(|log| (log, hub.listen(Keyboard::No, usize::MAX, None)));
        let mut pump = Pump {
            epoll: Epoll::new()?,
            side,
            hub,
            listener,
            log,
            port: None,
            mailbox,
            pending: Vec::new(),
            held_back: Vec::new(),
        };
        pump.watch(stop.as_raw_fd(), STOP, EventSet::IN)?;
        pump.watch(pump.hub.news().as_raw_fd(), NEWS, EventSet::IN)?;
        pump.watch_side();
        let thread = std::thread::Builder::new()
            .name("console".into())
            .stack_size(128 << 10)
            .spawn(move || pump.run())?;
        Ok(Self { stop, thread: Some(thread), _console: console })
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

struct Pump {
    epoll: Epoll,
    side: Side,
    hub: ConsoleHub,
    /// What the side listens by.
    listener: Listener,
    log: Option<(ConsoleLog, Listener)>,
    /// The port that is watched.
    port: Option<Arc<Port>>,
    mailbox: Mailbox,
    /// Output on its way to the side.
    pending: Vec<u8>,
    /// Keys of the side that there was no room for.
    held_back: Vec<u8>,
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
                    RING | ROOM => self.clear_port_events(),
                    INPUT => self.read_keys(),
                    LISTENER => self.accept(),
                    NEWS => {
                        let _ = self.hub.news().read();
                        self.watch_port();
                    }
                    _ => stop = true,
                }
            }
            self.hub.hear();
            self.hub.give_keys();
            self.type_held_back();
            self.hub.give_keys();
            self.show();
            if stop {
                return self.show_last_words();
            }
        }
    }

    fn watch(&self, fd: RawFd, token: u64, events: EventSet) -> io::Result<()> {
        self.epoll.ctl(ControlOperation::Add, fd, EpollEvent::new(events, token))
    }

    fn forget(&self, fd: RawFd) {
        // Nothing is lost if it was not watched.
        let _ = self.epoll.ctl(ControlOperation::Delete, fd, EpollEvent::default());
    }

    /// Watches the port that is plugged in now.
    fn watch_port(&mut self) {
        let now = self.hub.port();
        let is_same = match (&self.port, &now) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        };
        if is_same {
            return;
        }
        if let Some(before) = self.port.take() {
            self.forget(before.ring.event().as_raw_fd());
            self.forget(before.serial.room().as_raw_fd());
        }
        if let Some(now) = &now {
            let watched = self
                .watch(now.ring.event().as_raw_fd(), RING, EventSet::IN)
                .and_then(|()| self.watch(now.serial.room().as_raw_fd(), ROOM, EventSet::IN));
            if let Err(error) = watched {
                devices::say!("kubevmm: the serial port cannot be watched: {error}");
            }
        }
        self.port = now;
    }

    fn clear_port_events(&self) {
        if let Some(port) = &self.port {
            let _ = port.ring.event().read();
            let _ = port.serial.room().read();
        }
    }

    /// Watches what the side brings. Regular files cannot be watched and need not be: they have no keys.
    fn watch_side(&mut self) {
        if let Some(listener) = self.side.listener() {
            let _ = self.watch(listener, LISTENER, EventSet::IN);
        }
        self.watch_input();
    }

    fn watch_input(&mut self) {
        let Some(input) = self.side.input() else { return };
        if self.watch(input, INPUT, EventSet::IN).is_ok() {
            self.listener.reach_for(Keyboard::IfFree);
        }
    }

    fn accept(&mut self) {
        if self.side.accept() {
            // As on a cable: what was said before it was plugged in is not heard.
            self.listener.skip();
            self.pending.clear();
            self.watch_input();
        }
    }

    fn read_keys(&mut self) {
        let mut buffer = [0; 256];
        match self.side.read(&mut buffer) {
            Ok(0) => self.close_input(),
            Ok(count) => {
                let escape = self.side.has_escape();
                for key in buffer.iter().take(count) {
                    if escape && *key == ESCAPE {
                        self.mailbox.post(Event::Escape);
                    } else {
                        self.held_back.push(*key);
                    }
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.close_input(),
        }
    }

    fn close_input(&mut self) {
        if let Some(input) = self.side.input() {
            self.forget(input);
        }
        self.side.close_input();
        self.listener.reach_for(Keyboard::No);
    }

    /// Types as many keys as there is room for; while there is none, nothing more is read.
    fn type_held_back(&mut self) {
        if self.held_back.is_empty() {
            return;
        }
        match self.listener.type_keys(&self.held_back) {
            Typed::Taken(count) => drop(self.held_back.drain(..count)),
            Typed::NotTheTypist => self.held_back.clear(),
        }
        if let Some(input) = self.side.input() {
            let wanted = if self.held_back.is_empty() { EventSet::IN } else { EventSet::empty() };
            let _ = self.epoll.ctl(ControlOperation::Modify, input, EpollEvent::new(wanted, INPUT));
        }
    }

    /// Shows what the side takes now, and logs all.
    fn show(&mut self) {
        if let Some((log, listener)) = &mut self.log {
            log.write_all_of(listener);
        }
        loop {
            if self.pending.is_empty() && self.listener.read(WRITE_CHUNK, &mut self.pending).bytes == 0 {
                return;
            }
            match self.side.write(&self.pending) {
                Some(Ok(count)) => drop(self.pending.drain(..count.min(self.pending.len()))),
                Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Nobody is there, or is there any more: as on a cable that is not plugged in.
                _ => {
                    self.pending.clear();
                    self.listener.skip();
                }
            }
        }
    }

    fn show_last_words(&mut self) {
        let deadline = Instant::now() + LAST_WORDS;
        while !self.pending.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
            self.show();
        }
    }
}
