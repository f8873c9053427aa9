//! Linux, saved in the midst of what it does and brought back: a few times here, often in a case of its own.

mod peer;
mod way;
mod work;

use std::time::{Duration, Instant};

use guest::protocol::Request;
use serde_json::json;

use self::way::Snapshots;
pub(crate) use self::way::Way;
use self::work::Work;
use super::tools::{self, tap};
use crate::agent::Agent;
use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Outcome};
use crate::huge_pages::HugePages;
use crate::manifest::Manifest;
use crate::vm::{BOOT, END, Vm};

pub(super) const CASES: &[Case] = &[
    Case::host("snapshot-linux-goes-on", goes_on).within(600),
    Case::host("snapshot-linux-huge-pages-vhost", huge_pages_and_vhost).within(600).alone(),
];

const MAC: &str = "02:00:00:aa:bb:01";
/// The battery-backed clock, in seconds, and how far it may be from the host's.
const BATTERY: &str = "/sys/class/rtc/rtc0/since_epoch";
const BATTERY_SLACK: Duration = Duration::from_secs(3);
/// Two processors on the one of an emulated host that may be slow: only what takes a minute is a lockup.
const PATIENT: &str = "watchdog_thresh=30 rcupdate.rcu_cpu_stall_timeout=60";
/// What the guest's kernel must not say.
const COMPLAINTS: &str = "soft lockup|self-detected stall|hung task|blocked for more than|timekeeping watchdog|\
     clocksource: .*unstable|EXT4-fs (error|warning)|EXT4-fs .*(error|corrupt)|JBD2: .*(error|fail)|I/O error|segfault|general protection";

fn goes_on(ctx: &Ctx) -> Outcome {
    chain(ctx, &[Way::Mapped, Way::Stream, Way::Demand])
}

/// Memory in huge pages, which is read whole or comes in whole ones, and a card that the host's kernel writes for.
fn huge_pages_and_vhost(ctx: &Ctx) -> Outcome {
    let _pages = HugePages::reserve(110)?;
    let mut manifest = guest(ctx);
    manifest.set("/spec/domain/memory/hugepages", json!({"pageSize": "2Mi"}));
    manifest.set("/metadata/annotations", json!({"kubevmm.io/vhost-net": "true"}));
    live(ctx, manifest, &[Way::Mapped, Way::Demand])
}

fn guest(ctx: &Ctx) -> Manifest {
    Manifest::linux("vm", &ctx.guest_image(), "vmlinux")
        .tap("lan", MAC)
        .cores(2)
        .memory("192Mi")
        .kernel_args(PATIENT)
}

/// A guest of two processors that keeps time, holds a conversation over TCP, writes files with fsync, compiles programs and holds a file
/// in memory is saved and brought back by new processes, in these ways one after the other: all goes on, all that it does is right, and
/// its kernel complains of nothing.
pub(crate) fn chain(ctx: &Ctx, ways: &[Way]) -> Outcome {
    live(ctx, guest(ctx), ways)
}

fn live(ctx: &Ctx, manifest: Manifest, ways: &[Way]) -> Outcome {
    tap("tap0", "10.77.0.1/24")?;
    let mut vm = Vm::start(ctx, &work::with_disk(ctx, manifest)?, &["--tap", "lan=tap0"])?;
    let mut agent = vm.agent()?;
    let boot = agent.identity()?.boot_id;
    agent.script("dd if=/dev/urandom of=/tmp/held bs=64k count=64 2>/dev/null")?;
    let held = agent.script("md5sum /tmp/held")?;
    let mut work = Work::begin(&mut agent)?;
    let mut snapshots = Snapshots::default();
    for (round, way) in ways.iter().enumerate() {
        let begun = Instant::now();
        snapshots
            .pass(ctx, &mut vm, *way, || work.goes_on(&mut agent))
            .doing(&format!("round {round}, {way:?}"))?;
        agent = vm.agent_within(BOOT).doing(&format!("round {round}, {way:?}"))?;
        let back = begun.elapsed();
        work.goes_on(&mut agent).doing(&format!("round {round}, {way:?}"))?;
        battery_is_right(&mut agent).doing(&format!("round {round}, {way:?}"))?;
        let gone_on = begun.elapsed();
        ctx.note(&format!(
            "round {round}, {way:?}: back after {back:.1?}, at work after {gone_on:.1?}: {:?}",
            work.last()
        ));
    }
    ensure!(agent.script("md5sum /tmp/held")? == held, "what it held is another");
    ensure!(agent.identity()?.boot_id == boot, "it has booted meanwhile");
    tools::busybox(&["ping", "-c", "2", "-W", "5", "10.77.0.2"])?;
    let done = work.end(&mut agent)?;
    ctx.note(&format!("all that it has done was right: {done:?}"));
    let complaints = agent.script(&format!("dmesg | grep -E '{COMPLAINTS}' || true"))?;
    ensure!(complaints.is_empty(), "the guest complains: {complaints}");
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown")?;
    work::check_disk(ctx)
}

/// The battery-backed clock shows the host's time, however long the machine was away.
fn battery_is_right(agent: &mut Agent) -> Outcome {
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).doing("reading the time");
    let before = now()?;
    let shown =
        agent.file(BATTERY)?.trim().parse().map(Duration::from_secs).doing("reading the guest's clock")?;
    let after = now()?;
    ensure!(
        shown + BATTERY_SLACK >= before && shown <= after + BATTERY_SLACK,
        "the battery-backed clock shows {shown:?} between {before:?} and {after:?}"
    );
    Ok(())
}
