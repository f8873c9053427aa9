//! Machines that move over a network, encrypted: by TCP on the loopback.

use std::path::{Path, PathBuf};

use super::demand::{Server, complete};
use super::migrate::{kernel, number};
use super::{SOON, migrate};
use crate::case::Ctx;
use crate::commands::beside;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::faults::socket::Place;
use crate::vm::Vm;
use crate::wait::until;

/// A file of vmm's tests: `make.sh` there says how it was made.
macro_rules! certificate {
    ($name:literal) => {
        include_str!(concat!("../../../vmm/src/migration/tls/testdata/", $name))
    };
}

/// Certificate and key of somebody, and the CA that is trusted.
pub(crate) struct Party {
    name: &'static str,
    files: [(&'static str, &'static str); 3],
}

pub(crate) const NODE: Party = Party {
    name: "node",
    files: [
        ("ca.crt", certificate!("ca.crt")),
        ("tls.crt", certificate!("node.crt")),
        ("tls.key", certificate!("node.key")),
    ],
};
const EXPIRED: Party = Party {
    name: "expired",
    files: [
        ("ca.crt", certificate!("ca.crt")),
        ("tls.crt", certificate!("expired.crt")),
        ("tls.key", certificate!("expired.key")),
    ],
};
pub(crate) const STRANGER: Party = Party {
    name: "stranger",
    files: [
        ("ca.crt", certificate!("other-ca.crt")),
        ("tls.crt", certificate!("stranger.crt")),
        ("tls.key", certificate!("stranger.key")),
    ],
};

pub(crate) fn folder(ctx: &Ctx, party: &Party) -> Result<String, Failure> {
    let folder: PathBuf = ctx.scratch.join(party.name);
    std::fs::create_dir_all(&folder).doing("making a folder")?;
    for (name, text) in party.files {
        std::fs::write(folder.join(name), text).doing("writing a certificate")?;
    }
    Ok(folder.to_string_lossy().into_owned())
}

/// An address of the loopback where nobody listens.
pub(super) fn address() -> Result<String, Failure> {
    Ok(Place::free_port().doing("looking for a port")?.address())
}

/// Only whom both sides trust gets a machine, and it moves as by a unix socket.
pub(super) fn over_tls(ctx: &Ctx) -> Outcome {
    let mut vm = migrate::counting(ctx)?;
    let before = number(&mut vm)?;
    let address = address()?;
    let node = folder(ctx, &NODE)?;
    let listen = ["--kernel", &kernel(ctx)?, "--listen", &address, "--tls", &node, "--tls-peer", "node.test"];
    let mut second = Vm::receive(ctx, "second", "payload", &listen)?;
    let (expired, stranger) = (folder(ctx, &EXPIRED)?, folder(ctx, &STRANGER)?);
    for (options, word) in [
        (&[][..], "--insecure"),
        (&["--insecure"][..], "lost"),
        (&["--tls", &expired], "does not accept this side's certificate"),
        (&["--tls", &stranger], "no CA"),
        (&["--tls", &node, "--tls-peer", "elsewhere.test"], "somebody else"),
        (&["--tls", "/nowhere/at/all"], "/nowhere/at/all/ca.crt"),
    ] {
        let (code, text) = beside(ctx, "run", &[&["migrate", "payload", &address], options].concat())?;
        ensure!(code == Some(1) && text.contains(word), "{options:?} ended with {code:?} and {text:?}");
    }
    for word in ["does not speak TLS", "has expired"] {
        until(word, || Ok(second.errors().contains(word)))?;
    }
    let (code, text) =
        beside(ctx, "run", &["migrate", "payload", &address, "--tls", &node, "--connections", "3"])?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}");
    vm.wait_exit(SOON)?.expect(0, "migrated")?;
    let after = number(&mut second)?;
    ensure!(after > before, "{before} became {after}");
    second.type_in("q")?;
    second.wait_exit(SOON)?.expect(0, "guest-shutdown").map(drop)
}

/// A machine that runs before its memory has come has that come over TLS, too: by a move, and out of a snapshot that is served.
pub(super) fn memory_follows(ctx: &Ctx) -> Outcome {
    let mut vm = migrate::counting(ctx)?;
    let before = number(&mut vm)?;
    let (node, stranger) = (folder(ctx, &NODE)?, folder(ctx, &STRANGER)?);
    let place = ctx.scratch.join("saved").to_string_lossy().into_owned();
    let (code, text) = beside(ctx, "run", &["snapshot", "payload", &place, "--copy-disks"])?;
    ensure!(code == Some(0), "snapshot ended with {code:?} and {text:?}");

    let there = address()?;
    let listen = ["--kernel", &kernel(ctx)?, "--listen", &there, "--tls", &node];
    let mut second = Vm::receive(ctx, "second", "payload", &listen)?;
    // Slow enough for the guest to write something meanwhile.
    let slowly = ["--post-copy", "--downtime", "1", "--bandwidth", "4Mi"];
    let order = [&["migrate", "payload", &there, "--tls", &node], slowly.as_slice()].concat();
    let (code, text) = beside(ctx, "run", &order)?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}");
    ensure!(migrate::migration(&vm)?["mode"] == "PostCopy", "{}", migrate::migration(&vm)?);
    vm.wait_exit(SOON)?.expect(0, "migrated")?;
    let after = number(&mut second)?;
    ensure!(after > before, "{before} became {after}");
    complete(&second)?;

    let served = address()?;
    let _server =
        Server::start_with(ctx, Path::new(&place), &served, &["--tls", &node, "--tls-peer", "node.test"])?;
    let into = ctx.scratch.join("far").to_string_lossy().into_owned();
    let usual = ["restore", &served, "--into", &into, "--name", "far", "--console", "off"];
    for (options, word) in
        [(&[][..], "--insecure"), (&["--insecure"], "lost"), (&["--tls", &stranger], "no CA")]
    {
        let (code, text) = beside(ctx, "run", &[&usual, options].concat())?;
        ensure!(code != Some(0) && text.contains(word), "{options:?} ended with {code:?} and {text:?}");
    }
    let mut far = Vm::restore(ctx, ("far", "far"), Path::new(&served), &["--into", &into, "--tls", &node])?;
    let at = number(&mut far)?;
    ensure!(at >= before, "{before} became {at}");
    complete(&far)?;
    for vm in [&mut second, &mut far] {
        vm.type_in("q")?;
        vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
        ensure!(!vm.console().text().contains("wrong"), "the guest found other memory than it wrote");
    }
    Ok(())
}
