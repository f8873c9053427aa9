//! In which ways a machine moves.

use super::phase::Phase;

/// How a machine moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// By one connection, with a disk that both sides have.
    Plain,
    /// By several connections.
    Several,
    /// A part of its memory follows it.
    Follows,
    /// Its disk is copied.
    Copies,
    /// Its disk is copied, and a part of its memory follows.
    CopiesFollows,
    /// Over TCP, encrypted.
    Tls,
    /// Over TCP, encrypted, and a part of its memory follows.
    TlsFollows,
    /// Over TCP, encrypted, and its disk is copied.
    TlsCopies,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Plain,
        Self::Several,
        Self::Follows,
        Self::Copies,
        Self::CopiesFollows,
        Self::Tls,
        Self::TlsFollows,
        Self::TlsCopies,
    ];

    /// What it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Several => "several",
            Self::Follows => "follows",
            Self::Copies => "copies",
            Self::CopiesFollows => "copies-follows",
            Self::Tls => "tls",
            Self::TlsFollows => "tls-follows",
            Self::TlsCopies => "tls-copies",
        }
    }

    /// Whether the machine goes before its memory.
    pub fn follows(self) -> bool {
        matches!(self, Self::Follows | Self::CopiesFollows | Self::TlsFollows)
    }

    /// Whether its disk is copied.
    pub fn copies(self) -> bool {
        matches!(self, Self::Copies | Self::CopiesFollows | Self::TlsCopies)
    }

    /// Whether nobody in between can read what is said.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::TlsFollows | Self::TlsCopies)
    }

    /// Its phases, in their order.
    pub fn phases(self) -> impl Iterator<Item = Phase> {
        Phase::ALL.into_iter().filter(move |phase| phase.is_of(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_cannot_read_knows_of_fewer_phases() {
        assert!(Way::Tls.phases().count() < Way::Plain.phases().count());
        assert!(Way::Follows.phases().any(|phase| phase == Phase::Late));
        assert!(Way::Plain.phases().all(|phase| phase != Phase::Late && phase != Phase::Join));
        assert!(Way::CopiesFollows.phases().any(|phase| phase == Phase::Blocks));
    }
}
