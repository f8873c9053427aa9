//! The commands that need no KVM, as a user runs them: what they print, how they end, what they leave behind.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const MACHINE: &str = "apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: small}
spec:
  domain:
    memory: {guest: 256Mi}
    devices:
      disks:
      - {name: data, disk: {bus: virtio}}
  volumes:
  - name: data
    persistentVolumeClaim: {claimName: lost}
";

const REPLICAS: &str = "apiVersion: kubevirt.io/v1
kind: VirtualMachineInstanceReplicaSet
metadata: {name: many}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      domain: {memory: {guest: 256Mi}, devices: {autoattachPodInterface: false, disks: [{name: data, disk: {bus: virtio}}]}}
      volumes: [{name: data, persistentVolumeClaim: {claimName: lost}}]
";

/// A folder with files, and the program run in it.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubevmm"));
        command.args(args).current_dir(self.0.path());
        for variable in ["HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"] {
            command.env(variable, self.0.path());
        }
        command
    }

    /// Runs the program, which has to leave the folder as it is.
    fn run(&self, args: &[&str]) -> Output {
        let before = entries(self.0.path());
        let output = self.command(args).stdin(Stdio::null()).output().unwrap();
        assert_eq!(entries(self.0.path()), before, "{args:?} left files behind");
        output
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn errors(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn check_shows_the_line_of_a_fault_and_does_not_stop_at_it() {
    let bad = MACHINE.replace("virtio", "virtoi");
    let folder = Folder::new(&[("bad.yaml", &bad), ("broken.yaml", "a: [\n"), ("good.yaml", MACHINE)]);
    let output = folder.run(&["check", "bad.yaml", "broken.yaml", "absent.yaml", "good.yaml"]);
    assert_eq!(code(&output), 1);
    for words in ["bad.yaml:9:", "disk: {bus: virtoi}", "broken.yaml:", "absent.yaml"] {
        assert!(errors(&output).contains(words), "{words}: {}", errors(&output));
    }
    assert_eq!(
        out(&output),
        "bad.yaml: VirtualMachineInstance small rejected\ngood.yaml: VirtualMachineInstance small allowed\n"
    );
}

#[test]
fn check_tells_programs_of_each_document_on_a_line() {
    let files = format!("{MACHINE}---\n{}", MACHINE.replace("256Mi", "lots"));
    let folder = Folder::new(&[("two.yaml", &files), ("broken.yaml", "a: [\n")]);
    let output = folder.run(&["check", "-o", "json", "broken.yaml", "two.yaml"]);
    assert_eq!((code(&output), errors(&output)), (1, ""));
    let lines: Vec<Value> = out(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = |key: &str| lines.iter().map(|line| line[key].clone()).collect::<Vec<_>>();
    assert_eq!(said("allowed"), [false, true, false]);
    assert_eq!(said("document"), [0, 1, 2]);
    let cause = &lines[2]["causes"][0];
    assert_eq!((&cause["field"], &cause["line"]), (&"spec.domain.memory.guest".into(), &19.into()));
}

#[test]
fn check_reads_standard_input_and_warns_of_what_is_missing_where_it_may_look() {
    let folder = Folder::new(&[("volumes/other/disk.img", "")]);
    let feed = |args: &[&str]| {
        let piped = || Stdio::piped();
        let mut child = folder.command(args).stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(MACHINE.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = feed(&["check", "-"]);
    assert_eq!((code(&output), errors(&output).contains("lost")), (0, false), "{}", errors(&output));
    let output = feed(&["check", "-", "--volumes", "volumes"]);
    assert_eq!(code(&output), 0);
    assert!(errors(&output).contains("warning: spec.volumes[0].persistentVolumeClaim: the claim \"lost\""));
    assert!(errors(&output).contains("-:12:"), "{}", errors(&output));
}

#[test]
fn defaults_are_shown_and_can_be_checked_again() {
    let folder = Folder::new(&[("a.yaml", MACHINE)]);
    let output = folder.run(&["check", "--show-defaults", "a.yaml"]);
    assert_eq!(code(&output), 0);
    for words in ["---\n", "claimName: lost", "uuid: ", "type: q35"] {
        assert!(out(&output).contains(words), "{words}: {}", out(&output));
    }
    fs::write(folder.0.path().join("b.yaml"), out(&output)).unwrap();
    let again = folder.run(&["check", "--show-defaults", "b.yaml"]);
    assert_eq!(out(&again), out(&output));
    let json = folder.run(&["check", "--show-defaults", "-o", "json", "a.yaml"]);
    let object: Value = serde_json::from_str(out(&json)).unwrap();
    assert_eq!(object["metadata"]["name"], "small");
}

#[test]
fn fields_are_explained() {
    let folder = Folder::new(&[]);
    let output = folder.run(&["explain", "vmi.spec.domain.devices.disks.cache"]);
    assert_eq!(code(&output), 0);
    assert!(out(&output).contains("writethrough") && out(&output).contains("STATUS:"), "{}", out(&output));
    let output = folder.run(&["explain", "-o", "json", "vmi.spec.domain.cpu", "pvc.spec"]);
    let kinds: Vec<Value> = out(&output)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].clone())
        .collect();
    assert_eq!(kinds, ["VirtualMachineInstance", "PersistentVolumeClaim"]);
    let output = folder.run(&["explain", "-o", "yaml", "vmi.spec.domain.cpu.cores"]);
    assert!(out(&output).contains("\nfield: spec.domain.cpu.cores\n"), "{}", out(&output));
    let output = folder.run(&["explain", "vmi.spec.domain.cpus"]);
    assert_eq!((code(&output), out(&output)), (2, ""));
    assert!(errors(&output).contains("did you mean \"cpu\""), "{}", errors(&output));
    assert_eq!(code(&folder.run(&["explain"])), 2);
}

#[test]
fn the_schema_is_json() {
    let folder = Folder::new(&[]);
    let output = folder.run(&["schema"]);
    let schema: Value = serde_json::from_str(out(&output)).unwrap();
    assert!(schema["$defs"]["Disk"].is_object());
    assert_eq!(code(&folder.run(&["schema", "vmi"])), 2);
}

#[test]
fn a_plan_is_shown_in_each_format() {
    let folder = Folder::new(&[("a.yaml", MACHINE), ("volumes/lost/disk.img", "")]);
    let plan = |format: &str| {
        let args = ["plan", "a.yaml", "--kernel", "vmlinux", "--volumes", "volumes", "-o", format];
        let output = folder.run(&args);
        assert_eq!(code(&output), 0, "{}", errors(&output));
        assert!(!errors(&output).contains("BIOS"), "{}", errors(&output));
        out(&output).to_owned()
    };
    assert!(plan("text").contains("volumes/lost/disk.img"));
    let json: Value = serde_json::from_str(&plan("json")).unwrap();
    assert_eq!(json["name"], "small");
    assert!(plan("yaml").lines().any(|line| line == "name: small"));
}

#[test]
fn a_template_is_run_when_it_is_named() {
    let folder = Folder::new(&[("r.yaml", REPLICAS), ("volumes/lost/disk.img", "")]);
    let output = folder.run(&["plan", "r.yaml", "--kernel", "k", "--volumes", "volumes"]);
    assert_eq!(code(&output), 1);
    assert!(errors(&output).contains("--name many"), "{}", errors(&output));
    let args = ["plan", "r.yaml", "--kernel", "k", "--name", "many", "--volumes"];
    assert_eq!(code(&folder.run(&[&args[..], &["volumes"]].concat())), 0);
    let output = folder.run(&[&args[..], &["nowhere"]].concat());
    assert_eq!(code(&output), 3);
    assert!(errors(&output).contains("spec.template.spec.volumes[0]"), "{}", errors(&output));
    assert!(errors(&output).contains("r.yaml:10:"), "{}", errors(&output));
}

#[test]
fn what_is_missing_is_the_hosts_fault_at_its_line() {
    let folder = Folder::new(&[("a.yaml", MACHINE), ("b.yaml", &MACHINE.replace("guest: ", "gest: "))]);
    let output = folder.run(&["run", "a.yaml", "--kernel", "vmlinux", "--volumes", "volumes"]);
    assert_eq!(code(&output), 3);
    assert!(errors(&output).contains("a.yaml:12:"), "{}", errors(&output));
    assert!(errors(&output).contains("put lost/disk.img"), "{}", errors(&output));
    assert_eq!(errors(&output).matches("error:").count(), 1, "{}", errors(&output));

    // With a fault of the manifest it is said in the same breath, and the manifest's fault counts.
    let output = folder.run(&["run", "b.yaml", "--kernel", "vmlinux"]);
    assert_eq!(code(&output), 1);
    assert!(errors(&output).contains("b.yaml:6:") && errors(&output).contains("b.yaml:12:"));
    assert!(!errors(&output).contains("warning: spec.domain.firmware"), "{}", errors(&output));
    let output = folder.run(&["run", "a.yaml"]);
    assert_eq!(code(&output), 1);
    assert!(errors(&output).contains("kernelBoot") && errors(&output).contains("lost/disk.img"));
    assert!(!errors(&output).contains("warning: spec.domain.firmware"), "{}", errors(&output));
}

#[test]
fn secrets_come_from_the_manifests_or_from_a_folder() {
    let machine = MACHINE
        .replace("persistentVolumeClaim: {claimName: lost}", "cloudInitNoCloud: {secretRef: {name: seed}}");
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: seed}\nstringData: {userdata: hello}\n";
    let both = format!("{machine}{secret}");
    let keyless = both.replace("userdata", "other");
    let files = [
        ("a.yaml", &*machine),
        ("b.yaml", &*both),
        ("c.yaml", &*keyless),
        ("secrets/seed/userdata", "hello"),
    ];
    let folder = Folder::new(&files);
    let plan = |args: &[&str]| folder.run(&[&["plan", "--kernel", "k"], args].concat());
    let output = plan(&["a.yaml"]);
    assert_eq!(code(&output), 3);
    assert!(errors(&output).contains("a.yaml:12:") && errors(&output).contains("--secrets"));
    assert_eq!(errors(&output).matches("error:").count(), 1, "{}", errors(&output));
    assert_eq!(code(&plan(&["a.yaml", "--secrets", "secrets"])), 0);
    assert_eq!(code(&plan(&["b.yaml"])), 0);
    let output = plan(&["c.yaml"]);
    assert_eq!(code(&output), 1);
    assert!(errors(&output).contains("has no key \"userdata\""), "{}", errors(&output));
}

#[test]
fn a_kind_that_is_none_is_shown() {
    let text = MACHINE.replace("kind: VirtualMachineInstance", "kind: VirtualMachin");
    let folder = Folder::new(&[("a.yaml", &text)]);
    let output = folder.run(&["run", "a.yaml"]);
    assert_eq!(code(&output), 1);
    assert!(errors(&output).contains("a.yaml:2:1"), "{}", errors(&output));
    assert!(errors(&output).contains("did you mean \"VirtualMachine\""), "{}", errors(&output));
    let last = errors(&output).lines().last().unwrap();
    assert!(last.starts_with("kubevmm: the manifests hold no VirtualMachine"), "{last}");
}

#[test]
fn a_command_line_without_sense_is_a_usage_error() {
    let folder = Folder::new(&[("a.yaml", MACHINE)]);
    for args in [
        &["fly"][..],
        &["check"],
        &["check", "a.yaml", "-o", "xml"],
        &["plan", "a.yaml", "--name", "other"],
        &["plan", "a.yaml", "--tap", "nonsense"],
        // Each machine would say so, again and again.
        &["up", "a.yaml", "--evict-to", "nonsense"],
        &["up", "a.yaml", "--evict-to", "tcp://{name}.example:1"],
    ] {
        let output = folder.run(args);
        assert_eq!((code(&output), out(&output)), (2, ""), "{args:?}");
        assert!(errors(&output).starts_with("kubevmm: "), "{args:?}: {}", errors(&output));
    }
    assert_eq!(code(&folder.run(&["help", "explain"])), 0);
}

const NOTHING_THERE: &str = "apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: nowhere}
spec:
  domain:
    memory: {guest: 64Mi}
    firmware: {kernelBoot: {container: {image: 'oci:nowhere', kernelPath: /boot/vmlinux}}}
    devices:
      disks:
      - {name: root, disk: {bus: virtio}}
      - {name: host, disk: {bus: virtio}}
      interfaces:
      - {name: default, bridge: {}}
  networks:
  - {name: default, pod: {}}
  volumes:
  - name: root
    containerDisk: {image: 'quay.io/nobody/nothing:1'}
  - name: host
    hostDisk: {path: lost.img, type: Disk}
";

#[test]
fn all_that_cannot_be_opened_is_said_at_its_line() {
    let folder = Folder::new(&[("nowhere.yaml", NOTHING_THERE)]);
    // The runtime directory's root stays, empty; what is below it goes.
    fs::create_dir(folder.0.path().join("run")).unwrap();
    let output =
        folder.run(&["run", "nowhere.yaml", "--tap", "default=kubevmm-none", "--runtime-dir", "run"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{text}");
    for (line, word) in [(7, "oci:nowhere"), (13, "kubevmm-none"), (17, "quay.io"), (19, "lost.img")] {
        assert!(text.contains(&format!("nowhere.yaml:{line}:")), "line {line} in {text}");
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[test]
fn a_migration_is_taken_with_the_beginning_of_a_name() {
    let migration = "apiVersion: kubevirt.io/v1
kind: VirtualMachineInstanceMigration
metadata: {generateName: kubevirt-migrate-vm-}
spec: {vmiName: nobody}
";
    let folder = Folder::new(&[("move.yaml", migration)]);
    let output = folder.run(&["check", "move.yaml"]);
    assert_eq!((code(&output), errors(&output)), (0, ""));
    let output = folder.run(&["migrate", "-f", "move.yaml", "unix:there", "--runtime-dir", "run"]);
    assert_eq!(code(&output), 3);
    assert!(
        errors(&output).starts_with("kubevmm: there is no machine default/nobody"),
        "{}",
        errors(&output)
    );
}

/// A fleet that is up, ended when dropped.
struct Fleet<'a>(&'a Folder);

impl Fleet<'_> {
    fn kubevmm(&self, args: &[&str]) -> Output {
        self.0.command(args).args(["--runtime-dir", "run"]).stdin(Stdio::null()).output().unwrap()
    }

    /// Waits until the fleet's only object is in this state.
    fn wait(&self, state: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let output = self.kubevmm(&["fleet"]);
            if out(&output).contains(state) {
                return;
            }
            assert!(Instant::now() < deadline, "{}{}", out(&output), errors(&output));
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        self.kubevmm(&["down"]);
    }
}

/// One whose process ends before the machine has a runtime directory, or when it has one.
const WAITING: [&str; 2] = [
    "{volumes: [{name: data, persistentVolumeClaim: {claimName: lost}}], domain: {memory: {guest: 64Mi}, \
     devices: {autoattachPodInterface: false, disks: [{name: data, disk: {bus: virtio}}]}, firmware: FIRMWARE}}",
    "{domain: {memory: {guest: 64Mi}, devices: {autoattachPodInterface: false}, firmware: FIRMWARE}}",
];

#[test]
fn a_machine_that_waits_to_be_started_again_is_stopped_for_good() {
    for (spec, force) in WAITING.iter().flat_map(|spec| [(spec, &[][..]), (spec, &["--force"])]) {
        let firmware = "{kernelBoot: {container: {image: 'rootfs:/nonexistent', kernelPath: /kernel}}}";
        let spec = spec.replace("FIRMWARE", firmware);
        let vm = format!(
            "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {{name: web}}\n\
             spec: {{runStrategy: Always, template: {{spec: {spec}}}}}\n"
        );
        let folder = Folder::new(&[("vms.yaml", &vm)]);
        let fleet = Fleet(&folder);
        let output = fleet.kubevmm(&["up", "--detach", "vms.yaml"]);
        assert_eq!(code(&output), 0, "{}", errors(&output));
        fleet.wait("CrashLoopBackOff");
        let output = fleet.kubevmm(&[&["restart", "web"], force].concat());
        assert_eq!((code(&output), errors(&output)), (1, "kubevmm: VM web is not running\n"));
        let stop = |name| fleet.kubevmm(&[&["stop", name], force].concat());
        let output = stop("web");
        assert_eq!((code(&output), errors(&output)), (0, ""));
        assert_eq!(out(&output), "VM default/web was scheduled to stop\n");
        fleet.wait("Stopped");
        let output = stop("web");
        assert_eq!((code(&output), errors(&output)), (1, "kubevmm: VM web is not running\n"));
        let output = stop("nobody");
        assert_eq!(code(&output), 3);
        assert!(errors(&output).contains("there is no machine default/nobody"), "{}", errors(&output));
    }
}
