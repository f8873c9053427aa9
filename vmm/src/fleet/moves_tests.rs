use std::io::{Read, Write};

use spec::Manifests;

use super::*;

const ORDERS: &str = "
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstanceMigration
metadata: {name: a}
spec: {vmiName: vm, sendTo: {migrationID: m, connectURL: 'unix:/x'}}
---
apiVersion: migrations.kubevirt.io/v1alpha1
kind: MigrationPolicy
metadata: {name: p}
spec: {selectors: {virtualMachineInstanceSelector: {a: b}}}
";

fn ordered() -> Ordered {
    let manifests = Manifests::parse("orders.yaml", ORDERS).unwrap();
    let verdicts: Vec<_> =
        manifests.documents.iter().map(|document| spec::admit(document, &manifests)).collect();
    Ordered::of(&verdicts)
}

impl Moves {
    /// These, which stay as they are: nobody looks after them.
    pub(in super::super) fn at_rest(folder: &Path, all: Vec<VirtualMachineInstanceMigration>) -> Self {
        let (to, _) = mpsc::channel();
        Self { known: Arc::new(Mutex::new(Known { all, file: folder.join(FILE) })), to }
    }

    /// Has them be at this phase.
    pub(in super::super) fn enter(&self, phase: MigrationPhase) {
        for migration in &mut self.lock().all {
            *migration = with_phase(migration, phase, "");
        }
    }
}

#[test]
fn orders_wait_for_their_machines_and_are_not_begun_twice() {
    let folder = tempfile::tempdir().unwrap();
    let moves = Moves::begin(folder.path(), folder.path().join("run"), ordered()).unwrap();
    let known = moves.all();
    assert_eq!((known.len(), phase_of(&known[0])), (1, MigrationPhase::Pending));
    assert!(!known[0].metadata.uid.is_empty());
    let mut other = known[0].clone();
    assert_eq!(moves.add(other.clone()), Err(NotTaken::Exists));
    other.metadata.name = "b".into();
    assert_eq!(moves.add(other.clone()), Err(NotTaken::InFlight));
    other.spec.vmi_name = "another".into();
    assert_eq!(moves.add(other), Ok(()));
    // What an earlier supervisor has begun stays as it is.
    let done = with_phase(&known[0], MigrationPhase::Succeeded, "");
    fs::write(folder.path().join(FILE), serde_json::to_vec(&[&done]).unwrap()).unwrap();
    let again = Moves::begin(folder.path(), folder.path().join("run"), ordered()).unwrap();
    assert_eq!(again.all(), [done]);
}

#[test]
fn what_is_taken_is_written_down_before_it_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let moves = Moves::begin(folder.path(), folder.path().join("run"), Ordered::default()).unwrap();
    let migration = ordered().migrations.remove(0);
    assert_eq!(moves.add(migration.clone()), Ok(()));
    let text = fs::read(folder.path().join(FILE)).unwrap();
    let known: Vec<VirtualMachineInstanceMigration> = serde_json::from_slice(&text).unwrap();
    assert_eq!(known, [migration]);
}

#[test]
fn one_whose_machine_has_left_nothing_fails_once_it_has_begun() {
    let folder = tempfile::tempdir().unwrap();
    let (run, machine) = (folder.path().join("run"), "default/vm".parse().unwrap());
    let begun = with_phase(&ordered().migrations[0], MigrationPhase::Running, "");
    // The second machine's directory is there, and nothing in it.
    let mut second = begun.clone();
    (second.metadata.name, second.spec.vmi_name) = ("b".into(), "empty".into());
    fs::create_dir_all(run.join("default/empty")).unwrap();
    fs::write(folder.path().join(FILE), serde_json::to_vec(&[&begun, &second]).unwrap()).unwrap();
    let moves = Moves::begin(folder.path(), run, Ordered::default()).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while !moves.all().iter().all(|migration| phase_of(migration) == MigrationPhase::Failed) {
        assert!(std::time::Instant::now() < end, "{:?}", moves.all());
        thread::sleep(Duration::from_millis(5));
    }
    let state = moves.all()[0].status.clone().unwrap().migration_state.unwrap();
    assert_eq!((state.failed, state.failure_reason.as_str()), (true, GONE));
    assert!(!moves.looks_at(&machine));
}

