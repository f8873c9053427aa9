//! A clone's new identity, as far as only its guest can take it over: told to its agent as soon as there is one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use net::MacAddress;

use super::{
    AgentAnswer, AgentCommand, AgentError, AgentHandle, AgentReply, AgentReport, ExecOutcome, ExecRequest,
    UNFREEZE,
};
use crate::sys::{line, random};

/// What the guest runs.
const SCRIPT: &str = include_str!("identity.sh");
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often an agent that cannot do it at the moment is asked.
const ATTEMPTS: u32 = 5;
/// Random bytes that the guest gets.
const SEED: usize = 256;
/// Most that is told of what went wrong.
const MESSAGE: usize = 300;

/// Who a guest is from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewIdentity {
    /// Its host name; none: it stays.
    pub host_name: Option<String>,
    /// It gets a new machine ID.
    pub machine_id: bool,
    /// Hardware addresses of its cards, as it knows them, and as they are.
    pub cards: Vec<(MacAddress, MacAddress)>,
}

/// What a guest that comes from elsewhere, out of a snapshot or by a move, needs of its agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Awakening {
    /// Its file systems may be frozen, and nobody here knows for how long they were to be: they are thawed this long after
    /// its agent can be reached, unless the agent says that they are not frozen.
    pub thaw: Option<Duration>,
    /// It is somebody else.
    pub identity: Option<NewIdentity>,
}

impl Awakening {
    /// What a guest needs that has moved here.
    pub fn moved() -> Self {
        Self { thaw: Some(UNFREEZE), identity: None }
    }
}

/// Tells a guest who it is. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Teller(Arc<Mutex<Telling>>);

#[derive(Debug)]
struct Telling {
    /// Until it is told, or told in vain.
    identity: Option<NewIdentity>,
    attempts: u32,
    is_asked: bool,
    agent: Option<AgentHandle>,
}

impl Teller {
    pub(super) fn new(identity: Option<NewIdentity>) -> Self {
        Self(Arc::new(Mutex::new(Telling { identity, attempts: 0, is_asked: false, agent: None })))
    }

    /// From now on, there is somebody to ask.
    pub(super) fn reach_by(&self, agent: AgentHandle) {
        self.telling().agent = Some(agent);
    }

    /// There is news of the agent, so that it may be able to do it. Does not wait; `tell` gets what came of it.
    pub(super) fn note(&self, news: &AgentReport, tell: impl FnOnce(AgentReport) + Send + 'static) {
        if matches!(news, AgentReport::Lost(_)) {
            return;
        }
        let Some((agent, request)) = self.telling().next() else { return };
        let teller = self.clone();
        let reply = AgentReply::new(move |answer| {
            if let Some(result) = teller.telling().end(answer) {
                tell(AgentReport::Identity(result));
            }
        });
        agent.ask(AgentCommand::Exec(request), reply);
    }

    fn telling(&self) -> MutexGuard<'_, Telling> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Telling {
    /// What is to be asked now.
    fn next(&mut self) -> Option<(AgentHandle, ExecRequest)> {
        let agent = self.agent.clone()?;
        let identity = self.identity.as_ref().filter(|_| !self.is_asked)?;
        self.is_asked = true;
        Some((agent, request(identity)))
    }

    /// The guest has answered; gives back what came of it, unless it is to be asked again.
    fn end(&mut self, answer: Result<AgentAnswer, AgentError>) -> Option<Result<(), String>> {
        self.is_asked = false;
        self.attempts += 1;
        let result = match answer {
            Ok(AgentAnswer::Exec(outcome)) => said(&outcome),
            Ok(_) => Err("the agent answered something else".to_owned()),
            // It was asked again when there was news: file systems that were frozen when it came are not the reason then, and
            // more news need not come.
            Err(error @ AgentError::Unsupported(_)) if self.attempts > 1 => Err(error.to_string()),
            // File systems may be frozen still, or the agent may be lost and come back.
            Err(_) if self.attempts < ATTEMPTS => return None,
            Err(error) => Err(error.to_string()),
        };
        self.identity = None;
        Some(result)
    }
}

