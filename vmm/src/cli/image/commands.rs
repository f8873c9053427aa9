//! The commands of `kubevmm image`, and their options: qemu-img's, as far as they make sense here.

use std::fmt::Write as _;

use super::super::commands::{Command, HELP, Opt, flag, letter, option};

const PREFIX: &str = "image ";

const FORMAT: Opt =
    letter('f', option("format", "FORMAT", "raw or qcow2 (default: what the first bytes say)"));
const OUTPUT: Opt = letter('o', option("output", "FORMAT", "human (default), json or yaml"));
const QUIET: Opt = letter('q', flag("quiet", "say nothing but errors"));
const SHARE: Opt = letter('U', flag("force-share", "take no lock: others may be writing the image"));
const PROGRESS: Opt =
    letter('p', flag("progress", "show progress; on a terminal, it is shown without being asked for"));
const BACKING: Opt = option(
    "backing",
    "FORMAT:FILE",
    "the image's backing file, and again for the next one below; names in images are not followed",
);
const SOURCE_CACHE: Opt = letter('T', option("source-cache", "MODE", "host caching (default writeback)"));
const OPTIONS: Opt = letter(
    'o',
    option(
        "options",
        "NAME=VALUE,…",
        "size, preallocation (off, metadata, falloc, full), cluster_size, compat (0.10, 1.1), compression_type \
         (zlib, zstd), extended_l2, lazy_refcounts, refcount_bits, backing_file, backing_fmt",
    ),
);

