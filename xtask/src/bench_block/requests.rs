//! Requests, as `qemu-img bench` makes them.

use std::fs;
use std::process::Command;

use super::cases::{Case, Work};
use super::tools::{Cost, Tool, Tools, bench, forget};
use crate::error::Result;
use crate::process;

/// A way to do I/O: the host's caching, and what carries it out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    cache: &'static str,
    aio: &'static str,
}

impl Way {
    pub(super) fn name(self) -> String {
        format!("{} {}", self.cache, self.aio)
    }
}

/// qemu-img's ways (native AIO is for direct I/O only).
pub(super) const QEMU: [Way; 5] = [
    Way { cache: "writeback", aio: "threads" },
    Way { cache: "writeback", aio: "io_uring" },
    Way { cache: "none", aio: "threads" },
    Way { cache: "none", aio: "native" },
    Way { cache: "none", aio: "io_uring" },
];

/// Ours.
pub(super) const OURS: [Way; 2] =
    [Way { cache: "writeback", aio: "io_uring" }, Way { cache: "none", aio: "io_uring" }];

/// Cost of a case with qemu-img.
pub(super) fn qemu(tools: &Tools, case: &Case, way: Way, quick: bool) -> Result<Option<Cost>> {
    run(tools, Tool::Qemu, case, way, quick)
}

/// Cost of a case with kubevmm.
pub(super) fn kubevmm(tools: &Tools, case: &Case, way: Way, quick: bool) -> Result<Option<Cost>> {
    run(tools, Tool::Kubevmm, case, way, quick)
}

fn run(tools: &Tools, tool: Tool, case: &Case, way: Way, quick: bool) -> Result<Option<Cost>> {
    prepare(tools, case)?;
    if case.work == Work::ReadCold {
        forget(&case.path)?;
    }
    let count = if quick { case.count() / 10 } else { case.count() };
    let mut command = tools.command(tool, "bench");
    command.args(["-f", case.format, "-t", way.cache, "-i", way.aio]);
    let numbers = [("-c", count), ("-d", case.depth.into()), ("-s", case.size), ("-S", case.step())];
    for (option, number) in numbers {
        command.args([option, &number.to_string()]);
    }
    if case.writes() {
        command.args(["-w", "--pattern", "170"]);
    }
    bench(command.arg(&case.path))
}

/// Makes the case's image, unless the one that is there will do.
fn prepare(tools: &Tools, case: &Case) -> Result<()> {
    let kind = format!("{} {}", case.disk_size(), case.is_filled());
    let note = case.path.with_extension(format!("{}.kind", case.format));
    if case.is_filled() && fs::read_to_string(&note).is_ok_and(|text| text == kind) {
        return Ok(());
    }
    // The file is made anew, so that its space is, too.
    let _ = fs::remove_file(&case.path);
    let _ = fs::remove_file(&note);
    let size = case.disk_size().to_string();
    // 64 GiB are there without taking the space: what is read of them are holes of the host's file.
    let spread = case.work == Work::Spread;
    let options = if spread && case.format == "qcow2" { "preallocation=metadata" } else { "" };
    tools.create(case.format, options, &case.path, &size)?;
    if case.is_filled() && !spread {
        let mut fill = Command::new("qemu-io");
        fill.args(["-n", "-f", case.format, "-c", &format!("write -P 85 0 {size}")]);
        process::output(fill.arg(&case.path))?;
    }
    fs::write(&note, kind).map_err(|error| format!("writing {}: {error}", note.display()).into())
}
