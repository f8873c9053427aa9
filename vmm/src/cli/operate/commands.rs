//! Their names and options.

use crate::cli::commands::{Command, HELP, Opt, RUNTIME, flag, letter, option};

const NAME: &str = "[NAMESPACE/]NAME";
const NAMES: &str = "[NAMESPACE/]NAME…";

const NAMESPACE: Opt = letter(
    'n',
    option("namespace", "NAMESPACE", "namespace of names that are given without one (default: default)"),
);
const WHERE: &[Opt] = &[NAMESPACE, RUNTIME];
const VIEW: Opt = letter('o', option("output", "VIEW", "text (default), wide, name, json or yaml"));
const FORMAT: Opt = letter('o', option("output", "FORMAT", "text (default), json or yaml"));
const GRACE: Opt =
    option("grace-period", "SECONDS", "the guest's time, instead of terminationGracePeriodSeconds");
const FORCE: Opt = flag("force", "by force, and at once");

const WAITING: &[Opt] = &[
    flag("wait", "wait until the guest has done it"),
    option("timeout", "TIME", "wait for so long at most, as in 30s (the default) or 1m"),
];
const VOLUME: Opt =
    option("volume-name", "VOLUME", "the volume, and the claim that it is unless --claim names another");
const DISK: &[Opt] = &[
    option("claim", "CLAIM", "the claim that the disk is (default: called as the volume)"),
    option("data-volume", "NAME", "the DataVolume that it is instead"),
    option("serial", "SERIAL", "its serial number (default: the volume's name)"),
    option("cache", "MODE", "none, writethrough or writeback"),
    flag("read-only", "the guest may not write to it"),
];

const MIGRATE: &[Opt] = &[
    letter(
        'f',
        option(
            "filename",
            "FILE",
            "as the VirtualMachineInstanceMigration in FILE orders it; MigrationPolicies in it are looked at, too",
        ),
    ),
    option(
        "policy",
        "FILE",
        "do as the MigrationPolicy says that picks the machine by its labels, where nothing else is said (repeatable)",
    ),
    option("bandwidth", "SIZE", "send no more than this in a second, as in 64Mi"),
    option("downtime", "MILLISECONDS", "let the guest stand still no longer than this (default 300)"),
    option("connections", "N", "send over so many connections at once (1 to 16; default 2)"),
    flag("auto-converge", "slow the guest down if it writes faster than can be copied"),
    option(
        "completion-timeout",
        "SECONDS",
        "give up if it takes longer than this for each GiB of memory (default 150; 0 for never)",
    ),
    option(
        "progress-timeout",
        "SECONDS",
        "give up if no less is left to copy for so long (default 150; 0 for never)",
    ),
    flag("allow-disruption", "instead of giving up, stop the guest for as long as it takes"),
    flag(
        "allow-post-copy",
        "instead of giving up, let the guest run at the destination while the rest of its memory follows it",
    ),
    flag("post-copy", "do that as soon as all memory was copied once"),
    option(
        "tls",
        "DIR",
        "encrypt what goes by tcp://; DIR has ca.crt, tls.crt and tls.key, and the destination is to have a certificate of that CA",
    ),
    option(
        "tls-peer",
        "NAME",
        "the destination's certificate is for NAME (default: for HOST of the address)",
    ),
    flag("copy-storage", "copy disks that are not the same storage on both sides; receive has to allow it"),
    option(
        "copy-disk",
        "NAME",
        "copy this disk, too, if it cannot be told whether it is the same storage (repeatable)",
    ),
    flag("insecure", "send over a network without encryption"),
    flag("no-wait", "do not wait for the end"),
];

/// Exit codes of all of them, for their help.
const EXITS: &str =
    "Exit codes: 0 done, 1 refused by the machine, 2 usage, 3 there is no such machine, or it does not run.";

/// A command that has something done with machines.
const fn verb(
    name: &'static str,
    about: &'static str,
    details: &'static str,
    options: &'static [&'static [Opt]],
) -> Command {
    Command { name, about, details, operands: NAMES, options }
}

