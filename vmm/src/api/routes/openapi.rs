//! OpenAPI documents, made from the table of routes and the objects' schema: an index, as Kubernetes has it and `kubectl explain`
//! looks for it, a document for each group and version, and one for all.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::api::Answer;
use crate::api::http::{Method, Response};
use crate::api::router::{Route, Shape};
use crate::sys::heap;

const PATH: &str = "/openapi/v3";
/// The document for all, as the index calls it.
const ALL: &str = "kubevmm";
/// Groups and versions that have documents of their own.
const GROUPS: [&str; 3] = ["api/v1", "apis/kubevirt.io/v1", "apis/subresources.kubevirt.io/v1"];
/// Where the objects' schema has its definitions, and where this document has them.
const DEFINITIONS: &str = "#/$defs/";
const SCHEMAS: &str = "#/components/schemas/";
const MACHINE: &str = "VirtualMachineInstance";
const MIGRATION: &str = "VirtualMachineInstanceMigration";

/// What they answer.
const OPENAPI: Shape = Shape::Object("OpenAPI");

/// The routes of this file.
pub(super) const ROUTES: &[Route] = &[
    Route::get(PATH, "getOpenAPIIndex", "Where the OpenAPI documents are.", OPENAPI, |_| say(&index())),
    Route::get("/openapi/v3/kubevmm", "getOpenAPI", "The OpenAPI document of all paths.", OPENAPI, |_| {
        say(&document(None))
    }),
    Route::get(
        "/openapi/v3/api/v1",
        "getOpenAPICore",
        "The OpenAPI document of the core group.",
        OPENAPI,
        |_| of_group(0),
    ),
    Route::get(
        "/openapi/v3/apis/kubevirt.io/v1",
        "getOpenAPIKubevirt",
        "The OpenAPI document of this group.",
        OPENAPI,
        |_| of_group(1),
    ),
    Route::get(
        "/openapi/v3/apis/subresources.kubevirt.io/v1",
        "getOpenAPISubresources",
        "The OpenAPI document of this group.",
        OPENAPI,
        |_| of_group(2),
    ),
];

fn of_group(index: usize) -> Answer {
    say(&document(GROUPS.get(index).copied()))
}

fn say(document: &Value) -> Answer {
    let text = document.to_string();
    // The schema takes some megabytes to make.
    heap::give_back();
    Answer::Now(Response::json(200, text))
}

fn index() -> Value {
    let names = GROUPS.iter().chain([&ALL]);
    let paths: Map<_, _> = names
        .map(|name| ((*name).to_owned(), json!({"serverRelativeURL": format!("{PATH}/{name}")})))
        .collect();
    json!({"paths": paths})
}

/// The document of a group and version, or of all. OpenAPI 3.1 takes JSON Schema as it is.
fn document(group: Option<&str>) -> Value {
    let mut paths = Map::new();
    let is_within = |route: &&Route| {
        let rest = group.map(|group| route.path.strip_prefix('/').and_then(|path| path.strip_prefix(group)));
        rest.is_none_or(|rest| rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    };
    for route in super::all().filter(is_within) {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.name().to_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "kubevmm", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"schemas": schemas()},
    })
}

fn operation(route: &Route) -> Value {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    let in_query = route.query.iter().map(|(name, about)| {
        json!({"name": name, "in": "query", "description": about, "schema": {"type": "string"}})
    });
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let mut operation = json!({
        "operationId": route.id,
        "description": route.about,
        "parameters": parameters,
        "responses": responses(route.answer),
    });
    if let (Some(kind), Some(operation)) = (kind_at(route.path), operation.as_object_mut()) {
        operation.insert(KIND.into(), kind);
    }
    if let Some(operation) = operation.as_object_mut().filter(|_| !route.body.is_empty()) {
        let fields: Map<_, _> = route
            .body
            .iter()
            .map(|(name, about)| ((*name).to_owned(), json!({"description": about})))
            .collect();
        let schema = json!({"type": "object", "properties": fields});
        operation.insert("requestBody".into(), json!({"content": {"application/json": {"schema": schema}}}));
    }
    if let Some(operation) = operation.as_object_mut().filter(|_| route.method == Method::Patch) {
        let content = json!({
            "application/merge-patch+json": {"schema": {"type": "object"}},
            "application/json-patch+json": {"schema": {"type": "array", "items": {"type": "object"}}},
        });
        operation.insert("requestBody".into(), json!({"content": content}));
    }
    operation
}

/// By this extension Kubernetes' clients find the kind that a path or a schema is about.
const KIND: &str = "x-kubernetes-group-version-kind";

fn kind_at(path: &str) -> Option<Value> {
    let segment = |name: &str| path.split('/').any(|segment| segment == name);
    if path.starts_with("/apis/kubevirt.io/v1/") && segment("virtualmachineinstances") {
        Some(json!({"group": "kubevirt.io", "version": "v1", "kind": MACHINE}))
    } else if path.starts_with("/apis/kubevirt.io/v1/") && segment("virtualmachineinstancemigrations") {
        Some(json!({"group": "kubevirt.io", "version": "v1", "kind": MIGRATION}))
    } else if path.starts_with("/api/v1/") && segment("events") {
        Some(json!({"group": "", "version": "v1", "kind": "Event"}))
    } else {
        None
    }
}

