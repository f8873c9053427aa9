//! `kubevmm up --detach`: a supervisor in the background.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use spec::Manifests;

use super::Failure;
use super::args::Args;
use super::output::say;
use super::up::{self, NOTIFY, host};
use crate::fleet;
use crate::sys::random;

/// What a supervisor in the background says goes here, in its fleet's folder.
const LOG: &str = "supervisor.log";
/// How often one looks whether it still lives.
const LOOK: Duration = Duration::from_millis(50);

/// Starts the same command in the background and waits until all machines were started.
pub(super) fn detach(args: &Args, manifests: &Manifests, root: &Path, name: &str) -> Result<u8, Failure> {
    let folder = fleet::path(root, name)?;
    let mut log = open_log(&folder).map_err(host("the supervisor's log could not be opened"))?;
    let start = log.seek(SeekFrom::End(0)).map_err(host("the supervisor's log cannot be read"))?;
    let address = address().map_err(host("the host has no random bytes"))?;
    let told = bind(&address).map_err(host("a socket could not be made"))?;
    let mut child =
        start_again(args, name, &log, &address).map_err(host("the supervisor could not be started"))?;
    feed(&mut child, manifests).map_err(host("the manifests could not be handed on"))?;
    loop {
        if told.recv(&mut [0; 64]).is_ok() {
            say(&format!("kubevmm: fleet {name} is up; kubevmm down {name} ends it\n"));
            return Ok(0);
        }
        let ended = child.try_wait().map_err(host("the supervisor cannot be waited for"))?;
        if let Some(status) = ended {
            let mut text = String::new();
            let read = log.seek(SeekFrom::Start(start)).and_then(|_| log.read_to_string(&mut text));
            read.map_err(host("the supervisor's log cannot be read"))?;
            say(&text);
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(super::HOST));
        }
    }
}

fn open_log(folder: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(folder.join(LOG))
}

/// A name that nobody else has. The number of the process is not enough: each container has such numbers of its own, and some share
/// their host's network, which these names are of.
fn address() -> io::Result<String> {
    let mut bytes = [0; 8];
    random::fill(&mut bytes)?;
    Ok(format!("kubevmm-up-{:016x}", u64::from_ne_bytes(bytes)))
}

fn bind(address: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(address)?)?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

/// This program with the same arguments, but in the foreground of nothing.
fn start_again(args: &Args, name: &str, log: &File, address: &str) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("up").args(["--fleet", name]);
    for (option, value) in args.given().filter(|(option, _)| !matches!(*option, "detach" | "fleet")) {
        command.arg(format!("--{option}"));
        if !up::FLAGS.contains(&option) {
            command.arg(value);
        }
    }
    command.arg("--").args(args.all_operands());
    command.env(NOTIFY, format!("@{address}")).process_group(0);
    command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log.try_clone()?).spawn()
}

/// Hands on what was read from standard input, which cannot be read again.
fn feed(child: &mut Child, manifests: &Manifests) -> io::Result<()> {
    let Some(mut input) = child.stdin.take() else { return Ok(()) };
    let sources = manifests.sources();
    let text = sources.iter().find(|source| source.file() == Path::new("-")).map(|source| source.text());
    match input.write_all(text.unwrap_or_default().as_bytes()) {
        // It ended early and has said why.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_a_supervisor_has_an_address_of_its_own() {
        let (one, other) = (address().unwrap(), address().unwrap());
        let _sockets = (bind(&one).unwrap(), bind(&other).unwrap());
    }
}
