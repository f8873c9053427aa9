//! A Linux guest that is moved from process to process by a unix socket, in several VMMs side by side. With instruction counting,
//! a nanosecond of the test host's clock is an instruction of everything in it: of both processes, their kernel, and the guest
//! that runs meanwhile.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use guest::protocol;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{PAYLOAD, peers};
use crate::ensure;
use crate::failure::{Doing, Failure};
use crate::manifest::Manifest;
use crate::supervisor::Sink;
use crate::verdict::Line;

/// Where everything of a run is.
const FOLDER: &str = "/tmp/bench";
/// What the guest fills, and what it goes on writing to, in MiB.
const WRITES: &str = "128,1";
/// When a step is given up.
const LIMIT: Duration = Duration::from_secs(120);
/// How long a guest has to run before and after its move.
const SETTLE: Duration = Duration::from_millis(300);

/// What moves the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mover {
    /// The program under test.
    Kubevmm,
    /// QEMU of the test host's Debian.
    Qemu,
}

impl Mover {
    /// As options and figures name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kubevmm => "kubevmm",
            Self::Qemu => "qemu",
        }
    }
}

/// A line of the table.
#[derive(Debug)]
pub struct Row {
    /// What figures are called, behind the VMM's name and a slash.
    pub name: &'static str,
    /// For people.
    pub what: &'static str,
}

/// The table.
pub const ROWS: [Row; 5] = [
    Row { name: "total", what: "from the command until the guest's first sign there, ms" },
    Row { name: "silent", what: "longest silence of the guest (it gives a sign each 5 ms), ms" },
    Row { name: "sent", what: "bytes sent, MiB" },
    Row { name: "per-mib", what: "millions of instructions for each MiB sent" },
    Row { name: "rounds", what: "rounds" },
];

/// Measures and hands the figures to `sink`.
pub(super) fn run(mover: Mover, sink: &Sink<'_>) -> Result<(), Failure> {
    fs::create_dir_all(FOLDER)?;
    peers::mount()?;
    let signs = Signs::default();
    let mut sides = Vec::new();
    let measured = measure(mover, &signs, &mut sides, sink);
    for side in &mut sides {
        // One that has ended by itself cannot be killed.
        let _ = side.kill();
        side.wait()?;
    }
    measured.map_err(|Failure(why)| {
        let said = fs::read_to_string(log_file("source")).unwrap_or_default()
            + &fs::read_to_string(log_file("destination")).unwrap_or_default();
        Failure(format!("{}: {why}\n{said}", mover.name()))
    })
}

fn measure(mover: Mover, signs: &Signs, sides: &mut Vec<Child>, sink: &Sink<'_>) -> Result<(), Failure> {
    let mut start = |side: &'static str| {
        sides.push(begin(mover, side, signs)?);
        Ok::<_, Failure>(())
    };
    start("source")?;
    wait_until("the guest has not filled its memory", || signs.with(|signs| signs.full))?;
    thread::sleep(SETTLE);
    start("destination")?;
    wait_until("the destination does not listen", || listens(mover))?;
    let begun = Instant::now();
    let done = match mover {
        Mover::Kubevmm => move_kubevmm()?,
        Mover::Qemu => move_qemu()?,
    };
    let there =
        |signs: &Seen| signs.dots.iter().find(|(side, _)| *side == "destination").map(|(_, when)| *when);
    wait_until("the guest gives no sign there", || signs.with(|signs| there(signs).is_some()))?;
    thread::sleep(SETTLE);
    if mover == Mover::Kubevmm {
        let said = fs::read_to_string(log_file("source")).doing("reading how it went")?;
        said.lines()
            .filter(|line| line.contains("migrated in"))
            .for_each(|line| sink(&Line::Note { text: line.into() }));
    }
    let (first, silent) = signs.with(|signs| {
        let times: Vec<_> = signs.dots.iter().map(|(_, when)| *when).filter(|when| *when >= begun).collect();
        let silent = times.iter().zip(times.iter().skip(1)).map(|(one, next)| *next - *one).max();
        (there(signs), silent.unwrap_or_default())
    });
    let total = first.ok_or("the guest gave no sign there")?.saturating_duration_since(begun);
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    for (name, value) in [
        ("total", millis(total)),
        ("silent", millis(silent)),
        ("sent", done.mebibytes),
        ("per-mib", millis(total) / done.mebibytes),
        ("rounds", done.rounds),
    ] {
        sink(&Line::Figure { name: format!("{}/{name}", mover.name()), value, unit: String::new() });
    }
    Ok(())
}

