//! Clones whose agents cannot tell their guest who it is.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::peer::Peer;
use crate::agent::identity::Teller;
use crate::agent::{Agent, AgentReport, NewIdentity};

#[test]
fn a_clone_whose_agent_may_not_run_programs_is_told_of_though_nothing_else_is_new() {
    let (sender, told) = channel();
    let teller = Teller::new(Some(NewIdentity::default()));
    let noting = teller.clone();
    let report = move |news: AgentReport| {
        let sender = sender.clone();
        noting.note(&news, move |report| sender.send(report).unwrap_or_default());
    };
    let agent = Agent::spawn(Vec::new(), None, report).unwrap();
    teller.reach_by(agent.handle());
    let port = agent.handle().plug().unwrap();
    let mut peer = Peer::new(&port);
    let peer = thread::spawn(move || {
        peer.answer_all(|name, _| match name {
            "guest-info" => {
                json!({ "version": "1", "supported_commands": [{ "name": "guest-get-host-name", "enabled": true }] })
            }
            _ => Value::Null,
        });
    });
    port.watcher.guest_open(true);
    let Ok(AgentReport::Identity(Err(why))) = told.recv_timeout(Duration::from_secs(60)) else {
        panic!("nobody hears of it");
    };
    assert!(why.contains("guest-exec"), "{why}");
    drop((agent, port));
    peer.join().unwrap();
}
