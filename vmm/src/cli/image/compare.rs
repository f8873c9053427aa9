//! `kubevmm image compare`.

use block::ops::{self, Comparison};

use super::super::Failure;
use super::super::output::print;
use super::progress::Progress;
use super::source::{self, Names};
use crate::cli::args::Args;

/// Exit code: they differ.
const DIFFERENT: u8 = 1;

pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let [first, second] = args.operands(["an image", "another"])?;
    let first = source::open(args, first, Names { format: "a-format", backing: "backing" })?;
    let second = source::open(args, second, Names { format: "b-format", backing: "b-backing" })?;
    let say = |text: &str| if args.has("quiet") { Ok(()) } else { print(text) };
    if args.has("strict") && first.size() != second.size() {
        say("Strict mode: Image size mismatch!\n")?;
        return Ok(DIFFERENT);
    }
    let progress = Progress::new(args);
    let found = ops::compare_with(first.named(), second.named(), &|done| progress.show(done));
    if found.is_ok() {
        progress.finish();
    }
    match found? {
        Comparison::Identical { sizes_differ } => {
            if sizes_differ {
                say("Warning: Image size mismatch!\n")?;
            }
            say("Images are identical.\n")?;
            Ok(0)
        }
        Comparison::Different { offset } => {
            say(&format!("Content mismatch at offset {offset}!\n"))?;
            Ok(DIFFERENT)
        }
    }
}
