//! A peer that follows a script, in place of a guest.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::{Agent, AgentAnswer, AgentCommand, AgentError, AgentReply, AgentReport, PortEnd};
use crate::plan::CredentialPlan;

/// Longer than anything takes that does not hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent's thread, and what it reports.
pub(super) struct Setup {
    pub(super) agent: Agent,
    pub(super) reports: Receiver<AgentReport>,
    pub(super) port: PortEnd,
}

impl Setup {
    /// A thread with a port that nobody in the guest has opened.
    pub(super) fn new() -> Self {
        Self::with_credentials(Vec::new())
    }

    /// The same, with something to be put into the guest.
    pub(super) fn with_credentials(credentials: Vec<CredentialPlan>) -> Self {
        Self::of(credentials, None)
    }

    /// The same for a guest that comes from elsewhere and may be frozen.
    pub(super) fn arriving(thaw: Duration) -> Self {
        Self::of(Vec::new(), Some(thaw))
    }

    fn of(credentials: Vec<CredentialPlan>, thaw: Option<Duration>) -> Self {
        let (sender, reports) = channel();
        let report = move |report| sender.send(report).unwrap_or_default();
        let agent = Agent::spawn(credentials, thaw, report).unwrap();
        let port = agent.handle().plug().unwrap();
        Self { agent, reports, port }
    }

    /// A thread whose guest opens the port and does as `script` says.
    pub(super) fn with(script: impl FnOnce(&mut Peer) + Send + 'static) -> (Self, JoinHandle<()>) {
        Self::new().opened(script)
    }

    /// Has the guest open the port and do as `script` says.
    pub(super) fn opened(self, script: impl FnOnce(&mut Peer) + Send + 'static) -> (Self, JoinHandle<()>) {
        let setup = self;
        let mut peer = Peer::new(&setup.port);
        let thread = thread::spawn(move || script(&mut peer));
        setup.port.watcher.guest_open(true);
        (setup, thread)
    }

    /// A thread whose guest has an agent that answers with `answer`.
    pub(super) fn answering(
        answer: impl FnMut(&str, &Value) -> Value + Send + 'static,
    ) -> (Self, JoinHandle<()>) {
        Self::with(move |peer| peer.answer_all(answer))
    }

    pub(super) fn report(&self) -> AgentReport {
        self.reports.recv_timeout(PATIENCE).unwrap()
    }

    /// The next report that `wanted` knows.
    pub(super) fn report_of<T>(&self, wanted: impl Fn(AgentReport) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.report()) {
                return found;
            }
        }
    }

    pub(super) fn connected(&self) {
        self.report_of(|report| matches!(report, AgentReport::Connected(_)).then_some(()));
    }

    pub(super) fn lost(&self) -> String {
        self.report_of(|report| match report {
            AgentReport::Lost(reason) => Some(reason),
            _ => None,
        })
    }

    pub(super) fn ask(&self, command: AgentCommand) -> Result<AgentAnswer, AgentError> {
        self.ask_later(command).recv_timeout(PATIENCE).unwrap()
    }

    pub(super) fn ask_later(&self, command: AgentCommand) -> Receiver<Result<AgentAnswer, AgentError>> {
        let (sender, answer) = channel();
        self.agent
            .handle()
            .ask(command, AgentReply::new(move |answer| sender.send(answer).unwrap_or_default()));
        answer
    }
}

/// The guest's side of a port.
pub(super) struct Peer {
    pub(super) stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Peer {
    pub(super) fn new(port: &PortEnd) -> Self {
        let stream = port.stream.try_clone().unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    /// The next command, with its mark taken away; `None` at the end.
    pub(super) fn command(&mut self) -> Option<Value> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).ok().filter(|count| *count > 0)?;
        let text = line.strip_prefix(b"\xff").unwrap_or(&line);
        Some(serde_json::from_slice(text).unwrap())
    }

    pub(super) fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Answers a command.
    pub(super) fn reply(&mut self, command: &Value, answer: Value) {
        let mut reply = if answer.get("error").is_some() { answer } else { json!({ "return": answer }) };
        if let Some(id) = command.get("id") {
            reply["id"] = id.clone();
        }
        let mark = if command["execute"] == "guest-sync-delimited" { "\u{0}" } else { "" };
        let mut bytes = format!("{mark}{reply}\n").into_bytes();
        bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = 0xff);
        self.say(&bytes);
    }

    /// Answers what every conversation begins with.
    pub(super) fn greet(&mut self) {
        for _ in 0..2 {
            let command = self.command().unwrap();
            let answer = usual(command["execute"].as_str().unwrap(), &command["arguments"]);
            self.reply(&command, answer);
        }
    }

    /// Answers to the end, with `answer` where there is no usual answer.
    pub(super) fn answer_all(&mut self, mut answer: impl FnMut(&str, &Value) -> Value) {
        while let Some(command) = self.command() {
            let (name, arguments) = (command["execute"].as_str().unwrap(), &command["arguments"]);
            let answer = match answer(name, arguments) {
                Value::Null => usual(name, arguments),
                other => other,
            };
            self.reply(&command, answer);
        }
    }

    pub(super) fn discard_all(&mut self) {
        let _ = self.reader.read_to_end(&mut Vec::new());
    }
}

/// What a healthy agent answers.
pub(super) fn usual(name: &str, arguments: &Value) -> Value {
    const KNOWN: [&str; 17] = [
        "guest-exec",
        "guest-exec-status",
        "guest-fsfreeze-freeze",
        "guest-fsfreeze-status",
        "guest-fsfreeze-thaw",
        "guest-get-fsinfo",
        "guest-get-host-name",
        "guest-get-osinfo",
        "guest-get-time",
        "guest-get-timezone",
        "guest-get-users",
        "guest-info",
        "guest-network-get-interfaces",
        "guest-ping",
        "guest-set-user-password",
        "guest-shutdown",
        "guest-ssh-add-authorized-keys",
    ];
    match name {
        "guest-sync-delimited" => arguments["id"].clone(),
        "guest-info" => json!({
            "version": "1.2.3",
            "supported_commands": KNOWN.map(|name| json!({ "name": name, "enabled": true, "success-response": true })),
        }),
        "guest-get-osinfo" => json!({ "name": "Testix", "id": "testix", "kernel-release": "9.9" }),
        "guest-get-host-name" => json!({ "host-name": "guest" }),
        "guest-get-timezone" => json!({ "zone": "UTC", "offset": 0 }),
        "guest-network-get-interfaces" => json!([
            { "name": "lo", "hardware-address": "00:00:00:00:00:00" },
            { "name": "eth0", "hardware-address": "02:00:00:00:00:0A",
              "ip-addresses": [{ "ip-address-type": "ipv4", "ip-address": "10.0.2.2", "prefix": 24 }] },
        ]),
        "guest-fsfreeze-status" => json!("thawed"),
        "guest-get-users" | "guest-get-fsinfo" => json!([]),
        "guest-fsfreeze-freeze" | "guest-fsfreeze-thaw" => json!(1),
        _ => json!({}),
    }
}
