//! The disk of the machine, and the copy of it where it moves to, with who wrote to them.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::chance::Chance;
use super::scene::{Fate, PLACE, image_in};
use super::way::Way;
use super::witness::{self, Witness};
use crate::case::Ctx;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};

/// The disk that the machine has at first, and where it is copied to.
pub(super) struct Disks {
    ours: PathBuf,
    witness: Witness,
    copy: Option<Copy>,
}

/// The destination's own disk.
struct Copy {
    volumes: PathBuf,
    image: PathBuf,
    /// None of an image that is made for the move.
    witness: Option<Witness>,
}

impl Disks {
    /// Makes them, with no number in them.
    pub(super) fn make(ctx: &Ctx, way: Way, chance: &mut Chance) -> Result<Self, Failure> {
        let ours = image_in(&ctx.volumes());
        witness::fresh_disk(&ours)?;
        let witness = Witness::of(&ours)?;
        let mut copy = None;
        if way.copies() {
            let volumes = ctx.scratch.join(PLACE);
            let image = image_in(&volumes);
            let witness = if chance.coin() {
                witness::fresh_disk(&image)?;
                Some(Witness::of(&image)?)
            } else {
                None
            };
            copy = Some(Copy { volumes, image, witness });
        }
        Ok(Self { ours, witness, copy })
    }

    /// What the destination is told of them.
    pub(super) fn words(&self, ctx: &Ctx) -> Result<Vec<String>, Failure> {
        let Some(copy) = &self.copy else { return Ok(Vec::new()) };
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut words = vec!["--copy-storage".to_owned(), "--volumes".to_owned(), text(&copy.volumes)];
        if copy.witness.is_none() {
            let claim = json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
                "spec": {"resources": {"requests": {"storage": "1Mi"}}},
            });
            let path = ctx.scratch.join("claim.json");
            std::fs::write(&path, claim.to_string()).doing("writing a claim's object")?;
            words.push(text(&path));
        }
        Ok(words)
    }

    /// Whether they are what they are to be after this fate of a guest that is at the number `said`, if it says anything, and were
    /// written by whom they are to be.
    pub(super) fn check(&self, fate: Fate, said: Option<u32>, [source, destination]: [u32; 2]) -> Outcome {
        let is_there = matches!(fate, Fate::Moves | Fate::Waits);
        let Some(copy) = &self.copy else {
            is_at(witness::last_number(&self.ours)?, said)?;
            return self.witness.check(&[source, destination], true);
        };
        // The source's own is as it was when the machine went, if it did.
        let ours = witness::last_number(&self.ours)?;
        self.witness.check(&[source], true)?;
        if let Some(witness) = &copy.witness {
            witness.check(&[destination], is_there)?;
        }
        if !is_there {
            return is_at(ours, said);
        }
        let theirs = witness::last_number(&copy.image)?;
        ensure!(theirs >= ours, "the copy is at {theirs}, and what it is a copy of at {ours}");
        is_at(theirs, said)
    }

    /// Whether an image that was made for a machine that did not come is gone.
    pub(super) fn check_unmade(&self) -> Outcome {
        let Some(copy) = self.copy.as_ref().filter(|copy| copy.witness.is_none()) else { return Ok(()) };
        ensure!(!copy.image.exists(), "an image that was made for nothing is left");
        Ok(())
    }
}

fn is_at(last: u32, said: Option<u32>) -> Outcome {
    let is_so = said.is_none_or(|said| last + 1 >= said && last <= said + 1);
    ensure!(is_so, "the guest is at {said:?}, and its disk at {last}");
    Ok(())
}
