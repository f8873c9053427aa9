//! Debian's own agent as the peer. It runs on this machine, so it is asked for nothing that changes anything, and what would
//! is forbidden to it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use super::peer::Setup;
use crate::agent::{AgentAnswer, AgentCommand, AgentError, ExecRequest, FreezeStatus, ShutdownMode};

/// What the agent must not do here.
const FORBIDDEN: &str = "guest-shutdown,guest-set-user-password,guest-fsfreeze-freeze,guest-fsfreeze-freeze-list,\
    guest-fsfreeze-thaw,guest-suspend-ram,guest-suspend-disk,guest-suspend-hybrid,guest-set-time,guest-fstrim,\
    guest-ssh-add-authorized-keys,guest-ssh-remove-authorized-keys,guest-set-vcpus,guest-set-memory-blocks,\
    guest-file-open,guest-file-write";

struct Real {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The agent that is installed, or the one that the environment names.
fn program() -> Option<PathBuf> {
    let named = env::var_os("QEMU_GA").map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from("/usr/sbin/qemu-ga"))).filter(|path| path.exists())
}

/// A thread that speaks to the real agent; `None` where there is none.
fn start() -> Option<(Setup, Real)> {
    let Some(program) = program() else {
        eprintln!("skipped: install qemu-guest-agent, or name its qemu-ga in QEMU_GA");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let child = Command::new(program)
        // From there, as addresses of sockets are short, and the folder's path may be long.
        .current_dir(folder.path())
        .args(["-m", "unix-listen", "-b", FORBIDDEN, "-p", "socket", "-t"])
        .arg(folder.path())
        .arg("-f")
        .arg(folder.path().join("pid"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let real = Real { child, _folder: folder };
    let deadline = Instant::now() + Duration::from_secs(60);
    let agent = loop {
        match net::socket::connect(&socket) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() > deadline => panic!("{error}"),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    };
    let setup = Setup::new();
    // What the console device does in a machine.
    for (mut from, mut to) in [
        (agent.try_clone().unwrap(), setup.port.stream.try_clone().unwrap()),
        (setup.port.stream.try_clone().unwrap(), agent),
    ] {
        thread::spawn(move || io::copy(&mut from, &mut to));
    }
    setup.port.watcher.guest_open(true);
    setup.connected();
    Some((setup, real))
}

fn exec(argv: &[&str], input: &[u8]) -> AgentCommand {
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    AgentCommand::Exec(ExecRequest { argv, input: input.to_vec(), timeout: Duration::from_secs(30) })
}

#[test]
fn the_real_agent_says_who_it_is() {
    let Some((setup, _real)) = start() else { return };
    let Ok(AgentAnswer::Info(facts)) = setup.ask(AgentCommand::Info) else { panic!("no facts") };
    let (agent, guest) = (facts.agent, facts.guest);
    assert!(!facts.file_systems.is_empty());
    assert!(agent.can("guest-get-osinfo") && !agent.can("guest-shutdown"));
    assert!(guest.os.is_some_and(|os| !os.kernel_release.is_empty()));
    assert_eq!(guest.freeze, Some(FreezeStatus::Thawed));
    assert_eq!(setup.ask(AgentCommand::Ping), Ok(AgentAnswer::Done));
    assert!(matches!(setup.ask(AgentCommand::Users), Ok(AgentAnswer::Users(_))));
    assert!(matches!(setup.ask(AgentCommand::FileSystems), Ok(AgentAnswer::FileSystems(_))));
    assert_eq!(
        setup.ask(AgentCommand::ShutDown(ShutdownMode::Reboot)),
        Err(AgentError::Unsupported("guest-shutdown"))
    );
}

#[test]
fn the_real_agent_runs_programs() {
    let Some((setup, _real)) = start() else { return };
    let Ok(AgentAnswer::Exec(outcome)) =
        setup.ask(exec(&["sh", "-c", "cat; echo err >&2; exit 7"], b"in and out"))
    else {
        panic!("no outcome")
    };
    assert_eq!((outcome.exit_code, outcome.stdout.as_slice()), (Some(7), &b"in and out"[..]));
    assert_eq!(outcome.stderr, b"err\n");
    let Ok(AgentAnswer::Exec(outcome)) = setup.ask(exec(&["sh", "-c", "kill -9 $$"], b"")) else {
        panic!("no outcome")
    };
    assert_eq!((outcome.exit_code, outcome.signal), (None, Some(9)));
    assert!(matches!(setup.ask(exec(&["/no/such/program"], b"")), Err(AgentError::Refused(_))));
    let Ok(AgentAnswer::Exec(outcome)) = setup.ask(exec(&["head", "-c", "3000000", "/dev/zero"], b"")) else {
        panic!("no outcome")
    };
    assert_eq!(outcome.stdout.len(), 3_000_000);
}