fn request(identity: &NewIdentity) -> ExecRequest {
    let id = if identity.machine_id { line::random_uuid().replace('-', "") } else { String::new() };
    let name = identity.host_name.clone().unwrap_or_default();
    let cards = identity.cards.iter().map(|(old, new)| format!("{old}={new}"));
    let argv = ["sh", "-c", SCRIPT, "identity"].map(str::to_owned).into_iter().chain([name, id]).chain(cards);
    ExecRequest { argv: argv.collect(), input: seed(), timeout: PATIENCE }
}

/// Random bytes of the host's; none if it gives none.
fn seed() -> Vec<u8> {
    let mut seed = vec![0; SEED];
    random::fill(&mut seed).map_or_else(|_| Vec::new(), |()| seed)
}

fn said(outcome: &ExecOutcome) -> Result<(), String> {
    if outcome.exit_code == Some(0) {
        return Ok(());
    }
    let text: String = String::from_utf8_lossy(&outcome.stderr).chars().take(MESSAGE).collect();
    Err(super::text::tame(text.trim()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn identity() -> NewIdentity {
        let mac = |last| MacAddress([2, 0, 0, 0, 0, last]);
        NewIdentity { host_name: Some("clone".into()), machine_id: true, cards: vec![(mac(1), mac(2))] }
    }

    fn telling() -> Telling {
        Telling { identity: Some(identity()), attempts: 0, is_asked: true, agent: None }
    }

    #[test]
    fn the_guest_is_told_all_of_it() {
        let request = request(&identity());
        assert_eq!(request.argv[..2], ["sh", "-c"]);
        assert_eq!(request.argv[4], "clone");
        assert!(request.argv[5].len() == 32 && request.argv[5].bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(request.argv[6..], ["02:00:00:00:00:01=02:00:00:00:00:02"]);
        assert!(request.input.len() == SEED && request.input != seed());
        let same_name = super::request(&NewIdentity { host_name: None, ..identity() });
        assert_eq!((same_name.argv[4].as_str(), same_name.argv[5].len()), ("", 32));
        let only_cards = super::request(&NewIdentity { host_name: None, machine_id: false, ..identity() });
        assert_eq!(only_cards.argv[4..6], ["", ""]);
    }

    #[test]
    fn an_agent_that_cannot_is_asked_again_but_not_for_ever() {
        let mut telling = telling();
        for _ in 1..ATTEMPTS {
            assert_eq!(telling.end(Err(AgentError::Frozen)), None);
        }
        assert!(telling.end(Err(AgentError::Frozen)).unwrap().is_err());
        assert_eq!(telling.identity, None);
    }

    #[test]
    fn an_agent_that_may_not_is_asked_twice_as_it_says_so_while_file_systems_are_frozen() {
        let may_not = || Err(AgentError::Unsupported("guest-exec"));
        let mut telling = telling();
        assert_eq!(telling.end(may_not()), None);
        let said = telling.end(may_not()).unwrap().unwrap_err();
        assert!(said.contains("guest-exec"), "{said}");
        assert_eq!(telling.identity, None);
    }

    #[test]
    fn what_the_guest_could_not_do_is_told() {
        let outcome = |code, stderr: &[u8]| {
            Ok(AgentAnswer::Exec(ExecOutcome {
                exit_code: Some(code),
                stderr: stderr.to_vec(),
                ..ExecOutcome::default()
            }))
        };
        assert_eq!(telling().end(outcome(0, b"")), Some(Ok(())));
        let said = telling().end(outcome(1, b"not set: the host name\n\x1b[2J")).unwrap().unwrap_err();
        assert!(said.starts_with("not set: the host name") && !said.contains('\x1b'), "{said:?}");
        let long = telling().end(outcome(1, &[b'x'; 10_000])).unwrap().unwrap_err();
        assert!(long.len() <= MESSAGE);
    }

    /// A shell's opinion, without a guest: nothing is named that it could change here.
    #[test]
    fn the_script_tells_of_an_address_that_no_card_has() {
        let output = Command::new("sh")
            .args(["-c", SCRIPT, "identity", "", "", "02:ff:ff:ff:ff:01=02:ff:ff:ff:ff:02"])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.trim(), "not set: the address 02:ff:ff:ff:ff:01, which no card has");
    }
}
