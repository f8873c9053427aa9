//! Snapshots, which are ours alone.

use std::path::PathBuf;

use devices::{chain, say};
use serde::Deserialize;
use serde_json::json;

use super::machine::named;
use super::operate::{put, subresource};
use crate::agent::AgentHandle;
use crate::api::http::Response;
use crate::api::router::{Call, Route};
use crate::api::{Answer, Responder, failure};
use crate::snapshot::{Disks, Freezing, SnapshotError, Wish, take};
use crate::state::{Refusal, RefusalKind, Requests};

/// The routes of this file.
pub(super) const ROUTES: &[Route] = &[put(
    subresource!(machine "snapshot"),
    "kubevmmSnapshot",
    "Saves the machine in a directory that is made for it.",
    &[
        ("directory", "the directory, by its whole path"),
        ("incrementalOf", "the snapshot that it only adds to"),
        ("stop", "true: the machine does not go on"),
        (
            "track",
            "true: note what the guest writes from then on, so that another snapshot can add to this one",
        ),
        ("copyDisks", "true: copy all disks, not only those that are gone with the machine"),
        (
            "overlayDisks",
            "true: leave disks as they are, and have the machine go on in qcow2 images over them",
        ),
        (
            "freeze",
            "true: have the guest's agent freeze file systems meanwhile, or take none; false: do not; otherwise if disks are copied and there is an agent",
        ),
    ],
    snapshot,
)];

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Options {
    directory: PathBuf,
    incremental_of: Option<PathBuf>,
    stop: bool,
    track: bool,
    copy_disks: bool,
    overlay_disks: bool,
    freeze: Option<bool>,
}

fn snapshot(call: &Call<'_>) -> Answer {
    let wish = named(call).and_then(|_| {
        let options: Options = call.body()?;
        if !options.directory.is_absolute() {
            return Err(failure::bad_request("directory has to be a whole path, from / on"));
        }
        let disks = match (options.copy_disks, options.overlay_disks) {
            (true, true) => {
                return Err(failure::bad_request("copyDisks and overlayDisks contradict each other"));
            }
            (true, false) => Disks::Copied,
            (false, true) => Disks::Overlaid,
            (false, false) => Disks::InPlace,
        };
        let is_incremental = options.incremental_of.is_some();
        Ok(Wish {
            directory: options.directory,
            incremental_of: options.incremental_of,
            stops: options.stop,
            // Who adds to a snapshot wants to do so again.
            tracks: options.track || is_incremental,
            disks,
            freezing: match options.freeze {
                Some(true) => Freezing::Required,
                Some(false) => Freezing::Never,
                None if disks == Disks::InPlace => Freezing::Never,
                // What is kept of disks is of use by itself only if all is in it.
                None => Freezing::IfPossible,
            },
        })
    });
    match wish {
        Ok(wish) => begin(call, wish),
        Err(response) => Answer::Now(response),
    }
}

fn begin(call: &Call<'_>, wish: Wish) -> Answer {
    let (requests, agent) = (call.context.requests.clone(), call.context.agent.clone());
    let responder = call.responder();
    let thread = std::thread::Builder::new().name("snapshot".into()).stack_size(256 << 10);
    match thread.spawn(move || run(&requests, agent.as_ref(), &wish, responder)) {
        Ok(_) => Answer::Later,
        Err(_) => Answer::Now(failure::unavailable("the host has no thread for it")),
    }
}

fn run(requests: &Requests, agent: Option<&AgentHandle>, wish: &Wish, responder: Responder) {
    responder.answer(match take(requests, agent, wish) {
        Ok(taken) => {
            let directory = taken.directory.display().to_string();
            say!(
                "kubevmm: the machine was saved in {directory}; it stood still for {} ms",
                taken.pause.as_millis()
            );
            let body = json!({
                "directory": directory,
                "pauseMicroseconds": u64::try_from(taken.pause.as_micros()).unwrap_or(u64::MAX),
                "memoryBytes": taken.memory,
                "indications": taken.indications,
            });
            Response::json(200, body.to_string())
        }
        Err(error) => failure::refused(&refusal(&error)),
    });
}

fn refusal(error: &SnapshotError) -> Refusal {
    let kind = match error {
        SnapshotError::Refused(refusal) => return refusal.clone(),
        SnapshotError::Freeze(why) => Refusal::from(why.clone()).kind,
        SnapshotError::Exists(_) | SnapshotError::Missing(_) => RefusalKind::Conflict,
        SnapshotError::Usage(_) | SnapshotError::Unknown { .. } | SnapshotError::Damaged { .. } => {
            RefusalKind::Invalid
        }
        _ => RefusalKind::Internal,
    };
    Refusal::new(kind, chain(error))
}
