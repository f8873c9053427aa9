//! Agents that do what they are asked for.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::peer::{Peer, Setup};
use crate::agent::{
    AgentAnswer, AgentCommand, AgentError, AgentReport, ExecRequest, FreezeStatus, KnownFreeze, ShutdownMode,
};

fn exec(argv: &[&str]) -> AgentCommand {
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    AgentCommand::Exec(ExecRequest { argv, input: b"in".to_vec(), timeout: Duration::from_secs(30) })
}

#[test]
fn a_guest_is_asked_who_it_is_as_soon_as_its_agent_is_there() {
    let (setup, _) = Setup::answering(|_, _| Value::Null);
    assert!(matches!(setup.report(), AgentReport::Connected(agent) if agent.version == "1.2.3"));
    assert_eq!(setup.report(), AgentReport::Freeze(FreezeStatus::Thawed));
    let AgentReport::Info(info) = setup.report() else { panic!("no facts") };
    assert_eq!((info.os.unwrap().name.as_str(), info.host_name.as_str()), ("Testix", "guest"));
    let AgentReport::Interfaces(interfaces) = setup.report() else { panic!("no interfaces") };
    assert_eq!(interfaces.len(), 1, "the loopback is none");
    assert_eq!(interfaces[0].mac, "02:00:00:00:00:0a");
    // Nothing is new.
    assert!(matches!(setup.ask(AgentCommand::Info), Ok(AgentAnswer::Info(..))));
    assert!(setup.reports.recv_timeout(Duration::from_millis(50)).is_err());
}

#[test]
fn a_guest_without_an_agent_is_left_alone() {
    let setup = Setup::new();
    let mut peer = Peer::new(&setup.port);
    assert_eq!(setup.ask(AgentCommand::Ping), Err(AgentError::NotConnected));
    peer.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(peer.command(), None, "nothing is said to a port that is closed");
}

#[test]
fn programs_run_and_say_how_they_ended() {
    let mut looks = 0;
    let (setup, _) = Setup::answering(move |name, arguments| match name {
        "guest-exec" => {
            assert_eq!(arguments["path"], "/bin/true");
            assert_eq!(arguments["arg"], json!(["a", "b"]));
            assert_eq!(arguments["input-data"], "aW4=");
            json!({ "pid": 77 })
        }
        "guest-exec-status" => {
            assert_eq!(arguments["pid"], 77);
            looks += 1;
            if looks < 4 {
                json!({ "exited": false })
            } else {
                json!({ "exited": true, "exitcode": 3, "out-data": "aGk=" })
            }
        }
        _ => Value::Null,
    });
    setup.connected();
    let Ok(AgentAnswer::Exec(outcome)) = setup.ask(exec(&["/bin/true", "a", "b"])) else {
        panic!("no outcome")
    };
    assert_eq!((outcome.exit_code, outcome.stdout.as_slice()), (Some(3), &b"hi"[..]));
    assert!(matches!(setup.ask(exec(&[])), Err(AgentError::Invalid(_))));
    assert!(matches!(setup.ask(exec(&["x", &"y".repeat(200 << 10)])), Err(AgentError::Invalid(_))));
}

#[test]
fn a_program_that_never_ends_is_not_waited_for() {
    let (setup, _) = Setup::answering(|name, _| match name {
        "guest-exec" => json!({ "pid": 5 }),
        "guest-exec-status" => json!({ "exited": false }),
        _ => Value::Null,
    });
    setup.connected();
    let timeout = Duration::from_millis(300);
    let request = ExecRequest { argv: vec!["sleep".into()], input: Vec::new(), timeout };
    let answer = setup.ask_later(AgentCommand::Exec(request));
    assert_eq!(setup.ask(AgentCommand::Ping), Ok(AgentAnswer::Done), "others are served meanwhile");
    assert_eq!(answer.recv().unwrap(), Err(AgentError::StillRuns { pid: 5, after: timeout }));
}

#[test]
fn what_is_frozen_is_thawed_in_time() {
    // All that is asked of a frozen guest has to be asked within that time.
    const FROZEN: Duration = Duration::from_secs(8);
    let frozen = Arc::new(Mutex::new(false));
    let state = Arc::clone(&frozen);
    let (setup, _) = Setup::answering(move |name, _| match name {
        "guest-fsfreeze-freeze" => {
            *state.lock().unwrap() = true;
            json!(2)
        }
        "guest-fsfreeze-thaw" => {
            *state.lock().unwrap() = false;
            json!(2)
        }
        "guest-fsfreeze-status" if *state.lock().unwrap() => json!("frozen"),
        _ => Value::Null,
    });
    setup.connected();
    let known = || setup.agent.handle().known_freeze();
    assert_eq!(known(), KnownFreeze::default());
    let before = Instant::now();
    let thaw_after = Some(FROZEN);
    assert_eq!(setup.ask(AgentCommand::Freeze { thaw_after }), Ok(AgentAnswer::Done));
    match known() {
        // A test that is kept waiting may find it thawed.
        KnownFreeze { frozen: true, thaws: Some(at) } => {
            assert!(at <= Instant::now() + FROZEN)
        }
        other => assert!(before.elapsed() >= FROZEN, "{other:?}"),
    }
    assert!(*frozen.lock().unwrap());
    assert_eq!(setup.ask(AgentCommand::Users), Err(AgentError::Frozen));
    assert_eq!(
        setup.ask(AgentCommand::Freeze { thaw_after: None }),
        Ok(AgentAnswer::Done),
        "it is frozen already"
    );
    setup.report_of(|report| (report == AgentReport::Freeze(FreezeStatus::Frozen)).then_some(()));
    setup.report_of(|report| (report == AgentReport::Freeze(FreezeStatus::Thawed)).then_some(()));
    assert!(before.elapsed() >= FROZEN);
    assert!(!*frozen.lock().unwrap());
    assert_eq!(setup.ask(AgentCommand::Users), Ok(AgentAnswer::Users(Vec::new())));
}

