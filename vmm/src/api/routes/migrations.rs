//! VirtualMachineInstanceMigrations of the machine: made, seen, watched and removed as in KubeVirt.

use spec::api::{ObjectMeta, VirtualMachineInstanceMigration};

use super::machine::LIST_QUERY;
use super::operate::is_dry;
use crate::api::failure;
use crate::api::http::{Method, Response};
use crate::api::migration::{no_machine, posted, subject};
use crate::api::router::{Call, Route, Shape};
use crate::api::selector::Selector;
use crate::api::watch::{self, Watch};
use crate::api::{Answer, ApiContext};
use crate::migration::{MigrationOptions, MigrationRequest, connect_url};
use crate::state::{Reply, Verb};
use crate::status::PublishedMigration;

/// Annotation with options of a migration, as JSON, for which KubeVirt has policies alone.
const OPTIONS: &str = "kubevmm.io/migration-options";
const LIST: Shape = Shape::Object("VirtualMachineInstanceMigrationList");
const ONE: Shape = Shape::Object("VirtualMachineInstanceMigration");
const BODY: &[(&str, &str)] = &[
    ("metadata", "name or generateName; the annotation kubevmm.io/migration-options has options as JSON"),
    ("spec", "vmiName, and where to: sendTo.connectURL"),
];

