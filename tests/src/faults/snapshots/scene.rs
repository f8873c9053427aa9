//! One snapshot while which something goes wrong: a machine, a command, and what they leave.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use guest::sys;

use super::super::chance::Chance;
use super::super::room::{Room, fill};
use super::cell::{Cell, Fault, Kind, Moment};
use crate::case::Ctx;
use crate::commands::{beside, says};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::payload::{code, elf};
use crate::vm::{Vm, command, wait};

/// How long things may take.
const PATIENCE: Duration = Duration::from_secs(200);
/// Room for two snapshots.
const ROOM: u64 = 300 << 20;
/// Where a snapshot is made, and where a stream goes to, in the scratch folder.
const PLACE: &str = "place";
const READER: &str = "reader";
const SNAPSHOT: &str = "snapshot";

/// What there is in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Came {
    /// A snapshot, which is sound.
    Taken,
    /// None.
    None,
}

pub(super) struct Scene<'a> {
    ctx: &'a Ctx,
    cell: Cell,
    vm: Vm,
    /// The machine is not to go on.
    stops: bool,
    /// What the guest has in all its pages.
    round: u32,
    _rooms: [Room; 2],
}

/// Runs one.
///
/// # Errors
/// If a machine is lost, or what is there is neither a sound snapshot nor none, or anything else is not as it should be.
pub(super) fn run(ctx: &Ctx, cell: Cell, chance: &mut Chance) -> Result<Came, Failure> {
    let mut scene = Scene::set(ctx, cell, chance)?;
    let code = scene.take(chance)?;
    let came = scene.look(code)?;
    scene.end(code, came)?;
    Ok(came)
}

impl<'a> Scene<'a> {
    fn set(ctx: &'a Ctx, cell: Cell, chance: &mut Chance) -> Result<Self, Failure> {
        let rooms = [PLACE, READER].map(|name| Room::make(&ctx.scratch.join(name), ROOM));
        let [place, reader] = rooms;
        let kernel = ctx.scratch.join("payload.elf");
        fs::write(&kernel, elf::pvh(code::touches(), 4096)).doing("writing a payload")?;
        let manifest = Manifest::bare("payload").memory("128Mi").grace(1);
        let vm = Vm::start(ctx, &manifest, &["--kernel", &kernel.to_string_lossy()])?;
        vm.console().wait_for("payload: touches\n", PATIENCE)?;
        let stops = chance.coin();
        let mut scene = Self { ctx, cell, vm, stops, round: 0, _rooms: [place?, reader?] };
        scene.touch()?;
        if cell.kind == Kind::Incremental {
            says(ctx, 0, &["snapshot", "payload", &text(&scene.base()), "--track"])?;
            scene.touch()?;
        }
        Ok(scene)
    }

    /// Has the guest write another number into all its pages.
    fn touch(&mut self) -> Outcome {
        self.round += 1;
        self.vm.type_in("t")?;
        self.vm.console().wait_for(&format!("{:08X}\n", self.round), PATIENCE)
    }

    fn place(&self) -> PathBuf {
        self.ctx.scratch.join(PLACE)
    }

    fn base(&self) -> PathBuf {
        self.place().join("base")
    }

    fn directory(&self) -> PathBuf {
        self.place().join(SNAPSHOT)
    }

    fn stream(&self) -> PathBuf {
        self.ctx.scratch.join(READER).join("stream.tar")
    }

    /// Takes the snapshot, and has something go wrong; how the command ended.
    fn take(&mut self, chance: &mut Chance) -> Result<Option<i32>, Failure> {
        self.fill(chance)?;
        let mut child = self.begin()?;
        self.await_moment(&mut child)?;
        // Some come a little later.
        thread::sleep(Duration::from_micros(if chance.coin() { 0 } else { chance.draw() % 20_000 }));
        let process = match self.cell.fault {
            Fault::KillMachine => Some(self.vm.pid()),
            Fault::KillCommand => Some(child.id()),
            Fault::Full | Fault::FullReader | Fault::Nothing => None,
        };
        if let Some(process) = process {
            // One that is gone already is what was wanted.
            let _ = sys::kill(i32::try_from(process).doing("process id")?, libc::SIGKILL);
        }
        let status = wait(&mut child, PATIENCE)?.ok_or("the command does not come to an end")?;
        Ok(status.code())
    }

