//! The API's thread: all clients, one epoll, nothing that blocks.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use devices::say;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;

use super::answer::Completions;
use super::connection::{Connection, Fate, Service};
use super::http::{Framing, Response};
use super::{failure, limits};
use crate::sys::{peer, user};

/// Tokens of what is waited for; connections have their numbers.
const LISTENER: u64 = 0;
const WAKE: u64 = 1;
const FIRST_CONNECTION: u64 = 2;
/// How long nobody new is let in after the host ran out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// The running thread; dropping it lets clients read the last that is said and ends it.
#[derive(Debug)]
pub(super) struct Thread {
    wake: Arc<EventFd>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    /// Serves whoever connects to `listener`. `wake` is what `completions` and all streams write when there is news.
    pub(super) fn spawn(
        listener: UnixListener,
        wake: Arc<EventFd>,
        completions: Arc<Completions>,
        service: impl Service + Send + 'static,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new()?;
        let ending = Arc::new(AtomicBool::new(false));
        let server = Server {
            epoll,
            listener,
            wake: Arc::clone(&wake),
            completions,
            service,
            connections: BTreeMap::new(),
            next: FIRST_CONNECTION,
            shut_until: None,
        };
        server.watch(ControlOperation::Add, server.listener.as_raw_fd(), LISTENER, EventSet::IN)?;
        server.watch(ControlOperation::Add, wake.as_raw_fd(), WAKE, EventSet::IN)?;
        let seen = Arc::clone(&ending);
        let thread = std::thread::Builder::new()
            .name("api".into())
            .stack_size(256 << 10)
            .spawn(move || server.run(&seen))?;
        Ok(Self { wake, ending, thread: Some(thread) })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        if self.wake.write(1).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

struct Server<S> {
    epoll: Epoll,
    listener: UnixListener,
    wake: Arc<EventFd>,
    completions: Arc<Completions>,
    service: S,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    /// Until then nobody new is let in.
    shut_until: Option<Instant>,
}

impl<S: Service> Server<S> {
    fn run(mut self, ending: &AtomicBool) {
        while !ending.load(Ordering::Acquire) {
            if let Err(error) = self.turn(self.deadline()) {
                say!("kubevmm: the API stopped: {error}");
                return;
            }
        }
        self.take_leave();
    }

    /// Waits for something and does what there is to do about it.
    fn turn(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let mut events = [EpollEvent::default(); 32];
        let count = match self.epoll.wait(milliseconds_until(deadline), &mut events) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        let now = Instant::now();
        for event in events.iter().take(count) {
            match event.data() {
                LISTENER => self.accept(now),
                WAKE => {
                    // Something has changed for streams, or an answer is there.
                    let _ = self.wake.read();
                    self.complete();
                    self.proceed_all(now, |_| true);
                }
                number => {
                    let is_gone = event.event_set().intersects(EventSet::ERROR | EventSet::HANG_UP);
                    self.proceed(number, now, is_gone);
                }
            }
        }
        self.open_again(now)?;
        self.proceed_all(now, |connection| connection.deadline().is_some_and(|deadline| deadline <= now));
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.connections.values().filter_map(Connection::deadline).chain(self.shut_until).min()
    }

    fn watch(&self, operation: ControlOperation, fd: RawFd, token: u64, set: EventSet) -> io::Result<()> {
        self.epoll.ctl(operation, fd, EpollEvent::new(set, token))
    }

    fn accept(&mut self, now: Instant) {
        match self.listener.accept() {
            Ok((socket, _)) => self.admit(socket, now),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => {
                // No descriptors are left, most likely. Asking again at once would be asking for ever.
                let shut = self.watch(
                    ControlOperation::Modify,
                    self.listener.as_raw_fd(),
                    LISTENER,
                    EventSet::empty(),
                );
                self.shut_until = shut.ok().and_then(|()| now.checked_add(PAUSE));
            }
        }
    }

    fn open_again(&mut self, now: Instant) -> io::Result<()> {
        if self.shut_until.is_some_and(|until| until <= now) {
            self.shut_until = None;
            self.watch(ControlOperation::Modify, self.listener.as_raw_fd(), LISTENER, EventSet::IN)?;
        }
        Ok(())
    }

    /// Lets a client in, or tells it why not.
    fn admit(&mut self, socket: UnixStream, now: Instant) {
        if socket.set_nonblocking(true).is_err() {
            return;
        }
        match peer::user(&socket) {
            Ok(peer) if peer == 0 || peer == user::effective() => {}
            _ => return turn_away(&socket, 403, "the machine belongs to another user"),
        }
        if self.connections.len() >= limits::CONNECTIONS && !self.make_room() {
            return turn_away(&socket, 503, "too many clients are connected");
        }
        let number = self.next;
        self.next += 1;
        let connection = Connection::new(socket, number);
        if self.watch(ControlOperation::Add, connection.fd(), number, connection.watched).is_ok() {
            self.connections.insert(number, connection);
            // What it has to say is often there already.
            self.proceed(number, now, false);
        }
    }

    /// Closes the connection that has idled longest; false if there is none.
    fn make_room(&mut self) -> bool {
        let idle = self
            .connections
            .iter()
            .filter_map(|(number, connection)| connection.idle_since().map(|since| (since, *number)));
        idle.min().and_then(|(_, number)| self.connections.remove(&number)).is_some()
    }

    fn complete(&mut self) {
        for (number, response) in self.completions.take() {
            if let Some(connection) = self.connections.get_mut(&number) {
                connection.complete(&response);
            }
        }
    }

    fn proceed_all(&mut self, now: Instant, which: impl Fn(&Connection) -> bool) {
        let numbers: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| which(connection))
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            self.proceed(number, now, false);
        }
    }

    fn proceed(&mut self, number: u64, now: Instant, is_gone: bool) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let fate = if is_gone { Fate::Goes } else { connection.proceed(&self.service, now) };
        let interest = connection.interest();
        let is_kept = fate == Fate::Stays
            && (interest == connection.watched
                || self
                    .epoll
                    .ctl(ControlOperation::Modify, connection.fd(), EpollEvent::new(interest, number))
                    .is_ok());
        connection.watched = interest;
        if !is_kept {
            // Closing the descriptor ends the watch, too.
            self.connections.remove(&number);
        }
    }

    /// Says the last there is to say, and waits for clients to read it, for a little while.
    fn take_leave(mut self) {
        self.complete();
        self.connections.values_mut().for_each(Connection::take_leave);
        let deadline = Instant::now() + limits::FAREWELL;
        self.proceed_all(Instant::now(), |_| true);
        while !self.connections.is_empty() && Instant::now() < deadline {
            if self.turn(Some(deadline)).is_err() {
                return;
            }
        }
    }
}

/// Rounded up, so that the deadline has passed when the time is over; -1 for ever.
fn milliseconds_until(deadline: Option<Instant>) -> i32 {
    deadline.map_or(-1, |deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
    })
}

fn turn_away(socket: &UnixStream, code: u16, message: &str) {
    let mut bytes = Vec::new();
    let response: Response = failure::of_code(code, message);
    response.write(Framing::Length, false, &mut bytes);
    // A client that does not read it finds its connection closed.
    let _ = io::Write::write(&mut &*socket, &bytes);
}
