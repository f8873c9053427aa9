//! How migrations are and were, under KubeVirt's names (`pkg/monitoring/metrics/virt-handler/migrationdomainstats`,
//! `pkg/monitoring/metrics/virt-controller/migrationstats_collector.go`).

use std::sync::Arc;

use super::text::{Kind, Text, number, value};
use crate::migration::source::Progress;
use crate::status::{MigrationPhase, PublishedMigration, phase_of};

/// What is measured of the last migration: name, meaning, and where it is.
type Gauge = (&'static str, &'static str, fn(&Progress) -> u64);

const OF_PROGRESS: [Gauge; 7] = [
    (
        "kubevirt_vmi_migration_data_total_bytes",
        "The total Guest OS data to be migrated to the new VM.",
        |progress| progress.memory.saturating_add(progress.disks),
    ),
    (
        "kubevirt_vmi_migration_data_processed_bytes",
        "The total Guest OS data processed and migrated to the new VM.",
        |progress| progress.sent,
    ),
    (
        "kubevirt_vmi_migration_data_remaining_bytes",
        "The remaining guest OS data to be migrated to the new VM.",
        |progress| progress.left,
    ),
    (
        "kubevirt_vmi_migration_dirty_memory_rate_bytes",
        "The rate of memory being dirty in the Guest OS.",
        |progress| progress.dirty_rate,
    ),
    (
        "kubevirt_vmi_migration_memory_transfer_rate_bytes",
        "The rate at which the memory is being transferred.",
        |progress| progress.rate,
    ),
    ("kubevmm_migration_rounds", "Rounds of copying of the last migration.", |progress| {
        u64::from(progress.rounds)
    }),
    (
        "kubevmm_migration_throttle_percent",
        "Share of the vCPUs' time that the last migration takes away.",
        |progress| u64::from(progress.throttle),
    ),
];

/// Writes how the last migration is, and what came of those that are known.
pub(super) fn write(progress: Option<Progress>, migrations: &[Arc<PublishedMigration>], text: &mut Text) {
    for (name, help, of) in OF_PROGRESS {
        let sample = progress.as_ref().map(|progress| value(number(of(progress))));
        text.metric(name, Kind::Gauge, help, sample);
    }
    let phase = |wanted: &dyn Fn(MigrationPhase) -> bool| {
        let count = migrations.iter().filter(|one| wanted(phase_of(&one.object))).count();
        [value(number(u64::try_from(count).unwrap_or(u64::MAX)))]
    };
    text.metric(
        "kubevirt_vmi_migrations_in_pending_phase",
        Kind::Gauge,
        "Number of current pending migrations.",
        phase(&|phase| phase == MigrationPhase::Pending),
    );
    text.metric(
        "kubevirt_vmi_migrations_in_scheduling_phase",
        Kind::Gauge,
        "Number of current scheduling migrations.",
        phase(&|phase| matches!(phase, MigrationPhase::Scheduling | MigrationPhase::Scheduled)),
    );
    text.metric(
        "kubevirt_vmi_migrations_in_running_phase",
        Kind::Gauge,
        "Number of current running migrations.",
        phase(&|phase| phase > MigrationPhase::Scheduled && !phase.is_final()),
    );
    let ended = |wanted| {
        let of_phase = migrations.iter().filter(move |one| phase_of(&one.object) == wanted);
        of_phase.map(|one| {
            let object = &one.object;
            value(1.0).with("vmi", object.spec.vmi_name.as_str()).with("vmim", object.metadata.name.as_str())
        })
    };
    text.metric(
        "kubevirt_vmi_migration_succeeded",
        Kind::Gauge,
        "Indicates if the VMI migration succeeded.",
        ended(MigrationPhase::Succeeded),
    );
    text.metric(
        "kubevirt_vmi_migration_failed",
        Kind::Gauge,
        "Indicates if the VMI migration failed.",
        ended(MigrationPhase::Failed),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_a_migration_that_never_was() {
        let mut text = Text::new(&[]);
        write(None, &[], &mut text);
        let text = text.finish();
        assert!(
            !text.contains("data_total") && text.contains("kubevirt_vmi_migrations_in_running_phase{} 0")
        );
        let mut text = Text::new(&[]);
        write(Some(Progress { memory: 3, disks: 2, left: 3, ..Progress::default() }), &[], &mut text);
        let text = text.finish();
        assert!(text.contains("data_total_bytes{} 5") && text.contains("data_remaining_bytes{} 3"), "{text}");
    }
}
