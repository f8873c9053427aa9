//! One migration in which something goes wrong: two processes, a disk, and somebody between them.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::chance::Chance;
use super::deed::deed;
use super::disks::Disks;
use super::fault::{Cell, Fault};
use super::hearing::Hearing;
use super::link::{Ends, Link};
use super::phase::Phase;
use super::room::Room;
use super::socket::Place;
use super::way::Way;
use crate::case::Ctx;
use crate::commands::beside;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::payload::migrate_tls::{NODE, Party, STRANGER, folder};
use crate::payload::{code, elf};
use crate::vm::Vm;

/// How long things may take: a side that hears nothing gives up after half a minute.
pub(super) const PATIENCE: Duration = Duration::from_secs(200);
/// How often it is looked.
pub(super) const LOOK: Duration = Duration::from_millis(10);
/// Room for what a process writes down, until it is filled.
const ROOM: u64 = 2 << 20;
/// Roots of runtime directories in the scratch folder.
pub(super) const SOURCE: &str = "run";
pub(super) const DESTINATION: &str = "second";
const IMPOSTOR: &str = "impostor";
/// Where the destination has the copy of a disk, in the scratch folder.
pub(super) const PLACE: &str = "place";

/// Who has the machine in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It goes on at the source.
    Stays,
    /// It goes on at the destination.
    Moves,
    /// It is gone with its process, which was killed.
    Dies,
    /// It stood at the source, since nobody could tell any more whether the destination had run it, until an operator took it back.
    TakenBack,
    /// It is at the destination, and waits for memory that is gone with the source, which was killed.
    Waits,
}

/// What came of one migration.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// Who has the machine.
    pub fate: Fate,
    /// The moment came at which something was to go wrong.
    pub tripped: bool,
}

pub(super) struct Scene<'a> {
    pub(super) ctx: &'a Ctx,
    pub(super) cell: Cell,
    pub(super) disks: Disks,
    pub(super) source: Vm,
    pub(super) destination: Vm,
    /// Somebody else, who has no business here.
    pub(super) impostor: Option<Vm>,
    pub(super) link: Link,
    /// Words of `migrate`.
    order: Vec<String>,
    /// What is mounted for this.
    _rooms: Vec<Room>,
}

/// Runs one.
///
/// # Errors
/// If the machine is lost, or runs twice, or its disk was written by two, or anything else is not as it should be.
pub(super) fn run(ctx: &Ctx, cell: Cell, chance: &mut Chance) -> Result<Ran, Failure> {
    let mut scene = Scene::set(ctx, cell, chance)?;
    scene.migrate()?;
    scene.settle()?;
    let fate = scene.judge()?;
    let tripped = scene.link.has_tripped();
    scene.end(fate)?;
    Ok(Ran { fate, tripped })
}

