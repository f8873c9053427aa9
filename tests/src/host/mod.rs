//! The test host: a small Linux under QEMU's software CPU, which has true
//! hardware virtualization for the VMM to use. [`init`] is its first process;
//! the constants are what it and the program that starts the emulator agree on.

pub mod bench;
pub mod demo;
pub mod init;

/// I/O port of QEMU's `isa-debug-exit`: a byte `n` written there ends the emulator with status `2n + 1`.
pub const EXIT_PORT: u16 = 0x501;
/// The serial port that carries [`crate::verdict::Line`]s out.
pub const LINES: &str = "/dev/ttyS1";
/// The disk with the payload, an ext4 file system.
pub const PAYLOAD_DISK: &str = "/dev/vda";
/// The disk that takes the results: tar archives one after the other.
pub const RESULTS_DISK: &str = "/dev/vdb";
/// Where the payload is mounted.
pub const PAYLOAD: &str = "/payload";

/// Words of the test host's kernel command line.
pub mod argument {
    /// What to do: see [`super::Mode`].
    pub const MODE: &str = "host.mode";
    /// Run the cases whose names contain this.
    pub const FILTER: &str = "host.filter";
    /// Cases at a time.
    pub const JOBS: &str = "host.jobs";
    /// Keep the logs of cases that passed, too.
    pub const KEEP: &str = "host.keep";
}

/// What the test host is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Run cases.
    Test,
    /// Boot the example with the console on the terminal.
    Demo,
    /// Boot the example, show its greeting and power it off.
    DemoBatch,
    /// Measure.
    Bench,
    /// A shell for developers.
    Shell,
}

impl Mode {
    const ALL: [Self; 5] = [Self::Test, Self::Demo, Self::DemoBatch, Self::Bench, Self::Shell];

    /// The word on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Demo => "demo",
            Self::DemoBatch => "demo-batch",
            Self::Bench => "bench",
            Self::Shell => "shell",
        }
    }

    /// The mode that a word names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::Mode;

    #[test]
    fn words_name_modes() {
        for mode in Mode::ALL {
            assert_eq!(Mode::from_word(mode.word()), Some(mode));
        }
        assert_eq!(Mode::from_word("tests"), None);
    }
}
