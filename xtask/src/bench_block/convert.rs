//! Copies between formats.

use std::fs;
use std::path::{Path, PathBuf};

use super::tools::{Tool, Tools, cost};
use super::{Best, Request, print};
use crate::error::{Doing, Result};
use crate::process;

/// Bytes of the disk that is copied.
const SIZE: usize = 512 << 20;

/// A copy that is measured.
struct Copy {
    name: &'static str,
    /// Format and options that the source is made with, out of the raw one.
    source: &'static [&'static str],
    /// The copy's.
    target: &'static [&'static str],
}

const COPIES: &[Copy] = &[
    Copy { name: "raw to qcow2", source: &["raw"], target: &["-O", "qcow2"] },
    Copy { name: "qcow2 to raw", source: &["qcow2", "-O", "qcow2"], target: &["-O", "raw"] },
    Copy { name: "raw to qcow2, zlib", source: &["raw"], target: &["-c", "-O", "qcow2"] },
    Copy {
        name: "raw to qcow2, zstd",
        source: &["raw"],
        target: &["-c", "-O", "qcow2", "-o", "compression_type=zstd"],
    },
    Copy { name: "qcow2, zlib, to raw", source: &["qcow2", "-c", "-O", "qcow2"], target: &["-O", "raw"] },
    Copy {
        name: "qcow2, zstd, to raw",
        source: &["qcow2", "-c", "-O", "qcow2", "-o", "compression_type=zstd"],
        target: &["-O", "raw"],
    },
];

/// Measures all copies in a folder.
pub(super) fn all(tools: &Tools, request: &Request, place: &str, folder: &Path) -> Result<()> {
    let copies: Vec<_> = COPIES.iter().map(|copy| (format!("{place} convert {}", copy.name), copy)).collect();
    if !copies.iter().any(|(name, _)| request.takes(name)) {
        return Ok(());
    }
    let raw = folder.join("source.raw");
    fs::write(&raw, contents()).doing("writing a disk to copy")?;
    for (name, copy) in copies.iter().filter(|(name, _)| request.takes(name)) {
        let source = source(tools, copy, &raw)?;
        let (mut theirs, mut ours) = (None, None);
        for _ in 0..request.rounds() {
            for (tool, best) in [(Tool::Qemu, &mut theirs), (Tool::Kubevmm, &mut ours)] {
                let target = folder.join("copy");
                // As many at a time as qemu-img takes; out of order where it may.
                let mut command = tools.command(tool, "convert");
                command.args([
                    "-f",
                    copy.source.first().unwrap_or(&"raw"),
                    "-t",
                    "writeback",
                    "-m",
                    "16",
                    "-W",
                ]);
                let cost = cost(command.args(copy.target).arg(&source).arg(&target))?;
                Best::take(best, cost, "");
                let mut compare = tools.command(Tool::Qemu, "compare");
                process::output(compare.arg(&raw).arg(&target)).doing("comparing a copy")?;
                fs::remove_file(&target).doing("removing a copy")?;
            }
        }
        print(name, theirs.as_ref(), ours.as_ref(), 1.0);
    }
    Ok(())
}

fn source(tools: &Tools, copy: &Copy, raw: &Path) -> Result<PathBuf> {
    let [_, options @ ..] = copy.source else { return Ok(raw.to_owned()) };
    if options.is_empty() {
        return Ok(raw.to_owned());
    }
    let path = raw.with_extension("qcow2");
    process::output(tools.command(Tool::Qemu, "convert").args(options).arg(raw).arg(&path))?;
    Ok(path)
}

/// Something like a file system: text, noise, zeroes.
fn contents() -> Vec<u8> {
    const PIECE: usize = 256 << 10;
    let mut bytes = vec![0u8; SIZE];
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).to_le_bytes()
    };
    for (number, piece) in bytes.chunks_mut(PIECE).enumerate() {
        match number % 8 {
            0 | 1 => {}
            2 => piece.chunks_mut(4).for_each(|word| fill(word, &next())),
            // Words of a small vocabulary.
            _ => piece.chunks_mut(6).for_each(|word| {
                let [choice, ..] = next();
                fill(
                    word,
                    &[b'a' + choice % 16, b'e', b'n' + choice / 64, b't', b'o' + choice % 8, b' ', 0, 0],
                );
            }),
        }
    }
    bytes
}

fn fill(to: &mut [u8], from: &[u8; 8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}