/// All of them. Their names begin with that of `kubevmm image`.
pub(in crate::cli) const COMMANDS: &[Command] = &[
    Command {
        name: "image info",
        about: "say what an image is",
        details: "No other file is opened to find out.",
        operands: "FILE",
        options: &[&[FORMAT, OUTPUT, SHARE], HELP],
    },
    Command {
        name: "image check",
        about: "check a qcow2 image's tables, and repair them",
        details: "Exit codes: 0 it is fine (again), 1 it could not be checked, 2 it is corrupt, 3 it has leaked clusters,\n\
                  which only cost space, 63 the format has nothing to check.",
        operands: "FILE",
        options: &[
            &[
                FORMAT,
                OUTPUT,
                letter(
                    'r',
                    option("repair", "[leaks|all]", "repair leaks only, or all that can be (default)"),
                ),
                QUIET,
                SOURCE_CACHE,
                SHARE,
            ],
            HELP,
        ],
    },
    Command {
        name: "image create",
        about: "make a new image",
        details: "SIZE is in bytes, or has a suffix K, M, G, T or P for powers of 1024. A file that is there is replaced.\n\
                  Without SIZE, the image is as large as its backing file.",
        operands: "FILE [SIZE]",
        options: &[
            &[
                letter('f', option("format", "FORMAT", "raw (default) or qcow2")),
                OPTIONS,
                letter('b', option("backing-file", "FILE", "show this file where nothing has been written")),
                letter('F', option("backing-format", "FORMAT", "the backing file's format")),
                letter('u', flag("backing-unsafe", "do not look at the backing file")),
                QUIET,
            ],
            HELP,
        ],
    },
    Command {
        name: "image convert",
        about: "copy an image, into another format perhaps",
        details: "Zeroes take no space in the copy. All processors are used.",
        operands: "SOURCE TARGET",
        options: &[
            &[
                FORMAT,
                letter('O', option("target-format", "FORMAT", "the copy's format: raw (default) or qcow2")),
                OPTIONS,
                letter('c', flag("compress", "compress the copy's clusters (qcow2)")),
                letter('n', flag("no-create", "the target is there already: an image, or a block device")),
                letter(
                    'S',
                    option("sparse-size", "SIZE", "0: write zeroes, too (else 4k, whatever is given)"),
                ),
                letter('t', option("target-cache", "MODE", "host caching of the copy (default writeback)")),
                SOURCE_CACHE,
                BACKING,
                PROGRESS,
                QUIET,
                SHARE,
                letter('m', option("parallel", "COUNT", "accepted; there is a thread for each processor")),
                letter('W', flag("oob-writes", "accepted; writes are in no order")),
            ],
            HELP,
        ],
    },
    Command {
        name: "image map",
        about: "say where an image has data",
        details: "-o json has the fields of qemu-img map; there, depth counts the files of the chain.",
        operands: "FILE",
        options: &[
            &[
                FORMAT,
                OUTPUT,
                BACKING,
                letter('s', option("start-offset", "OFFSET", "begin there")),
                letter('l', option("max-length", "LENGTH", "look at so many bytes")),
                SHARE,
            ],
            HELP,
        ],
    },
    Command {
        name: "image compare",
        about: "say whether two images hold the same",
        details: "A shorter one counts as followed by zeroes. Exit codes: 0 the same, 1 different, 2 not compared.",
        operands: "FILE1 FILE2",
        options: &[
            &[
                letter('f', option("a-format", "FORMAT", "format of FILE1")),
                letter('F', option("b-format", "FORMAT", "format of FILE2")),
                option("backing", "FORMAT:FILE", "FILE1's backing file, and again for the next one below"),
                option("b-backing", "FORMAT:FILE", "FILE2's backing file, and again for the next one below"),
                letter('s', flag("strict", "different sizes are a difference")),
                letter('T', option("source-cache", "MODE", "host caching (default writeback)")),
                PROGRESS,
                QUIET,
                SHARE,
            ],
            HELP,
        ],
    },
    Command {
        name: "image resize",
        about: "make an image's disk larger or smaller",
        details: "SIZE is in bytes, or has a suffix K, M, G, T or P for powers of 1024; +SIZE is added, -SIZE is taken off.\n\
                  File systems and partitions inside are not changed.",
        operands: "FILE [+-]SIZE",
        options: &[&[FORMAT, flag("shrink", "allow losing what lies behind the new end"), QUIET], HELP],
    },
    Command {
        name: "image bench",
        about: "measure how fast an image is read or written",
        details: "The options and the last line are those of qemu-img bench, so that the two can be compared.",
        operands: "FILE",
        options: &[
            &[
                FORMAT,
                letter('c', option("count", "COUNT", "requests in all (default 75000)")),
                letter('d', option("depth", "DEPTH", "requests at a time (default 64)")),
                letter('s', option("buffer-size", "SIZE", "bytes of each (default 4096)")),
                letter(
                    'S',
                    option("step-size", "SIZE", "bytes from one's start to the next one's (default -s)"),
                ),
                letter('o', option("offset", "OFFSET", "where the first one starts (default 0)")),
                letter('w', flag("write", "write instead of reading: what the image holds is lost")),
                option("pattern", "BYTE", "write this byte (default 0)"),
                option("flush-interval", "COUNT", "flush after so many requests"),
                flag("no-drain", "do not wait for requests before a flush"),
                letter(
                    't',
                    option("cache", "MODE", "none, writethrough, writeback (default), directsync, unsafe"),
                ),
                letter('i', option("aio", "ENGINE", "io_uring or native (both are io_uring), threads, sync")),
                letter('n', flag("native", "as -i native")),
                BACKING,
                QUIET,
                SHARE,
            ],
            HELP,
        ],
    },
];

/// The command called `name`.
pub(super) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name.strip_prefix(PREFIX) == Some(name))
}

/// All commands, each in a line.
pub(super) fn overview() -> String {
    let mut text = String::from(
        "Usage: kubevmm image COMMAND [OPTION]… FILE…\n\n\
         Raw and qcow2 disk images, with the options and output of qemu-img.\n\nCommands:\n",
    );
    for command in COMMANDS {
        let name = command.name.strip_prefix(PREFIX).unwrap_or_default();
        let _ = writeln!(text, "  {name:<9} {}", command.about);
    }
    text.push_str("\nkubevmm image COMMAND --help has a command's options.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_names_are_used_once_in_a_command() {
        assert_eq!(overview().lines().filter(|line| line.starts_with("  ")).count(), COMMANDS.len());
        for command in COMMANDS {
            let names: Vec<_> = command.all_options().map(|option| option.name).collect();
            let letters: Vec<_> = command.all_options().filter_map(|option| option.short).collect();
            for all in [names.len(), letters.len()] {
                assert!(all > 0, "{}", command.name);
            }
            for (at, name) in names.iter().enumerate() {
                assert!(!names[..at].contains(name), "{} --{name}", command.name);
            }
            for (at, letter) in letters.iter().enumerate() {
                assert!(!letters[..at].contains(letter), "{} -{letter}", command.name);
            }
        }
    }
}
