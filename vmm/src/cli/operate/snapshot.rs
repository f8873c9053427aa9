//! `kubevmm snapshot`.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, fs};

use devices::chain;
use serde_json::json;

use super::names;
use super::passing::Passing;
use crate::cli::Failure;
use crate::cli::args::Args;
use crate::cli::output::{Format, print, say, yaml_document};
use crate::cli::receive::protection;
use crate::client::Machine;
use crate::migration::transport::{Address, Gate};
use crate::snapshot::{OpenFiles, Snapshot, SnapshotError, check, describe, serve};
use crate::sys::poll::{Interest, wait, wait_until_readable};
use crate::sys::signals::{Signals, Wish};

/// How long a snapshot may take: a day.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Takes a snapshot, or explains one.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    match args.words()?.as_slice() {
        ["inspect", directory] => inspect(args, Path::new(directory)),
        ["serve", directory] => serve_at(args, Path::new(directory)),
        [machine, "-"] => send(args, machine),
        [machine, directory] => take(args, machine, Path::new(directory)),
        _ => Err(Failure::Usage("give the name of a machine and a directory, or: inspect DIR".into())),
    }
}

/// Serves a snapshot until a signal ends it.
fn serve_at(args: &Args, directory: &Path) -> Result<u8, Failure> {
    let host = |what| move |source| Failure::Host { what, source };
    let address: Option<Address> = args.parsed("listen")?;
    let address = address.ok_or_else(|| Failure::Usage("say where to listen: --listen ADDRESS".into()))?;
    let gate = Gate::new(address.clone(), &protection(args)?);
    let gate = gate.map_err(|error| Failure::Usage(chain(&error)))?;
    // Before there are threads that could take them.
    let signals = Signals::block().map_err(host("signals could not be taken over"))?;
    let listener = gate.listen().map_err(host("the address to listen at could not be had"))?;
    let totals = serve(directory, listener)?;
    say(&format!("kubevmm: serving {} at {address}\n", directory.display()));
    while signals.next() != Some(Wish::End) {
        wait_until_readable(&signals).map_err(host("signals could not be waited for"))?;
    }
    if let Address::Unix(path) = address {
        // One that was taken away is as good.
        let _ = fs::remove_file(path);
    }
    say(&format!("kubevmm: {} was served to {totals}\n", directory.display()));
    Ok(0)
}

fn inspect(args: &Args, directory: &Path) -> Result<u8, Failure> {
    let snapshot = Snapshot::open(directory)?;
    if args.has("check") {
        check(&snapshot)?;
    }
    let text = describe(&snapshot)?;
    match Format::of(args)? {
        Format::Text => print(&text)?,
        Format::Json => print(&format!("{:#}\n", json!(snapshot.manifest)))?,
        Format::Yaml => print(&yaml_document(&json!(snapshot.manifest)))?,
    }
    Ok(0)
}

fn take(args: &Args, machine: &str, directory: &Path) -> Result<u8, Failure> {
    let machine = names::find(args, machine)?;
    let told = ask(&machine, &order(args, &absolute(directory)?)?)?;
    print(&format!("VMI {machine} was saved in {}: {told}\n", directory.display()))?;
    Ok(0)
}

/// The request by which a machine is saved in a directory.
fn order(args: &Args, directory: &Path) -> Result<String, Failure> {
    let base = args.path("incremental-of").map(|base| absolute(&base)).transpose()?;
    let freeze = args.has("freeze").then_some(true).or_else(|| args.has("no-freeze").then_some(false));
    let body = json!({
        "directory": directory,
        "incrementalOf": base,
        "stop": args.has("stop"),
        "track": args.has("track"),
        "copyDisks": args.has("copy-disks"),
        "overlayDisks": args.has("overlay-disks"),
        "freeze": freeze,
    });
    Ok(body.to_string())
}

