//! Machines that are kept: many of them, killed and found again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use guest::sys;
use serde_json::{Value, json};

use super::{SOON, code, elf};
use crate::api::{call, call_with};
use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::vm::{Vm, command};
use crate::wait::until;

/// The cases of fleets.
pub const CASES: &[Case] = &[
    Case::payload("payload-fleet-of-a-hundred", hundred).within(1800).alone().once(),
    Case::payload("payload-fleet-obeys-run-strategies", strategies).once(),
    Case::payload("payload-fleet-scales", scales),
    Case::payload("payload-fleet-moves-machines", moves),
    Case::payload("payload-fleet-moves-when-it-ends", moves_when_it_ends),
    Case::payload("payload-fleet-ends-by-force", ends_by_force),
    Case::payload("payload-fleet-without-supervisor-ends", ends_without_supervisor),
];

/// How long machines may take to be as they should: a hundred that start, or some that wait for fifteen seconds before.
const PATIENCE: Duration = Duration::from_secs(600);

/// A fleet under test, ended when dropped.
struct Fleet<'a> {
    ctx: &'a Ctx,
    root: PathBuf,
    manifest: PathBuf,
}

impl<'a> Fleet<'a> {
    /// Writes the objects, which boot `code`.
    fn new(ctx: &'a Ctx, objects: &[Value], code: &[u8]) -> Result<Self, Failure> {
        let image = ctx.scratch.join("image");
        fs::create_dir_all(&image)?;
        fs::write(image.join("payload.elf"), elf::pvh(code, 4096)).doing("writing a payload")?;
        let manifest = ctx.results.join("fleet.json");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        fs::write(&manifest, serde_json::to_vec_pretty(&list)?).doing("writing the manifest")?;
        Ok(Self { ctx, root: ctx.scratch.join("run"), manifest })
    }

    fn kubevmm(&self, verb: &str, args: &[&str]) -> Outcome {
        let mut command = command(self.ctx);
        command.arg(verb).args(args).arg("--runtime-dir").arg(&self.root);
        let output = command.output().doing("starting kubevmm")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubevmm {verb} ended with {}: {errors}", output.status);
        Ok(())
    }

    fn up(&self) -> Outcome {
        self.kubevmm("up", &["--detach", &self.manifest.to_string_lossy()])
    }

    fn folder(&self) -> PathBuf {
        self.root.join(".fleets/fleet")
    }

    /// Kills the process that keeps the machines, and waits until it is gone: as long as it is not, its lock is not free.
    fn kill_supervisor(&self) -> Outcome {
        let supervisor = number(&self.folder().join("lock"))?;
        sys::kill(supervisor, libc::SIGKILL).doing("killing the supervisor")?;
        until("the supervisor's end", || Ok(!is_alive(supervisor)))
    }

    /// Names of machines and the processes that say of themselves in their locks that they run them.
    fn machines(&self) -> BTreeMap<String, i32> {
        let Ok(entries) = fs::read_dir(self.root.join("default")) else { return BTreeMap::new() };
        let machine = |path: PathBuf| {
            let pid = number(&path.join("lock")).ok().filter(|pid| is_alive(*pid))?;
            Some((path.file_name()?.to_str()?.to_owned(), pid))
        };
        entries.filter_map(|entry| machine(entry.ok()?.path())).collect()
    }

    /// Waits until the machines are as they should be.
    fn wait(&self, fits: impl Fn(&BTreeMap<String, i32>) -> bool) -> Result<BTreeMap<String, i32>, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let machines = self.machines();
            if fits(&machines) {
                return Ok(machines);
            }
            ensure!(Instant::now() < deadline, "{} machines run: {machines:?}", machines.len());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// How many processes of kubevmm work in this fleet's runtime root, whatever they say of themselves.
    fn processes(&self) -> usize {
        let root = self.root.to_string_lossy().into_owned();
        let of_ours = |pid: &Path| {
            let line = fs::read(pid.join("cmdline")).unwrap_or_default();
            let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
            words.get(1).is_some_and(|verb| verb == "run") && words.iter().any(|word| *word == root)
        };
        let Ok(all) = fs::read_dir("/proc") else { return 0 };
        all.filter_map(Result::ok).filter(|entry| of_ours(&entry.path())).count()
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        if self.folder().exists() {
            let _ = self.kubevmm("down", &["--force"]);
        }
    }
}

