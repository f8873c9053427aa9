//! Linux, saved in the midst of what it does and brought back.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use guest::protocol::Request;
use serde_json::json;

use super::tools::{self, tap};
use crate::agent::Agent;
use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::vm::{BOOT, END, Vm, command};

pub(super) const CASES: &[Case] = &[Case::host("snapshot-linux-goes-on", goes_on).within(300)];

const MAC: &str = "02:00:00:aa:bb:01";
/// How often it is saved and brought back.
const CHAIN: u32 = 3;

/// A guest of two processors that writes to a disk, counts over a TCP connection and holds a file in memory is saved and
/// brought back by new processes: all goes on, and the guest complains of nothing.
fn goes_on(ctx: &Ctx) -> Outcome {
    tap("tap0", "10.77.0.1/24")?;
    ctx.claim("data", 16 << 20, 1)?;
    let manifest =
        Manifest::linux("vm", &ctx.guest_image(), "vmlinux").tap("lan", MAC).cores(2).memory("192Mi");
    let mut vm = Vm::start(ctx, &manifest.claim("data", "data", json!({})), &["--tap", "lan=tap0"])?;
    let mut agent = vm.agent()?;
    agent.run_ok("ip link set eth0 up")?;
    agent.run_ok("ip addr add 10.77.0.2/24 dev eth0")?;
    let listener = TcpListener::bind("10.77.0.1:5001").doing("listening")?;
    agent.script("dd if=/dev/urandom of=/tmp/held bs=64k count=64 2>/dev/null")?;
    let held = agent.script("md5sum /tmp/held")?;
    begin(&mut agent, "i=0; while :; do i=$((i+1)); echo $i; usleep 50000; done | nc 10.77.0.1 5001")?;
    begin(&mut agent, "while :; do dd if=/tmp/held of=/dev/vda bs=64k conv=fsync; sleep 0.2; done")?;
    let (stream, _) = listener.accept().doing("accepting")?;
    let mut numbers = Numbers::new(stream);
    numbers.follow(10)?;
    for round in 0..CHAIN {
        let directory = ctx.scratch.join(format!("snapshot-{round}"));
        let begun = Instant::now();
        let output = command(ctx)
            .args(["snapshot", "vm", "--stop"])
            .arg(&directory)
            .arg("--runtime-dir")
            .arg(ctx.scratch.join("run"))
            .output()
            .doing("taking a snapshot")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "the snapshot says {}", String::from_utf8_lossy(&output.stderr));
        vm.wait_exit(END)?.expect(0, "saved")?;
        // All that the guest sent before: what comes then comes of the next process.
        numbers.drain()?;
        let log = format!("restored-{round}");
        vm = Vm::restore(ctx, ("vm", &log), &directory, &["--agent-socket"])?;
        numbers.follow(5)?;
        ctx.note(&format!("round {round}: {:?} until the guest went on; {}", begun.elapsed(), said.trim()));
        // What it has read is in the page cache, which is not what is to be tested.
        let _ = std::fs::remove_dir_all(&directory);
    }
    let mut agent = vm.agent_within(BOOT)?;
    let writes = |agent: &mut Agent| agent.script("awk '{print $5}' /sys/block/vda/stat");
    let before = writes(&mut agent)?;
    let limit = Instant::now() + BOOT;
    while writes(&mut agent)? == before {
        ensure!(Instant::now() < limit, "the disk's load does not go on");
        std::thread::sleep(Duration::from_millis(200));
    }
    ensure!(agent.script("md5sum /tmp/held")? == held, "what it held is another");
    tools::busybox(&["ping", "-c", "2", "-W", "5", "10.77.0.2"])?;
    let log = agent.script("dmesg")?;
    let complaints = ["soft lockup", "self-detected stall", "hung task", "timekeeping watchdog"];
    for complaint in complaints {
        ensure!(!log.contains(complaint), "the guest complains of {complaint}: {log}");
    }
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown").map(drop)
}

/// Begins something in the guest that does not end.
fn begin(agent: &mut Agent, script: &str) -> Outcome {
    let script = format!("{{ {script}; }} >/dev/null 2>&1 &");
    agent.call(&Request::Run { argv: ["sh", "-c", &script].map(String::from).to_vec() }).map(drop)
}

/// Numbers that come over a connection, a line each.
struct Numbers {
    stream: TcpStream,
    /// The beginning of the next one.
    rest: String,
    last: u64,
}

impl Numbers {
    fn new(stream: TcpStream) -> Self {
        Self { stream, rest: String::new(), last: 0 }
    }

    /// Reads what comes within `limit`, each number of which has to follow the one before; false if nothing came.
    fn read(&mut self, limit: Duration) -> Result<bool, Failure> {
        self.stream.set_read_timeout(Some(limit)).doing("setting a limit")?;
        let mut buffer = [0; 4096];
        let count = match self.stream.read(&mut buffer) {
            Ok(0) => return Err("the connection was closed".into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        self.rest += &String::from_utf8_lossy(buffer.get(..count).unwrap_or_default());
        while let Some((line, rest)) = self.rest.split_once('\n') {
            let number: u64 = line.trim().parse().doing("reading a number")?;
            ensure!(number == self.last + 1, "{number} comes after {}", self.last);
            self.last = number;
            self.rest = rest.to_owned();
        }
        Ok(true)
    }

    /// Reads all that have come.
    fn drain(&mut self) -> Outcome {
        while self.read(Duration::from_secs(1))? {}
        Ok(())
    }

    /// Waits for so many more.
    fn follow(&mut self, count: u64) -> Outcome {
        let wanted = self.last + count;
        while self.last < wanted {
            ensure!(self.read(BOOT)?, "nothing comes after {}", self.last);
        }
        Ok(())
    }
}