/// Has the machine saved; says how it went.
fn ask(machine: &Machine, order: &str) -> Result<String, Failure> {
    let path = machine.subresource("snapshot");
    let answer = machine.ask_within("PUT", &path, order, PATIENCE)?.json()?;
    let number = |key: &str| answer.get(key).and_then(serde_json::Value::as_u64).unwrap_or(0);
    let frozen =
        answer["indications"].as_array().is_some_and(|all| all.iter().any(|one| one == "GuestAgent"));
    Ok(format!(
        "{:.1} MiB of memory, it stood still for {:.1} ms{}",
        number("memoryBytes") as f64 / f64::from(1 << 20),
        number("pauseMicroseconds") as f64 / 1000.0,
        if frozen { ", its file systems were frozen" } else { "" },
    ))
}

/// Saves the machine in a directory that nobody else sees, and sends that: a reader that is slow does not keep the guest
/// waiting.
fn send(args: &Args, machine: &str) -> Result<u8, Failure> {
    let output = io::stdout();
    if output.is_terminal() {
        return Err(Failure::Usage(
            "a snapshot is nothing for a terminal: send it to a file or a program".into(),
        ));
    }
    let machine = names::find(args, machine)?;
    let parent = absolute(&env::var_os("TMPDIR").map_or_else(|| "/var/tmp".into(), PathBuf::from))?;
    let told = if args.has("stop") {
        let directory = parent.join(format!("kubevmm-snapshot-{}", std::process::id()));
        let told = ask(&machine, &order(args, &directory)?)?;
        hand_over(&directory, output.lock(), || make_durable(&io::stdout()))?;
        told
    } else {
        // Before there is anything that a signal would leave.
        let signals = Signals::block()
            .map_err(|source| Failure::Host { what: "signals could not be taken over", source })?;
        let passing = Passing::make(&parent).map_err(|source| Failure::Host {
            what: "no folder for the snapshot could be made ($TMPDIR)",
            source,
        })?;
        let (place, order) = (passing.place(), order(args, &passing.place())?);
        let asked = machine.clone();
        unless_told_to_end(&signals, broken_off(args.has("overlay-disks")), move || {
            let told = ask(&asked, &order)?;
            copy_out(&place, io::stdout().lock())?;
            Ok(told)
        })?
    };
    say(&format!("VMI {machine} was saved: {told}\n"));
    Ok(0)
}

/// Does what may take long, unless a signal ends it: then whoever called goes on at once, and the rest ends with the process.
fn unless_told_to_end<T: Send + 'static>(
    signals: &Signals,
    broken_off: &str,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let host = |what| move |source| Failure::Host { what, source };
    let (done, theirs) = UnixStream::pair().map_err(host("a socket could not be made"))?;
    let (sender, result) = mpsc::channel();
    let thread = std::thread::Builder::new().spawn(move || {
        // Nobody waits any more if this fails.
        let _ = sender.send(work());
        drop(theirs);
    });
    thread.map_err(host("the host has no thread for it"))?;
    let broken_off = || Failure::NotSo(broken_off.to_owned());
    loop {
        let all: [(&dyn AsRawFd, Interest); 2] =
            [(&signals.as_fd(), Interest::Read), (&done, Interest::Read)];
        let [_, is_done] = wait(all, None).map_err(host("signals could not be waited for"))?;
        if is_done {
            return result.recv().map_err(|_| broken_off())?;
        }
        if signals.next() == Some(Wish::End) {
            return Err(broken_off());
        }
    }
}

/// What is said of a snapshot that was broken off; it may have had the machine go on in overlays of its disks.
fn broken_off(overlaid: bool) -> &'static str {
    if overlaid {
        "the snapshot was broken off, and nothing is left of it; the machine's disks may go on in overlays: if so, disk.qcow2 in the folder of \
         a claim is over disk.ID.img or disk.ID.qcow2 there, and needs it"
    } else {
        "the snapshot was broken off, and nothing is left of it"
    }
}

