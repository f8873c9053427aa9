use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use serde_json::Value;
use spec::api::{MigrationState, VirtualMachineInstanceMigration};
use spec::{Manifests, Places};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::*;
use crate::plan::{self, Options};
use crate::status::{Deleted, EVENTS_FILE, MigrationPhase, VMI_FILE};

const MANIFEST: &str = "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: x}\n\
spec:\n  terminationGracePeriodSeconds: 5\n  domain:\n    memory: {guest: 256Mi}\n    cpu: {sockets: 2, cores: 3}\n    \
devices:\n      autoattachPodInterface: false\n      disks: [{name: d, disk: {bus: virtio}}]\n  \
volumes: [{name: d, emptyDisk: {capacity: 1Gi}}]\n";

fn keeper() -> StatusKeeper {
    let manifests = Manifests::parse("x", MANIFEST).unwrap();
    let verdict = spec::admit(&manifests.documents[0], &manifests);
    let vmi = verdict.machine().unwrap();
    let options = Options { kernel: Some("vmlinux".into()), ..Options::default() };
    let resolved = spec::resolve(vmi, &manifests, &Places::default());
    let (plan, _) = plan::make(vmi, &options, &resolved, &plan::Surroundings::default())
        .map_err(|errors| errors[0].to_string())
        .unwrap();
    StatusKeeper::new(vmi.clone(), &plan)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn condition<'a>(vmi: &'a Value, kind: &str) -> Option<&'a Value> {
    let all = vmi["status"]["conditions"].as_array().unwrap();
    all.iter().find(|condition| condition["type"] == kind)
}

#[test]
fn a_life_is_told_as_kubevirt_tells_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut keeper = keeper();
    keeper.write_to(directory.path());
    let board = keeper.board();
    let first = board.current();
    let wake = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
    let subscription = board.watch(Arc::clone(&wake));
    keeper.enter(Phase::Scheduling);
    keeper.publish();
    keeper.enter(Phase::Running);
    keeper.tell(EventReason::Started, "VirtualMachineInstance started.");
    keeper.publish();
    keeper.publish();
    assert_eq!(wake.read().unwrap(), 3, "two versions and an event");

    let running = json(&board.current().text);
    let status = &running["status"];
    assert_eq!(status["phase"], "Running");
    assert_eq!(status["currentCPUTopology"], json(r#"{"sockets": 2, "cores": 3, "threads": 1}"#));
    assert_eq!(status["memory"]["guestCurrent"], "256Mi");
    assert_eq!(status["machine"]["type"], "q35");
    assert_eq!(status["volumeStatus"], json(r#"[{"name": "d", "target": "vda"}]"#));
    assert_eq!(condition(&running, "Ready").unwrap()["status"], "True");
    assert!(condition(&running, "Paused").is_none());

    keeper.set_pause(Some(Pause::User));
    keeper.publish();
    let paused = json(&board.current().text);
    assert_eq!(condition(&paused, "Paused").unwrap()["reason"], "PausedByUser");
    assert_eq!(condition(&paused, "Ready").unwrap()["status"], "False");

    drop(subscription);
    let _ = wake.read();
    keeper.end(&ExitReason::GuestShutdown, false);
    assert!(wake.read().is_err(), "nobody watches any more");
    let phases: Vec<_> =
        board.since(first.version - 1).iter().map(|p| json(&p.text)["status"]["phase"].clone()).collect();
    assert_eq!(phases, ["Pending", "Scheduling", "Running", "Running", "Succeeded"]);
    let versions: Vec<_> = board.since(0).iter().map(|published| published.version).collect();
    assert!(versions.is_sorted());
    assert_eq!(board.events(1).iter().map(|event| event.reason).collect::<Vec<_>>(), ["Stopped"]);

    let file = json(&fs::read_to_string(directory.path().join(VMI_FILE)).unwrap());
    assert_eq!(file, json(&board.current().text));
    assert_eq!(file["status"]["phaseTransitionTimestamps"].as_array().unwrap().len(), 4);
    let events = fs::read_to_string(directory.path().join(EVENTS_FILE)).unwrap();
    let last = json(events.lines().last().unwrap());
    assert_eq!(
        (&last["kind"], &last["reason"], &last["type"]),
        (&"Event".into(), &"Stopped".into(), &"Normal".into())
    );
    assert_eq!(last["involvedObject"]["uid"], file["metadata"]["uid"]);
}

#[test]
fn ends_have_the_phases_that_kubevirt_gives_them() {
    let ends = [
        (ExitReason::GuestShutdown, false, "Succeeded"),
        (ExitReason::Terminated, false, "Succeeded"),
        (ExitReason::Killed, false, "Failed"),
        (ExitReason::Killed, true, "Succeeded"),
        (ExitReason::InDoubt { to: "unix:/x".into() }, true, "Failed"),
        (ExitReason::GuestPanic, false, "Failed"),
        (ExitReason::TripleFault { vcpu: 0 }, true, "Failed"),
        (ExitReason::HostFailure { message: "x".into() }, false, "Failed"),
    ];
    for (reason, at_once, phase) in ends {
        let mut keeper = keeper();
        keeper.enter(Phase::Running);
        keeper.end(&reason, at_once);
        assert_eq!(json(&keeper.board().current().text)["status"]["phase"], phase, "{reason:?}");
    }
}

#[test]
fn who_sees_a_migration_end_finds_its_end_at_the_machine() {
    let mut keeper = keeper();
    let board = keeper.board();
    let mut migration = VirtualMachineInstanceMigration::default();
    migration.metadata.name = "m".into();
    keeper.migration_begins(migration);
    keeper.update(|status| status.migration_state = Some(MigrationState::default()));
    keeper.migration_reaches(MigrationPhase::Running);
    assert_eq!(keeper.delete_migration("m"), Some(Deleted::Aborts));
    keeper.update(|status| status.migration_state.as_mut().unwrap().completed = true);
    assert_eq!(board.migrations().len(), 1);
    keeper.migration_reaches(MigrationPhase::Failed);
    assert!(board.migrations().is_empty());
    assert_eq!(json(&board.current().text)["status"]["migrationState"]["completed"], true);
}

/// A device that is always full stands for a disk that is.
#[test]
fn a_full_disk_stops_nothing_and_is_written_to_again() {
    let directory = tempfile::tempdir().unwrap();
    let partial = directory.path().join(".vmi.json.partial");
    symlink("/dev/full", &partial).unwrap();
    symlink("/dev/full", directory.path().join(EVENTS_FILE)).unwrap();
    let mut keeper = keeper();
    keeper.write_to(directory.path());
    assert!(keeper.retry_in().is_some_and(|left| left > Duration::ZERO && left <= AGAIN));
    assert!(!directory.path().join(VMI_FILE).exists());
    keeper.tell(EventReason::Started, "");
    assert_eq!(keeper.board().events(0).len(), 1, "whoever listens hears of it");
    // There is room again: the partial file was removed, so that the next one is a true one.
    assert!(!partial.exists());
    keeper.again = Some(Instant::now());
    keeper.write_again();
    assert!(directory.path().join(VMI_FILE).exists() && keeper.retry_in().is_none());
}
