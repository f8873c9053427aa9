//! How far a memory is that comes behind its machine: out of a snapshot, or from where the machine ran before.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::text::{Kind, Text, number, value};
use crate::demand::{Gauge, Reading};

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Known>);

#[derive(Debug, Default)]
enum Known {
    /// It was all here from the beginning.
    #[default]
    Nothing,
    /// It comes.
    Coming(Gauge),
    /// It has come; so many pages were waited for.
    Here { waited_for: u64 },
}

impl Memory {
    /// It comes, and `gauge` shows how far it is.
    pub(super) fn comes(&self, gauge: Gauge) {
        *self.known() = Known::Coming(gauge);
    }

    /// It has come, or is not needed any more; so many pages were waited for.
    pub(super) fn is_here(&self, waited_for: u64) {
        *self.known() = Known::Here { waited_for };
    }

    pub(super) fn write(&self, text: &mut Text) {
        let reading = match &*self.known() {
            Known::Nothing => return,
            Known::Coming(gauge) => gauge.read().unwrap_or_default(),
            Known::Here { waited_for } => Reading { waited_for: *waited_for, ..Reading::default() },
        };
        text.metric(
            "kubevmm_vmi_memory_missing_bytes",
            Kind::Gauge,
            "The amount of the guest's memory in bytes that has not come yet.",
            [value(number(reading.missing_bytes))],
        );
        text.metric(
            "kubevmm_vmi_memory_unreachable",
            Kind::Gauge,
            "Whether what has the rest of the guest's memory cannot be reached.",
            [value(number(reading.unreachable.into()))],
        );
        text.metric(
            "kubevmm_vmi_memory_pages_waited_for_total",
            Kind::Counter,
            "The number of pages that somebody had to wait for until they came.",
            [value(number(reading.waited_for))],
        );
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
