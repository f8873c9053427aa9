//! Ending a migration from elsewhere.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::transport::Stream;

/// Ends a migration from elsewhere. Clones end the same.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    asked: AtomicBool,
    stand: Mutex<Stand>,
    streams: Mutex<Vec<Stream>>,
}

/// Who decides now what becomes of the machine.
#[derive(Debug, Default)]
struct Stand {
    /// It is too late to cancel.
    late: bool,
    /// The machine ends here: the destination is not told to go any more.
    ended: bool,
    doubt: Doubt,
}

/// Whether the machine may be the destination's, and what is known of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Doubt {
    /// It is not.
    #[default]
    None,
    /// That it is handed over is being written down, or the destination is told to go and the connection lasts by which it was.
    Handed,
    /// It does not answer.
    Silent,
    /// An operator knows that it does not run the machine, and never will.
    Forced,
    /// It answers, and is about to run the machine or to give it up.
    Open,
    /// It runs the machine, and lacks a part of its memory.
    Serving,
}

/// It is too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the machine has been handed over already: it is the destination's to say what becomes of it")]
pub struct TooLate;

/// It cannot be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotForced {
    /// The destination is in the midst of it.
    #[error(
        "the machine is being handed over: whether the destination has it is not in doubt yet. Try again in a moment"
    )]
    NoDoubt,
    /// The destination lives.
    #[error(
        "the destination answers that it is about to run the machine, or to give it up: what becomes of it shows soon. If the \
         destination dies meanwhile, try again"
    )]
    Open,
    /// The machine is known to have run there: what is here is old.
    #[error(
        "the machine runs at the destination, which lacks a part of its memory still: what is here cannot go on any more. If the \
         destination is gone for good, end this one: kubevmm stop NAME --force"
    )]
    HasRun,
}

impl Cancel {
    /// Cancels; the guest goes on as if nothing had been.
    ///
    /// # Errors
    /// It is too late.
    pub fn cancel(&self) -> Result<(), TooLate> {
        let stand = self.stand();
        if stand.late {
            return Err(TooLate);
        }
        self.0.asked.store(true, Ordering::SeqCst);
        drop(stand);
        self.streams().iter().for_each(Stream::cut);
        Ok(())
    }

    /// Takes the machine back from a destination that does not answer. Its disks have to be free for that, too. It counts until the
    /// destination answers.
    ///
    /// # Errors
    /// It is not in doubt what becomes of it.
    pub fn force(&self) -> Result<(), NotForced> {
        let mut stand = self.stand();
        stand.doubt = match stand.doubt {
            Doubt::None | Doubt::Handed => return Err(NotForced::NoDoubt),
            Doubt::Open => return Err(NotForced::Open),
            Doubt::Serving => return Err(NotForced::HasRun),
            Doubt::Silent | Doubt::Forced => Doubt::Forced,
        };
        Ok(())
    }

    /// From here on, cancelling is of no use to anybody, and the machine may be the destination's; false if it was cancelled or has
    /// ended before.
    #[must_use]
    pub(crate) fn hand_over(&self) -> bool {
        let mut stand = self.stand();
        if stand.ended || self.is_asked() {
            return false;
        }
        (stand.late, stand.doubt) = (true, Doubt::Handed);
        true
    }

    /// Whether the destination may be told to go.
    pub(crate) fn may_go(&self) -> bool {
        !self.stand().ended
    }

    /// The machine ends here, whatever becomes of it there: unless that was done already, the destination is not told to go any more.
    pub fn end(&self) {
        self.stand().ended = true;
    }

    /// The machine is not the destination's, and never was.
    pub(super) fn taken_back(&self) {
        self.stand().doubt = Doubt::None;
    }

    /// Whether the machine may be the destination's, so that its own is not to be lost by the way.
    pub fn is_handed_over(&self) -> bool {
        self.stand().doubt != Doubt::None
    }

    /// From here on, nobody can take the machine back.
    pub(super) fn serving(&self) {
        self.stand().doubt = Doubt::Serving;
    }

    /// Whether the destination runs the machine, and needs the memory that is here.
    pub fn is_serving(&self) -> bool {
        self.stand().doubt == Doubt::Serving
    }

    /// The connection is lost, and the destination does not answer, or has not been asked yet: it is for an operator to decide, whose word
    /// has no effect before a question was not answered.
    pub(super) fn fell_silent(&self) {
        let mut stand = self.stand();
        if stand.doubt != Doubt::Forced {
            stand.doubt = Doubt::Silent;
        }
    }

    /// The destination answers that it is about to have the machine. An operator who has thought otherwise was wrong.
    pub(super) fn answered_open(&self) {
        self.stand().doubt = Doubt::Open;
    }

    /// Whether it was cancelled.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Cuts this connection, too, when it is asked.
    pub(super) fn watch(&self, stream: Stream) {
        self.streams().push(stream);
    }

    /// Whether an operator has taken the machine back.
    pub(super) fn is_forced(&self) -> bool {
        self.stand().doubt == Doubt::Forced
    }

    fn stand(&self) -> MutexGuard<'_, Stand> {
        self.0.stand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, Vec<Stream>> {
        self.0.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_says_counts_until_the_destination_answers() {
        let cancel = Cancel::default();
        assert_eq!(cancel.force(), Err(NotForced::NoDoubt));
        assert!(cancel.hand_over());
        assert_eq!((cancel.force(), cancel.is_handed_over()), (Err(NotForced::NoDoubt), true));
        cancel.fell_silent();
        assert!(!cancel.is_forced());
        assert_eq!(cancel.force(), Ok(()));
        assert!(cancel.is_handed_over());
        cancel.fell_silent();
        assert!(cancel.is_forced());
        cancel.answered_open();
        assert!(!cancel.is_forced());
        assert_eq!(cancel.force(), Err(NotForced::Open));
        cancel.fell_silent();
        assert!(!cancel.is_forced(), "it was said before the destination answered");
        assert_eq!(cancel.force(), Ok(()));
        assert!(!cancel.is_serving());
        cancel.serving();
        assert!(cancel.is_serving());
        assert_eq!(cancel.force(), Err(NotForced::HasRun));
        assert!(!cancel.is_forced());
        cancel.taken_back();
        assert!(!cancel.is_handed_over());
    }

    #[test]
    fn a_machine_that_was_cancelled_or_has_ended_is_not_handed_over() {
        let cancelled = Cancel::default();
        cancelled.cancel().unwrap();
        assert!(!cancelled.hand_over());
        assert!(!cancelled.is_handed_over());
        let ended = Cancel::default();
        ended.end();
        assert!(!ended.hand_over());
        assert!(!ended.is_handed_over());
        let late = Cancel::default();
        assert!(late.hand_over() && late.may_go());
        assert_eq!(late.cancel(), Err(TooLate));
        late.end();
        assert!(late.is_handed_over() && !late.may_go(), "it is in doubt, but not told to go any more");
    }
}
