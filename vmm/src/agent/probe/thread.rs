//! A probe's thread.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::schedule::Schedule;
use super::{AddressOf, ProbeKind, ProbeResult, network};
use crate::agent::{AgentAnswer, AgentCommand, AgentHandle, AgentReply, ExecRequest};
use crate::plan::{ProbeAction, ProbePlan};

/// Tests that wait for nothing but a socket or an answer need little.
const STACK: usize = 128 << 10;
/// How much of a failing program's output is told.
const TOLD: usize = 200;

/// Where a probe gets what it needs.
pub struct Probed {
    /// The agent, if the machine's port is not left to others.
    pub agent: Option<AgentHandle>,
    /// The guest's address.
    pub address: AddressOf,
}

/// A running probe, which ends when this is dropped.
#[derive(Debug)]
pub struct Probe {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    wanted: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Sleeps until `until`; false if the end came before.
    fn sleep(&self, until: Instant) -> bool {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if *wanted || left.is_zero() {
                return !*wanted;
            }
            wanted = self.changed.wait_timeout(wanted, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Probe {
    /// Starts a probe that begins now. `tell` is called with what is new, and must not wait.
    ///
    /// # Errors
    /// The host has no room for another thread.
    pub fn spawn(
        kind: ProbeKind,
        plan: ProbePlan,
        probed: Probed,
        tell: impl Fn(ProbeResult) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::<Stop>::default();
        let ending = Arc::clone(&stop);
        let name = match kind {
            ProbeKind::Readiness => "readiness",
            ProbeKind::Liveness => "liveness",
        };
        let thread = thread::Builder::new()
            .name(name.into())
            .stack_size(STACK)
            .spawn(move || run(kind, &plan, &probed, &tell, &ending))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        *self.stop.wanted.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(kind: ProbeKind, plan: &ProbePlan, probed: &Probed, tell: &dyn Fn(ProbeResult), stop: &Stop) {
    let mut schedule = Schedule::new(kind, plan);
    let mut next = Instant::now() + plan.initial_delay;
    while stop.sleep(next) {
        // A test that takes longer than a period puts the next one off.
        next = (next + plan.period).max(Instant::now());
        if probed.agent.as_ref().is_some_and(AgentHandle::is_paused) {
            continue;
        }
        let tested = test(plan, probed, stop);
        let Some(healthy) = schedule.tested(tested.is_ok()) else { continue };
        let health = if healthy { Ok(()) } else { tested };
        tell(ProbeResult { kind, health });
    }
}

fn test(plan: &ProbePlan, probed: &Probed, stop: &Stop) -> Result<(), String> {
    let timeout = plan.timeout;
    let address = |host: &Option<String>, port| network::address(host.as_deref(), (probed.address)(), port);
    match &plan.action {
        ProbeAction::Tcp { host, port } => network::tcp(address(host, *port)?, timeout).map(drop),
        ProbeAction::Http { host, port, path, headers } => {
            let address = address(host, *port)?;
            let name = host.as_ref().map_or_else(|| address.to_string(), |host| format!("{host}:{port}"));
            network::http(address, &name, path, headers, timeout)
        }
        ProbeAction::Ping => ask(AgentCommand::Ping, timeout, probed, stop).map(drop),
        ProbeAction::Exec { command } => {
            let request = ExecRequest { argv: command.clone(), input: Vec::new(), timeout };
            let answer = ask(AgentCommand::Exec(request), timeout, probed, stop)?;
            let AgentAnswer::Exec(outcome) = answer else { return Err("no outcome".into()) };
            if outcome.exit_code == Some(0) {
                return Ok(());
            }
            let how = match (outcome.exit_code, outcome.signal) {
                (Some(code), _) => format!("exit code {code}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => "no exit code".into(),
            };
            let said = [outcome.stdout, outcome.stderr].concat();
            let said: String = String::from_utf8_lossy(&said).trim().chars().take(TOLD).collect();
            let said = crate::agent::text::tame(&said);
            Err(format!("{} ended with {how}: {said}", command.join(" ")))
        }
    }
}

/// Asks the agent, for no longer than a test may take.
fn ask(
    command: AgentCommand,
    timeout: Duration,
    probed: &Probed,
    stop: &Stop,
) -> Result<AgentAnswer, String> {
    let agent = probed.agent.as_ref().ok_or_else(|| crate::agent::AgentError::LeftToSocket.to_string())?;
    let (sender, answers) = channel();
    agent.ask(command, AgentReply::new(move |answer| drop(sender.send(answer))));
    let deadline = Instant::now() + timeout;
    loop {
        // In short steps, because the end of the machine does not wait for its tests.
        let step = deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(500));
        match answers.recv_timeout(step) {
            Ok(answer) => return answer.map_err(|error| error.to_string()),
            Err(RecvTimeoutError::Disconnected) => return Err("the machine has ended".into()),
            Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline || !stop.sleep(Instant::now()) => {
                return Err(format!("the guest agent did not answer within {} s", timeout.as_secs()));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc::Receiver;

    use super::*;

    fn probe(kind: ProbeKind, action: ProbeAction) -> (Probe, Receiver<ProbeResult>) {
        let plan = ProbePlan {
            action,
            initial_delay: Duration::ZERO,
            period: Duration::from_millis(20),
            timeout: Duration::from_secs(60),
            success_threshold: 1,
            failure_threshold: 2,
        };
        let (sender, results) = channel();
        let probed = Probed { agent: None, address: Arc::new(|| Some([127, 0, 0, 1].into())) };
        (Probe::spawn(kind, plan, probed, move |result| drop(sender.send(result))).unwrap(), results)
    }

    #[test]
    fn a_guest_is_ready_while_its_port_takes_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (probe, results) = probe(ProbeKind::Readiness, ProbeAction::Tcp { host: None, port });
        assert_eq!(results.recv().unwrap().health, Ok(()));
        drop(listener);
        assert!(results.recv().unwrap().health.unwrap_err().contains("dial tcp"));
        drop(probe);
        assert!(results.recv().is_err(), "a probe that has ended says nothing");
    }

    #[test]
    fn a_test_that_needs_an_agent_fails_without_one() {
        let (_probe, results) = probe(ProbeKind::Liveness, ProbeAction::Ping);
        let result = results.recv().unwrap();
        assert!(result.health.unwrap_err().contains("--agent-socket"));
        assert!(results.recv_timeout(Duration::from_millis(100)).is_err(), "it is said once");
    }
}
