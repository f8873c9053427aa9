//! What moving a machine costs, measured with a payload on the KVM of this machine. Nothing is asserted.
//!
//! Every way of moving is measured several times, in turns, and each time beside a plain copy of as many bytes from memory to
//! memory by a socket of the same kind; of ratios the median counts. So a machine that is busy for a while does not decide.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{SOON, code, elf, migrate_tls};
use crate::case::Ctx;
use crate::commands::beside;
use crate::ensure;
use crate::failure::{Doing, Failure};
use crate::manifest::Manifest;
use crate::vm::Vm;
use crate::wait::until;

/// Memory of the guest, of which it fills half.
const MEMORY: &str = "2Gi";
const FILLED: usize = 1 << 30;
/// How often each way is measured.
const TURNS: usize = 5;
const FILL: Duration = Duration::from_secs(30);
const MIB: f64 = 1_048_576.0;
/// How long a rate is watched before a machine moves.
const WATCH: Duration = Duration::from_millis(500);

/// A way of moving.
struct Way {
    name: &'static str,
    connections: &'static str,
    /// By TCP on the loopback, encrypted; else by a unix socket.
    tls: bool,
    /// What the guest writes, in units of 100 MiB a second.
    rate: &'static str,
    /// It goes after one round, and its memory follows: the time is until all has come.
    follows: bool,
}

const WAYS: &[Way] = &[
    Way { name: "unix socket", connections: "1", tls: false, rate: "0", follows: false },
    Way { name: "2 connections", connections: "2", tls: false, rate: "0", follows: false },
    Way { name: "4 connections", connections: "4", tls: false, rate: "0", follows: false },
    Way { name: "TLS", connections: "1", tls: true, rate: "0", follows: false },
    Way { name: "TLS, 2 connections", connections: "2", tls: true, rate: "0", follows: false },
    Way { name: "guest writes 100 MiB/s", connections: "1", tls: false, rate: "1", follows: false },
    Way { name: "guest writes 400 MiB/s", connections: "1", tls: false, rate: "4", follows: false },
    Way { name: "the same, --post-copy", connections: "1", tls: false, rate: "4", follows: true },
];

/// The downtime that a guest is given that writes: so little that there are several rounds.
const DOWNTIME: &str = "60";

/// What a move took.
#[derive(Clone, Copy, Default)]
struct Move {
    seconds: f64,
    rounds: f64,
    /// MiB on the wire.
    sent: f64,
    /// MiB/s that the guest wrote before it.
    written: f64,
    /// Milliseconds: all, then stop, last pages, state, load, hand-over.
    downtime: [f64; 6],
    /// MiB/s of a plain copy just before.
    plain: f64,
}

impl Move {
    fn throughput(&self) -> f64 {
        self.sent / self.seconds
    }

    /// Bytes on the wire for each that was in use or was written meanwhile.
    fn bytes(&self) -> f64 {
        let copying = self.seconds - self.downtime[0] / 1000.0;
        self.sent / (mebibytes(FILLED) + self.written * copying)
    }
}

/// Measures everything; a line for each way.
///
/// # Errors
/// If a machine does not do what it should.
pub fn table(ctx: &Ctx) -> Result<Vec<String>, Failure> {
    let kernel = ctx.scratch.join("payload.elf");
    std::fs::write(&kernel, elf::pvh(code::fills(), 4096)).doing("writing a payload")?;
    let kernel = kernel.to_string_lossy().into_owned();
    let manifest = Manifest::bare("payload").memory(MEMORY).grace(1);
    let vm = Vm::start(ctx, &manifest, &["--kernel", &kernel])?;
    vm.console().wait_for("payload: full\n", FILL)?;
    let mut bench = Bench { ctx, kernel, vm, place: "run".to_owned(), moves: 0 };
    let mut all = vec![Vec::new(); WAYS.len()];
    for _ in 0..TURNS {
        for (way, moves) in WAYS.iter().zip(&mut all) {
            moves.push(bench.measure(way)?);
        }
    }
    bench.vm.type_in("q")?;
    bench.vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    let mut lines = vec![format!(
        "{:<24} {:>6} {:>7} {:>7} {:>9} {:>9} {:>7}  {}",
        "medians",
        "s",
        "rounds",
        "bytes*",
        "MiB/s",
        "plain",
        "ratio",
        "downtime, ms: stop, last pages, state, load, hand-over"
    )];
    lines.extend(WAYS.iter().zip(&all).map(|(way, moves)| line(way, moves)));
    lines.push("* on the wire, for each that was in use or was written while it was copied".into());
    Ok(lines)
}

fn line(way: &Way, moves: &[Move]) -> String {
    let median = |of: fn(&Move) -> f64| median(moves.iter().map(of).collect());
    let [all, stop, rest, state, load, hand_over] =
        std::array::from_fn(|at| self::median(moves.iter().map(|one| one.downtime[at]).collect()));
    let written = median(|one| one.written);
    let written = if written > 0.0 { format!("; it wrote {written:.0} MiB/s") } else { String::new() };
    format!(
        "{:<24} {:>6.2} {:>7.0} {:>7.3} {:>9.0} {:>9.0} {:>5.0} %  {all:.0}: {stop:.0}, {rest:.0}, {state:.0}, {load:.0}, \
         {hand_over:.0}{written}",
        way.name,
        median(|one| one.seconds),
        median(|one| one.rounds),
        median(Move::bytes),
        median(Move::throughput),
        median(|one| one.plain),
        median(|one| 100.0 * one.throughput() / one.plain),
    )
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

struct Bench<'a> {
    ctx: &'a Ctx,
    kernel: String,
    vm: Vm,
    /// The machine's root of runtime directories.
    place: String,
    moves: usize,
}

