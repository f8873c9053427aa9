use std::fs;
use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Instant;

use serde_json::Value;

use spec::api::VirtualMachineInstanceMigration;

use super::super::orders::orders;
use super::super::strategy::{End, Order, Strategy};
use super::super::wanted::Owner;
use super::*;
use crate::api::SOCKET;
use crate::migration::record::{Owner as Has, Record as Move, Records};
use crate::migration::wire::Session;
use crate::open::RuntimeDir;
use crate::status::MigrationPhase;

/// How long something takes at most that does not hang: longer than a machine may take to answer.
const LATE: Duration = Duration::from_secs(120);

/// A supervisor of one machine that always runs, below `root`.
fn supervisor(root: &Path) -> Supervisor {
    let folder = Folder::take(root, "web").unwrap();
    let launch = Launch { files: Vec::new(), options: Vec::new(), runtime: root.to_owned() };
    let owner = Owner::Machine(Strategy::Always);
    let wanted = Wanted { key: key(), owner, grace: 1, object: Value::Null };
    let (_, inbox) = orders().unwrap();
    Supervisor::new(folder, launch, vec![wanted], Signals::block().unwrap(), inbox).unwrap()
}

fn key() -> Key {
    "default/vm".parse().unwrap()
}

#[test]
fn that_a_machine_has_moved_is_known_however_often_a_supervisor_dies_before_it_has_written_it_down() {
    let root = tempfile::tempdir().unwrap();
    // The first one has started the machine, on a user's order, and dies while it moves away.
    let mut first = supervisor(root.path());
    let wanted = first.wanted.clone();
    first.populate(&wanted[0], 1);
    let instance = first.record.instances.get_mut(&key()).unwrap();
    instance.ordered(Order::Start);
    instance.starts_at(1);
    let report = first.folder.exit(&key(), 1);
    first.save();
    drop(first);
    fs::write(&report, r#"{"reason":"migrated","exitCode":0}"#).unwrap();
    // The second one dies before it writes anything.
    drop(supervisor(root.path()));
    let mut third = supervisor(root.path());
    let instance = &third.record.instances[&key()];
    assert_eq!((instance.up, instance.last), (false, Some(End::Moved)));
    assert_eq!(instance.step(2, false), Step::Nothing, "it runs elsewhere");
    assert!(report.exists(), "nothing else says so as yet");
    third.save();
    assert!(!report.exists(), "the record says so now");
    drop(third);
    assert_eq!(supervisor(root.path()).record.instances[&key()].last, Some(End::Moved));
}

#[test]
fn what_a_machine_that_has_moved_leaves_behind_stays_until_the_mover_has_looked_at_it() {
    let root = tempfile::tempdir().unwrap();
    let mut migration = VirtualMachineInstanceMigration::default();
    migration.metadata.namespace = "default".into();
    migration.spec.vmi_name = "vm".into();
    let moves = Moves::at_rest(root.path(), vec![migration]);
    let mut fleet = supervisor(root.path()).with_moves(moves.clone());
    let wanted = std::mem::take(&mut fleet.wanted);
    fleet.populate(&wanted[0], 1);
    let left = root.path().join("default/vm");
    drop(RuntimeDir::create(root.path(), "default", "vm").unwrap());
    assert!(left.is_dir());
    let instance = fleet.record.instances.get_mut(&key()).unwrap();
    (instance.leaving, instance.last) = (true, Some(End::Moved));
    moves.enter(MigrationPhase::Running);
    assert_eq!(fleet.settle(), Some(SOON));
    assert!(left.is_dir() && fleet.record.instances.contains_key(&key()));
    moves.enter(MigrationPhase::Succeeded);
    assert_eq!(fleet.settle(), None);
    assert!(!left.exists() && fleet.record.instances.is_empty());
}

#[test]
fn a_machine_that_may_run_elsewhere_keeps_its_name_when_it_is_scaled_away() {
    let root = tempfile::tempdir().unwrap();
    let mut fleet = supervisor(root.path());
    let owner = Owner::Pool { strategy: Strategy::Always, replicas: 1, paused: false };
    let pool = Wanted { key: "default/pool".parse().unwrap(), owner, grace: 1, object: Value::Null };
    let member = |number| Key { name: format!("pool-{number}"), ..pool.key.clone() };
    fleet.populate(&pool, 1);
    assert!(fleet.record.instances.contains_key(&member(0)));
    let runtime = RuntimeDir::create(root.path(), "default", "pool-0").unwrap();
    let word = Move { session: Session::new([1; 16]), owner: Has::There, peer: "unix:/x".into() };
    Records::new(runtime.path()).write(&word).unwrap();
    drop(runtime);
    fleet.forget(&member(0));
    assert!(RuntimeDir::elsewhere(root.path(), "default", "pool-0").is_some());
    fleet.populate(&pool, 2);
    assert!(fleet.record.instances.contains_key(&member(1)), "another one has its name");
    fleet.forget(&member(1));
    // Somebody has looked.
    RuntimeDir::remove(root.path(), "default", "pool-0").unwrap();
    fleet.populate(&pool, 3);
    assert!(fleet.record.instances.contains_key(&member(0)));
}

/// A process that is said to run a machine, and what is there of that machine.
struct Hung {
    process: Child,
    socket: UnixListener,
    _runtime: RuntimeDir,
}

impl Hung {
    fn new(root: &Path, key: &Key) -> Self {
        let process = Command::new("sleep").arg("600").spawn().unwrap();
        let runtime = RuntimeDir::create(root, &key.namespace, &key.name).unwrap();
        fs::write(RuntimeDir::lock_of(root, &key.namespace, &key.name), process.id().to_string()).unwrap();
        let socket = net::socket::listen(&runtime.path().join(SOCKET)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { process, socket, _runtime: runtime }
    }

    /// Waits until it is asked something.
    fn asked(&self) -> UnixStream {
        let begun = Instant::now();
        loop {
            match self.socket.accept() {
                Ok((connection, _)) => return connection,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            assert!(begun.elapsed() < LATE, "it is not asked");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn machines_that_do_not_answer_keep_no_other_from_being_ended_by_force() {
    let root = tempfile::tempdir().unwrap();
    let keys = [0, 1, 2].map(|number| format!("default/pool-{number}").parse().unwrap());
    // Before the supervisor: its thread has signals blocked, and so would they have.
    let mut machines: Vec<Hung> = keys.iter().map(|key| Hung::new(root.path(), key)).collect();
    let mut fleet = supervisor(root.path());
    let owner = Owner::Pool { strategy: Strategy::Always, replicas: 3, paused: false };
    let pool = Wanted { key: "default/pool".parse().unwrap(), owner, grace: 1, object: Value::Null };
    fleet.populate(&pool, 1);
    for key in &keys {
        assert_eq!(fleet.start(key, 1), None, "it is found to run");
    }
    assert_eq!(fleet.running.len(), 3);
    thread::scope(|scope| {
        let machines = &machines;
        scope.spawn(move || {
            // None answers before all were asked.
            let asked = machines.iter().map(Hung::asked);
            for mut connection in asked.collect::<Vec<_>>() {
                let _ = connection.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
            }
        });
        fleet.close(true);
    });
    for machine in &mut machines {
        assert!(machine.process.try_wait().unwrap().is_none(), "it was not waited for its answer");
    }
    assert!(fleet.record.instances.values().all(|instance| instance.forced.is_some()));
}
