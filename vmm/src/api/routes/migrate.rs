//! Subresources that move the machine (KubeVirt: `pkg/virt-api/rest/lifecycle.go`; where to, and cancelling, are ours).

use serde::Deserialize;
use serde_json::{Map, Value};

use super::machine::named;
use super::operate::{DRY_RUN, ask, is_dry, put, subresource};
use crate::api::http::Response;
use crate::api::router::{Call, Route};
use crate::api::{Answer, failure};
use crate::migration::{MigrationOptions, MigrationRequest};
use crate::state::Verb;

const OPTIONS: &[(&str, &str)] = &[
    ("address", "where the destination listens: unix:PATH or tcp://HOST:PORT"),
    ("bandwidth", "most bytes a second"),
    ("downtimeMs", "how long the guest may stand still, in milliseconds"),
    ("autoConverge", "slow the guest down if it writes faster than can be copied"),
    ("completionTimeoutPerGiB", "seconds for each GiB of memory that it may take"),
    ("progressTimeout", "seconds that it may go on without less being left"),
    ("allowWorkloadDisruption", "stop the guest for as long as it takes when the time is over"),
    ("insecure", "send over a network without encryption"),
    DRY_RUN,
];

/// The routes of this file.
pub(super) const ROUTES: &[Route] = &[
    put(
        subresource!(vm "migrate"),
        "v1vm-Migrate",
        "Moves the machine to another process.",
        OPTIONS,
        migrate,
    ),
    put(
        subresource!(machine "migratecancel"),
        "kubevmmMigrateCancel",
        "Has a machine stay that is being moved.",
        &[("force", "take it back from a destination that does not answer"), DRY_RUN],
        cancel,
    ),
];

fn migrate(call: &Call<'_>) -> Answer {
    match named(call).and_then(|_| request(call)) {
        Ok(Some(request)) => ask(call, Verb::Migrate(Box::new(request))),
        Ok(None) => Answer::Now(Response::empty(200)),
        Err(response) => Answer::Now(response),
    }
}

/// What is asked for; nothing if it is only to be looked at.
fn request(call: &Call<'_>) -> Result<Option<MigrationRequest>, Response> {
    let body: Map<String, Value> = call.body()?;
    let (request, dry) = read(body).map_err(|message| failure::bad_request(&message))?;
    Ok((!dry).then_some(request))
}

fn read(mut body: Map<String, Value>) -> Result<(MigrationRequest, bool), String> {
    let mut take = |name: &str| body.remove(name).unwrap_or_default();
    let dry: Vec<String> = match take("dryRun") {
        Value::Null => Vec::new(),
        words => serde_json::from_value(words).map_err(|error| format!("dryRun: {error}"))?,
    };
    let address = match take("address") {
        Value::String(text) => text.parse().map_err(|error| format!("address: {error}"))?,
        _ => return Err("address: say where to, as in unix:PATH or tcp://HOST:PORT".into()),
    };
    let options: MigrationOptions =
        serde_json::from_value(Value::Object(body)).map_err(|error| error.to_string())?;
    Ok((MigrationRequest { address, options }, is_dry(&dry)))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Cancel {
    force: bool,
    dry_run: Vec<String>,
}

fn cancel(call: &Call<'_>) -> Answer {
    match named(call).and_then(|_| call.body::<Cancel>()) {
        Ok(options) if is_dry(&options.dry_run) => Answer::Now(Response::empty(200)),
        Ok(options) => ask(call, Verb::CancelMigration { force: options.force }),
        Err(response) => Answer::Now(response),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn parse(body: Value) -> Result<(MigrationRequest, bool), String> {
        read(body.as_object().unwrap().clone())
    }

    #[test]
    fn a_request_names_an_address_and_known_options() {
        let (request, dry) =
            parse(json!({"address": "unix:/x", "downtimeMs": 40, "autoConverge": true})).unwrap();
        assert_eq!(request.address.to_string(), "unix:/x");
        assert_eq!(request.options.downtime, Duration::from_millis(40));
        assert!(request.options.auto_converge && !request.options.insecure && !dry);
        assert!(parse(json!({"address": "unix:/x", "dryRun": ["All"]})).unwrap().1);
        for (bad, word) in [
            (json!({}), "address"),
            (json!({"address": "here"}), "unix:PATH"),
            (json!({"address": "unix:/x", "speed": 1}), "speed"),
            (json!({"address": "unix:/x", "bandwidth": 0}), ""),
        ] {
            let error = parse(bad.clone()).unwrap_err();
            assert!(error.contains(word), "{bad}: {error}");
        }
    }
}
