//! When something goes wrong.

use super::hearing::kind;
use super::link::Moment;
use super::way::Way;

/// When it does: at a message of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The source calls, before anything is said.
    Call,
    /// Of TLS: it greets the other side.
    Greeting,
    /// Of TLS: it shows who it is.
    Vouching,
    /// The source introduces itself.
    Hello,
    /// The destination lets it in.
    Welcome,
    /// A further connection joins.
    Join,
    /// It is let in.
    Joined,
    /// The source tells of its disks.
    Devices,
    /// The destination says what is to become of them.
    Answers,
    /// Disks are copied.
    Blocks,
    /// Memory is copied.
    Pages,
    /// A round of copying is over.
    Round,
    /// All of it has arrived.
    RoundTaken,
    /// A connection is made by which memory follows.
    Serve,
    /// What follows is told.
    Holds,
    /// What is missing is told.
    Lacks,
    /// The destination is told that memory follows.
    Behind,
    /// The guest stands, and its state is sent.
    State,
    /// The destination has all in place.
    Ready,
    /// The machine is handed over.
    Go,
    /// The destination runs it.
    Running,
    /// Somebody there waits for a page.
    Want,
    /// Memory follows.
    Late,
    /// All of it has come.
    Complete,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Self; 24] = [
        Self::Call,
        Self::Greeting,
        Self::Vouching,
        Self::Hello,
        Self::Welcome,
        Self::Join,
        Self::Joined,
        Self::Devices,
        Self::Answers,
        Self::Blocks,
        Self::Pages,
        Self::Round,
        Self::RoundTaken,
        Self::Serve,
        Self::Holds,
        Self::Lacks,
        Self::Behind,
        Self::State,
        Self::Ready,
        Self::Go,
        Self::Running,
        Self::Want,
        Self::Late,
        Self::Complete,
    ];

    /// Whether a move of this way comes to it, and who stands in between can tell.
    pub fn is_of(self, way: Way) -> bool {
        match self {
            Self::Call | Self::Greeting | Self::Vouching => way.is_encrypted(),
            Self::Pages | Self::Round | Self::RoundTaken | Self::Ready | Self::Go | Self::Running => true,
            Self::Behind | Self::Late | Self::Complete => way.follows(),
            _ if way.is_encrypted() => false,
            Self::Join | Self::Joined => way == Way::Several,
            Self::Blocks => way.copies(),
            Self::Serve | Self::Holds | Self::Lacks | Self::Want => way.follows(),
            Self::Hello | Self::Welcome | Self::Devices | Self::Answers | Self::State => true,
        }
    }

    /// Whether the destination has the machine by then. Memory that follows may be on its way, or be there, before that.
    pub fn is_after_hand_over(self) -> bool {
        self == Self::Running
    }

    /// Whether neither side needs room any more to hand the machine over.
    pub fn needs_no_room(self) -> bool {
        matches!(self, Self::Go | Self::Running | Self::Want | Self::Complete)
    }

    /// Its message; of those that come several times one of the first, as `chance` has it.
    pub fn moment(self, chance: u64) -> Moment {
        let one_of = |count: u64| 1 + u32::try_from(chance % count).unwrap_or(0);
        let nth = match self {
            Self::Pages => one_of(3),
            Self::Late => one_of(5),
            Self::Blocks | Self::Want => one_of(2),
            _ => 1,
        };
        let kind = match self {
            Self::Call => kind::CALL,
            Self::Greeting => kind::GREETING,
            Self::Vouching => kind::VOUCHING,
            Self::Hello => kind::HELLO,
            Self::Welcome => kind::WELCOME,
            Self::Join => kind::JOIN,
            Self::Joined => kind::JOINED,
            Self::Devices => kind::DEVICES,
            Self::Answers => kind::DEVICES_TAKEN,
            Self::Blocks => kind::BLOCKS,
            Self::Pages => kind::PAGES,
            Self::Round => kind::ROUND,
            Self::RoundTaken => kind::ROUND_TAKEN,
            Self::Serve => kind::SERVE | kind::FOLLOWING,
            Self::Holds => kind::HOLDS | kind::FOLLOWING,
            Self::Lacks => kind::LACKS | kind::FOLLOWING,
            Self::Behind => kind::BEHIND,
            Self::State => kind::STATE,
            Self::Ready => kind::READY,
            Self::Go => kind::GO,
            Self::Running => kind::RUNNING,
            Self::Want => kind::WANT | kind::FOLLOWING,
            Self::Late => kind::PAGES | kind::FOLLOWING,
            Self::Complete => kind::COMPLETE | kind::FOLLOWING,
        };
        Moment { kind, nth }
    }
}
