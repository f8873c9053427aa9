//! A running `kubevmm`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use guest::sys;

use crate::agent::Agent;
use crate::api::{self, Answer};
use crate::case::Ctx;
use crate::console::{Console, tail};
use crate::failure::{Doing, Failure};
use crate::footprint::Footprint;
use crate::manifest::Manifest;
use crate::report::ExitReport;
use crate::wait::until;

/// How long a guest may take to its own program.
pub const BOOT: Duration = Duration::from_secs(300);
/// How long the process may take to end once it should.
pub const END: Duration = Duration::from_secs(180);

/// A process of `kubevmm run`, killed when dropped.
pub struct Vm {
    child: Child,
    stdin: Option<ChildStdin>,
    console: Console,
    files: Files,
}

/// What a process is to do, and where it keeps what.
struct Place<'a> {
    name: &'a str,
    verb: &'a str,
    /// Of runtime directories, in the scratch folder.
    root: &'a str,
}

/// Where a machine keeps what.
struct Files {
    runtime: PathBuf,
    errors: PathBuf,
    report: PathBuf,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; absent if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it wrote to standard error.
    pub errors: String,
    /// Its exit report, if it left one that can be read.
    pub report: Result<ExitReport, Failure>,
}

impl Ended {
    /// Checks exit code and reason.
    ///
    /// # Errors
    /// If either is another.
    pub fn expect(&self, code: i32, reason: &str) -> Result<&ExitReport, Failure> {
        let report =
            self.report.as_ref().map_err(|failure| Failure(format!("{failure}; stderr: {}", self.errors)))?;
        crate::ensure!(
            self.code == Some(code) && report.exit_code == code && report.reason == reason,
            "wanted exit code {code} for {reason}, got {:?} (signal {:?}) and {report:?}; stderr:\n{}",
            self.code,
            self.signal,
            tail(&self.errors, 8)
        );
        Ok(report)
    }
}

