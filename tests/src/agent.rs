//! The tests' end of the line to the program in the guest.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use guest::protocol::{Answer, Extent, Identity, Output, Reply, Request};

use crate::failure::{Doing, Failure};

/// How long one operation may take.
const PATIENCE: Duration = Duration::from_secs(240);

/// A connection to the guest's program.
pub struct Agent {
    stream: BufReader<UnixStream>,
}

impl Agent {
    /// Connects to the port's socket and waits until the guest answers, as long as `is_running` says so.
    ///
    /// # Errors
    /// If it does not within `limit`.
    pub fn connect(
        socket: &Path,
        limit: Duration,
        mut is_running: impl FnMut() -> bool,
    ) -> Result<Self, Failure> {
        let deadline = Instant::now() + limit;
        loop {
            // The VMM hangs up on a client while no program in the guest has the port open.
            match Self::attempt(socket, deadline.saturating_duration_since(Instant::now())) {
                Ok(agent) => return Ok(agent),
                Err(failure) if Instant::now() > deadline || !is_running() => return Err(failure),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn attempt(socket: &Path, patience: Duration) -> Result<Self, Failure> {
        let stream = net::socket::connect(socket)
            .map_err(|error| Failure(format!("connecting to {}: {error}", socket.display())))?;
        stream.set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
        let mut agent = Self { stream: BufReader::new(stream) };
        agent.call(&Request::Ping).doing("waiting for the guest's program")?;
        agent.stream.get_ref().set_read_timeout(Some(PATIENCE))?;
        Ok(agent)
    }

    /// Has the guest carry out an operation.
    ///
    /// # Errors
    /// If the line breaks or the guest could not.
    pub fn call(&mut self, request: &Request) -> Result<Answer, Failure> {
        self.send(request)?;
        self.receive(request)
    }

    /// Waits for the reply to a request that was sent.
    ///
    /// # Errors
    /// If the line breaks or the guest could not.
    pub fn receive(&mut self, request: &Request) -> Result<Answer, Failure> {
        let mut line = String::new();
        self.stream
            .read_line(&mut line)
            .map_err(|error| Failure(format!("no answer to {request:?}: {error}")))?;
        if line.is_empty() {
            return Err(Failure(format!("the line broke during {request:?}")));
        }
        match serde_json::from_str(&line)? {
            Reply::Ok(answer) => Ok(answer),
            Reply::Error(error) => Err(Failure(format!("the guest could not {request:?}: {error}"))),
        }
    }

    /// Sends a request that has no reply, or whose reply is to be received later.
    ///
    /// # Errors
    /// If the line is broken.
    pub fn send(&mut self, request: &Request) -> Result<(), Failure> {
        let mut text = serde_json::to_vec(request)?;
        text.push(b'\n');
        self.stream.get_mut().write_all(&text).doing("sending to the guest")
    }

    /// Who and what the guest is.
    ///
    /// # Errors
    /// If it does not say.
    pub fn identity(&mut self) -> Result<Identity, Failure> {
        match self.call(&Request::Identity)? {
            Answer::Identity(identity) => Ok(*identity),
            other => Err(odd(&other)),
        }
    }

    /// Contents of a file in the guest.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn file(&mut self, path: &str) -> Result<String, Failure> {
        match self.call(&Request::ReadFile { path: path.to_owned() })? {
            Answer::Text(text) => Ok(text),
            other => Err(odd(&other)),
        }
    }

    /// Runs a busybox applet, words parted by spaces.
    ///
    /// # Errors
    /// If it cannot be started; a status other than 0 is in the output.
    pub fn run(&mut self, words: &str) -> Result<Output, Failure> {
        self.run_argv(words.split_whitespace().map(str::to_owned).collect())
    }

    fn run_argv(&mut self, argv: Vec<String>) -> Result<Output, Failure> {
        match self.call(&Request::Run { argv })? {
            Answer::Output(output) => Ok(output),
            other => Err(odd(&other)),
        }
    }

    /// Runs a busybox applet that has to succeed; its standard output.
    ///
    /// # Errors
    /// If it does not succeed.
    pub fn run_ok(&mut self, words: &str) -> Result<String, Failure> {
        let output = self.run(words)?;
        successful(output, words)
    }

    /// Runs a shell's script that has to succeed; its standard output.
    ///
    /// # Errors
    /// If it does not succeed.
    pub fn script(&mut self, script: &str) -> Result<String, Failure> {
        let output = self.run_argv(["sh", "-c", script].map(str::to_owned).to_vec())?;
        successful(output, script)
    }

    /// Checksum of what the guest reads there.
    ///
    /// # Errors
    /// If it cannot.
    pub fn block_read(&mut self, extent: &Extent) -> Result<u64, Failure> {
        self.sum(&Request::BlockRead(extent.clone()))
    }

    /// Has the guest write the pattern there; checksum of it.
    ///
    /// # Errors
    /// If it cannot.
    pub fn block_write(&mut self, extent: &Extent, seed: u64) -> Result<u64, Failure> {
        self.sum(&Request::BlockWrite { extent: extent.clone(), seed })
    }

    fn sum(&mut self, request: &Request) -> Result<u64, Failure> {
        match self.call(request)? {
            Answer::Checksum(sum) => Ok(sum),
            other => Err(odd(&other)),
        }
    }
}

fn successful(output: Output, what: &str) -> Result<String, Failure> {
    match output.status {
        Some(0) => Ok(output.stdout),
        _ => Err(Failure(format!("in the guest, {what}: {output:?}"))),
    }
}

fn odd(answer: &Answer) -> Failure {
    Failure(format!("an answer of another kind: {answer:?}"))
}
