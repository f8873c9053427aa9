//! What a case is, and what it is given.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guest::pattern;

use crate::failure::{Doing, Failure, Outcome};

/// Where a case can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// On any KVM: a payload of a few hundred instructions.
    Payload,
    /// In the test host: a Linux guest on hardware virtualization, network devices, root.
    Host,
    /// There too, but for minutes, and with disks of its own: only where it is asked for.
    Long,
}

/// One test.
#[derive(Clone, Copy)]
pub struct Case {
    /// Unique; words joined by dashes.
    pub name: &'static str,
    /// Where it can run.
    pub tier: Tier,
    /// When it is given up.
    pub limit: Duration,
    /// Runs with no other case beside it: it counts time or needs much memory.
    pub alone: bool,
    /// Long, and about what no KVM has a part in: the test host leaves it out where it has passed on the local KVM.
    pub once: bool,
    /// How often it may be tried until it passes; every failure is told all the same.
    pub attempts: u32,
    /// The test itself.
    pub run: fn(&Ctx) -> Outcome,
}

impl Case {
    /// A case for the test host with the usual limit. It is tried twice: QEMU's emulation of SVM slips now and then,
    /// and a failure that comes again is ours.
    #[must_use]
    pub const fn host(name: &'static str, run: fn(&Ctx) -> Outcome) -> Self {
        Self {
            name,
            tier: Tier::Host,
            limit: Duration::from_secs(180),
            alone: false,
            once: false,
            attempts: 2,
            run,
        }
    }

    /// A case for any KVM.
    #[must_use]
    pub const fn payload(name: &'static str, run: fn(&Ctx) -> Outcome) -> Self {
        Self { tier: Tier::Payload, limit: Duration::from_secs(300), attempts: 1, ..Self::host(name, run) }
    }

    /// The longest that all its attempts may take.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        self.limit.saturating_mul(self.attempts)
    }

    /// A case of its own task, with a limit of so many minutes.
    #[must_use]
    pub const fn long(name: &'static str, minutes: u64, run: fn(&Ctx) -> Outcome) -> Self {
        Self {
            tier: Tier::Long,
            limit: Duration::from_secs(minutes * 60),
            attempts: 1,
            ..Self::host(name, run)
        }
    }

    /// Whether a filter picks it: parts of names, parted by commas; an empty filter picks all.
    #[must_use]
    pub fn matches(&self, filter: &str) -> bool {
        filter.split(',').any(|part| self.name.contains(part))
    }

    /// The same with another limit.
    #[must_use]
    pub const fn within(mut self, seconds: u64) -> Self {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// The same, left out where it has passed on another KVM.
    #[must_use]
    pub const fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// The same for the test host, which may be slow by itself, and whose emulator slips now and then.
    #[must_use]
    pub const fn in_test_host(mut self) -> Self {
        self.limit = self.limit.saturating_mul(3);
        if matches!(self.tier, Tier::Payload) {
            self.attempts = 2;
        }
        self
    }

    /// The same, with nothing beside it.
    #[must_use]
    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }
}

/// What a running case has at hand.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// The binary under test.
    pub kubevmm: PathBuf,
    /// Guest images, see [`Ctx::guest`]; absent for payload cases.
    pub payload: PathBuf,
    /// Where logs and reports go: kept if the case fails.
    pub results: PathBuf,
    /// Where everything else goes: gone with the case.
    pub scratch: PathBuf,
}

impl Ctx {
    /// Reference to the guest image as a directory, for a manifest.
    #[must_use]
    pub fn guest_image(&self) -> String {
        format!("rootfs:{}", self.payload.join("guest").display())
    }

    /// A file of the guest image.
    #[must_use]
    pub fn guest(&self, file: &str) -> PathBuf {
        self.payload.join("guest").join(file)
    }

    /// Where claims lie; see [`Ctx::claim`].
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.scratch.join("volumes")
    }

    /// Makes a claim of so many bytes, filled with the pattern of `seed`, and returns its file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn claim(&self, name: &str, bytes: u64, seed: u64) -> Result<PathBuf, Failure> {
        let folder = self.volumes().join(name);
        fs::create_dir_all(&folder)?;
        let path = folder.join("disk.img");
        write_pattern(&path, bytes, seed).doing("writing a claim")?;
        Ok(path)
    }

    /// Says something in the case's log.
    pub fn note(&self, text: &str) {
        eprintln!("{text}");
    }
}

fn write_pattern(path: &Path, bytes: u64, seed: u64) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let mut buffer = vec![0u8; 1 << 20];
    let mut done = 0u64;
    while done < bytes {
        let length = usize::try_from((bytes - done).min(1 << 20)).unwrap_or(0);
        let piece = buffer.get_mut(..length).unwrap_or_default();
        pattern::fill(piece, done, seed);
        file.write_all(piece)?;
        done = done.saturating_add(1 << 20);
    }
    Ok(())
}