impl Vm {
    /// Writes the manifest and runs it with `args` beside the usual ones.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start(ctx: &Ctx, manifest: &Manifest, args: &[&str]) -> Result<Self, Failure> {
        let name = manifest.0.pointer("/metadata/name").and_then(|name| name.as_str()).unwrap_or("vm");
        let path = ctx.results.join(format!("{name}.json"));
        fs::write(&path, serde_json::to_vec_pretty(&manifest.0)?).doing("writing the manifest")?;
        Self::start_file(ctx, name, &path, args)
    }

    /// The same with a manifest that is there already.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start_file(ctx: &Ctx, name: &str, manifest: &Path, args: &[&str]) -> Result<Self, Failure> {
        Self::start_file_as(ctx, name, manifest, args, None)
    }

    /// The same as another user, if one is named, who owns the folders of scratch files and results.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start_file_as(
        ctx: &Ctx,
        name: &str,
        manifest: &Path,
        args: &[&str],
        user: Option<u32>,
    ) -> Result<Self, Failure> {
        Self::launch(ctx, name, manifest, &[&["--agent-socket"], args].concat(), user)
    }

    /// The same of a guest with Debian's agent, to which kubevmm speaks itself.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start_with_agent(ctx: &Ctx, manifest: &Manifest, args: &[&str]) -> Result<Self, Failure> {
        let name = manifest.0.pointer("/metadata/name").and_then(|name| name.as_str()).unwrap_or("vm");
        let path = ctx.results.join(format!("{name}.json"));
        fs::write(&path, serde_json::to_vec_pretty(&manifest.0)?).doing("writing the manifest")?;
        Self::launch(ctx, name, &path, args, None)
    }

    fn launch(
        ctx: &Ctx,
        name: &str,
        manifest: &Path,
        args: &[&str],
        user: Option<u32>,
    ) -> Result<Self, Failure> {
        Self::launch_at(ctx, &Place { name, verb: "run", root: "run" }, manifest, args, user)
    }

    /// A process that waits for the machine of a manifest, with a runtime directory of its own in the scratch folder.
    ///
    /// # Errors
    /// If the process cannot be started, or does not listen.
    pub fn receive(ctx: &Ctx, root: &str, name: &str, args: &[&str]) -> Result<Self, Failure> {
        let manifest = ctx.results.join(format!("{name}.json"));
        let mut vm = Self::launch_at(ctx, &Place { name, verb: "receive", root }, &manifest, args, None)?;
        until("the destination to listen", || {
            crate::ensure!(vm.is_running()?, "the destination has ended: {}", vm.errors());
            Ok(vm.errors().contains("waiting for"))
        })?;
        Ok(vm)
    }

    fn launch_at(
        ctx: &Ctx,
        place: &Place<'_>,
        manifest: &Path,
        args: &[&str],
        user: Option<u32>,
    ) -> Result<Self, Failure> {
        let root = ctx.scratch.join(place.root);
        let called: String =
            if place.verb == "run" { place.name.into() } else { format!("{}.{}", place.name, place.root) };
        let files = Files {
            runtime: root.join("default").join(place.name),
            errors: ctx.results.join(format!("{called}.stderr.log")),
            report: ctx.results.join(format!("{called}.exit.json")),
        };
        fs::create_dir_all(ctx.volumes())?;
        let mut command = command(ctx);
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        command.arg(place.verb).arg(manifest).args(pair("--volumes", &ctx.volumes())).args(args);
        Self::spawn(ctx, &called, files, command)
    }

    /// Brings the machine back, under the name `name`, that was saved in `directory`. What it says is kept under the name
    /// `log`.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn restore(
        ctx: &Ctx,
        (name, log): (&str, &str),
        directory: &Path,
        args: &[&str],
    ) -> Result<Self, Failure> {
        let files = Files {
            runtime: ctx.scratch.join("run/default").join(name),
            errors: ctx.results.join(format!("{log}.stderr.log")),
            report: ctx.results.join(format!("{log}.exit.json")),
        };
        let mut command = command(ctx);
        command.arg("restore").arg(directory).args(["--name", name]).args(args);
        Self::spawn(ctx, log, files, command)
    }

    fn spawn(ctx: &Ctx, name: &str, files: Files, mut command: Command) -> Result<Self, Failure> {
        let root = files.runtime.ancestors().nth(2).unwrap_or(&files.runtime);
        let mut child = command
            .args(["--console", "stdio", "--timings"])
            .args(pair("--runtime-dir", root))
            .args(pair("--exit-report", &files.report))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&files.errors)?)
            .spawn()
            .doing("starting kubevmm")?;
        let stdin = child.stdin.take();
        let output = child.stdout.take().ok_or("no pipe from standard output")?;
        let console = Console::collect(output, &ctx.results.join(format!("{name}.console.log")))?;
        Ok(Self { child, stdin, console, files })
    }

    /// The guest's serial console.
    #[must_use]
    pub const fn console(&self) -> &Console {
        &self.console
    }

    /// Types on the console.
    ///
    /// # Errors
    /// If nobody reads there any more.
    pub fn type_in(&mut self, text: &str) -> Result<(), Failure> {
        let stdin = self.stdin.as_mut().ok_or("standard input is closed")?;
        stdin.write_all(text.as_bytes()).doing("typing on the console")
    }

    /// Its standard input, for something else than typing, which does not go any more then.
    pub fn take_input(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// The program in the guest, once it answers.
    ///
    /// # Errors
    /// If it does not; what the VMM said is in the message.
    pub fn agent(&mut self) -> Result<Agent, Failure> {
        self.agent_within(BOOT)
    }

    /// The same of a guest that takes longer to boot.
    ///
    /// # Errors
    /// As [`Vm::agent`].
    pub fn agent_within(&mut self, limit: Duration) -> Result<Agent, Failure> {
        let socket = self.files.runtime.join("agent.sock");
        let connected = Agent::connect(&socket, limit, || matches!(self.child.try_wait(), Ok(None)));
        connected.map_err(|failure| {
            let state = match self.child.try_wait() {
                Ok(Some(status)) => format!("kubevmm has ended, {status}"),
                _ => "kubevmm runs".to_owned(),
            };
            Failure(format!("{failure}; {state}; stderr:\n{}", tail(&self.errors(), 8)))
        })
    }

    /// Where its runtime files are.
    #[must_use]
    pub fn runtime(&self) -> &Path {
        &self.files.runtime
    }

    /// Asks something of it, such as `pause`.
    ///
    /// # Errors
    /// If it refuses.
    pub fn operate(&self, verb: &str) -> Result<(), Failure> {
        let answer = self.ask(verb)?;
        crate::ensure!((200..300).contains(&answer.status), "{verb} is answered by {answer:?}");
        Ok(())
    }

    /// The same; its answer, whatever it is.
    ///
    /// # Errors
    /// If nobody answers.
    pub fn ask(&self, verb: &str) -> Result<Answer, Failure> {
        let name = self.files.runtime.file_name().unwrap_or_default().to_string_lossy();
        let of = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances";
        api::call(&self.files.runtime.join("api.sock"), "PUT", &format!("{of}/{name}/{verb}"))
    }

    /// Its VirtualMachineInstance as its API has it.
    ///
    /// # Errors
    /// If nobody answers, or not with an object.
    pub fn object(&self) -> Result<serde_json::Value, Failure> {
        let name = self.files.runtime.file_name().unwrap_or_default().to_string_lossy();
        let path = format!("/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances/{name}");
        api::call(&self.files.runtime.join("api.sock"), "GET", &path)?.json()
    }

    /// Waits until its status file says what `is_so` wants.
    ///
    /// # Errors
    /// If it does not within `limit`.
    pub fn wait_status(
        &self,
        limit: Duration,
        is_so: impl Fn(&serde_json::Value) -> bool,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.status_file();
            match status {
                Ok(vmi) if is_so(&vmi["status"]) => return Ok(()),
                last if Instant::now() > deadline => {
                    return Err(Failure(format!("the status did not become what it should: {last:?}")));
                }
                _ => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Its VirtualMachineInstance as the file in its runtime directory has it.
    ///
    /// # Errors
    /// If there is none, or it is not JSON.
    pub fn status_file(&self) -> Result<serde_json::Value, Failure> {
        let text = fs::read_to_string(self.files.runtime.join("vmi.json")).doing("reading vmi.json")?;
        serde_json::from_str(&text).doing("reading the JSON of vmi.json")
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn errors(&self) -> String {
        fs::read_to_string(&self.files.errors).unwrap_or_default()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its memory and descriptors now.
    ///
    /// # Errors
    /// If it has ended.
    pub fn footprint(&self) -> Result<Footprint, Failure> {
        Footprint::of(self.pid())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, signal: i32) -> Result<(), Failure> {
        let pid = i32::try_from(self.pid()).doing("process id")?;
        sys::kill(pid, signal).doing("sending a signal")
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// If the kernel cannot tell.
    pub fn is_running(&mut self) -> Result<bool, Failure> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it does not end within `limit`.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<Ended, Failure> {
        let status = wait(&mut self.child, limit)?.ok_or_else(|| {
            Failure(format!(
                "kubevmm did not end within {limit:?}; the console ends:\n{}\nstderr:\n{}",
                tail(&self.console.text(), 8),
                tail(&self.errors(), 8)
            ))
        })?;
        self.console.wait_end(END);
        Ok(Ended {
            code: status.code(),
            signal: status.signal(),
            errors: self.errors(),
            report: ExitReport::read(&self.files.report),
        })
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program under test, where the examples' relative paths lead to the guest image.
#[must_use]
pub fn command(ctx: &Ctx) -> Command {
    let mut command = Command::new(&ctx.kubevmm);
    if ctx.payload.is_dir() {
        // The first process of the test host has no PATH to hand on.
        command.current_dir(&ctx.payload).env("PATH", "/usr/bin:/bin");
    }
    command
}

fn pair(option: &str, path: &Path) -> [OsString; 2] {
    [option.into(), path.into()]
}

/// Waits for a child, at most so long.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>, Failure> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}
