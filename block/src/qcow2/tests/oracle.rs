//! QEMU's tools, where they are installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Whether the tools are there; says by name what was skipped if not.
pub(crate) fn available(test: &str) -> bool {
    let there =
        |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|out| out.status.success());
    let all = there("qemu-img") && there("qemu-io");
    if !all {
        eprintln!("skipped: {test} needs qemu-img and qemu-io, which are not installed");
    }
    all
}

pub(super) fn run(tool: &str, args: &[&str]) -> Output {
    loop {
        let output = Command::new(tool).args(args).output().unwrap();
        // Between fork and exec, another test's child shares all our locks for a moment.
        if !String::from_utf8_lossy(&output.stderr).contains("lock") {
            return output;
        }
    }
}

pub(crate) fn qemu_img(args: &[&str]) -> String {
    let output = run("qemu-img", args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "qemu-img {args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Runs commands on an image.
pub(crate) fn qemu_io(path: &Path, commands: &[String]) {
    let mut args = vec!["-f".to_owned(), "qcow2".to_owned()];
    for command in commands {
        args.extend(["-c".to_owned(), command.clone()]);
    }
    args.push(path.display().to_string());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = run("qemu-io", &args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && !text.contains("failed"),
        "{args:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What a raw copy of an image holds.
pub(crate) fn contents(path: &Path) -> Vec<u8> {
    let raw = path.with_extension("raw-copy");
    qemu_img(&["convert", "-O", "raw", text(path), text(&raw)]);
    std::fs::read(raw).unwrap()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) struct Dir(tempfile::TempDir);

impl Dir {
    pub(crate) fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// An image made by `qemu-img create`.
    pub(crate) fn create(
        &self,
        name: &str,
        options: &str,
        size: &str,
        backing: Option<(&Path, &str)>,
    ) -> PathBuf {
        let path = self.path(name);
        let mut args = vec!["create", "-q", "-f", "qcow2"];
        if !options.is_empty() {
            args.extend(["-o", options]);
        }
        if let Some((backing, format)) = backing {
            args.extend(["-b", text(backing), "-F", format]);
        }
        args.extend([text(&path), size]);
        qemu_img(&args);
        path
    }
}
