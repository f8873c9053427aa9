//! One client.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use vmm_sys_util::epoll::EventSet;

use super::answer::{Answer, Progress, Stream};
use super::http::{self, Framing, Method, Parsed, Request, Response};
use super::output::Output;
use super::{failure, limits};

/// Bytes of a client's that wait to be looked at: one request, as large as it may be.
const INPUT: usize = limits::HEAD + limits::BODY + limits::CHUNKS;
/// Bytes that are read at once, so that no client keeps the others waiting.
const READ: usize = 16 << 10;
/// How often a client that reads as fast as it is written to is written to in its turn.
const ROUNDS: u32 = 8;

/// Whether a connection stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It does.
    Stays,
    /// It is to be closed.
    Goes,
}

/// How the response that is due is to be written.
#[derive(Clone, Copy, Debug)]
struct Form {
    method: Method,
    keeps: bool,
    knows_chunks: bool,
}

/// What a connection does.
enum Phase {
    /// It waits for a request, or for the rest of one that began to arrive at that time.
    Reading { began: Option<Instant>, has_leave: bool },
    /// Somebody is working on the answer.
    Answering(Form),
    /// A stream says what it has to.
    Streaming { stream: Box<dyn Stream>, framing: Framing, keeps: bool },
    /// What waits is sent, and that is all.
    Closing,
}

/// Answers a request, given the number of its connection.
pub(super) trait Service {
    /// Answers `request`.
    fn answer(&self, request: &Request, connection: u64) -> Answer;
}

/// A connection.
pub(super) struct Connection {
    socket: UnixStream,
    number: u64,
    input: Vec<u8>,
    output: Output,
    phase: Phase,
    /// The client sends nothing more.
    is_over: bool,
    /// It was interrupted while there was more to do for it.
    has_more: bool,
    /// When the last response was done.
    idle_since: Instant,
    /// What the connection is watched for.
    pub(super) watched: EventSet,
}

impl Connection {
    /// A connection that nothing was read of.
    pub(super) fn new(socket: UnixStream, number: u64) -> Self {
        Self {
            socket,
            number,
            input: Vec::new(),
            output: Output::new(),
            phase: Phase::Reading { began: None, has_leave: false },
            is_over: false,
            has_more: false,
            idle_since: Instant::now(),
            watched: EventSet::IN,
        }
    }