fn responses(answer: Shape) -> Value {
    let reference = |name: &str| json!({"$ref": format!("{SCHEMAS}{name}")});
    let failure = json!({
        "description": "It was not done.",
        "content": {"application/json": {"schema": reference("Status")}},
    });
    let (code, success) = match answer {
        Shape::Empty => ("2XX", json!({"description": "200: done, 202: begun"})),
        Shape::Text => ("200", json!({"description": "OK", "content": {"text/plain": {}}})),
        Shape::WebSocket => ("101", json!({"description": "a WebSocket, subprotocol plain.kubevirt.io"})),
        Shape::Object(name) => (
            "200",
            json!({"description": "OK", "content": {"application/json": {"schema": reference(name)}}}),
        ),
    };
    json!({code: success, "default": failure})
}

/// The objects that operations refer to, and those that these are made of.
fn schemas() -> Map<String, Value> {
    let mut all = spec::schema();
    let definitions =
        all.get_mut("$defs").and_then(Value::as_object_mut).map(std::mem::take).unwrap_or_default();
    let mut wanted = vec![MACHINE.to_owned(), MIGRATION.to_owned()];
    let mut seen = BTreeSet::new();
    let mut schemas = own_schemas();
    while let Some(name) = wanted.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let Some(definition) = definitions.get(&name) else { continue };
        let mut definition = definition.clone();
        refer(&mut definition, &mut wanted);
        if let Some(definition) =
            definition.as_object_mut().filter(|_| [MACHINE, MIGRATION].contains(&&*name))
        {
            let kind = json!({"group": "kubevirt.io", "version": "v1", "kind": name});
            definition.insert(KIND.into(), json!([kind]));
        }
        schemas.insert(name, definition);
    }
    schemas
}

/// Objects that are no manifests.
fn own_schemas() -> Map<String, Value> {
    let list =
        |item: Value| json!({"type": "object", "properties": {"items": {"type": "array", "items": item}}});
    let mut schemas = Map::new();
    let machine = json!({"$ref": format!("{SCHEMAS}{MACHINE}")});
    schemas.insert("VirtualMachineInstanceList".into(), list(machine));
    let migration = json!({"$ref": format!("{SCHEMAS}{MIGRATION}")});
    schemas.insert("VirtualMachineInstanceMigrationList".into(), list(migration));
    schemas.insert("EventList".into(), list(json!({"type": "object", "description": "An Event (core/v1)."})));
    schemas.insert("Discovery".into(), json!({"type": "object", "description": "What clients ask first."}));
    schemas.insert(
        "Dump".into(),
        json!({"type": "object", "description": "A core file that was written.", "properties": {
            "file": {"type": "string"},
            "memoryBytes": {"type": "integer", "description": "memory that it stands for"},
            "storedBytes": {"type": "integer", "description": "memory in it that is not zero"},
            "pausedMilliseconds": {"type": "integer", "description": "how long the machine stood still"},
            "vmcoreinfo": {"type": "boolean", "description": "it has what the guest's kernel says of itself"},
        }}),
    );
    schemas.insert("OpenAPI".into(), json!({"type": "object", "description": "An OpenAPI document."}));
    schemas.insert(
        "Status".into(),
        json!({"type": "object", "description": "metav1.Status: what came of a request.", "properties": {
            "kind": {"const": "Status"},
            "status": {"enum": ["Success", "Failure"]},
            "code": {"type": "integer"},
            "reason": {"type": "string"},
            "message": {"type": "string"},
            "details": {"type": "object"},
        }}),
    );
    schemas.extend(super::agent::schemas());
    schemas
}

/// Lets references point into this document, and notes what they point to.
fn refer(schema: &mut Value, wanted: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(to) if key == "$ref" => {
                        if let Some(name) = to.strip_prefix(DEFINITIONS) {
                            wanted.push(name.to_owned());
                            *to = format!("{SCHEMAS}{name}");
                        }
                    }
                    value => refer(value, wanted),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| refer(item, wanted)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_route_and_no_dangling_reference() {
        let document = document(None);
        for route in super::super::all() {
            let operation = &document["paths"][route.path][route.method.name().to_lowercase()];
            assert_eq!(operation["operationId"], route.id);
        }
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let text = document.to_string();
        for name in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
            let name = name.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
        assert!(!text.contains("$defs"));
    }

    #[test]
    fn clients_find_their_way_from_the_index_to_a_kind() {
        let index = index();
        let paths = index["paths"].as_object().unwrap();
        for (name, at) in paths {
            let url = at["serverRelativeURL"].as_str().unwrap();
            assert!(super::super::all().any(|route| route.path == url), "{name} is nowhere");
        }
        let document = document(Some("apis/kubevirt.io/v1"));
        let paths = document["paths"].as_object().unwrap();
        assert!(!paths.is_empty() && paths.keys().all(|path| path.starts_with("/apis/kubevirt.io/v1")));
        let list = &paths["/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances"]["get"];
        let machine = &document["components"]["schemas"][MACHINE];
        assert_eq!(machine[KIND][0], list[KIND]);
        assert_eq!(list[KIND]["kind"], MACHINE);
        assert!(machine["properties"]["spec"].is_object());
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let mut ids: Vec<_> = super::super::all().map(|route| route.id).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }
}
