//! Agents that lie, flood, stall and stammer.

use std::io::Write;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::peer::{Setup, usual};
use crate::agent::{AgentAnswer, AgentCommand, AgentError};

#[test]
fn a_flood_in_place_of_an_agent_ends_the_attempt() {
    let (setup, flood) = Setup::with(|peer| {
        let block = vec![b'x'; 1 << 20];
        // The writer stands still as soon as the flood is noticed, until the machine ends.
        let mut written = 0u64;
        while written < 1 << 30 && peer.stream.write_all(&block).is_ok() {
            written += 1 << 20;
        }
        assert!(written < 100 << 20, "{written} bytes of a flood were taken");
    });
    let before = Instant::now();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(setup.ask(AgentCommand::Ping), Err(AgentError::NotConnected));
    assert!(before.elapsed() < Duration::from_secs(60));
    setup.port.stream.shutdown(std::net::Shutdown::Both).unwrap();
    drop(setup);
    flood.join().unwrap();
}

#[test]
fn a_flood_in_place_of_an_answer_loses_the_agent() {
    let (setup, _) = Setup::with(|peer| {
        peer.greet();
        let command = peer.command().unwrap();
        assert_eq!(command["execute"], "guest-fsfreeze-status");
        let line = [&[b'['; 100_000][..], b"\n"].concat();
        while peer.stream.write_all(&line).is_ok() {}
    });
    assert!(setup.lost().contains("more than it was asked"));
    setup.port.stream.shutdown(std::net::Shutdown::Both).unwrap();
}

#[test]
fn lies_are_told_from_answers() {
    let (setup, _) = Setup::answering(|name, _| match name {
        "guest-get-users" => json!("a text instead of a list"),
        "guest-get-fsinfo" => json!([{ "name": 7 }]),
        "guest-get-osinfo" => json!("Windows"),
        _ => Value::Null,
    });
    setup.connected();
    assert_eq!(setup.ask(AgentCommand::Users), Err(AgentError::Odd("guest-get-users")));
    assert_eq!(setup.ask(AgentCommand::FileSystems), Err(AgentError::Odd("guest-get-fsinfo")));
    let Ok(AgentAnswer::Info(facts)) = setup.ask(AgentCommand::Info) else { panic!("no facts") };
    let guest = facts.guest;
    assert_eq!((guest.os, guest.host_name.as_str()), (None, "guest"));
}

#[test]
fn answers_to_others_are_skipped() {
    let (setup, _) = Setup::with(|peer| {
        while let Some(command) = peer.command() {
            if command["execute"] != "guest-sync-delimited" {
                peer.say(b"{\"return\": 1, \"id\": 4}\n{\"return\": {}, \"id\": \"text\"}\n");
                peer.say(b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"x\"}, \"id\": 5}\ngarbage\n\n[]\n");
                peer.say(&[&b"{\"return\": "[..], &[b'['; 5000], b"\n"].concat());
            }
            let answer = usual(command["execute"].as_str().unwrap(), &command["arguments"]);
            peer.reply(&command, answer);
        }
    });
    setup.connected();
    assert_eq!(setup.ask(AgentCommand::Ping), Ok(AgentAnswer::Done));
}

#[test]
fn an_answer_that_is_too_long_is_left_out() {
    let (setup, _) = Setup::answering(|name, _| match name {
        "guest-get-users" => json!("x".repeat(2 << 20)),
        _ => Value::Null,
    });
    setup.connected();
    assert_eq!(setup.ask(AgentCommand::Users), Err(AgentError::TooLong(1 << 20)));
    assert_eq!(setup.ask(AgentCommand::Ping), Ok(AgentAnswer::Done));
}

#[test]
fn an_agent_that_stops_in_mid_message_is_lost_when_its_port_closes() {
    let (setup, peer) = Setup::with(|peer| {
        peer.greet();
        peer.command().unwrap();
        peer.say(b"{\"return\": \"tha");
        peer.discard_all();
    });
    setup.connected();
    let answer = setup.ask_later(AgentCommand::Ping);
    std::thread::sleep(Duration::from_millis(50));
    setup.port.watcher.guest_open(false);
    assert!(setup.lost().contains("closed"));
    assert!(matches!(answer.recv().unwrap(), Err(AgentError::NotConnected | AgentError::Lost(_))));
    drop(setup);
    peer.join().unwrap();
}

#[test]
fn an_agent_that_falls_silent_is_lost_and_found_again() {
    let (setup, peer) = Setup::with(|peer| {
        peer.greet();
        // The answers to what was asked in the meantime come late, all at once.
        let mut asked = Vec::new();
        while let Some(command) = peer.command() {
            let is_sync = command["execute"] == "guest-sync-delimited";
            asked.push(command);
            if is_sync && asked.len() > 2 {
                for command in std::mem::take(&mut asked) {
                    let answer = usual(command["execute"].as_str().unwrap(), &command["arguments"]);
                    peer.reply(&command, answer);
                }
                return peer.answer_all(|_, _| Value::Null);
            }
        }
    });
    setup.connected();
    assert!(setup.lost().contains("does not answer"));
    setup.connected();
    assert_eq!(setup.ask(AgentCommand::Ping), Ok(AgentAnswer::Done));
    drop(setup);
    peer.join().unwrap();
}

#[test]
fn a_port_that_flutters_keeps_the_thread_quiet() {
    let (setup, peer) = Setup::answering(|_, _| Value::Null);
    setup.connected();
    let begun = Instant::now();
    for _ in 0..20_000 {
        setup.port.watcher.guest_open(false);
        setup.port.watcher.guest_open(true);
    }
    std::thread::sleep(Duration::from_millis(300));
    let reports = setup.reports.try_iter().count();
    // An agent is greeted once in a second.
    let attempts = usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!(reports < 20 + 10 * attempts, "{reports} reports");
    drop(setup);
    peer.join().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Whatever comes, every command is answered, and the thread ends when it is told to.
    #[test]
    fn garbage_is_survived(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just(b"\n".to_vec()),
                Just(b"\xff".to_vec()),
                Just(b"{\"return\": {}}\n".to_vec()),
                Just(b"{\"return\": ".to_vec()),
                Just(b"{\"error\": {\"class\": 5}}\n".to_vec()),
                Just(b"\"\\ud800\"\n".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..300),
            ],
            0..60,
        ),
        greeted in any::<bool>(),
    ) {
        let (setup, peer) = Setup::with(move |peer| {
            if greeted {
                peer.greet();
            }
            for piece in pieces {
                peer.say(&piece);
            }
            if greeted {
                // Else the answer is no line of its own, and is waited for in vain.
                peer.say(b"\n");
            }
            peer.answer_all(|_, _| Value::Null);
        });
        setup.connected();
        prop_assert!(setup.ask(AgentCommand::Ping).is_ok());
        drop(setup);
        peer.join().unwrap();
    }
}