fn number(path: &Path) -> Result<i32, Failure> {
    fs::read_to_string(path)?.trim().parse().doing("reading a process's number")
}

fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn machine(grace: u64) -> Value {
    json!({
        "terminationGracePeriodSeconds": grace,
        "domain": {
            "memory": {"guest": "16Mi"},
            "devices": {"autoattachPodInterface": false},
            "firmware": {"kernelBoot": {"container": {"image": "rootfs:IMAGE", "kernelPath": "/payload.elf"}}},
        },
    })
}

/// An object with a machine in it, the image's place filled in.
fn object(ctx: &Ctx, kind: &str, name: &str, spec: &Value) -> Result<Value, Failure> {
    let api = if kind == "VirtualMachinePool" { "pool.kubevirt.io/v1beta1" } else { "kubevirt.io/v1" };
    let value = json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec});
    let image = ctx.scratch.join("image").display().to_string();
    Ok(serde_json::from_str(&value.to_string().replace("IMAGE", &image))?)
}

fn pool(ctx: &Ctx, replicas: u32) -> Result<Value, Failure> {
    let labels = json!({"pool": "tiny"});
    let template = json!({"metadata": {"labels": labels}, "spec": machine(0)});
    let spec = json!({
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "virtualMachineTemplate": {
            "metadata": {"labels": labels},
            "spec": {"runStrategy": "Always", "template": template},
        },
    });
    object(ctx, "VirtualMachinePool", "tiny", &spec)
}

/// A hundred machines by one command; supervisor and twenty of them are killed, and all is as it should be again.
fn hundred(ctx: &Ctx) -> Outcome {
    let fleet = Fleet::new(ctx, &[pool(ctx, 100)?], code::halt())?;
    let begun = Instant::now();
    fleet.up()?;
    let first = fleet.wait(|machines| machines.len() == 100)?;
    ctx.note(&format!("100 machines run after {:.1} s", begun.elapsed().as_secs_f64()));

    fleet.kill_supervisor()?;
    let victims: Vec<&String> = first.keys().step_by(5).collect();
    for victim in &victims {
        sys::kill(first.get(*victim).copied().unwrap_or_default(), libc::SIGKILL)
            .doing("killing a machine")?;
    }
    fleet.wait(|machines| machines.len() == 80)?;
    fleet.up()?;
    let again = fleet.wait(|machines| machines.len() == 100)?;
    for (name, pid) in &first {
        let kept = again.get(name) == Some(pid);
        ensure!(kept != victims.contains(&name), "{name}: was process {pid}, is {:?}", again.get(name));
    }
    ensure!(fleet.processes() == 100, "there are {} processes", fleet.processes());

    fleet.kubevmm("down", &[])?;
    ensure!(fleet.processes() == 0, "{} processes are left", fleet.processes());
    ensure!(!fleet.folder().exists(), "the fleet's folder is left");
    Ok(())
}

/// What is Always starts again, what runs Once does not, what is Halted never does.
fn strategies(ctx: &Ctx) -> Outcome {
    let vm = |name: &str, strategy: &str| {
        let spec = json!({"runStrategy": strategy, "template": {"spec": machine(0)}});
        object(ctx, "VirtualMachine", name, &spec)
    };
    let objects = [
        vm("always", "Always")?,
        vm("once", "Once")?,
        vm("halted", "Halted")?,
        vm("rerun", "RerunOnFailure")?,
    ];
    let fleet = Fleet::new(ctx, &objects, code::halt())?;
    fleet.up()?;
    let up = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        move |machines: &BTreeMap<String, i32>| machines.keys().eq(names.iter())
    };
    let first = fleet.wait(up(&["always", "once", "rerun"]))?;
    for pid in first.values() {
        sys::kill(*pid, libc::SIGKILL).doing("killing a machine")?;
    }
    // Those that lived so shortly wait for ten to fifteen seconds.
    let again = up(&["always", "rerun"]);
    let is_new =
        |machines: &BTreeMap<String, i32>| machines.iter().all(|(name, pid)| first.get(name) != Some(pid));
    fleet.wait(|machines| again(machines) && is_new(machines))?;
    fleet.kubevmm("down", &["fleet"])
}