fn wait_until(otherwise: &str, is_so: impl Fn() -> bool) -> Result<(), Failure> {
    let limit = Instant::now() + LIMIT;
    while !is_so() {
        ensure!(Instant::now() < limit, "{otherwise}");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// What is heard of a guest, and when.
#[derive(Clone, Debug, Default)]
struct Signs(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    full: bool,
    dots: Vec<(&'static str, Instant)>,
}

impl Signs {
    fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Listens to the console of one side until it ends.
    fn follow(self, side: &'static str, mut console: impl Read + Send + 'static) {
        thread::spawn(move || {
            let (mut text, mut buffer) = (String::new(), [0; 512]);
            while let Ok(length @ 1..) = console.read(&mut buffer) {
                let (now, new) = (Instant::now(), buffer.get(..length).unwrap_or_default());
                text += &String::from_utf8_lossy(new);
                self.with(|seen| {
                    seen.full |= text.contains(protocol::FULL);
                    if new.contains(&b'.') {
                        seen.dots.push((side, now));
                    }
                });
            }
        });
    }
}

fn log_file(side: &str) -> String {
    format!("{FOLDER}/{side}.log")
}

/// The socket that the guest moves through, and that of QEMU's monitor.
fn socket(name: &str) -> String {
    format!("{FOLDER}/{name}.sock")
}

/// Starts one side.
fn begin(mover: Mover, side: &'static str, signs: &Signs) -> Result<Child, Failure> {
    let mut command = match mover {
        Mover::Kubevmm => kubevmm(side)?,
        Mover::Qemu => qemu(side),
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(log_file(side))?);
    let mut child = command.spawn().doing(mover.name())?;
    signs.clone().follow(side, child.stdout.take().ok_or("no pipe from the console")?);
    Ok(child)
}

fn kernel_args() -> String {
    format!("console=ttyS0 panic=-1 quiet guest.writes={WRITES}")
}

fn runtime(side: &str) -> String {
    format!("{FOLDER}/run-{side}")
}

fn program() -> Command {
    Command::new(Path::new(PAYLOAD).join("kubevmm"))
}

fn kubevmm(side: &str) -> Result<Command, Failure> {
    let mut manifest = Manifest::linux("bench", &format!("rootfs:{PAYLOAD}/guest"), "vmlinux");
    manifest.set("/spec/domain/firmware/kernelBoot/kernelArgs", json!(kernel_args()));
    let path = format!("{FOLDER}/bench.yaml");
    fs::write(&path, serde_json::to_vec_pretty(&manifest.0)?).doing("writing a manifest")?;
    let mut command = program();
    command.arg(if side == "source" { "run" } else { "receive" }).arg(&path);
    command.args(["--console", "stdio", "--runtime-dir", &runtime(side)]);
    if side == "destination" {
        command.args(["--listen", &format!("unix:{}", socket("move"))]);
    }
    Ok(command)
}

fn qemu(side: &str) -> Command {
    let mut command = peers::qemu(&kernel_args());
    command.args(["-qmp", &format!("unix:{},server=on,wait=off", socket(side))]);
    if side == "destination" {
        command.args(["-incoming", &format!("unix:{}", socket("move"))]);
    }
    command
}

fn listens(mover: Mover) -> bool {
    match mover {
        Mover::Kubevmm => {
            fs::read_to_string(log_file("destination")).is_ok_and(|text| text.contains("waiting for"))
        }
        Mover::Qemu => Path::new(&socket("move")).exists(),
    }
}

/// What the VMM says of a move.
struct Done {
    mebibytes: f64,
    rounds: f64,
}

fn move_kubevmm() -> Result<Done, Failure> {
    let runtime = runtime("source");
    let output = program()
        .args(["migrate", "bench", &format!("unix:{}", socket("move")), "--runtime-dir", &runtime])
        .output()
        .doing("moving the machine")?;
    ensure!(output.status.success(), "migrate says {}", String::from_utf8_lossy(&output.stderr));
    let file = Path::new(&runtime).join("default/bench/vmi.json");
    let object: Value = serde_json::from_slice(&fs::read(file).doing("reading the status")?)?;
    let text = object["metadata"]["annotations"]["kubevmm.io/migration-progress"].as_str();
    let progress: Value = serde_json::from_str(text.unwrap_or_default()).doing("reading how it went")?;
    Ok(Done {
        mebibytes: number(&progress, "/sentBytes")? / f64::from(1 << 20),
        rounds: number(&progress, "/rounds")?,
    })
}

/// With as much of the socket as there is, and with kubevmm's limit of the downtime.
fn move_qemu() -> Result<Done, Failure> {
    let mut monitor = Monitor::connect(&socket("source"))?;
    monitor.ask(&json!({"execute": "qmp_capabilities"}))?;
    let limits = json!({"max-bandwidth": 1_u64 << 40, "downtime-limit": 300});
    monitor.ask(&json!({"execute": "migrate-set-parameters", "arguments": limits}))?;
    let place = format!("unix:{}", socket("move"));
    monitor.ask(&json!({"execute": "migrate", "arguments": {"uri": place}}))?;
    let limit = Instant::now() + LIMIT;
    loop {
        let state = monitor.ask(&json!({"execute": "query-migrate"}))?;
        match state["status"].as_str() {
            Some("completed") => {
                return Ok(Done {
                    mebibytes: number(&state, "/ram/transferred")? / f64::from(1 << 20),
                    rounds: number(&state, "/ram/dirty-sync-count")?,
                });
            }
            Some("failed" | "cancelled") => return Err(Failure(format!("QEMU says {state}"))),
            _ => ensure!(Instant::now() < limit, "it is not moved: {state}"),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn number(value: &Value, pointer: &str) -> Result<f64, Failure> {
    let number = value.pointer(pointer).and_then(Value::as_f64);
    number.ok_or_else(|| Failure(format!("there is no {pointer} in {value}")))
}

/// QEMU's monitor.
struct Monitor {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Monitor {
    fn connect(path: &str) -> Result<Self, Failure> {
        let stream = UnixStream::connect(path).doing("reaching QEMU's monitor")?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self { lines: BufReader::new(stream.try_clone()?), stream })
    }

    /// What it answers, past events.
    fn ask(&mut self, question: &Value) -> Result<Value, Failure> {
        writeln!(self.stream, "{question}").doing("asking QEMU")?;
        loop {
            let mut line = String::new();
            ensure!(self.lines.read_line(&mut line)? > 0, "QEMU closed its monitor");
            let mut answer: Value = serde_json::from_str(&line).doing("understanding QEMU")?;
            if answer.get("error").is_some() {
                return Err(Failure(format!("QEMU answers {answer}")));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }
}