/// A route of this file.
const fn route(
    method: Method,
    path: &'static str,
    id: &'static str,
    about: &'static str,
    answer: Shape,
    handle: fn(&Call<'_>) -> Answer,
) -> Route {
    let (query, body): (&[_], &[_]) = match method {
        Method::Post => (&[("dryRun", "All: only say whether it could be")], BODY),
        _ => (&[], &[]),
    };
    Route { method, path, id, about, query, body, answer, handle }
}

macro_rules! within {
    ($rest:literal) => {
        concat!("/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstancemigrations", $rest)
    };
}

/// The routes of this file.
pub(super) const ROUTES: &[Route] = &[
    Route {
        query: LIST_QUERY,
        ..route(
            Method::Get,
            "/apis/kubevirt.io/v1/virtualmachineinstancemigrations",
            "listVirtualMachineInstanceMigrationForAllNamespaces",
            "The migrations of the one machine of this process.",
            LIST,
            list,
        )
    },
    Route {
        query: LIST_QUERY,
        ..route(
            Method::Get,
            within!(""),
            "listNamespacedVirtualMachineInstanceMigration",
            "The same, if the machine is in this namespace.",
            LIST,
            list,
        )
    },
    route(
        Method::Post,
        within!(""),
        "createNamespacedVirtualMachineInstanceMigration",
        "Moves the machine to another process.",
        ONE,
        create,
    ),
    route(
        Method::Get,
        within!("/{name}"),
        "readNamespacedVirtualMachineInstanceMigration",
        "How far a migration is.",
        ONE,
        read,
    ),
    route(
        Method::Delete,
        within!("/{name}"),
        "deleteNamespacedVirtualMachineInstanceMigration",
        "Forgets a migration, and breaks it off if it is on its way.",
        Shape::Object("Status"),
        delete,
    ),
];

/// Which migrations somebody wants to see.
#[derive(Clone, Debug)]
pub(in crate::api) struct Pick {
    fields: Selector,
    labels: Selector,
    namespace: String,
}

impl Pick {
    fn of(call: &Call<'_>) -> Result<Self, Response> {
        let selector = |key| Selector::parse(call.query.get(key).unwrap_or_default());
        let pick = Self {
            fields: selector("fieldSelector")?,
            labels: selector("labelSelector")?,
            namespace: call.parameter("namespace").to_owned(),
        };
        // A field that there is not shows at any object.
        pick.try_picks(&ObjectMeta::default())?;
        Ok(pick)
    }

    /// Whether this one is.
    pub(in crate::api) fn picks(&self, migration: &PublishedMigration) -> bool {
        self.try_picks(&migration.object.metadata).unwrap_or(false)
    }

    fn try_picks(&self, metadata: &ObjectMeta) -> Result<bool, Response> {
        let by_field = self.fields.selects(|key| match key {
            "metadata.name" => Some(metadata.name.as_str()),
            "metadata.namespace" => Some(metadata.namespace.as_str()),
            _ => None,
        })?;
        let label = |key: &str| Some(metadata.labels.get(key).map_or("", |label| label.as_str()));
        let is_within = self.namespace.is_empty() || self.namespace == metadata.namespace;
        Ok(by_field && self.labels.selects(label)? && is_within)
    }
}

fn answer(result: Result<Answer, Response>) -> Answer {
    result.unwrap_or_else(Answer::Now)
}

fn list(call: &Call<'_>) -> Answer {
    answer(try_list(call))
}

fn try_list(call: &Call<'_>) -> Result<Answer, Response> {
    let pick = Pick::of(call)?;
    if call.query.is_set("watch") {
        let watch = Watch::new(call, watch::Subject::Migrations(pick), true)?;
        return Ok(Answer::Stream(Response::json(200, ""), Box::new(watch)));
    }
    // First, so that a watch from there shows what comes between the two.
    let version = call.context.board.current().version;
    let all = call.context.board.migrations();
    let version = all.iter().map(|one| one.version).max().unwrap_or(0).max(version);
    let items: Vec<&str> = all.iter().filter(|one| pick.picks(one)).map(|one| &*one.text).collect();
    let items = items.join(",");
    Ok(Answer::Now(Response::json(
        200,
        format!(
            "{{\"apiVersion\":\"kubevirt.io/v1\",\"kind\":\"VirtualMachineInstanceMigrationList\",\
             \"metadata\":{{\"resourceVersion\":\"{version}\"}},\"items\":[{items}]}}"
        ),
    )))
}

fn read(call: &Call<'_>) -> Answer {
    let (namespace, name) = (call.parameter("namespace"), call.parameter("name"));
    let text = find(call.context, namespace, name);
    Answer::Now(
        text.map_or_else(|| failure::not_found(subject(name)), |text| Response::json(200, text.as_bytes())),
    )
}

/// The migration of this name as JSON.
fn find(context: &ApiContext, namespace: &str, name: &str) -> Option<std::sync::Arc<str>> {
    let all = context.board.migrations().into_iter();
    let named = |one: &PublishedMigration| {
        one.object.metadata.name == name && one.object.metadata.namespace == namespace
    };
    all.into_iter().find(|one| named(one)).map(|one| one.text.clone())
}

fn create(call: &Call<'_>) -> Answer {
    answer(try_create(call))
}

fn try_create(call: &Call<'_>) -> Result<Answer, Response> {
    let current = call.context.board.current();
    let object = posted(call)?;
    if current.vmi.namespace() != object.namespace() || current.vmi.metadata.name != object.spec.vmi_name {
        return Err(no_machine(&object));
    }
    // The same order by `PUT migrate` takes the place of one that is over; Kubernetes has whoever creates it delete that first.
    if find(call.context, object.namespace(), &object.metadata.name).is_some() {
        return Err(failure::already_exists(subject(&object.metadata.name)));
    }
    let request = request(object)?;
    if call.query.get("dryRun") == Some("All") {
        return Ok(Answer::Now(Response::json(201, to_text(&request.object))));
    }
    let (responder, board) = (call.responder(), call.context.board.clone());
    let object = request.object.clone();
    let reply = Reply::new(move |result| {
        responder.answer(match result {
            Ok(_) => {
                let all = board.migrations();
                let known = all.iter().find(|one| one.object.metadata.uid == object.metadata.uid);
                Response::json(201, known.map_or_else(|| to_text(&object), |one| one.text.to_string()))
            }
            Err(refusal) => failure::refused(&refusal),
        });
    });
    call.context.requests.ask(Verb::Migrate(Box::new(request)), reply);
    Ok(Answer::Later)
}

fn to_text(object: &VirtualMachineInstanceMigration) -> String {
    // Text, numbers and lists always have a JSON form.
    serde_json::to_string(object).unwrap_or_default()
}

/// What is ordered by an object alone.
fn request(object: VirtualMachineInstanceMigration) -> Result<MigrationRequest, Response> {
    let url = object.spec.send_to.as_ref().map(|to| to.connect_url.as_str()).unwrap_or_default();
    if url.is_empty() {
        let message = "spec.sendTo.connectURL: say where to, as in unix:PATH or tcp://HOST:PORT";
        return Err(failure::invalid(message));
    }
    let address =
        connect_url(url).map_err(|error| failure::invalid(&format!("spec.sendTo.connectURL: {error}")))?;
    let options = match object.metadata.annotations.get(OPTIONS) {
        Some(text) => serde_json::from_str::<MigrationOptions>(text)
            .map_err(|error| failure::invalid(&format!("the annotation {OPTIONS}: {error}")))?,
        None => MigrationOptions::default(),
    };
    Ok(MigrationRequest { address, options, object })
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DeleteOptions {
    dry_run: Vec<String>,
}

fn delete(call: &Call<'_>) -> Answer {
    answer(try_delete(call))
}

fn try_delete(call: &Call<'_>) -> Result<Answer, Response> {
    let (namespace, name) = (call.parameter("namespace").to_owned(), call.parameter("name").to_owned());
    let options: DeleteOptions = call.body()?;
    find(call.context, &namespace, &name).ok_or_else(|| failure::not_found(subject(&name)))?;
    let done = failure::success(subject(&name), "");
    if is_dry(&options.dry_run) {
        return Ok(Answer::Now(done));
    }
    let responder = call.responder();
    let reply = Reply::new(move |result| {
        responder.answer(match result {
            Ok(_) => done,
            Err(refusal) => failure::refused(&refusal),
        });
    });
    call.context.requests.ask(Verb::DeleteMigration { name }, reply);
    Ok(Answer::Later)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::migration::admitted;
    use crate::migration::implied;

    fn order(spec: Value) -> Result<MigrationRequest, Response> {
        let mut object = implied("ns", "vm");
        object["spec"] = spec;
        request(admitted(object)?)
    }

    #[test]
    fn an_object_says_where_to() {
        let to =
            |url: &str| order(json!({"vmiName": "vm", "sendTo": {"migrationID": "m", "connectURL": url}}));
        assert_eq!(to("unix:/x").unwrap().address.to_string(), "unix:/x");
        assert_eq!(to("node-b:9185").unwrap().address.to_string(), "tcp://node-b:9185");
        for bad in ["", "nowhere"] {
            assert_eq!(to(bad).unwrap_err().code, 422, "{bad}");
        }
        assert_eq!(order(json!({"vmiName": "vm"})).unwrap_err().code, 422);
        assert_eq!(order(json!({})).unwrap_err().code, 422);
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
        assert_eq!(admitted(secret).unwrap_err().code, 400);
    }

    #[test]
    fn options_are_in_an_annotation() {
        let mut object = implied("ns", "vm");
        object["spec"]["sendTo"] = json!({"migrationID": "m", "connectURL": "unix:/x"});
        object["metadata"]["annotations"] = json!({OPTIONS: "{\"downtimeMs\":7}"});
        assert_eq!(request(admitted(object.clone()).unwrap()).unwrap().options.downtime.as_millis(), 7);
        object["metadata"]["annotations"] = json!({OPTIONS: "{\"quickly\":true}"});
        assert_eq!(request(admitted(object).unwrap()).unwrap_err().code, 422);
    }
}
