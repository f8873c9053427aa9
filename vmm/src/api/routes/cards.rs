//! Changes of the VirtualMachineInstance itself: its network cards, which KubeVirt has come, go and lose their cables by
//! changes of the specification (`pkg/network/controllers`).

use serde_json::{Map, Value, json};

use super::machine::named;
use crate::api::Answer;
use crate::api::failure;
use crate::api::http::{Method, Response};
use crate::api::patch::{PatchError, PatchKind};
use crate::api::router::{Call, Route, Shape};
use crate::hotplug::{DeviceChange, NewCards, read};
use crate::state::{Reply, Verb};

const CARDS: &str = "/spec/domain/devices/interfaces";
const NETWORKS: &str = "/spec/networks";

/// The routes of this file.
pub(super) const ROUTES: &[Route] = &[Route {
    method: Method::Patch,
    path: "/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{name}",
    id: "patchNamespacedVirtualMachineInstance",
    about: "Adds and removes network cards, plugs their cables in and pulls them: by a JSON Patch or JSON Merge Patch of \
            spec.networks and spec.domain.devices.interfaces. Nothing else of a machine that runs can be changed so.",
    query: &[("dryRun", "All: only say whether it can be read")],
    body: &[],
    answer: Shape::Object("VirtualMachineInstance"),
    handle: patch,
}];

fn patch(call: &Call<'_>) -> Answer {
    let (is_dry, wanted) = match wanted(call) {
        Ok(wanted) => (call.query.get("dryRun") == Some("All"), wanted),
        Err(response) => return Answer::Now(response),
    };
    let board = call.context.board.clone();
    let changed = move || Response::json(200, board.current().text.as_bytes());
    if is_dry {
        return Answer::Now(changed());
    }
    let responder = call.responder();
    let reply = Reply::new(move |result| {
        responder.answer(match result {
            Ok(_) => changed(),
            Err(refusal) => failure::refused(&refusal),
        });
    });
    call.context.requests.ask(Verb::Device(DeviceChange::Cards(Box::new(wanted))), reply);
    Answer::Later
}

/// The cards that the machine is to have after the patch.
fn wanted(call: &Call<'_>) -> Result<NewCards, Response> {
    let current = named(call)?;
    let media_type = call.request.field("content-type").unwrap_or_default();
    let kind = PatchKind::of(media_type).ok_or_else(|| {
        failure::unsupported_media_type("use application/merge-patch+json or application/json-patch+json")
    })?;
    let before: Value = serde_json::from_str(&current.text)
        .map_err(|_| failure::bad_request("the machine's object cannot be read"))?;
    let after = kind.apply(before.clone(), &call.request.body).map_err(|error| match error {
        PatchError::TestFailed(_) => failure::conflict(&error.to_string()),
        _ => failure::bad_request(&error.to_string()),
    })?;
    let version = "/metadata/resourceVersion";
    if after.pointer(version).is_some_and(|version| !version.is_null())
        && after.pointer(version) != before.pointer(version)
    {
        return Err(failure::conflict(
            "the object has been modified; apply your changes to the latest version",
        ));
    }
    if let Some(path) = other_change(before, after.clone()) {
        let message = format!(
            "{path} cannot be changed while the machine runs: only spec.networks and spec.domain.devices.interfaces can"
        );
        return Err(failure::invalid(&message));
    }
    new_cards(&after).map_err(|message| failure::invalid(&message))
}

/// Where the objects differ beside their cards, if they do.
fn other_change(mut before: Value, mut after: Value) -> Option<String> {
    for object in [&mut before, &mut after] {
        for (parent, key) in [CARDS, NETWORKS].iter().filter_map(|path| path.rsplit_once('/')) {
            object.pointer_mut(parent).and_then(Value::as_object_mut).map(|parent| parent.remove(key));
        }
        object.pointer_mut("/metadata").and_then(Value::as_object_mut).map(|it| it.remove("resourceVersion"));
    }
    difference(&before, &after)
}

/// The first path at which two values differ, as manifests have it.
fn difference(one: &Value, other: &Value) -> Option<String> {
    let (Value::Object(one), Value::Object(other)) = (one, other) else {
        return (one != other).then(String::new);
    };
    let none = Value::Null;
    let keys = one.keys().chain(other.keys().filter(|key| !one.contains_key(*key)));
    for key in keys {
        let of = |map: &Map<String, Value>| map.get(key).unwrap_or(&none).clone();
        if let Some(rest) = difference(&of(one), &of(other)) {
            return Some(if rest.is_empty() { key.clone() } else { format!("{key}.{rest}") });
        }
    }
    None
}

/// The cards of an object.
fn new_cards(object: &Value) -> Result<NewCards, String> {
    let list = |path: &str| object.pointer(path).cloned().unwrap_or_else(|| json!([]));
    read::cards(&list(CARDS), &list(NETWORKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cards_can_be_changed() {
        let object = json!({"metadata": {"resourceVersion": "1"}, "spec": {"networks": [], "domain": {"devices": {}, "x": 1}}});
        let mut other = object.clone();
        other["spec"]["domain"]["devices"]["interfaces"] = json!([{"name": "a"}]);
        other["spec"]["networks"] = json!([{"name": "a"}]);
        other["metadata"]["resourceVersion"] = Value::Null;
        assert_eq!(other_change(object.clone(), other.clone()), None);
        other["spec"]["domain"]["x"] = json!(2);
        assert_eq!(other_change(object.clone(), other.clone()).as_deref(), Some("spec.domain.x"));
        other["spec"]["domain"]["x"] = json!(1);
        other["spec"]["domain"]["devices"]["rng"] = json!({});
        assert_eq!(other_change(object, other).as_deref(), Some("spec.domain.devices.rng"));
    }

    #[test]
    fn cards_are_read_as_those_of_a_manifest() {
        let object = |card: Value| {
            json!({"spec": {
                "domain": {"devices": {"interfaces": [card]}},
                "networks": [{"name": "a", "multus": {"networkName": "n"}}],
            }})
        };
        let cards = new_cards(&object(json!({"name": "a", "bridge": {}, "state": "absent"}))).unwrap();
        assert_eq!((cards.interfaces.len(), cards.networks.len()), (1, 1));
        for (bad, word) in [
            (json!({"name": "a", "bridge": {}, "state": "gone"}), "state"),
            (json!({"name": "b", "bridge": {}}), "networks"),
            (json!({"name": "a", "bridge": {}, "macAddress": "01:00:00:00:00:00"}), "macAddress"),
        ] {
            let error = new_cards(&object(bad.clone())).unwrap_err();
            assert!(error.contains(word), "{bad}: {error}");
        }
        let none = new_cards(&json!({"spec": {"networks": []}})).unwrap();
        assert!(none.interfaces.is_empty() && none.networks.is_empty());
    }
}
