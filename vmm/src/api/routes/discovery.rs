//! What kubectl and other clients ask first: which groups, versions and resources there are
//! (apimachinery/pkg/apis/meta/v1/types.go).

use serde_json::{Value, json};

use crate::api::Answer;
use crate::api::http::{Method, Response};
use crate::api::router::{Route, Shape};

/// What they answer.
const DISCOVERY: Shape = Shape::Object("Discovery");

const MACHINES: &str = "kubevirt.io";
const SUBRESOURCES: &str = "subresources.kubevirt.io";

/// The routes of this file.
pub(super) const ROUTES: &[Route] = &[
    Route::get("/api", "getCoreAPIVersions", "Versions of the core group.", DISCOVERY, |_| core()),
    Route::get("/api/v1", "getCoreV1APIResources", "Resources of the core group.", DISCOVERY, |_| {
        core_resources()
    }),
    Route::get("/apis", "getAPIVersions", "Groups of the API.", DISCOVERY, |_| groups()),
    Route::get("/apis/kubevirt.io", "getKubevirtAPIGroup", "Versions of this group.", DISCOVERY, |_| {
        say(group(MACHINES))
    }),
    Route::get(
        "/apis/kubevirt.io/v1",
        "getKubevirtV1APIResources",
        "Resources of this group.",
        DISCOVERY,
        |_| machines(),
    ),
    Route::get(
        "/apis/subresources.kubevirt.io",
        "getSubresourcesAPIGroup",
        "Versions of this group.",
        DISCOVERY,
        |_| say(group(SUBRESOURCES)),
    ),
    Route::get(
        "/apis/subresources.kubevirt.io/v1",
        "getSubresourcesV1APIResources",
        "Resources of this group.",
        DISCOVERY,
        |_| subresources(),
    ),
    Route::get("/version", "getVersion", "Version of kubevmm.", DISCOVERY, |_| version()),
];

fn say(value: Value) -> Answer {
    Answer::Now(Response::json(200, value.to_string()))
}

fn core() -> Answer {
    say(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}))
}

fn core_resources() -> Answer {
    say(json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [{
        "name": "events", "singularName": "event", "namespaced": true, "kind": "Event", "shortNames": ["ev"],
        "verbs": ["list", "watch"],
    }]}))
}

fn groups() -> Answer {
    say(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(MACHINES), group(SUBRESOURCES)]}))
}

fn group(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": [version], "preferredVersion": version,
    })
}

fn machines() -> Answer {
    say(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "kubevirt.io/v1", "resources": [{
            "name": "virtualmachineinstances", "singularName": "virtualmachineinstance", "namespaced": true,
            "kind": "VirtualMachineInstance", "shortNames": ["vmi", "vmis"], "categories": ["all"],
            "verbs": ["get", "list", "watch", "patch", "delete"],
        }, {
            "name": "virtualmachineinstancemigrations", "singularName": "virtualmachineinstancemigration",
            "namespaced": true, "kind": "VirtualMachineInstanceMigration", "shortNames": ["vmim", "vmims"],
            "categories": ["all"], "verbs": ["get", "list", "watch", "create", "delete"],
        }]}),
    )
}

/// The subresources that the table of routes has.
fn subresources() -> Answer {
    let prefix = "/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/";
    let resources = super::all().filter_map(|route| {
        let (resource, verb) = route.path.strip_prefix(prefix)?.split_once("/{name}/")?;
        let verbs = match route.method {
            Method::Get => ["get"],
            _ => ["update"],
        };
        Some(json!({
            "name": format!("{resource}/{verb}"), "singularName": "", "namespaced": true, "kind": "",
            "verbs": verbs,
        }))
    });
    let resources: Vec<Value> = resources.collect();
    say(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "subresources.kubevirt.io/v1",
        "resources": resources,
    }))
}

/// `version.Info`. Clients compare the version with Kubernetes' own: 1.30 is one whose API this is a part of.
fn version() -> Answer {
    let own = env!("CARGO_PKG_VERSION");
    say(json!({
        "major": "1", "minor": "30", "gitVersion": format!("v1.30.0+kubevmm-{own}"), "gitCommit": "",
        "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
    }))
}
