//! A fleet's migrations by its API, with KubeVirt's paths.

use serde_json::{Value, json};
use spec::api::VirtualMachineInstanceMigration;

use super::routes::{FleetContext, Request, list_of, named};
use super::{Key, clock};
use crate::api::failure;
use crate::api::http::{Method, Response};
use crate::api::migration::{self, subject};
use crate::api::{Answer, Route, Shape};

const ALL: &str = "/apis/kubevirt.io/v1/virtualmachineinstancemigrations";
const WITHIN: &str = "/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstancemigrations";
const ONE: &str = "/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstancemigrations/{name}";

/// The routes of this file.
pub(super) const ROUTES: &[Route<FleetContext>] = &[
    Route::get(ALL, "listMigrations", "All migrations of the fleet.", Shape::Object("List"), list),
    Route::get(WITHIN, "listNamespacedMigrations", "The same of a namespace.", Shape::Object("List"), list),
    Route::new(
        Method::Post,
        WITHIN,
        "createMigration",
        "Moves a machine of the fleet, once it runs.",
        Shape::Object("Object"),
        create,
    ),
    Route::get(ONE, "readMigration", "How far a migration is.", Shape::Object("Object"), read),
    Route::new(
        Method::Delete,
        ONE,
        "deleteMigration",
        "Forgets a migration, and breaks it off if it is on its way.",
        Shape::Object("Status"),
        delete,
    ),
];

fn list(call: &Request<'_>) -> Answer {
    let namespace = call.parameter("namespace");
    let all = call.context.moves.all();
    let is_meant = |migration: &&VirtualMachineInstanceMigration| {
        namespace.is_empty() || migration.namespace() == namespace
    };
    let items: Vec<Value> = all.iter().filter(is_meant).map(|migration| json!(migration)).collect();
    list_of("kubevirt.io/v1", "VirtualMachineInstanceMigration", &items)
}

fn read(call: &Request<'_>) -> Answer {
    let wanted = named(call);
    Answer::Now(match call.context.moves.find(&wanted) {
        Some(migration) => Response::json(200, json!(migration).to_string()),
        None => failure::not_found(subject(&wanted.name)),
    })
}

fn create(call: &Request<'_>) -> Answer {
    Answer::Now(try_create(call).unwrap_or_else(|response| response))
}

fn try_create(call: &Request<'_>) -> Result<Response, Response> {
    let mut migration = migration::posted(call)?;
    let namespace = call.parameter("namespace");
    let vmi = Key { namespace: namespace.to_owned(), name: migration.spec.vmi_name.clone() };
    let objects = call.context.view.objects();
    let is_there = objects.iter().any(|object| object.machines.iter().any(|(key, _)| *key == vmi));
    if !is_there {
        return Err(migration::no_machine(&migration));
    }
    migration.metadata.creation_timestamp = Some(spec::api::Time(crate::status::rfc3339(clock::now())));
    migration.status = None;
    match call.context.moves.add(migration.clone()) {
        Ok(()) => Ok(Response::json(201, json!(migration).to_string())),
        Err(error) => Err(failure::conflict(&error.to_string())),
    }
}

fn delete(call: &Request<'_>) -> Answer {
    let wanted = named(call);
    Answer::Now(if call.context.moves.forget(&wanted) {
        failure::success(subject(&wanted.name), "")
    } else {
        failure::not_found(subject(&wanted.name))
    })
}