/// Sends a snapshot whose machine goes on, and leaves nothing of it here, whatever becomes of it elsewhere.
fn copy_out(directory: &Path, to: impl Write) -> Result<(), Failure> {
    let opened = OpenFiles::open(directory);
    // Its files stay for as long as they are open.
    let removed = remove(directory);
    opened?.write(to)?;
    removed
}

/// Sends a snapshot whose machine has ended. It is all that there is of that machine, and stays until all of it was sent, and is where
/// no failure of the host's can take it away: `settle` sees to that.
fn hand_over(
    directory: &Path,
    to: impl Write,
    settle: impl FnOnce() -> io::Result<()>,
) -> Result<(), Failure> {
    let sent = OpenFiles::open(directory).and_then(|files| files.write(to)).and_then(|()| {
        let output = PathBuf::from("standard output");
        settle().map_err(|source| SnapshotError::File { doing: "made durable", path: output, source })
    });
    sent.map_err(|source| Failure::Unsent { directory: directory.to_owned(), source })?;
    remove(directory)
}

/// Has what was written be on storage, if that is where it goes: some file systems say only then that they had no room for it.
fn make_durable(output: &impl AsFd) -> io::Result<()> {
    let synced = File::from(output.as_fd().try_clone_to_owned()?).sync_all();
    match synced.as_ref().map_err(io::Error::raw_os_error) {
        // A pipe, a socket, a device: who reads there has the rest of it.
        Err(Some(libc::EINVAL | libc::EROFS | libc::ENOTSUP)) => Ok(()),
        _ => synced,
    }
}

fn remove(directory: &Path) -> Result<(), Failure> {
    let what = "the directory of the snapshot could not be removed";
    fs::remove_dir_all(directory).map_err(|source| Failure::Host { what, source })
}

/// The machine's process may be in another directory.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|source| Failure::Host { what: "a path could not be found", source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::unpack;

    /// A snapshot, as a stream.
    const SNAPSHOT: &[u8] = include_bytes!("../../snapshot/golden/format-1.tar");

    /// A reader that takes so many bytes and goes.
    struct Leaving(usize);

    impl Write for Leaving {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken == 0 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_machine_that_has_ended_is_kept_until_all_of_it_was_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = unpack(SNAPSHOT, &folder.path().join("one")).unwrap();
        for bytes in [0, 4096] {
            let failure = hand_over(&path, Leaving(bytes), || Ok(())).unwrap_err();
            assert!(chain(&failure).contains(&path.display().to_string()), "{}", chain(&failure));
            check(&Snapshot::open(&path).unwrap()).unwrap();
        }
        let full = || Err(io::Error::from_raw_os_error(libc::ENOSPC));
        assert!(matches!(hand_over(&path, io::sink(), full), Err(Failure::Unsent { .. })));
        check(&Snapshot::open(&path).unwrap()).unwrap();
        let mut sent = Vec::new();
        hand_over(&path, &mut sent, || Ok(())).unwrap();
        assert!(!path.exists());
        unpack(&*sent, &path).unwrap();
        fs::write(path.join("sums"), "no snapshot").unwrap();
        assert!(matches!(hand_over(&path, io::sink(), || Ok(())), Err(Failure::Unsent { .. })));
        assert!(path.join("memory").exists(), "what cannot be sent is lost");
    }

    #[test]
    fn what_goes_to_storage_is_made_durable_and_what_goes_to_a_program_is_not() {
        let (reader, writer) = io::pipe().unwrap();
        make_durable(&writer).unwrap();
        make_durable(&UnixStream::pair().unwrap().0).unwrap();
        make_durable(&tempfile::tempfile().unwrap()).unwrap();
        drop(reader);
    }

    #[test]
    fn nothing_is_left_of_a_copy_that_was_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = unpack(SNAPSHOT, &folder.path().join("one")).unwrap();
        assert!(copy_out(&path, Leaving(0)).is_err());
        assert!(!path.exists());
    }
}