/// The commands of this folder.
pub(in crate::cli) const COMMANDS: &[Command] = &[
    Command {
        name: "ps",
        about: "list machines: those that run, and those that ended and were not deleted",
        details: "PHASE is KubeVirt's. A machine whose process was killed has the phase that it had then, and a ? behind it.\n\
                  -o name prints NAMESPACE/NAME, which all commands take.",
        operands: "",
        options: &[&[VIEW], WHERE, HELP],
    },
    Command {
        name: "status",
        about: "show how a machine is, or how it was at its end",
        details: "-o json and -o yaml print the VirtualMachineInstance with its status.",
        operands: NAMES,
        options: &[&[VIEW], WHERE, HELP],
    },
    Command {
        name: "console",
        about: "connect the terminal to a machine's serial console",
        details: "Many may read it, one types: the first, until it leaves. --force takes the keyboard from whoever has it.\n\
                  Ctrl-] ends it; the machine goes on. Exit codes: 0 it was ended by either side, 2 usage, 3 it cannot be reached.",
        operands: NAME,
        options: &[
            &[
                flag("force", "take the keyboard from whoever types"),
                flag("read-only", "do not type"),
                option(
                    "history",
                    "BYTES",
                    "begin with the last so many bytes of output (default 8192, at most 262144)",
                ),
            ],
            WHERE,
            HELP,
        ],
    },
    Command {
        name: "logs",
        about: "print what a machine said on its serial console",
        details: "From the file that logSerialConsole: true in the manifest asks for, or else the last 256 KiB of a machine that runs.",
        operands: NAME,
        options: &[
            &[
                letter('f', flag("follow", "and what it says from now on")),
                option("history", "BYTES", "only the last so many bytes"),
            ],
            WHERE,
            HELP,
        ],
    },
    Command {
        name: "events",
        about: "list what happened to a machine",
        details: "-o json prints the Event objects, one a line.",
        operands: NAME,
        options: &[
            &[
                letter('w', flag("watch", "and what happens from now on")),
                letter('o', option("output", "FORMAT", "text (default), json or yaml")),
            ],
            WHERE,
            HELP,
        ],
    },
    Command {
        name: "wait",
        about: "wait until a machine is as it should be",
        details: "--for=condition=Ready, condition=Paused=false, phase=Running, delete (its process has ended), or\n\
                  jsonpath={.status.phase}=Running. Exit codes: 0 it is so, 1 it did not come to be in time, or cannot any more,\n\
                  2 usage, 3 there is no such machine.",
        operands: NAME,
        options: &[
            &[
                option("for", "WHAT", "what to wait for"),
                option(
                    "timeout",
                    "TIME",
                    "how long: 30, 30s, 5m, 1h (default 30s; 0 looks once, -1s waits for a week)",
                ),
            ],
            WHERE,
            HELP,
        ],
    },
    Command {
        name: "top",
        about: "show what machines use of the host",
        details: "Of all machines, or of those named: processor time in thousandths of a processor (as kubectl top), memory\n\
                  that is resident, and what goes through disks and network cards in a second.",
        operands: NAMES,
        options: &[
            &[
                option("interval", "SECONDS", "measure for so long (default 1)"),
                letter('w', flag("watch", "measure again and again, until Ctrl-C")),
            ],
            WHERE,
            HELP,
        ],
    },
    verb("pause", "stop the processors and queues of machines where they are", EXITS, &[WHERE, HELP]),
    verb("unpause", "let paused machines go on", EXITS, &[WHERE, HELP]),
    verb(
        "stop",
        "have guests power off, and stop them by force when their time is over",
        EXITS,
        &[&[GRACE, FORCE], WHERE, HELP],
    ),
    verb(
        "start",
        "start VirtualMachines that kubevmm up keeps and that do not run",
        "As virtctl start: one that is Halted or was stopped is kept running from then on. Exit codes: 0 done, 1 refused, 2\n\
         usage or no fleet keeps it, 3 the fleet cannot be reached.",
        &[WHERE, HELP],
    ),
    Command {
        name: "scale",
        about: "give a replica set or a pool that kubevmm up keeps another number of machines",
        details: "SET is vmirs/NAME or vmpool/NAME. The number holds until the fleet is down. Exit codes as of start.",
        operands: "SET",
        options: &[&[option("replicas", "N", "how many machines it is to have")], WHERE, HELP],
    },
    Command {
        name: "fleet",
        about: "list what kubevmm up keeps: VirtualMachines, replica sets and pools",
        details: "STATE is KubeVirt's printableStatus of a VirtualMachine; a set is settled when all its machines are ready.",
        operands: "",
        options: &[WHERE, HELP],
    },
    verb(
        "restart",
        "have guests power off, by force when their time is over, and boot their machines again",
        EXITS,
        &[&[GRACE, FORCE], WHERE, HELP],
    ),
    verb("soft-reboot", "ask guests to reboot; they may refuse", EXITS, &[WHERE, HELP]),
    verb("reset", "reset machines at once, whatever their guests do", EXITS, &[WHERE, HELP]),
    verb(
        "delete",
        "stop machines, wait for their end, and forget what they left",
        EXITS,
        &[&[GRACE, FORCE, flag("no-wait", "do not wait for the end")], WHERE, HELP],
    ),
    Command {
        name: "snapshot",
        about: "save a machine that runs in a directory, from which kubevmm restore brings it back",
        details: "The machine goes on; it stands still for some milliseconds. Disks that are gone with the machine (container\n\
                  images, ephemeral and empty ones) are copied, others stay where they are: what the guest writes to them\n\
                  afterwards is not undone. With - the directory goes to standard output as a tar archive, after it was made in\n\
                  $TMPDIR or /var/tmp. kubevmm snapshot inspect DIR explains a snapshot;\n\
                  kubevmm snapshot serve DIR lets machines be brought back from it elsewhere, until it is ended. Exit codes: 0 done, 1 refused or\n\
                  damaged, 2 usage, 3 there is no such machine, or it does not run.",
        operands: "[NAMESPACE/]NAME DIR|- | inspect DIR | serve DIR",
        options: &[
            &[
                option(
                    "incremental-of",
                    "DIR",
                    "only what the guest has written since that snapshot was taken",
                ),
                flag(
                    "track",
                    "note what the guest writes from now on, so that another snapshot can add to this one",
                ),
                flag("stop", "the machine does not go on"),
                flag("copy-disks", "copy all disks"),
                flag(
                    "overlay-disks",
                    "leave the claims' images as they are; the machine goes on in qcow2 images over them",
                ),
                flag(
                    "freeze",
                    "have the guest's agent freeze its file systems meanwhile, or take no snapshot",
                ),
                flag("no-freeze", "do not, even if disks are copied or overlaid and there is an agent"),
                flag("check", "with inspect: read everything, and compare it with its checksums"),
                option(
                    "listen",
                    "ADDRESS",
                    "with serve: where kubevmm restore calls: unix:PATH or tcp://HOST:PORT",
                ),
                option(
                    "tls",
                    "DIR",
                    "with serve: encrypt what goes by tcp://; DIR has ca.crt, tls.crt and tls.key",
                ),
                option(
                    "tls-peer",
                    "NAME",
                    "with serve: serve only whose certificate is for NAME (default: all of that CA)",
                ),
                flag("insecure", "with serve: serve anybody over a network, without encryption"),
                letter('o', option("output", "FORMAT", "with inspect: text (default), json or yaml")),
            ],
            WHERE,
            HELP,
        ],
    },
    Command {
        name: "disk",
        about: "add disks to machines that run, take them out, and tell guests of their sizes",
        details: "The machine has to have free slots (annotation kubevmm.io/hotplug-slots), and claims are found where --volumes of run\n\
                  says. A guest is asked to let a disk go; unmount it first. resize is for disks that were made larger.\n\
                  Exit codes: 0 done or asked for, 1 refused or not done in time, 2 usage, 3 there is no such machine, or it does not run.",
        operands: "add|remove|resize [NAMESPACE/]NAME VOLUME",
        options: &[DISK, WAITING, WHERE, HELP],
    },
    Command {
        name: "nic",
        about: "add network cards to machines that run, take them out, plug their cables in and pull them",
        details: "Cards that are added need free slots, as disks do. kubevmm nic link NAME NETWORK up|down is for all cards. What of the\n\
                  host a network is say --multus and --tap of run, or NetworkAttachmentDefinitions among its manifests. Exit codes as of disk.",
        operands: "add|remove|link [NAMESPACE/]NAME NETWORK [up|down]",
        options: &[
            &[
                option(
                    "network",
                    "NAME",
                    "the network of multus, or pod for the pod's (default: called as the card)",
                ),
                option("binding", "BINDING", "bridge (default), masquerade, macvtap or passt"),
                option("mac", "ADDRESS", "the card's address"),
            ],
            WAITING,
            WHERE,
            HELP,
        ],
    },
    Command {
        name: "addvolume",
        about: "add a disk to a machine that runs, in virtctl's words",
        details: "As kubevmm disk add NAME VOLUME.",
        operands: NAME,
        options: &[&[VOLUME], DISK, WAITING, WHERE, HELP],
    },
    Command {
        name: "removevolume",
        about: "have the guest let a disk go that was added, in virtctl's words",
        details: "As kubevmm disk remove NAME VOLUME.",
        operands: NAME,
        options: &[&[VOLUME], WAITING, WHERE, HELP],
    },
    Command {
        name: "set-memory",
        about: "ask the guest to get by on less memory than it was started with, or to take it back",
        details: "By its balloon, as far as it can spare memory. SIZE is a quantity such as 512Mi.\n\
                  Exit codes as of disk.",
        operands: "[NAMESPACE/]NAME SIZE",
        options: &[WHERE, HELP],
    },
    Command {
        name: "dump",
        about: "write the guest's memory and registers to an ELF core file, for crash and gdb",
        details: "The machine stands still meanwhile. FILE is written by the machine's process; it appears when it is whole, and pages\n\
                  of zeroes take no room in it. Exit codes: 0 done, 1 refused or the file cannot be written, 2 usage, 3 there is no such\n\
                  machine, or it does not run.",
        operands: "[NAMESPACE/]NAME FILE",
        options: &[WHERE, HELP],
    },
    Command {
        name: "migrate",
        about: "move a machine to another process, while its guest runs",
        details: "kubevmm receive waits for it at ADDRESS: unix:PATH or tcp://HOST:PORT. Until the destination has said that the\n\
                  machine runs there, it can stay here; after that it never runs here again. It is waited for the end unless --no-wait is\n\
                  given. Exit codes: 0 it has moved, 1 it stays, 2 usage, 3 there is no such machine, or it does not run.",
        operands: "[NAMESPACE/]NAME ADDRESS | -f FILE [ADDRESS]",
        options: &[MIGRATE, WHERE, HELP],
    },
    Command {
        name: "migrate-cancel",
        about: "have a machine stay that is being moved",
        details: "It goes on as if nothing had been. Once it is handed over that is too late; if then its destination does not answer,\n\
                  --force takes it back, provided that nobody has its disks: only for who knows that it never ran there.",
        operands: NAME,
        options: &[&[flag("force", "take it back from a destination that does not answer")], WHERE, HELP],
    },
    Command {
        name: "guestosinfo",
        about: "ask the guest's agent who and what the guest is",
        details: EXITS,
        operands: NAME,
        options: &[&[FORMAT], WHERE, HELP],
    },
    Command {
        name: "userlist",
        about: "ask the guest's agent who is logged in",
        details: EXITS,
        operands: NAME,
        options: &[&[FORMAT], WHERE, HELP],
    },
    Command {
        name: "fslist",
        about: "ask the guest's agent what is mounted",
        details: EXITS,
        operands: NAME,
        options: &[&[FORMAT], WHERE, HELP],
    },
    Command {
        name: "freeze",
        about: "have the guest's file systems write out what they hold, and hold further writes back",
        details: EXITS,
        operands: NAME,
        options: &[
            &[option(
                "unfreeze-timeout",
                "TIME",
                "when they are unfrozen if nobody has done it, as in 30s or 5m0s (default 5m0s; 0s for never)",
            )],
            WHERE,
            HELP,
        ],
    },
    Command {
        name: "unfreeze",
        about: "let the guest's file systems take writes again",
        details: EXITS,
        operands: NAME,
        options: &[WHERE, HELP],
    },
    Command {
        name: "exec",
        about: "run a program in the guest, by its agent",
        details: "kubevmm exec NAME -- PROGRAM ARGUMENT… prints what the program wrote once it has ended, 16 MiB at most, and\n\
                  exits with its exit code, or with 128 and the number of the signal that ended it. A program that takes longer\n\
                  than --timeout runs on. Else the exit codes are: 1 refused, 2 usage, 3 there is no such machine, or it does not run.",
        operands: "[NAMESPACE/]NAME -- PROGRAM ARGUMENT…",
        options: &[
            &[
                letter('i', flag("stdin", "give the program standard input to read, 180 KiB at most")),
                option("timeout", "TIME", "how long its end is waited for, as in 30s or 5m0s (default 1m0s)"),
            ],
            WHERE,
            HELP,
        ],
    },
];