    /// Its descriptor.
    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Since when it waits for a request, if nothing of one has arrived and nothing else is to be done.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let idles = matches!(self.phase, Phase::Reading { began: None, .. }) && self.output.waiting() == 0;
        idles.then_some(self.idle_since)
    }

    /// What it is to be watched for.
    pub(super) fn interest(&self) -> EventSet {
        let mut interest = EventSet::empty();
        interest.set(EventSet::IN, self.is_reading());
        interest.set(EventSet::OUT, self.output.waiting() > 0 || self.has_more);
        interest
    }

    fn is_reading(&self) -> bool {
        let wants = match self.phase {
            Phase::Reading { .. } => !self.output.is_full(),
            Phase::Streaming { .. } => true,
            Phase::Answering(_) | Phase::Closing => false,
        };
        wants && !self.is_over && self.input.len() < INPUT
    }

    /// When something has to be done about it, if the client does nothing.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (due, waits) = match &self.phase {
            Phase::Reading { began: Some(began), .. } => (began.checked_add(limits::ARRIVAL), false),
            Phase::Reading { began: None, .. } if self.output.waiting() == 0 => {
                (self.idle_since.checked_add(limits::IDLE), false)
            }
            Phase::Streaming { stream, .. } => (stream.deadline(), stream.waits_for_reader()),
            Phase::Reading { .. } | Phase::Answering(_) | Phase::Closing => (None, false),
        };
        let stall = if self.output.waiting() > 0 && !waits {
            self.output.moved().checked_add(limits::STALL)
        } else {
            None
        };
        due.into_iter().chain(stall).min()
    }

    /// Does what there is to do after its socket, a stream of its or the time has moved.
    pub(super) fn proceed(&mut self, service: &impl Service, now: Instant) -> Fate {
        match self.try_proceed(service, now) {
            Ok(fate) => fate,
            // It is gone; there is nobody to tell.
            Err(_) => Fate::Goes,
        }
    }

    fn try_proceed(&mut self, service: &impl Service, now: Instant) -> io::Result<Fate> {
        if self.is_overdue(now) {
            return Ok(Fate::Goes);
        }
        if self.is_reading() {
            self.read()?;
        }
        self.has_more = false;
        for round in 0.. {
            let before = self.output.waiting();
            self.step(service);
            let added = self.output.waiting() > before;
            self.output.send(&self.socket)?;
            if !added || self.output.waiting() > 0 {
                break;
            }
            if round == ROUNDS {
                // The others are to have their turn.
                self.has_more = true;
                break;
            }
        }
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        let is_done = match &self.phase {
            Phase::Closing => self.output.waiting() == 0,
            Phase::Reading { .. } => self.is_over && self.output.waiting() == 0,
            // Nobody is left to hear the stream. Whoever still waits for an answer may have closed its own side.
            Phase::Streaming { .. } => self.is_over,
            Phase::Answering(_) => false,
        };
        Ok(if is_done { Fate::Goes } else { Fate::Stays })
    }

    /// Whether the client took too long; it is told so if it can be.
    fn is_overdue(&mut self, now: Instant) -> bool {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return false;
        }
        match self.phase {
            Phase::Reading { began: Some(_), .. } if self.output.waiting() == 0 => {
                self.fail(408, "the request did not arrive in time");
                false
            }
            Phase::Streaming { .. } => {
                let stalled = self.output.moved().checked_add(limits::STALL).is_some_and(|due| due <= now);
                self.output.waiting() > 0 && stalled && !self.waits_for_reader()
            }
            _ => true,
        }
    }

    fn waits_for_reader(&self) -> bool {
        matches!(&self.phase, Phase::Streaming { stream, .. } if stream.waits_for_reader())
    }

    fn read(&mut self) -> io::Result<()> {
        let start = self.input.len();
        self.input.resize(start + READ, 0);
        let result = self.socket.read(self.input.get_mut(start..).unwrap_or_default());
        self.input.truncate(start + *result.as_ref().unwrap_or(&0));
        match result {
            Ok(0) => self.is_over = true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Answers what has arrived, or lets the stream go on.
    fn step(&mut self, service: &impl Service) {
        while matches!(self.phase, Phase::Reading { .. }) && !self.input.is_empty() && !self.output.is_full()
        {
            if !self.take_request(service) {
                return;
            }
        }
        let Phase::Streaming { stream, framing, .. } = &mut self.phase else { return };
        stream.take(&mut self.input);
        if self.output.is_full() {
            return;
        }
        let progress = match framing {
            Framing::Chunks => {
                let mut said = Vec::new();
                let progress = stream.advance(&mut said);
                http::chunk(&said, self.output.end());
                progress
            }
            _ => stream.advance(self.output.end()),
        };
        if progress == Progress::Ends {
            self.end_stream();
        }
    }

    /// Takes a request out of what has arrived; false if it has not arrived as a whole.
    fn take_request(&mut self, service: &impl Service) -> bool {
        match http::parse(&self.input) {
            Parsed::More { asks_leave } => {
                if let Phase::Reading { began, has_leave } = &mut self.phase {
                    began.get_or_insert_with(Instant::now);
                    if asks_leave && !std::mem::replace(has_leave, true) {
                        self.output.end().extend_from_slice(http::CONTINUE);
                    }
                }
                false
            }
            Parsed::Bad(fault) => {
                self.fail(fault.code, fault.message);
                false
            }
            Parsed::Whole(request, used) => {
                self.input.drain(..used);
                let form =
                    Form { method: request.method, keeps: request.keeps, knows_chunks: request.knows_chunks };
                match service.answer(&request, self.number) {
                    Answer::Now(response) => self.respond(&response, form),
                    Answer::Later => self.phase = Phase::Answering(form),
                    Answer::Stream(head, stream) => self.stream(&head, stream, form),
                    Answer::Upgrade(head, stream) => {
                        head.write(Framing::Upgrade, true, self.output.end());
                        self.phase = Phase::Streaming { stream, framing: Framing::Upgrade, keeps: false };
                    }
                }
                true
            }
        }
    }

    /// Says what somebody has been working on.
    pub(super) fn complete(&mut self, response: &Response) {
        if let Phase::Answering(form) = self.phase {
            self.respond(response, form);
        }
    }

    fn respond(&mut self, response: &Response, form: Form) {
        let framing = if form.method == Method::Head { Framing::HeadOnly } else { Framing::Length };
        response.write(framing, form.keeps, self.output.end());
        self.done(form.keeps);
    }

    fn stream(&mut self, head: &Response, stream: Box<dyn Stream>, form: Form) {
        if form.method == Method::Head {
            return self.respond(head, form);
        }
        let framing = if form.knows_chunks { Framing::Chunks } else { Framing::End };
        head.write(framing, form.keeps, self.output.end());
        self.phase = Phase::Streaming { stream, framing, keeps: form.keeps };
    }

    fn end_stream(&mut self) {
        if let Phase::Streaming { framing, keeps, .. } = self.phase {
            if framing == Framing::Chunks {
                http::last_chunk(self.output.end());
            }
            self.done(keeps && framing == Framing::Chunks);
        }
    }

    fn done(&mut self, keeps: bool) {
        self.idle_since = Instant::now();
        self.phase = if keeps { Phase::Reading { began: None, has_leave: false } } else { Phase::Closing };
    }

    fn fail(&mut self, code: u16, message: &str) {
        failure::of_code(code, message).write(Framing::Length, false, self.output.end());
        self.input = Vec::new();
        self.phase = Phase::Closing;
    }

    /// Lets a stream say its last, and ends what is not needed any more.
    pub(super) fn take_leave(&mut self) {
        if let Phase::Streaming { stream, framing, .. } = &mut self.phase {
            let mut said = Vec::new();
            stream.farewell(&mut said);
            match framing {
                Framing::Chunks => http::chunk(&said, self.output.end()),
                _ => self.output.end().extend_from_slice(&said),
            }
            self.end_stream();
        }
        if !matches!(self.phase, Phase::Answering(_)) {
            self.phase = Phase::Closing;
        }
    }
}