impl<'a> Scene<'a> {
    /// Two processes, one of them with a machine that writes to its disk, and somebody between them.
    fn set(ctx: &'a Ctx, cell: Cell, chance: &mut Chance) -> Result<Self, Failure> {
        let kernel = ctx.scratch.join("payload.elf");
        std::fs::write(&kernel, elf::pvh(code::writes(), 4096)).doing("writing a payload")?;
        let kernel = kernel.to_string_lossy();
        let mut rooms = Vec::new();
        for root in [SOURCE, DESTINATION, PLACE] {
            rooms.push(Room::make(&ctx.scratch.join(root), ROOM)?);
        }
        let disks = Disks::make(ctx, cell.way, chance)?;
        let manifest = Manifest::bare("payload").memory("64Mi").grace(1).claim("data", "data", json!({}));
        let source = Vm::start(ctx, &manifest, &["--kernel", &kernel])?;
        source.console().wait_for("payload: writes\n", PATIENCE)?;
        let near = if cell.way.is_encrypted() { Place::any_port() } else { place(ctx, cell.way, "near")? };
        let far = place(ctx, cell.way, "far")?;
        let wait = |root: &str, at: &Place, who: &Party| {
            let mut words =
                vec!["--kernel".to_owned(), kernel.to_string(), "--listen".to_owned(), at.address()];
            words.extend(protection(ctx, cell.way, who)?);
            words.extend(disks.words(ctx)?);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            Vm::receive(ctx, root, "payload", &words)
        };
        let destination = wait(DESTINATION, &far, &NODE)?;
        // At the beginning, it may be the source that is somebody else.
        let is_stranger = cell.fault == Fault::WrongCertificate && cell.phase == Phase::Call && chance.coin();
        let mut ends = Ends::between(near, far);
        let mut impostor = None;
        if cell.fault == Fault::WrongCertificate && !is_stranger {
            let at = place(ctx, cell.way, IMPOSTOR)?;
            impostor = Some(wait(IMPOSTOR, &at, &STRANGER)?);
            ends.astray = Some(at);
        }
        let mut order = vec!["migrate".to_owned(), "payload".to_owned()];
        order.extend(protection(ctx, cell.way, if is_stranger { &STRANGER } else { &NODE })?);
        order.extend(options(cell.way, chance));
        let deed = deed(ctx, cell, [&source, &destination], chance);
        let moment = cell.phase.moment(chance.draw());
        let hearing = if cell.way.is_encrypted() {
            Hearing::Records { follows: cell.way.follows() }
        } else {
            Hearing::Frames
        };
        let link = Link::open(ends, hearing, (moment, deed), Duration::ZERO)?;
        order.push(link.near().address());
        Ok(Self { ctx, cell, disks, source, destination, impostor, link, order, _rooms: rooms })
    }

    fn migrate(&self) -> Outcome {
        let order: Vec<&str> = self.order.iter().map(String::as_str).collect();
        let (code, text) = beside(self.ctx, SOURCE, &order)?;
        // One that is killed at once does not answer.
        let is_answered = code == Some(0) || self.cell.fault == Fault::KillSource;
        ensure!(is_answered, "migrate ended with {code:?} and {text:?}");
        Ok(())
    }

    pub(super) fn logs(&self) -> String {
        format!("source: {}\ndestination: {}", self.source.errors(), self.destination.errors())
    }
}

/// Where somebody is to listen.
fn place(ctx: &Ctx, way: Way, name: &str) -> Result<Place, Failure> {
    if way.is_encrypted() {
        return Place::free_port().doing("looking for a port");
    }
    Ok(Place::Unix(ctx.scratch.join(format!("{name}.sock"))))
}

/// What is said of certificates.
fn protection(ctx: &Ctx, way: Way, who: &Party) -> Result<Vec<String>, Failure> {
    if !way.is_encrypted() {
        return Ok(Vec::new());
    }
    Ok(vec!["--tls".to_owned(), folder(ctx, who)?])
}

/// How it is to move: some go fast, others take several rounds, the last of which takes half of its downtime where the machine keeps up
/// with the bandwidth; of several connections it is one that breaks.
fn options(way: Way, chance: &mut Chance) -> Vec<String> {
    let is_slow = chance.coin();
    let connections = match way {
        Way::Plain | Way::TlsFollows => 1,
        Way::Several => 2 + chance.draw() % 3,
        _ => 1 + chance.draw() % 2,
    };
    let mut options = format!("--no-wait --connections {connections}");
    options += match (way.follows(), is_slow) {
        (false, false) => "",
        (false, true) => " --bandwidth 16Mi --downtime 200",
        (true, false) => " --post-copy --downtime 1 --bandwidth 64Mi",
        (true, true) => " --post-copy --downtime 1 --bandwidth 8Mi",
    };
    if way.copies() {
        options += " --copy-storage";
    }
    options.split(' ').map(str::to_owned).collect()
}

/// The file of a claim's disk among some volumes.
pub(super) fn image_in(volumes: &std::path::Path) -> PathBuf {
    volumes.join("data/disk.img")
}
