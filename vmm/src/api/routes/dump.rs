//! The subresource that writes the guest's memory to a file of the host (KubeVirt's `memorydump` writes it to a claim).

use std::path::{Path, PathBuf};
use std::thread;

use devices::chain;
use serde::Deserialize;
use serde_json::json;

use super::machine::named;
use super::operate::{DRY_RUN, is_dry, subresource};
use crate::api::http::{Method, Response};
use crate::api::router::{Call, Route, Shape};
use crate::api::{Answer, Responder, failure};
use crate::dump::{self, DumpError};
use crate::state::Requests;

/// The routes of this file.
pub(super) const ROUTES: &[Route] = &[Route {
    method: Method::Put,
    path: subresource!(machine "dump"),
    id: "kubevmmDump",
    about: "Writes the guest's memory and the processors' registers to an ELF core file on this host; the machine stands \
            still meanwhile. Answers when the file is whole.",
    query: &[],
    body: &[("file", "path of the file, from the root; one that is there is replaced"), DRY_RUN],
    answer: Shape::Object("Dump"),
    handle: put,
}];

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Options {
    file: PathBuf,
    dry_run: Vec<String>,
}

fn put(call: &Call<'_>) -> Answer {
    let options: Options = match named(call).and_then(|_| call.body()) {
        Ok(options) => options,
        Err(response) => return Answer::Now(response),
    };
    if !options.file.is_absolute() {
        return Answer::Now(failure::bad_request("file is to be a path from the root"));
    }
    if is_dry(&options.dry_run) {
        return Answer::Now(Response::empty(200));
    }
    let (responder, requests) = (call.responder(), call.context.requests.clone());
    // It waits for the machine and for a disk, which nobody else is to. If there is no thread, all that it was to have is dropped, and the
    // client hears of it.
    let write = move || run(&options.file, &requests, responder);
    drop(thread::Builder::new().name("dump".into()).spawn(write));
    Answer::Later
}

fn run(file: &Path, requests: &Requests, responder: Responder) {
    responder.answer(match dump::write(file, requests) {
        Ok(summary) => Response::json(
            200,
            json!({
                "file": file,
                "memoryBytes": summary.memory,
                "storedBytes": summary.stored,
                "pausedMilliseconds": u64::try_from(summary.paused.as_millis()).unwrap_or(u64::MAX),
                "vmcoreinfo": summary.described,
            })
            .to_string(),
        ),
        Err(DumpError::Refused(refusal)) => failure::refused(&refusal),
        Err(error @ DumpError::Missing(_)) => failure::conflict(&chain(&error)),
        Err(error @ DumpError::File { .. }) => failure::internal(&chain(&error)),
    });
}