/// A replica set has one machine, three, and one again; what is stopped stays so until it is started.
fn scales(ctx: &Ctx) -> Outcome {
    let labels = json!({"set": "web"});
    let spec = json!({
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": machine(0)},
    });
    let vm = json!({"runStrategy": "Always", "template": {"spec": machine(0)}});
    let objects = [
        object(ctx, "VirtualMachineInstanceReplicaSet", "web", &spec)?,
        object(ctx, "VirtualMachine", "db", &vm)?,
    ];
    let fleet = Fleet::new(ctx, &objects, code::halt())?;
    fleet.up()?;
    let first = fleet.wait(|machines| machines.len() == 2)?;
    fleet.kubevmm("scale", &["vmirs/web", "--replicas", "3"])?;
    let grown = fleet.wait(|machines| machines.len() == 4)?;
    ensure!(first.iter().all(|(name, pid)| grown.get(name) == Some(pid)), "{first:?} became {grown:?}");
    fleet.kubevmm("scale", &["vmirs/web", "--replicas", "1"])?;
    let shrunk = fleet.wait(|machines| machines.len() == 2)?;
    ensure!(first == shrunk, "the oldest should stay: {first:?} became {shrunk:?}");
    fleet.kubevmm("stop", &["db"])?;
    fleet.wait(|machines| machines.len() == 1)?;
    fleet.kubevmm("start", &["db"])?;
    let started = fleet.wait(|machines| machines.len() == 2)?;
    fleet.kubevmm("restart", &["db"])?;
    fleet.wait(|machines| machines.len() == 2 && machines.get("db") != started.get("db"))?;
    fleet.kubevmm("down", &[])
}

/// A migration among the manifests moves a machine away, which then does not start here again; another is posted, and taken back.
fn moves(ctx: &Ctx) -> Outcome {
    const MIGRATIONS: &str = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstancemigrations";
    let vm = |name: &str| {
        let spec = json!({"runStrategy": "Always", "template": {"spec": machine(0)}});
        object(ctx, "VirtualMachine", name, &spec)
    };
    let address = format!("unix:{}", ctx.scratch.join("second.sock").display());
    let order = |name: &str, of: &str, to: &str| {
        let spec = json!({"vmiName": of, "sendTo": {"migrationID": "", "connectURL": to}});
        object(ctx, "VirtualMachineInstanceMigration", name, &spec)
    };
    let objects = [vm("goes")?, vm("stays")?, order("away", "goes", &address)?];
    let fleet = Fleet::new(ctx, &objects, code::halt())?;
    let _second = Vm::receive(ctx, "second", "fleet", &["--name", "goes", "--listen", &address])?;
    fleet.up()?;
    let socket = fleet.folder().join("api.sock");
    let phase = |name: &str| -> Result<Value, Failure> {
        let object = call(&socket, "GET", &format!("{MIGRATIONS}/{name}"))?.json()?;
        Ok(object["status"]["phase"].clone())
    };
    until("the move", || Ok(phase("away")? == "Succeeded"))?;
    fleet.wait(|machines| machines.keys().eq(["stays"]))?;
    // Nobody is there.
    let body = order("nowhere", "stays", "unix:/nowhere")?.to_string();
    let made = call_with(&socket, "POST", MIGRATIONS, &body)?;
    ensure!(made.status == 201, "{made:?}");
    until("the failure", || Ok(phase("nowhere")? == "Failed"))?;
    let refused = call_with(&socket, "POST", MIGRATIONS, &order("x", "goes-not", "unix:/x")?.to_string())?;
    ensure!(refused.status == 422, "{refused:?}");
    let gone = call(&socket, "DELETE", &format!("{MIGRATIONS}/nowhere"))?;
    ensure!(gone.status == 200, "{gone:?}");
    // A supervisor that comes later knows what was done.
    fleet.kill_supervisor()?;
    fleet.up()?;
    ensure!(phase("away")? == "Succeeded", "it is {}", phase("away")?);
    fleet.wait(|machines| machines.keys().eq(["stays"]))?;
    fleet.kubevmm("down", &[])
}

