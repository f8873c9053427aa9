//! The ways in which a machine is saved and brought back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::case::Ctx;
use crate::commands::says;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::machine;
use crate::payload::demand::Server;
use crate::vm::{BOOT, END, Vm, command};

/// How long all of a machine's memory may take.
const COMING: Duration = Duration::from_secs(400);

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Memory is mapped.
    Mapped,
    /// Memory is read before the guest goes on, and the guest's clocks jump.
    Eager,
    /// Memory comes on demand.
    Demand,
    /// A second snapshot adds to a first one; what is brought back notes what it writes.
    Incremental,
    /// What the machine has written since it was brought back adds to the snapshot it came from; memory comes on demand, out of all of them.
    Added,
    /// Through a pipe, as a tar archive.
    Stream,
    /// A process serves it by a socket.
    Served,
}

impl Way {
    /// All of them, in an order in which they can follow each other over and over.
    pub(crate) const ALL: [Self; 7] =
        [Self::Mapped, Self::Eager, Self::Demand, Self::Incremental, Self::Added, Self::Stream, Self::Served];
}

/// The snapshots of a machine that is saved and brought back in turns.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    round: u32,
    /// Those that are still needed, the oldest first.
    kept: Vec<PathBuf>,
}

impl Snapshots {
    /// Saves the machine `vm`, ends it, and brings it back. `meanwhile` is done while a first snapshot is there and the machine runs.
    pub(super) fn pass(
        &mut self,
        ctx: &Ctx,
        vm: &mut Vm,
        way: Way,
        meanwhile: impl FnOnce() -> Outcome,
    ) -> Outcome {
        self.round += 1;
        if way != Way::Added {
            for directory in self.kept.drain(..) {
                fs::remove_dir_all(directory).doing("removing a snapshot")?;
            }
        }
        let (demand, track) = (["--memory", "demand"].as_slice(), ["--track"].as_slice());
        match way {
            Way::Mapped => self.save_and_restore(ctx, vm, &[])?,
            Way::Eager => self.save_and_restore(ctx, vm, &["--eager", "--guest-sees-time"])?,
            Way::Demand => self.save_and_restore(ctx, vm, demand)?,
            Way::Incremental => {
                self.save(ctx, "base", track)?;
                meanwhile()?;
                self.save_and_restore(ctx, vm, track)?;
            }
            Way::Added => self.save_and_restore(ctx, vm, demand)?,
            Way::Stream => self.stream(ctx, vm)?,
            Way::Served => self.serve(ctx, vm)?,
        }
        if matches!(way, Way::Demand | Way::Added | Way::Served) {
            complete(vm)?;
        }
        Ok(())
    }

    fn place(&self, ctx: &Ctx, name: &str) -> PathBuf {
        ctx.scratch.join(format!("{name}-{}", self.round))
    }

    /// Takes a snapshot, which adds to the last one that is kept.
    fn save(&mut self, ctx: &Ctx, name: &str, options: &[&str]) -> Outcome {
        let place = self.place(ctx, name);
        let to = place.to_string_lossy();
        let base = self.kept.last().map(|base| base.to_string_lossy());
        let mut args = [&["snapshot", "vm", &to], options].concat();
        if let Some(base) = &base {
            args.extend(["--incremental-of", base]);
        }
        ctx.note(says(ctx, 0, &args)?.trim());
        self.kept.push(place);
        Ok(())
    }

    fn save_and_restore(&mut self, ctx: &Ctx, vm: &mut Vm, options: &[&str]) -> Outcome {
        self.save(ctx, "snapshot", &["--stop"])?;
        vm.wait_exit(END)?.expect(0, "saved")?;
        let from = self.kept.last().cloned().unwrap_or_default();
        *vm = self.restore(ctx, &from, options)?;
        Ok(())
    }

    fn restore(&self, ctx: &Ctx, from: &Path, options: &[&str]) -> Result<Vm, Failure> {
        let log = format!("restored-{}", self.round);
        Vm::restore(ctx, ("vm", &log), from, &[&["--agent-socket"], options].concat())
    }

    fn stream(&mut self, ctx: &Ctx, vm: &mut Vm) -> Outcome {
        let into = self.place(ctx, "into");
        let mut sender = command(ctx);
        sender.args(["snapshot", "vm", "-", "--stop", "--runtime-dir"]).arg(ctx.scratch.join("run"));
        let mut sender =
            sender.env("TMPDIR", &ctx.scratch).stdout(Stdio::piped()).spawn().doing("taking a snapshot")?;
        let mut stream = sender.stdout.take().ok_or("no pipe from standard output")?;
        vm.wait_exit(BOOT)?.expect(0, "saved")?;
        *vm = self.restore(ctx, Path::new("-"), &["--into", &into.to_string_lossy()])?;
        let mut input = vm.take_input().ok_or("no pipe to standard input")?;
        io::copy(&mut stream, &mut input).doing("sending a snapshot")?;
        drop(input);
        let ended = sender.wait()?;
        ensure!(ended.success(), "the snapshot's sender ended with {ended}");
        self.kept.push(into);
        Ok(())
    }

    fn serve(&mut self, ctx: &Ctx, vm: &mut Vm) -> Outcome {
        self.save(ctx, "snapshot", &["--stop"])?;
        vm.wait_exit(END)?.expect(0, "saved")?;
        let address = format!("unix:{}", self.place(ctx, "socket").display());
        let from = self.kept.last().cloned().unwrap_or_default();
        let _server = Server::start(ctx, &from, &address)?;
        let into = self.place(ctx, "into");
        *vm = self.restore(ctx, Path::new(&address), &["--into", &into.to_string_lossy()])?;
        complete(vm)?;
        self.kept.push(into);
        Ok(())
    }
}

/// Waits until all of a machine's memory has come.
fn complete(vm: &Vm) -> Outcome {
    machine::wait_for(vm.runtime(), COMING, "all memory to be there", |machine| {
        machine["status"]["phase"] == "Running"
            && machine.pointer("/metadata/annotations/kubevmm.io~1memory-on-demand").is_none()
    })
    .map(drop)
}
