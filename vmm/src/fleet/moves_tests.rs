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
