//! The commands and their options: what parsing, help and documentation are made from.

/// A command.
pub(super) struct Command {
    pub(super) name: &'static str,
    /// One line.
    pub(super) about: &'static str,
    /// Longer text for its own help.
    pub(super) details: &'static str,
    /// What it is given besides options, for its help.
    pub(super) operands: &'static str,
    pub(super) options: &'static [&'static [Opt]],
}

/// An option of a command.
#[derive(Clone, Copy)]
pub(super) struct Opt {
    pub(super) name: &'static str,
    pub(super) short: Option<char>,
    /// Name of its value, if it takes one. In brackets, `[one|other]`, these words are its values, and it may stand
    /// without one: a word that is none of them is not taken for its value.
    pub(super) value: Option<&'static str>,
    pub(super) about: &'static str,
}

impl Opt {
    /// The words that may follow, parted by `|`, if the option may stand without a value.
    pub(super) fn optional_words(&self) -> Option<&'static str> {
        self.value?.strip_prefix('[')?.strip_suffix(']')
    }
}

pub(super) const fn flag(name: &'static str, about: &'static str) -> Opt {
    Opt { name, short: None, value: None, about }
}

pub(super) const fn option(name: &'static str, value: &'static str, about: &'static str) -> Opt {
    Opt { name, short: None, value: Some(value), about }
}

/// An option with a letter, too.
pub(super) const fn letter(short: char, option: Opt) -> Opt {
    Opt { short: Some(short), ..option }
}

const FILES: &str = "FILE…";

const SHOW_DEFAULTS: Opt =
    flag("show-defaults", "print the objects after KubeVirt's defaults, as YAML (or JSON with -o json)");

const OUTPUT: Opt =
    Opt { name: "output", short: Some('o'), value: Some("FORMAT"), about: "text (default), json or yaml" };

/// Where the things are that a machine names.
const PLACES: &[Opt] = &[
    option(
        "volumes",
        "DIR",
        "claims: DIR/CLAIM/disk.img (raw), DIR/CLAIM/disk.qcow2, or DIR/CLAIM a link to a block device",
    ),
    option("secrets", "DIR", "secrets that are not in the manifests: DIR/SECRET/KEY"),
    option("configmaps", "DIR", "config maps that are not in the manifests: DIR/CONFIGMAP/KEY"),
    option("images", "DIR", "local store of container images, an OCI image layout for each repository"),
];

/// Which machine, and what stands in for parts of it.
const MACHINE: &[Opt] = &[
    option("name", "NAME", "run this machine of several in the manifests: [KIND/][NAMESPACE/]NAME"),
    option("replica", "NAME", "run a machine of this name from a replica set's or a pool's template"),
    option(
        "tap",
        "NETWORK=TAP",
        "put the card on NETWORK on this tap or macvtap of the host, or on its open files fd:N[,N…] (repeatable)",
    ),
    option(
        "disk-limit",
        "DISK=LIMIT",
        "let the guest use this disk no faster: requests:N, bytes:SIZE or both, a second (repeatable)",
    ),
    flag("guest-sees-pauses", "let the guest's clocks run on while it is paused"),
    option("kernel", "FILE", "boot this kernel (PVH ELF or bzImage) instead of the manifest's"),
    option("initrd", "FILE", "with this initrd"),
    option("append", "ARGUMENTS", "and this command line"),
];

pub(super) const RUNTIME: Opt = option(
    "runtime-dir",
    "DIR",
    "sockets and locks of running machines (default /run/kubevmm or $XDG_RUNTIME_DIR/kubevmm)",
);

/// What of the host stands for networks.
const NETWORKS: &[Opt] = &[
    option(
        "multus",
        "NETWORK=PARENT",
        "the bridge or interface of the host that stands for NETWORK of multus (repeatable)",
    ),
    option(
        "pod-network",
        "INTERFACE",
        "treat INTERFACE as a pod's: bridge gives its address to the guest, masquerade forwards all its ports",
    ),
    option(
        "nic-limit",
        "NETWORK=LIMIT",
        "let the card on NETWORK be no faster: packets:N, bytes:SIZE or both, a second and direction (repeatable)",
    ),
];

/// How a fleet is kept.
const UP: &[Opt] = &[
    option("fleet", "NAME", "call the fleet so (default: as the first file is called)"),
    letter(
        'd',
        flag("detach", "return when all machines were started; the supervisor goes on in the background"),
    ),
    RUNTIME,
];

const DOWN: &[Opt] = &[flag("force", "do not wait until guests have powered off"), RUNTIME];

