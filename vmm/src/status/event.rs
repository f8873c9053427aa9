//! Events: Kubernetes' Event objects (core/v1) about the machine.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use spec::api::VirtualMachineInstance;

use super::clock;

/// Who reports.
const COMPONENT: &str = "kubevmm";

/// Whether an event is cause for worry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It is not.
    Normal,
    /// It may be.
    Warning,
}

/// What an event is about: KubeVirt's words where it has any (staging/src/kubevirt.io/api/core/v1/types.go).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventReason {
    /// The machine is built.
    Created,
    /// Its guest runs.
    Started,
    /// It ended.
    Stopped,
    /// Its guest was asked to power off.
    ShuttingDown,
    /// Its user paused it.
    Paused,
    /// It goes on after a pause.
    Resumed,
    /// It waits for a disk of the host's.
    IoError,
    /// It was built again after a reset or a restart.
    Rebooted,
    /// A request was not carried out.
    Failed,
    /// It could not be started.
    SyncFailed,
    /// Its guest's kernel panicked.
    GuestPanicked,
    /// A probe of its guest's health failed.
    Unhealthy,
    /// Its guest let the watchdog run out.
    WatchdogExpired,
    /// Its guest has taken the address that it is told by DHCP.
    AddressLeased,
    /// A volume was put into a slot.
    VolumeAttached,
    /// Its guest has taken the volume into use.
    VolumeReady,
    /// Its guest has let the volume go.
    VolumeDetached,
    /// Its guest does not let the volume go.
    VolumeStuck,
    /// A network card was put into a slot.
    CardAttached,
    /// Its guest has taken the card into use.
    CardReady,
    /// Its guest has let the card go.
    CardDetached,
    /// Its guest does not let the card go.
    CardStuck,
    /// It is being moved.
    Migrating,
    /// It was moved, or has come.
    Migrated,
    /// It stays where it is.
    MigrationFailed,
    /// It stays, because somebody wanted it to.
    MigrationAborted,
    /// It cannot be told where it runs.
    MigrationInDoubt,
    /// It runs elsewhere as well.
    RunsElsewhere,
    /// The memory that it was brought back with is not what was saved.
    MemoryDamaged,
    /// Its guest goes by its new name, and has the new addresses.
    IdentityTaken,
    /// Its guest could not be told who it is now.
    IdentityRefused,
    /// The rest of its memory cannot be reached.
    MemoryLost,
    /// The rest of its memory can be reached again.
    MemoryBack,
    /// All of its memory has come.
    MemoryComplete,
}

impl EventReason {
    fn word(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Started => "Started",
            Self::Stopped => "Stopped",
            Self::ShuttingDown => "ShuttingDown",
            Self::Paused => "Paused",
            Self::Resumed => "Resumed",
            Self::IoError => "IOerror",
            Self::Rebooted => "Rebooted",
            Self::Failed => "Failed",
            Self::SyncFailed => "SyncFailed",
            Self::GuestPanicked => "GuestPanicked",
            Self::Unhealthy => "Unhealthy",
            Self::WatchdogExpired => "WatchdogExpired",
            Self::AddressLeased => "AddressLeased",
            Self::VolumeAttached => "VolumeAttached",
            Self::VolumeReady => "VolumeReady",
            Self::VolumeDetached => "VolumeDetached",
            Self::VolumeStuck => "VolumeDetachTimedOut",
            Self::CardAttached => "InterfaceAttached",
            Self::CardReady => "InterfaceReady",
            Self::CardDetached => "InterfaceDetached",
            Self::CardStuck => "InterfaceDetachTimedOut",
            Self::Migrating => "Migrating",
            Self::Migrated => "Migrated",
            Self::MigrationFailed => "FailedMigration",
            Self::MigrationAborted => "SuccessfulAbortMigration",
            Self::MigrationInDoubt => "MigrationInDoubt",
            Self::RunsElsewhere => "RunsElsewhere",
            Self::MemoryDamaged => "SnapshotDamaged",
            Self::IdentityTaken => "IdentityChanged",
            Self::IdentityRefused => "FailedIdentityChange",
            Self::MemoryLost => "MemoryUnreachable",
            Self::MemoryBack => "MemoryReachable",
            Self::MemoryComplete => "MemoryComplete",
        }
    }

    fn severity(self) -> Severity {
        match self {
            Self::IoError
            | Self::Failed
            | Self::SyncFailed
            | Self::GuestPanicked
            | Self::Unhealthy
            | Self::WatchdogExpired
            | Self::VolumeStuck
            | Self::CardStuck
            | Self::MigrationFailed
            | Self::MigrationInDoubt
            | Self::RunsElsewhere
            | Self::MemoryDamaged
            | Self::IdentityRefused
            | Self::MemoryLost => Severity::Warning,
            _ => Severity::Normal,
        }
    }
}

/// An event and its object.
#[derive(Debug)]
pub struct EventRecord {
    /// Its number in the life of this process, from 1.
    pub number: u64,
    /// Its resource version, among those of the machine.
    pub version: u64,
    /// What it is about, in one word.
    pub reason: &'static str,
    /// What there is to say.
    pub message: String,
    /// The Event object as JSON, in one line.
    pub text: Arc<str>,
}

impl EventRecord {
    /// The event `number` about `vmi`, that happened now, under the resource version `version`.
    pub(super) fn new(
        number: u64,
        version: u64,
        vmi: &VirtualMachineInstance,
        reason: EventReason,
        message: String,
    ) -> Self {
        let (now, metadata) = (SystemTime::now(), &vmi.metadata);
        let nanoseconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let time = clock::seconds(now);
        let object = Event {
            api_version: "v1",
            kind: "Event",
            metadata: Metadata {
                name: format!("{}.{nanoseconds:x}", metadata.name),
                namespace: vmi.namespace(),
                resource_version: version.to_string(),
                creation_timestamp: &time,
            },
            involved_object: Involved {
                api_version: &vmi.api_version,
                kind: &vmi.kind,
                name: &metadata.name,
                namespace: vmi.namespace(),
                uid: &metadata.uid,
            },
            reason: reason.word(),
            message: &message,
            source: Source { component: COMPONENT },
            first_timestamp: &time,
            last_timestamp: &time,
            count: 1,
            r#type: match reason.severity() {
                Severity::Normal => "Normal",
                Severity::Warning => "Warning",
            },
            reporting_component: COMPONENT,
            reporting_instance: "",
        };
        // Text and numbers always have a JSON form.
        let text = serde_json::to_string(&object).unwrap_or_default();
        Self { number, version, reason: reason.word(), message, text: text.into() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: Metadata<'a>,
    involved_object: Involved<'a>,
    reason: &'a str,
    message: &'a str,
    source: Source<'a>,
    first_timestamp: &'a str,
    last_timestamp: &'a str,
    count: u32,
    r#type: &'a str,
    reporting_component: &'a str,
    reporting_instance: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: String,
    namespace: &'a str,
    resource_version: String,
    creation_timestamp: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Involved<'a> {
    api_version: &'a str,
    kind: &'a str,
    name: &'a str,
    namespace: &'a str,
    uid: &'a str,
}

#[derive(Serialize)]
struct Source<'a> {
    component: &'a str,
}
