//! A machine whose memory is not all here.

use devices::say;
use serde_json::json;

use super::Event;
use super::driver::Driver;
use super::policy::Input;
use crate::demand::{News, Presence};
use crate::status::EventReason;

/// Annotation that says how much is missing, as JSON; it is there while something is.
const MISSING: &str = "kubevmm.io/memory-on-demand";

impl Driver {
    /// Has news of the memory come here.
    pub(super) fn hear_of_memory(&mut self) {
        let Some(demand) = &self.demand else { return };
        let mailbox = self.mailbox.clone();
        self.resources.metrics.memory_comes(demand.gauge());
        demand.report_to(move |news| mailbox.post(Event::Memory(news)));
        self.annotate_memory(None);
    }

    /// Whether all of the memory is here.
    pub(super) fn presence(&self) -> Presence {
        Presence::of(self.demand.as_ref())
    }

    /// Takes note of news of the memory; what follows for the machine, if anything.
    pub(super) fn note_memory(&mut self, news: News) -> Option<Input> {
        match news {
            News::Lost(why) => {
                let message =
                    format!("the rest of the guest's memory cannot be reached, and is looked for: {why}");
                say!("kubevmm: {message}");
                self.keeper.tell(EventReason::MemoryLost, message);
                self.annotate_memory(Some(&why));
                Some(Input::MemoryLost)
            }
            News::Back => {
                self.keeper
                    .tell(EventReason::MemoryBack, "The rest of the guest's memory can be reached again.");
                self.annotate_memory(None);
                Some(Input::MemoryBack)
            }
            News::Complete => {
                let faults = self.demand.take().map_or(0, |demand| demand.faults());
                self.resources.metrics.memory_is_here(faults);
                say!("kubevmm: all of the guest's memory is here");
                let message = format!("All memory has come; {faults} pages were waited for.");
                self.keeper.tell(EventReason::MemoryComplete, message);
                self.keeper.remove_annotation(MISSING);
                Some(Input::MemoryBack)
            }
        }
    }

    /// Nobody touches the memory any more.
    pub(super) fn release_memory(&mut self) {
        if let Some(demand) = self.demand.take() {
            self.resources.metrics.memory_is_here(demand.faults());
            demand.release();
            self.keeper.remove_annotation(MISSING);
        }
    }

    fn annotate_memory(&mut self, lost: Option<&str>) {
        let Some(demand) = &self.demand else { return };
        let text = json!({
            "missingBytes": demand.lacking_bytes(),
            "pagesWaitedFor": demand.faults(),
            "unreachable": lost,
        });
        self.keeper.annotate(MISSING, text.to_string());
    }
}
