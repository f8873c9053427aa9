//! A guest at work (`tests/guest/src/work`), seen from outside.

use std::thread;
use std::time::{Duration, Instant};

use guest::progress::{PROGRESS, Progress, STOP};
use serde_json::json;

use super::peer::{Line, Peer};
use crate::agent::Agent;
use crate::case::Ctx;
use crate::cases::tools::tool;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::vm::BOOT;

/// Where the guest has its disk.
const FOLDER: &str = "/work";
const DISK: &str = "work";
const ADDRESS: &str = "10.77.0.1:5001";
/// How long all that is under way may take to its end.
const END: Duration = Duration::from_secs(300);
/// What clocks are read too late by, at most.
const SLACK: Duration = Duration::from_secs(1);

/// A guest's work, and how far it was when it was looked at last.
pub(super) struct Work {
    peer: Peer,
    last: Progress,
    /// Between these two moments it was looked at.
    looked: (Instant, Instant),
}

/// Puts the disk that the work needs into a manifest, and a fresh image of it where claims are.
pub(super) fn with_disk(ctx: &Ctx, manifest: Manifest) -> Result<Manifest, Failure> {
    let folder = ctx.volumes().join(DISK);
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(ctx.guest("disk/work.img"), folder.join("disk.img")).doing("copying a disk")?;
    Ok(manifest.claim(DISK, DISK, json!({})))
}

impl Work {
    /// Has the guest begin.
    pub(super) fn begin(agent: &mut Agent) -> Result<Self, Failure> {
        agent.run_ok("ip link set eth0 up")?;
        agent.run_ok("ip addr add 10.77.0.2/24 dev eth0")?;
        let line = Line::open(ADDRESS)?;
        agent.script(&format!(
            "mkdir -p /run {FOLDER} && mount -t ext4 /dev/$(grep -l '^{DISK}$' /sys/block/*/serial | cut -d / -f 4) {FOLDER}"
        ))?;
        agent.script(&format!("/init work {ADDRESS} {FOLDER} >/run/work.log 2>&1 </dev/null &"))?;
        let peer = line.accept()?;
        let now = Instant::now();
        let mut work = Self { peer, last: Progress::default(), looked: (now, now) };
        work.goes_on(agent)?;
        Ok(work)
    }

    /// Waits until each of its parts is further than at the last look, and compares the clocks: the guest's have gone no faster than
    /// the host's.
    pub(super) fn goes_on(&mut self, agent: &mut Agent) -> Outcome {
        let limit = Instant::now() + BOOT;
        loop {
            let (looked, now) = look(agent)?;
            if let Some(why) = &now.failed {
                return Err(Failure(format!("in the guest, {why}; it was at {now:?}")));
            }
            ensure!(self.peer.is_there(), "the conversation has ended; the guest is at {now:?}");
            if is_further(&self.last, &now) {
                return self.compare(looked, now);
            }
            ensure!(Instant::now() < limit, "something stands still: {:?} became {now:?}", self.last);
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn compare(&mut self, looked: (Instant, Instant), now: Progress) -> Outcome {
        let last = std::mem::replace(&mut self.last, now);
        let before = std::mem::replace(&mut self.looked, looked);
        let passed = looked.1.duration_since(before.0) + SLACK;
        let seen = self.last.monotonic.checked_sub(last.monotonic).map(Duration::from_millis);
        let seen = seen.ok_or_else(|| Failure(format!("its clock went back: {last:?}, {:?}", self.last)))?;
        ensure!(last.monotonic == 0 || seen <= passed, "it has seen {seen:?} pass in {passed:?}");
        Ok(())
    }

    /// How far it was at the last look.
    pub(super) const fn last(&self) -> &Progress {
        &self.last
    }

    /// Has it end; what it has done in all.
    pub(super) fn end(self, agent: &mut Agent) -> Result<Progress, Failure> {
        agent.run_ok(&format!("touch {STOP}"))?;
        let limit = Instant::now() + END;
        let ended = loop {
            let (_, now) = look(agent)?;
            if now.over {
                break now;
            }
            ensure!(Instant::now() < limit, "it does not end: {now:?}");
            thread::sleep(Duration::from_millis(100));
        };
        ensure!(ended.failed.is_none(), "at the end, in the guest: {ended:?}");
        let (sent, taken) = self.peer.end()?;
        ensure!(
            (ended.sent, ended.taken) == (taken, sent),
            "{sent} bytes were sent to it and {taken} came from it; it says {ended:?}"
        );
        agent.run_ok(&format!("umount {FOLDER}"))?;
        Ok(ended)
    }
}

/// Has the disk's file system checked, when no machine has it.
pub(super) fn check_disk(ctx: &Ctx) -> Outcome {
    let image = ctx.volumes().join(DISK).join("disk.img");
    tool("e2fsck", &["-fn", &image.to_string_lossy()]).map(drop)
}

fn look(agent: &mut Agent) -> Result<((Instant, Instant), Progress), Failure> {
    let before = Instant::now();
    let text = agent.file(PROGRESS)?;
    let progress = serde_json::from_str(&text).doing("reading how far the guest is")?;
    Ok(((before, Instant::now()), progress))
}

fn is_further(last: &Progress, now: &Progress) -> bool {
    let numbers = |progress: &Progress| {
        let Progress { ticks, naps, looks, sent, taken, files, builds, .. } = *progress;
        [ticks, naps, looks, sent, taken, files, builds]
    };
    numbers(last).iter().zip(numbers(now)).all(|(last, now)| *last < now)
}