    /// Leaves no more room than for what is written up to the moment.
    fn fill(&self, chance: &mut Chance) -> Outcome {
        let folder = match self.cell.fault {
            Fault::Full => PLACE,
            Fault::FullReader => READER,
            Fault::KillMachine | Fault::KillCommand | Fault::Nothing => return Ok(()),
        };
        let mut left = 0;
        if let Some(last) = self.cell.moment.file() {
            // One like it tells how much that is.
            let like = self.ctx.scratch.join(READER).join("like");
            says(self.ctx, 0, &["snapshot", "payload", &text(&like)])?;
            let taken = |name: &&str| {
                let file = fs::metadata(like.join(name)).doing("looking at a snapshot")?;
                Ok::<u64, Failure>(file.blocks() * 512)
            };
            let before = self.cell.moment.files_before().iter().map(taken);
            left = before.sum::<Result<u64, Failure>>()? + chance.draw() % taken(&last)?.max(1);
            fs::remove_dir_all(like)?;
        }
        fill(&self.ctx.scratch.join(folder), left).doing("filling a file system")
    }

    fn begin(&self) -> Result<Child, Failure> {
        let mut order = command(self.ctx);
        order.args(["snapshot", "payload"]);
        match self.cell.kind {
            Kind::Stream => {
                let file = File::create(self.stream()).doing("making a file for a stream")?;
                order.arg("-").env("TMPDIR", self.place()).stdout(file);
            }
            Kind::Whole | Kind::Incremental => {
                order.arg(self.directory()).stdout(Stdio::null());
            }
        }
        if self.cell.kind == Kind::Incremental {
            order.arg("--incremental-of").arg(self.base());
        }
        if self.stops {
            order.arg("--stop");
        }
        order.arg("--runtime-dir").arg(self.ctx.scratch.join("run"));
        let errors = File::create(self.ctx.results.join("snapshot.stderr.log"))?;
        order.stdin(Stdio::null()).stderr(errors).spawn().doing("starting kubevmm")
    }

    /// Waits until the moment can be seen, or the command has ended.
    fn await_moment(&self, child: &mut Child) -> Outcome {
        if !matches!(self.cell.fault, Fault::KillMachine | Fault::KillCommand) {
            return Ok(());
        }
        let end = Instant::now() + PATIENCE;
        while self.cell.moment != Moment::Before && !self.has_come() && child.try_wait()?.is_none() {
            ensure!(Instant::now() < end, "the moment does not come, and the command does not end");
            thread::yield_now();
        }
        Ok(())
    }

