//! `kubevmm image check`.

use std::fmt::Write as _;
use std::path::Path;

use block::ops::{self, Format};
use block::qcow2::{CheckReport, Repair};
use serde_json::{Value, json};

use super::super::Failure;
use super::super::output::{print, say};
use super::{info, source};
use crate::cli::args::Args;

/// Exit codes (qemu-img(1)).
const CORRUPT: u8 = 2;
const LEAKS: u8 = 3;
const NO_CHECK: u8 = 63;

/// What was wrong at first, and what is now.
struct Checked {
    before: CheckReport,
    now: CheckReport,
    repair: bool,
}

pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let [path] = args.operands(["an image"])?;
    let form = info::Form::of(args)?;
    let repair = match args.text("repair")?.as_deref() {
        None => None,
        Some("leaks") => Some(Repair::Leaks),
        Some("" | "all") => Some(Repair::All),
        Some(other) => return Err(Failure::Usage(format!("--repair takes leaks or all, and not {other:?}"))),
    };
    if repair.is_some() && args.has("force-share") {
        return Err(Failure::Usage("an image cannot be repaired while others may write it".into()));
    }
    if source::format(args, "format", path)? == Format::Raw {
        say("kubevmm image check: raw images have nothing to check\n");
        return Ok(NO_CHECK);
    }
    let checked = match repair {
        Some(what) => {
            let (before, now) = ops::repair(path, what)?;
            Checked { before, now, repair: true }
        }
        None => {
            let now = ops::check_with(path, args.has("force-share"))?;
            Checked { before: now, now, repair: false }
        }
    };
    if let Some(text) = form.written(&checked.value(path)) {
        print(&text)?;
    } else if !args.has("quiet") {
        print(&checked.text())?;
    }
    Ok(match checked.now {
        CheckReport { corruptions: 1.., .. } => CORRUPT,
        CheckReport { leaks: 1.., .. } => LEAKS,
        _ => 0,
    })
}

impl Checked {
    fn value(&self, path: &Path) -> Value {
        let now = &self.now;
        let mut value = json!({
            "filename": path.display().to_string(),
            "format": "qcow2",
            "check-errors": 0,
            "image-end-offset": now.image_end_offset,
            "total-clusters": now.total_clusters,
        });
        let fixed = |before: u64, now: u64| if self.repair { before.saturating_sub(now) } else { 0 };
        // Like qemu-img, says only what there is any of.
        for (name, count) in [
            ("allocated-clusters", now.allocated_clusters),
            ("compressed-clusters", now.compressed_clusters),
            ("fragmented-clusters", now.fragmented_clusters),
            ("corruptions", now.corruptions),
            ("leaks", now.leaks),
            ("corruptions-fixed", fixed(self.before.corruptions, now.corruptions)),
            ("leaks-fixed", fixed(self.before.leaks, now.leaks)),
        ] {
            if count > 0 {
                value[name] = json!(count);
            }
        }
        value
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if self.repair {
            let fixed = |before: u64, now: u64| before.saturating_sub(now);
            let corruptions = fixed(self.before.corruptions, self.now.corruptions);
            let leaks = fixed(self.before.leaks, self.now.leaks);
            if corruptions + leaks > 0 {
                let _ = write!(
                    text,
                    "The following inconsistencies were found and repaired:\n\n    {leaks} leaked clusters\n    \
                     {corruptions} corruptions\n\n"
                );
            }
        }
        match (self.now.corruptions, self.now.leaks) {
            (0, 0) => text.push_str("No errors were found on the image.\n"),
            (0, leaks) => {
                let _ =
                    writeln!(text, "{leaks} leaked clusters were found: they cost space, and nothing else.");
            }
            (corruptions, leaks) => {
                let _ = writeln!(
                    text,
                    "{corruptions} errors were found on the image: data may be lost if it is used. --repair \
                     repairs what can be.\n{leaks} leaked clusters were found."
                );
            }
        }
        let now = &self.now;
        let _ = writeln!(
            text,
            "{}/{} = {:.2}% allocated, {:.2}% fragmented, {:.2}% compressed clusters",
            now.allocated_clusters,
            now.total_clusters,
            percent(now.allocated_clusters, now.total_clusters),
            percent(now.fragmented_clusters, now.allocated_clusters),
            percent(now.compressed_clusters, now.allocated_clusters)
        );
        let _ = writeln!(text, "Image end offset: {}", now.image_end_offset);
        text
    }
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}