#[test]
fn what_is_forgotten_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let moves = Moves::begin(folder.path(), folder.path().join("run"), ordered()).unwrap();
    let wanted: Key = "default/a".parse().unwrap();
    assert!(moves.forget(&wanted) && !moves.forget(&"default/z".parse().unwrap()));
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while moves.find(&wanted).is_some() {
        assert!(std::time::Instant::now() < end);
        thread::sleep(Duration::from_millis(5));
    }
}

/// A machine's process that knows `known` of its migrations and takes any other; what it is asked, and what is written down then.
fn process(folder: &Path, known: Option<VirtualMachineInstanceMigration>) -> Receiver<(String, String)> {
    let directory = folder.join("run/default/vm");
    fs::create_dir_all(&directory).unwrap();
    let listener = net::socket::listen(&directory.join(crate::api::SOCKET)).unwrap();
    let (file, (to, asked)) = (folder.join(FILE), mpsc::channel());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut text = vec![0; 1 << 16];
            let count = stream.read(&mut text).unwrap();
            let text = String::from_utf8_lossy(&text[..count]);
            // Whoever only looks whether it runs says nothing.
            let Some(line) = text.lines().next().map(str::to_owned) else { continue };
            let is_migration = line.contains("/virtualmachineinstancemigrations/");
            let (code, body) = match &known {
                Some(known) if is_migration => (200, json!(known)),
                None if is_migration => (404, json!({})),
                _ => (200, json!({"status": {"phase": "Running"}})),
            };
            let _ = to.send((line, fs::read_to_string(&file).unwrap_or_default()));
            let body = body.to_string();
            write!(stream, "HTTP/1.1 {code} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    asked
}

#[test]
fn what_an_earlier_supervisor_asked_for_is_not_asked_for_twice() {
    let pending = with_phase(&named(), MigrationPhase::Pending, "");
    let running = with_phase(&pending, MigrationPhase::Running, "");
    for (left, known, is_put) in [
        (None, None, true),
        // It died before it had asked.
        (Some(&pending), None, true),
        // It died before it had written down that it did.
        (Some(&pending), Some(running), false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        if let Some(left) = left {
            fs::write(folder.path().join(FILE), serde_json::to_vec(&[left]).unwrap()).unwrap();
        }
        let asked = process(folder.path(), known);
        let moves = Moves::begin(folder.path(), folder.path().join("run"), ordered()).unwrap();
        let uid = moves.all()[0].metadata.uid.clone();
        let wait = Duration::from_secs(10);
        if !is_put {
            let end = std::time::Instant::now() + wait;
            while phase_of(&moves.all()[0]) != MigrationPhase::Running {
                assert!(std::time::Instant::now() < end, "{:?}", moves.all());
                thread::sleep(Duration::from_millis(5));
            }
            assert!(asked.try_iter().all(|(line, _)| line.starts_with("GET ")));
            continue;
        }
        let written = std::iter::from_fn(|| asked.recv_timeout(wait).ok())
            .find_map(|(line, written)| line.starts_with("PUT ").then_some(written));
        let written: Vec<VirtualMachineInstanceMigration> =
            serde_json::from_str(&written.expect("it is asked")).unwrap();
        assert_eq!((is_asked(&written[0]), &written[0].metadata.uid), (true, &uid));
    }
}

/// The order of the manifests, with an ID.
fn named() -> VirtualMachineInstanceMigration {
    let mut migration = ordered().migrations.remove(0);
    name(&mut migration);
    migration
}

#[test]
fn a_manifest_says_nothing_of_how_far_a_migration_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut ordered = ordered();
    ordered.migrations[0] = with_phase(&ordered.migrations[0], MigrationPhase::Succeeded, "");
    let moves = Moves::begin(folder.path(), folder.path().join("run"), ordered).unwrap();
    let known = moves.all().remove(0);
    assert_eq!(known.status, None);
    // Another supervisor gives it no other ID.
    let text = fs::read(folder.path().join(FILE)).unwrap();
    assert_eq!(serde_json::from_slice::<Vec<VirtualMachineInstanceMigration>>(&text).unwrap(), [known]);
}