impl Bench<'_> {
    fn measure(&mut self, way: &Way) -> Result<Move, Failure> {
        let plain = if way.tls { plain_tcp()? } else { plain_unix()? };
        self.moves += 1;
        let place = format!("place-{}", self.moves);
        let folder = migrate_tls::folder(self.ctx, &migrate_tls::NODE)?;
        let address = if way.tls {
            migrate_tls::address()?
        } else {
            format!("unix:{}", self.ctx.scratch.join(format!("{place}.sock")).display())
        };
        let protection = if way.tls { vec!["--tls", folder.as_str()] } else { Vec::new() };
        let args = [&["--kernel", &self.kernel, "--listen", &address], protection.as_slice()].concat();
        let next = Vm::receive(self.ctx, &place, "payload", &args)?;
        let written = self.written(way)?;
        let mut args = vec!["migrate", "payload", &address, "--connections", way.connections];
        args.extend(protection);
        if way.follows {
            args.extend(["--downtime", "1", "--post-copy"]);
        } else if written > 0.0 {
            // On a machine that is too slow for it, it still comes to an end.
            args.extend(["--downtime", DOWNTIME, "--completion-timeout", "5", "--allow-disruption"]);
        }
        let (code, text) = beside(self.ctx, &self.place, &args)?;
        ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}");
        self.vm.wait_exit(SOON)?.expect(0, "migrated")?;
        let mut came = self.read()?;
        (came.written, came.plain) = (written, plain);
        (self.vm, self.place) = (next, place);
        self.vm.type_in("0")?;
        Ok(came)
    }

    /// Has the guest write at the way's rate; how much it really does, in MiB/s.
    fn written(&mut self, way: &Way) -> Result<f64, Failure> {
        if way.rate == "0" {
            return Ok(0.0);
        }
        self.vm.type_in(way.rate)?;
        let (first, began) = (self.count()?, Instant::now());
        thread::sleep(WATCH);
        let count = self.count()?.wrapping_sub(first);
        Ok(f64::from(count) / 4.0 / began.elapsed().as_secs_f64())
    }

    /// How often the guest has written 64 pages.
    fn count(&mut self) -> Result<u32, Failure> {
        let before = self.vm.console().text().lines().count();
        self.vm.type_in("c")?;
        until("the guest's number", || {
            let text = self.vm.console().text();
            Ok(text.ends_with('\n') && text.lines().count() > before)
        })?;
        let text = self.vm.console().text();
        let last = text.lines().next_back().unwrap_or_default().trim();
        u32::from_str_radix(last, 16).doing(&format!("reading the number {last:?}"))
    }

    /// What the process that has ended says of the move.
    fn read(&self) -> Result<Move, Failure> {
        let object = self.vm.status_file()?;
        let text = object["metadata"]["annotations"]["kubevmm.io/migration-progress"].as_str();
        let progress: Value = serde_json::from_str(text.unwrap_or_default()).doing("reading how it went")?;
        let errors = self.vm.errors();
        let said = errors.lines().rfind(|line| line.contains("migrated in ")).unwrap_or_default();
        let number =
            |words: &str| text_after(said, words).ok_or_else(|| Failure(format!("no {words:?} in {said:?}")));
        Ok(Move {
            seconds: number("migrated in ")?,
            rounds: progress["rounds"].as_f64().unwrap_or_default(),
            sent: progress["sentBytes"].as_f64().unwrap_or_default() / MIB,
            downtime: [
                number("stood still for ")?,
                number("(stop ")?,
                number("last pages ")?,
                number("state ")?,
                number("load ")?,
                number("hand-over ")?,
            ],
            ..Move::default()
        })
    }
}

/// The number behind some words.
fn text_after(text: &str, words: &str) -> Option<f64> {
    let rest = text.split(words).nth(1)?;
    rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?.parse().ok()
}

fn plain_unix() -> Result<f64, Failure> {
    let (from, to) = UnixStream::pair().doing("making sockets")?;
    plain_copy(from, to)
}

fn plain_tcp() -> Result<f64, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").doing("making sockets")?;
    let from = TcpStream::connect(listener.local_addr().doing("making sockets")?).doing("making sockets")?;
    let (to, _) = listener.accept().doing("making sockets")?;
    plain_copy(from, to)
}

/// As many bytes as the guest has filled from one thread to another, from memory and to memory, in MiB/s.
fn plain_copy(mut from: impl Write, mut to: impl Read + Send + 'static) -> Result<f64, Failure> {
    let source = vec![1u8; FILLED];
    let begun = Instant::now();
    let reader = thread::spawn(move || {
        let mut memory = vec![0u8; FILLED];
        to.read_exact(&mut memory).map(|()| memory.len())
    });
    from.write_all(&source).doing("sending")?;
    let read = reader.join().map_err(|_| Failure("the reader panicked".into()))?;
    read.doing("receiving")?;
    Ok(mebibytes(FILLED) / begun.elapsed().as_secs_f64())
}

fn mebibytes(bytes: usize) -> f64 {
    u32::try_from(bytes).map_or(f64::MAX, f64::from) / MIB
}