/// A fleet that ends has its machines move to destinations with their names; one that is stopped does not go anywhere.
fn moves_when_it_ends(ctx: &Ctx) -> Outcome {
    let vm = |name: &str| {
        let mut machine = machine(0);
        machine["evictionStrategy"] = json!("LiveMigrate");
        object(ctx, "VirtualMachine", name, &json!({"runStrategy": "Always", "template": {"spec": machine}}))
    };
    let fleet = Fleet::new(ctx, &[vm("goes")?, vm("stops")?], code::halt())?;
    let at = |name: &str| format!("unix:{}", ctx.scratch.join(format!("{name}.sock")).display());
    let receive = |name: &str| {
        let root = format!("takes-{name}");
        Vm::receive(ctx, &root, "fleet", &["--name", name, "--listen", &at(name)])
    };
    let (mut goes, stops) = (receive("goes")?, receive("stops")?);
    let manifest = fleet.manifest.to_string_lossy();
    fleet.kubevmm("up", &["--detach", &manifest, "--evict-to", &at("{name}")])?;
    fleet.wait(|machines| machines.len() == 2)?;
    fleet.kubevmm("stop", &["stops"])?;
    fleet.wait(|machines| machines.keys().eq(["goes"]))?;
    let said = fs::read_to_string(fleet.folder().join("supervisor.log"))?;
    ensure!(!said.contains("cannot be asked"), "it was told by signals: {said}");
    fleet.kubevmm("down", &[])?;
    ensure!(fleet.processes() == 0, "{} processes are left", fleet.processes());
    let phase = |name: &str| {
        let file = ctx.scratch.join(format!("takes-{name}/default/{name}/vmi.json"));
        let object: Value = serde_json::from_slice(&fs::read(file).unwrap_or_default()).unwrap_or_default();
        object["status"]["phase"].clone()
    };
    until("the machine that goes to run elsewhere", || Ok(phase("goes") == "Running"))?;
    ensure!(phase("stops") != "Running", "what was stopped has moved: {}", stops.errors());
    goes.signal(libc::SIGTERM)?;
    goes.wait_exit(SOON)?.expect(5, "killed").map(drop)
}

/// `down --force` waits neither for moves nor for guests, with a supervisor and without, also where all but SIGTERM is ignored, as nohup
/// and shells have processes do that are in the background.
fn ends_by_force(ctx: &Ctx) -> Outcome {
    for signal in [libc::SIGINT, libc::SIGHUP] {
        sys::ignore(signal).doing("ignoring a signal")?;
    }
    let mut patient = machine(600);
    patient["evictionStrategy"] = json!("LiveMigrate");
    let vm = json!({"runStrategy": "Always", "template": {"spec": patient}});
    let fleet = Fleet::new(ctx, &[object(ctx, "VirtualMachine", "patient", &vm)?], code::halt())?;
    let manifest = fleet.manifest.to_string_lossy();
    let nowhere = format!("unix:{}", ctx.scratch.join("nowhere-{name}.sock").display());
    for has_supervisor in [true, false] {
        fleet.kubevmm("up", &["--detach", &manifest, "--evict-to", &nowhere])?;
        fleet.wait(|machines| machines.len() == 1)?;
        if !has_supervisor {
            fleet.kill_supervisor()?;
        }
        fleet.kubevmm("down", &["--force"])?;
        ensure!(fleet.processes() == 0, "{} processes are left", fleet.processes());
    }
    Ok(())
}

/// `down` ends machines whose supervisor is gone.
fn ends_without_supervisor(ctx: &Ctx) -> Outcome {
    let fleet = Fleet::new(ctx, &[pool(ctx, 3)?], code::halt())?;
    fleet.up()?;
    fleet.wait(|machines| machines.len() == 3)?;
    fleet.kill_supervisor()?;
    fleet.kubevmm("down", &[])?;
    ensure!(fleet.processes() == 0, "{} processes are left", fleet.processes());
    ensure!(!fleet.folder().exists(), "the fleet's folder is left");
    Ok(())
}
