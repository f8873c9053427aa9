//! Subresources that move the machine (KubeVirt: `pkg/virt-api/rest/lifecycle.go`; where to, and cancelling, are ours).

use serde::Deserialize;
use serde_json::{Map, Value};

use super::machine::named;
use super::operate::{DRY_RUN, answer, ask, is_dry, put, subresource};
use crate::api::http::Response;
use crate::api::migration::admitted;
use crate::api::router::{Call, Route};
use crate::api::{Answer, failure};
use crate::migration::transport::Address;
use crate::migration::{MigrationOptions, MigrationRequest, implied};
use crate::state::Verb;

const OPTIONS: &[(&str, &str)] = &[
    ("address", "where the destination listens: unix:PATH or tcp://HOST:PORT"),
    ("bandwidth", "most bytes a second"),
    ("downtimeMs", "how long the guest may stand still, in milliseconds"),
    ("connections", "how many connections carry the memory, 1 to 16 (default 2)"),
    ("autoConverge", "slow the guest down if it writes faster than can be copied"),
    ("completionTimeoutPerGiB", "seconds for each GiB of memory that it may take; 0 for ever"),
    ("progressTimeout", "seconds that it may go on without less being left; 0 for ever"),
    ("allowWorkloadDisruption", "stop the guest for as long as it takes when the time is over"),
    (
        "postCopy",
        "have memory follow the guest: never, whenLate (when the time is over, if the guest may be disturbed) or atOnce (after one round)",
    ),
    (
        "tls",
        "folder with ca.crt, tls.crt and tls.key on the machine's host: encrypt what goes over a network",
    ),
    ("tlsPeer", "name that the destination's certificate has to have (default: the host of the address)"),
    ("copyStorage", "copy disks that are not the same storage on both sides"),
    ("copyDisks", "names of disks that are copied, too, if it cannot be told whether they are the same"),
    ("insecure", "send over a network without encryption"),
    ("policy", "name of the MigrationPolicy that some of this comes from"),
    (
        "migration",
        "a VirtualMachineInstanceMigration with the name that it is to have; made if it is not given",
    ),
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
    put(
        subresource!(machine "evacuate/cancel"),
        "v1EvacuateCancel",
        "Has a machine stay whose process was to end, and which is to be moved for that.",
        &[DRY_RUN],
        stay,
    ),
    put(subresource!(vm "evacuate/cancel"), "v1vm-EvacuateCancel", "The same.", &[DRY_RUN], stay),
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
    let mut body: Map<String, Value> = call.body()?;
    let (namespace, name) = (call.parameter("namespace"), call.parameter("name"));
    let object = body.remove("migration").unwrap_or_else(|| implied(namespace, name));
    let (address, options, dry) = read(body).map_err(|message| failure::bad_request(&message))?;
    let object = admitted(object)?;
    if object.namespace() != namespace || object.spec.vmi_name != name {
        return Err(failure::bad_request("migration: it is of another machine"));
    }
    Ok((!dry).then_some(MigrationRequest { address, options, object }))
}

fn read(mut body: Map<String, Value>) -> Result<(Address, MigrationOptions, bool), String> {
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
    Ok((address, options, is_dry(&dry)))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Cancel {
    force: bool,
    dry_run: Vec<String>,
}

fn cancel(call: &Call<'_>) -> Answer {
    answer(call, || {
        let options: Cancel = call.body()?;
        Ok((Verb::CancelMigration { force: options.force }, options.dry_run))
    })
}

fn stay(call: &Call<'_>) -> Answer {
    answer(call, || Ok((Verb::CancelEvacuation, call.body::<Cancel>()?.dry_run)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn parse(body: Value) -> Result<(Address, MigrationOptions, bool), String> {
        read(body.as_object().unwrap().clone())
    }

    #[test]
    fn a_request_names_an_address_and_known_options() {
        let (address, options, dry) =
            parse(json!({"address": "unix:/x", "downtimeMs": 40, "autoConverge": true})).unwrap();
        assert_eq!(address.to_string(), "unix:/x");
        assert_eq!(options.downtime, Duration::from_millis(40));
        assert!(options.auto_converge && !options.insecure && !dry);
        assert!(parse(json!({"address": "unix:/x", "dryRun": ["All"]})).unwrap().2);
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