/// How a machine is brought back.
const RESTORE: &[Opt] = &[
    option(
        "name",
        "NAME",
        "bring it back under this name and with a new identity, beside the one that it was",
    ),
    option(
        "into",
        "DIR",
        "with -: make the directory DIR of the stream, and bring the machine back from there; with ADDRESS: make DIR of all but the memory",
    ),
    option("tls", "DIR", "encrypt what comes by tcp://; DIR has ca.crt, tls.crt and tls.key"),
    option("tls-peer", "NAME", "the server's certificate is for NAME (default: for HOST of the address)"),
    flag("insecure", "take a snapshot over a network without encryption"),
    flag("new-identity", "give it a new identity under its old name, too: hardware addresses, identifiers"),
    flag("same-identity", "leave it its identity under another name, too"),
    option("mac", "NETWORK=ADDRESS", "the card on NETWORK gets this hardware address (repeatable)"),
    option("disk", "DISK=FILE", "this disk is in FILE now: raw, *.qcow2 or a block device (repeatable)"),
    option(
        "tap",
        "NETWORK=TAP",
        "the card on NETWORK is on this tap or macvtap, or its open files fd:N[,N…] (repeatable)",
    ),
    flag("changed-disks", "whatever was written to its disks since the snapshot"),
    option(
        "check",
        "before|meanwhile",
        "compare memory with its checksums before the guest goes on, or while it runs: it is paused if it is damaged",
    ),
    option(
        "memory",
        "HOW",
        "mapped: the file is mapped (default); eager: all is read and checked before the guest goes on; demand: what the guest \
         touches is read and checked first, then the rest",
    ),
    flag("eager", "as --memory eager"),
    flag("paused", "leave it paused until kubevmm unpause"),
    flag("guest-sees-time", "let the guest's clocks jump by the time since the snapshot"),
    flag("track", "note what the guest writes, so that another snapshot can add to this one"),
];

/// Where a machine comes from.
const RECEIVE: &[Opt] = &[
    option("listen", "ADDRESS", "where the source connects to: unix:PATH or tcp://HOST:PORT"),
    option(
        "migration-id",
        "ID",
        "take no other migration than the one with this ID (default: of a VirtualMachineInstanceMigration of the manifests that receives the machine)",
    ),
    option(
        "tls",
        "DIR",
        "encrypt what comes by tcp://; DIR has ca.crt, tls.crt and tls.key, and whoever comes is to have a certificate of that CA",
    ),
    option(
        "tls-peer",
        "NAME",
        "take a machine only from whose certificate is for NAME (default: from all of that CA)",
    ),
    flag(
        "copy-storage",
        "let the source write over disks here that are not its own ones; empty claims get images for that",
    ),
    flag("insecure", "take a machine over a network without encryption, from anybody"),
];

/// Where a machine goes whose process is to end.
const EVICTION: &[Opt] = &[
    option(
        "evict-to",
        "ADDRESS",
        "when this process is to end (SIGTERM), move the machine there, as its evictionStrategy says: unix:PATH or tcp://HOST:PORT; {namespace} and {name} in it are the machine's",
    ),
    option("evict-tls", "DIR", "encrypt that; DIR has ca.crt, tls.crt and tls.key"),
    option("evict-tls-peer", "NAME", "the certificate there is for NAME (default: for HOST of the address)"),
    flag("evict-insecure", "send it over a network without encryption"),
];

const RUN: &[Opt] = &[
    option("console", "TARGET", "serial console: stdio (default), file:PATH, unix:PATH or off"),
    option("console-log", "FILE", "also add the serial console's output to FILE"),
    RUNTIME,
    flag("rm", "leave no status in the runtime directory at the end"),
    flag(
        "agent-socket",
        "do not speak to the guest's agent: leave its port to whoever connects to agent.sock in the machine's folder",
    ),
    option(
        "exit-report",
        "FILE",
        "write how the run ended to FILE, as JSON (a pod's /dev/termination-log, too)",
    ),
    flag("timings", "print when each stage was reached"),
];

pub(super) const HELP: &[Opt] = &[Opt { name: "help", short: Some('h'), value: None, about: "this text" }];

/// All commands: those for manifests and images, and those for machines that run.
pub(super) fn all() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().chain(super::operate::commands::COMMANDS)
}