/// How often a guest is told to thaw that comes from elsewhere with file systems in this state, or is reset before it is met.
fn thaws_of_an_arrival(status: &'static str, is_reset: bool) -> usize {
    const AFTER: Duration = Duration::from_millis(300);
    let thaws = Arc::new(Mutex::new(0));
    let count = Arc::clone(&thaws);
    let mut setup = Setup::arriving(AFTER);
    // By the second answer, the thread has heard of the port, too.
    for _ in 0..2 {
        assert_eq!(setup.ask(AgentCommand::Ping), Err(AgentError::NotConnected));
    }
    // It takes a while to come, and is not late for that.
    std::thread::sleep(Duration::from_millis(400));
    if is_reset {
        setup.port = setup.agent.handle().plug().unwrap();
    }
    let opened = Instant::now();
    let answer = move |name: &str, _: &Value| match name {
        "guest-fsfreeze-status" if *count.lock().unwrap() == 0 => json!(status),
        "guest-fsfreeze-thaw" => {
            assert!(opened.elapsed() >= AFTER, "it is thawed too early");
            *count.lock().unwrap() += 1;
            json!(1)
        }
        _ => Value::Null,
    };
    let (setup, _) = setup.opened(move |peer| peer.answer_all(answer));
    setup.report_of(|report| matches!(report, AgentReport::Freeze(_)).then_some(()));
    std::thread::sleep(AFTER * 3);
    let is_due = status == "frozen" && !is_reset;
    let end = Instant::now() + Duration::from_secs(60);
    while is_due && *thaws.lock().unwrap() == 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    *thaws.lock().unwrap()
}

#[test]
fn who_comes_frozen_is_thawed_even_if_nobody_here_has_frozen_it() {
    assert_eq!(thaws_of_an_arrival("frozen", false), 1);
    assert_eq!(thaws_of_an_arrival("thawed", false), 0);
    assert_eq!(thaws_of_an_arrival("frozen", true), 0, "a guest that starts anew is no arrival");
}

#[test]
fn a_freeze_that_fails_leaves_nothing_frozen() {
    let thaws = Arc::new(Mutex::new(0));
    let count = Arc::clone(&thaws);
    let (setup, _) = Setup::answering(move |name, _| match name {
        "guest-fsfreeze-freeze" => json!({ "error": { "class": "GenericError", "desc": "no \u{7} way" } }),
        "guest-fsfreeze-thaw" => {
            *count.lock().unwrap() += 1;
            json!(0)
        }
        _ => Value::Null,
    });
    setup.connected();
    let freeze = AgentCommand::Freeze { thaw_after: None };
    assert_eq!(setup.ask(freeze), Err(AgentError::Refused("no \u{fffd} way".into())));
    assert!(setup.ask(AgentCommand::Ping).is_ok() && setup.ask(AgentCommand::Ping).is_ok());
    assert_eq!(*thaws.lock().unwrap(), 1);
}

#[test]
fn a_shutdown_is_not_answered() {
    let (setup, _) = Setup::with(|peer| {
        while let Some(command) = peer.command() {
            if command["execute"] == "guest-shutdown" {
                assert_eq!(command["arguments"], json!({ "mode": "reboot" }));
            } else {
                let answer = super::peer::usual(command["execute"].as_str().unwrap(), &command["arguments"]);
                peer.reply(&command, answer);
            }
        }
    });
    setup.connected();
    assert_eq!(setup.ask(AgentCommand::ShutDown(ShutdownMode::Reboot)), Ok(AgentAnswer::Done));
    assert_eq!(setup.ask(AgentCommand::Ping), Ok(AgentAnswer::Done), "one that does nothing is there still");
}

#[test]
fn a_paused_guest_is_asked_nothing() {
    let (setup, _) = Setup::answering(|_, _| Value::Null);
    setup.connected();
    setup.agent.handle().set_paused(true);
    assert_eq!(setup.ask(AgentCommand::Ping), Err(AgentError::Paused));
    setup.agent.handle().set_paused(false);
    assert_eq!(setup.ask(AgentCommand::Ping), Ok(AgentAnswer::Done));
}

#[test]
fn an_agent_of_old_that_leaves_numbers_out_is_understood() {
    let (setup, _) = Setup::with(|peer| {
        while let Some(mut command) = peer.command() {
            command.as_object_mut().unwrap().remove("id");
            let answer = super::peer::usual(command["execute"].as_str().unwrap(), &command["arguments"]);
            peer.reply(&command, answer);
        }
    });
    setup.connected();
    assert_eq!(setup.ask(AgentCommand::Ping), Ok(AgentAnswer::Done));
}

#[test]
fn a_machine_that_was_reset_has_another_agent() {
    let (mut setup, first) = Setup::answering(|_, _| Value::Null);
    setup.connected();
    setup.port = setup.agent.handle().plug().unwrap();
    assert!(setup.lost().contains("reset"));
    first.join().unwrap();
    assert_eq!(setup.ask(AgentCommand::Ping), Err(AgentError::NotConnected));
    let mut peer = Peer::new(&setup.port);
    let second = std::thread::spawn(move || peer.answer_all(|_, _| Value::Null));
    setup.port.watcher.guest_open(true);
    setup.connected();
    drop(setup);
    second.join().unwrap();
}
