//! A guest in the midst of work that is saved and brought back again and again.

use crate::case::Ctx;
use crate::cases::snapshot::{self, Way};
use crate::failure::Outcome;

/// How often.
const ROUNDS: usize = 50;

pub(super) fn fifty(ctx: &Ctx) -> Outcome {
    let ways: Vec<Way> = Way::ALL.into_iter().cycle().take(ROUNDS).collect();
    snapshot::chain(ctx, &ways)
}