    fn has_come(&self) -> bool {
        let file = self.cell.moment.file();
        self.made().iter().any(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_begun = || file.is_some_and(|file| path.join(file).exists());
            name.contains(SNAPSHOT) && (!name.starts_with('.') || is_begun())
        })
    }

    /// What is where snapshots are made, and in the folder of one that is only passed on.
    fn made(&self) -> Vec<PathBuf> {
        let within = |folder: &Path| -> Vec<PathBuf> {
            names(folder).into_iter().map(|name| folder.join(name)).collect()
        };
        let all = within(&self.place());
        let is_passing = |path: &&PathBuf| path.to_string_lossy().contains("kubevmm-passing-");
        let passing = all.iter().filter(is_passing).flat_map(|folder| within(folder)).collect();
        [all, passing].concat()
    }

    /// Whether there is a snapshot, which has to be sound then.
    fn look(&mut self, code: Option<i32>) -> Result<Came, Failure> {
        let there = match self.cell.kind {
            Kind::Stream => self.unpack()?,
            Kind::Whole | Kind::Incremental => {
                // A command that was killed leaves the machine at work.
                self.await_rest()?;
                Some(self.directory()).filter(|path| path.exists())
            }
        };
        let Some(directory) = there else {
            ensure!(code != Some(0), "the command says that there is a snapshot: {}", self.logs());
            return Ok(Came::None);
        };
        says(self.ctx, 0, &["snapshot", "inspect", &text(&directory), "--check"])?;
        let mut clone = Vm::restore(self.ctx, ("clone", "clone"), &directory, &["--eager"])?;
        answers(&mut clone, self.round)?;
        clone.type_in("q")?;
        clone.wait_exit(PATIENCE)?.expect(0, "guest-shutdown")?;
        Ok(Came::Taken)
    }

    /// Unpacks the stream, if all of it is there.
    fn unpack(&self) -> Result<Option<PathBuf>, Failure> {
        let into = self.ctx.scratch.join("into");
        let mut order = command(self.ctx);
        order.args(["restore", "-", "--into"]).arg(&into).args(["--name", "piped", "--console", "off"]);
        order.arg("--runtime-dir").arg(self.ctx.scratch.join("run")).stdin(File::open(self.stream())?);
        let errors = File::create(self.ctx.results.join("piped.stderr.log"))?;
        let mut child = order.stderr(errors).stdout(Stdio::null()).spawn().doing("starting kubevmm")?;
        let end = Instant::now() + PATIENCE;
        // It runs as soon as it can be told to stop.
        while child.try_wait()?.is_none() {
            ensure!(Instant::now() < end, "what came by a stream neither runs nor is refused");
            if beside(self.ctx, "run", &["stop", "piped", "--force"])?.0 == Some(0) {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let status = wait(&mut child, PATIENCE)?.ok_or("what came by a stream does not end")?;
        ensure!(into.exists() || status.code() == Some(1), "a torn stream ended with {status}");
        Ok(Some(into).filter(|path| path.exists()))
    }

    /// Waits until the machine does nothing for a snapshot any more.
    fn await_rest(&mut self) -> Outcome {
        let end = Instant::now() + PATIENCE;
        while self.vm.is_running()?
            && self.made().iter().any(|path| path.extension().is_some_and(|kind| kind == "partial"))
        {
            ensure!(Instant::now() < end, "a part of a snapshot is left: {:?}", names(&self.place()));
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The machine goes on, or has ended as it was to; and can be saved again.
    fn end(&mut self, code: Option<i32>, came: Came) -> Outcome {
        if self.cell.fault == Fault::KillMachine {
            let ended = self.vm.wait_exit(PATIENCE)?;
            let is_saved = self.stops && ended.code == Some(0);
            ensure!(ended.signal == Some(libc::SIGKILL) || is_saved, "it ended with {:?}", ended.code);
            return self.base_is_sound();
        }
        self.await_rest()?;
        let kept = self.kept()?;
        ensure!(kept.len() <= 1, "{kept:?} are left");
        let is_gone = self.stops && (code == Some(0) || came == Came::Taken || !kept.is_empty());
        if is_gone {
            self.vm.wait_exit(PATIENCE)?.expect(0, "saved")?;
            // It is all that there is of the machine, and where it was made if it could not be sent.
            ensure!(came == Came::Taken || self.is_whole(&kept)?, "the machine is lost: {}", self.logs());
            return self.base_is_sound();
        }
        answers(&mut self.vm, self.round)?;
        ensure!(
            kept.is_empty() || self.cell.fault == Fault::KillCommand,
            "{kept:?} is left of a snapshot that was not taken: {}",
            self.logs()
        );
        self.again()?;
        self.vm.type_in("q")?;
        self.vm.wait_exit(PATIENCE)?.expect(0, "guest-shutdown")?;
        self.base_is_sound()
    }

    /// What is left of a snapshot that was made to be sent.
    fn kept(&self) -> Result<Vec<String>, Failure> {
        Ok(names(&self.place()).into_iter().filter(|name| name.starts_with("kubevmm-snapshot-")).collect())
    }

    fn is_whole(&self, kept: &[String]) -> Result<bool, Failure> {
        let Some(name) = kept.first() else { return Ok(false) };
        let directory = text(&self.place().join(name));
        says(self.ctx, 0, &["snapshot", "inspect", &directory, "--check"]).map(|_| true)
    }

    /// With room again, a snapshot can be had.
    fn again(&self) -> Outcome {
        for name in [PLACE, READER] {
            // Not all were full.
            let _ = fs::remove_file(self.ctx.scratch.join(name).join("full"));
        }
        let directory = text(&self.place().join("again"));
        says(self.ctx, 0, &["snapshot", "payload", &directory])?;
        says(self.ctx, 0, &["snapshot", "inspect", &directory, "--check"]).map(drop)
    }

    /// What was there before is what it was.
    fn base_is_sound(&self) -> Outcome {
        if self.cell.kind == Kind::Incremental {
            says(self.ctx, 0, &["snapshot", "inspect", &text(&self.base()), "--check"])?;
        }
        Ok(())
    }

    fn logs(&self) -> String {
        let said = fs::read_to_string(self.ctx.results.join("snapshot.stderr.log")).unwrap_or_default();
        format!("command: {said}\nmachine: {}", self.vm.errors())
    }
}

/// The guest runs, and finds in its memory what it wrote.
fn answers(vm: &mut Vm, round: u32) -> Outcome {
    let before = vm.console().text().lines().count();
    vm.type_in("c")?;
    vm.console().wait_for_times("\n", before + 1, PATIENCE)?;
    let text = vm.console().text().replace('\r', "");
    ensure!(text.ends_with(&format!("{round:08X}\n")), "in round {round} the guest says {text:?}");
    Ok(())
}

/// Names of what is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
