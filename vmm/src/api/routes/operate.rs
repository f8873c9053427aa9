//! Subresources that have something done with the machine (KubeVirt: `pkg/virt-api/api.go`, `pkg/virt-api/rest/lifecycle.go`).

use std::time::Duration;

use serde::Deserialize;

use super::machine::named;
use crate::api::http::{Method, Response};
use crate::api::router::{Call, Route, Shape};
use crate::api::{Answer, failure};
use crate::state::{Done, Reply, Verb};

pub(super) const DRY_RUN: (&str, &str) = ("dryRun", "[\"All\"]: only say whether there is such a machine");

/// A route of this file.
pub(super) const fn put(
    path: &'static str,
    id: &'static str,
    about: &'static str,
    body: &'static [(&'static str, &'static str)],
    handle: fn(&Call<'_>) -> Answer,
) -> Route {
    Route { method: Method::Put, path, id, about, query: &[], body, answer: Shape::Empty, handle }
}

/// The path of a subresource of the machine, or of the VirtualMachine of the same name.
macro_rules! subresource {
    (machine $verb:literal) => {
        concat!(
            "/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{name}/",
            $verb
        )
    };
    (vm $verb:literal) => {
        concat!("/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachines/{name}/", $verb)
    };
}

pub(crate) use subresource;

/// The routes of this file.
pub(super) const ROUTES: &[Route] = &[
    put(
        subresource!(machine "pause"),
        "v1Pause",
        "Stops vCPUs and queues where they are.",
        &[DRY_RUN],
        |call| plain(call, Verb::Pause),
    ),
    put(
        subresource!(machine "unpause"),
        "v1Unpause",
        "Lets a machine that is paused go on.",
        &[DRY_RUN],
        |call| plain(call, Verb::Unpause),
    ),
    put(
        subresource!(machine "softreboot"),
        "v1SoftReboot",
        "Asks the guest to reboot; it may refuse.",
        &[DRY_RUN],
        |call| plain(call, Verb::SoftReboot),
    ),
    put(
        subresource!(machine "reset"),
        "v1Reset",
        "Resets the machine at once, whatever its guest does.",
        &[DRY_RUN],
        |call| plain(call, Verb::Reset),
    ),
    put(
        subresource!(vm "stop"),
        "v1Stop",
        "Has the guest power off, and stops it by force when its time is over.",
        &[("gracePeriod", "the guest's time in seconds, instead of terminationGracePeriodSeconds"), DRY_RUN],
        stop,
    ),
    put(
        subresource!(vm "restart"),
        "v1Restart",
        "Has the guest power off, by force when its time is over, and boots the machine again.",
        &[("gracePeriodSeconds", "the guest's time, instead of terminationGracePeriodSeconds"), DRY_RUN],
        restart,
    ),
];

/// Options of all these verbs. KubeVirt's StopOptions and RestartOptions call the guest's time by different names.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    #[serde(default)]
    dry_run: Vec<String>,
    #[serde(alias = "gracePeriodSeconds")]
    grace_period: Option<i64>,
}

/// Whether nothing is to be done (`metav1.DryRunAll`).
pub(super) fn is_dry(dry_run: &[String]) -> bool {
    dry_run.iter().any(|word| word == "All")
}

/// Seconds as a request has them.
///
/// # Errors
/// The response to a negative number.
pub(super) fn grace(seconds: Option<i64>) -> Result<Option<Duration>, Response> {
    let seconds = seconds.map(u64::try_from).transpose();
    let seconds = seconds.map_err(|_| failure::bad_request("the grace period is negative"))?;
    Ok(seconds.map(Duration::from_secs))
}

fn plain(call: &Call<'_>, verb: Verb) -> Answer {
    operate(call, |_| Ok(verb))
}

fn stop(call: &Call<'_>) -> Answer {
    operate(call, |grace| Ok(Verb::Stop { grace }))
}

fn restart(call: &Call<'_>) -> Answer {
    operate(call, |grace| Ok(Verb::Restart { grace }))
}

fn operate(call: &Call<'_>, verb: impl FnOnce(Option<Duration>) -> Result<Verb, Response>) -> Answer {
    answer(call, || {
        let options: Options = call.body()?;
        Ok((verb(grace(options.grace_period)?)?, options.dry_run))
    })
}

/// Asks for what `read` makes of the request, unless it is only to be tried.
pub(super) fn answer(
    call: &Call<'_>,
    read: impl FnOnce() -> Result<(Verb, Vec<String>), Response>,
) -> Answer {
    match named(call).and_then(|_| read()) {
        Ok((_, dry_run)) if is_dry(&dry_run) => Answer::Now(Response::empty(200)),
        Ok((verb, _)) => ask(call, verb),
        Err(response) => Answer::Now(response),
    }
}

/// Asks the machine's owner for `verb`: 200 when it is done, 202 when it has begun.
pub(crate) fn ask(call: &Call<'_>, verb: Verb) -> Answer {
    let responder = call.responder();
    let reply = Reply::new(move |result| {
        responder.answer(match result {
            Ok(Done::Finished) => Response::empty(200),
            Ok(Done::Begun) => Response::empty(202),
            Err(refusal) => failure::refused(&refusal),
        });
    });
    call.context.requests.ask(verb, reply);
    Answer::Later
}