/// Commands for manifests and images.
const COMMANDS: &[Command] = &[
    Command {
        name: "run",
        about: "boot the machine of the manifests",
        details: "Ctrl-] on a terminal asks the guest to power off; a second one stops it by force. So do SIGTERM,\n\
                  SIGINT and SIGHUP; with --evict-to they have it move first, if its evictionStrategy says so, a second one has\n\
                  it power off, and a third stops it by force. Exit codes: 0 the guest powered off, 1 the manifest was rejected, 2 usage, 3 the\n\
                  host cannot (no /dev/kvm, missing file, busy tap), 4 the guest crashed, 5 stopped by force.",
        operands: FILES,
        options: &[MACHINE, NETWORKS, PLACES, RUN, EVICTION, HELP],
    },
    Command {
        name: "restore",
        about: "bring a machine back from a snapshot, in the midst of what it did",
        details: "Its memory is read as the guest needs it, so that it goes on at once: the snapshot has to stay as long as the\n\
                  machine runs. With - the snapshot comes on standard input, as snapshot NAME - sends it.\n\
                  With ADDRESS (unix:PATH, tcp://HOST:PORT) it is served by kubevmm snapshot serve; memory comes on demand. Exit codes as of run; 1 also for a snapshot that is damaged or does not fit this host.",
        operands: "DIR | - | ADDRESS",
        options: &[RESTORE, NETWORKS, RUN, EVICTION, HELP],
    },
    Command {
        name: "receive",
        about: "wait for the machine of the manifests to come from another process, and run it",
        details: "The manifests and options are those that the machine was started with; disks are shared with the source, and change\n\
                  hands with the machine, or are copied. migrate at the source sends it. Exit codes are those of run; 1 also if no machine came.",
        operands: FILES,
        options: &[RECEIVE, MACHINE, NETWORKS, PLACES, RUN, EVICTION, HELP],
    },
    Command {
        name: "up",
        about: "start all machines of the manifests, and keep them as they ought to be",
        details: "VirtualMachines run as their runStrategy says, replica sets and pools have as many machines as they ask for,\n\
                  and what fails starts again, later each time. Each machine is a process of its own that outlives its supervisor:\n\
                  the next `up` of the same fleet finds what runs and starts nothing twice. Ctrl-C or SIGTERM ends all machines, a\n\
                  second one by force; with --evict-to they move instead if their evictionStrategy says so, a second one has them\n\
                  power off, and a third ends them by force. Exit codes: 0 all machines were ended, 1 a manifest was rejected, 2 usage, 3 the host cannot.",
        operands: FILES,
        options: &[NETWORKS, PLACES, UP, EVICTION, HELP],
    },
    Command {
        name: "down",
        about: "end all machines that `up` keeps",
        details: "Guests are asked to power off and have their grace periods for it; of a fleet that is up with --evict-to, machines\n\
                  move as their evictionStrategy says. Without a name the only fleet is meant. It\n\
                  works without a supervisor, too.",
        operands: "[FLEET…]",
        options: &[DOWN, HELP],
    },
    Command {
        name: "plan",
        about: "print the machine that the manifests describe, opening nothing",
        details: "Every address, interrupt, file and queue is shown as run would use it.",
        operands: FILES,
        options: &[MACHINE, NETWORKS, PLACES, &[OUTPUT], HELP],
    },
    Command {
        name: "check",
        about: "say what KubeVirt would say about the manifests, and what kubevmm cannot do",
        details: "-o json prints one object a document, each on a line of its own. With a place for claims, secrets,\n\
                  config maps or images it warns of those that are missing. Exit codes: 0 all are allowed, 1 some are not, 2 usage.",
        operands: FILES,
        options: &[&[OUTPUT, SHOW_DEFAULTS], PLACES, HELP],
    },
    Command {
        name: "explain",
        about: "say what a field of a manifest means, its type and default, and whether it is honoured",
        details: "FIELD.PATH begins with a kind, in full or in short: vmi.spec.domain.devices.disks.cache, vm.spec.\n\
                  Without a kind it is a VirtualMachineInstance's. -o json prints an object for each, on a line of its own.",
        operands: "FIELD.PATH…",
        options: &[&[OUTPUT], HELP],
    },
    Command {
        name: "image",
        about: "make, look at, check, copy, compare and measure disk images, as qemu-img does",
        details: "kubevmm image --help lists its commands; options and output are those of qemu-img.",
        operands: "COMMAND FILE…",
        options: &[HELP],
    },
    Command {
        name: "cpu",
        about: "say which processor models this host can run, and what several hosts have in common",
        details: "models: the models that a manifest can name (spec.domain.cpu.model), and what this host lacks for those that it\n\
                  cannot run. host: this host's processor, as JSON with -o json, to be taken to other hosts. compare MODEL|FILE:\n\
                  whether machines of that model, or of the host that FILE tells of, can run here; exit code 1 if not.\n\
                  baseline FILE…: the best model for machines that are to be moved among the hosts that the files tell of.",
        operands: "models|host|compare|baseline [MODEL|FILE…]",
        options: &[&[OUTPUT], HELP],
    },
    Command {
        name: "schema",
        about: "print the JSON Schema of manifests, for editors to complete and check them with",
        details: "An editor finds it by a first line such as\n\
                  # yaml-language-server: $schema=FILE",
        operands: "",
        options: &[HELP],
    },
    Command {
        name: "completion",
        about: "print the script by which a shell completes kubevmm's command lines",
        details: "bash: source <(kubevmm completion bash). zsh: as _kubevmm in a folder of $fpath. fish: as\n\
                  ~/.config/fish/completions/kubevmm.fish.",
        operands: "SHELL",
        options: &[HELP],
    },
    Command {
        name: "man",
        about: "print the manual page",
        details: "kubevmm man | man -l - shows it; it belongs into /usr/local/share/man/man1/kubevmm.1.",
        operands: "",
        options: &[HELP],
    },
];

/// Words that stand where a command does, and what they print.
pub(super) const WORDS: &[(&str, &str)] =
    &[("help", "this text, or a command's: kubevmm help COMMAND"), ("version", "the version")];

/// The command called `name`.
pub(super) fn find(name: &str) -> Option<&'static Command> {
    all().find(|command| command.name == name)
}

impl Command {
    /// All its options.
    pub(super) fn all_options(&self) -> impl Iterator<Item = &'static Opt> {
        self.options.iter().flat_map(|group| group.iter())
    }
}
