//! A fleet's API: its VirtualMachines, replica sets and pools, with KubeVirt's paths.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use super::move_routes;
use super::moves::Moves;
use super::orders::{Orders, Wish};
use super::view::{ObjectView, View};
use super::{Key, clock};
use crate::api::failure::{self, Subject};
use crate::api::http::{Method, Response};
use crate::api::routes::subresource;
use crate::api::{Answer, Call, Route, Routes, Shape};
use crate::state::{Done, Reply};

/// What the API has of a fleet.
#[derive(Clone, Debug)]
pub struct FleetContext {
    /// Where to ask for something.
    pub orders: Orders,
    /// Where to see how it is.
    pub view: View,
    /// Root of runtime directories, where machines tell of themselves.
    pub runtime: PathBuf,
    /// Migrations of its machines.
    pub moves: Moves,
}

pub(super) type Request<'a> = Call<'a, FleetContext>;

/// A kind of object that has machines.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    group: &'static str,
    version: &'static str,
    plural: &'static str,
}

const VM: Kind =
    Kind { name: "VirtualMachine", group: "kubevirt.io", version: "v1", plural: "virtualmachines" };
const SET: Kind = Kind {
    name: "VirtualMachineInstanceReplicaSet",
    group: "kubevirt.io",
    version: "v1",
    plural: "virtualmachineinstancereplicasets",
};
const POOL: Kind = Kind {
    name: "VirtualMachinePool",
    group: "pool.kubevirt.io",
    version: "v1beta1",
    plural: "virtualmachinepools",
};

/// The routes of a fleet.
pub const ALL: Routes<FleetContext> = &[VMS, SETS, SET_SCALE, POOLS, POOL_SCALE, ASKED, move_routes::ROUTES];

/// The routes by which objects of a kind are seen: all, those of a namespace, and one.
macro_rules! seen {
    (
        $kind:ident as $object:literal at $version:literal $plural:literal:
        $all:literal $about_all:literal, $within:literal $about_within:literal, $one:literal $about_one:literal
    ) => {
        &[
            Route::get(
                concat!("/apis/", $version, "/", $plural),
                $all,
                $about_all,
                Shape::Object("List"),
                |call| list(call, $kind),
            ),
            Route::get(
                concat!("/apis/", $version, "/namespaces/{namespace}/", $plural),
                $within,
                $about_within,
                Shape::Object("List"),
                |call| list(call, $kind),
            ),
            Route::get(
                concat!("/apis/", $version, "/namespaces/{namespace}/", $plural, "/{name}"),
                $one,
                $about_one,
                Shape::Object($object),
                |call| read(call, $kind),
            ),
        ]
    };
}

/// The routes by which the number of an object's machines is seen and set.
macro_rules! scaled {
    ($kind:ident at $version:literal $plural:literal: $read:literal, $set:literal) => {
        &[
            Route::get(
                concat!("/apis/", $version, "/namespaces/{namespace}/", $plural, "/{name}/scale"),
                $read,
                "Its number.",
                Shape::Object("Scale"),
                |call| scale(call, $kind),
            ),
            Route::new(
                Method::Put,
                concat!("/apis/", $version, "/namespaces/{namespace}/", $plural, "/{name}/scale"),
                $set,
                "Gives it another number of machines.",
                Shape::Object("Scale"),
                |call| set_scale(call, $kind),
            ),
        ]
    };
}

type Table = &'static [Route<FleetContext>];

const VMS: Table = seen!(VM as "VirtualMachine" at "kubevirt.io/v1" "virtualmachines":
    "listVirtualMachines" "All VirtualMachines.",
    "listNamespacedVirtualMachine" "The VirtualMachines of a namespace.",
    "readNamespacedVirtualMachine" "A VirtualMachine as it is.");
const SETS: Table = seen!(SET as "Object" at "kubevirt.io/v1" "virtualmachineinstancereplicasets":
    "listReplicaSets" "All replica sets.",
    "listNamespacedReplicaSet" "A namespace's.",
    "readNamespacedReplicaSet" "A replica set.");
const SET_SCALE: Table = scaled!(SET at "kubevirt.io/v1" "virtualmachineinstancereplicasets":
    "readReplicaSetScale", "scaleReplicaSet");
const POOLS: Table = seen!(POOL as "Object" at "pool.kubevirt.io/v1beta1" "virtualmachinepools":
    "listPools" "All pools.",
    "listNamespacedPool" "A namespace's.",
    "readNamespacedPool" "A pool.");
const POOL_SCALE: Table = scaled!(POOL at "pool.kubevirt.io/v1beta1" "virtualmachinepools":
    "readPoolScale", "scalePool");

const ASKED: Table = &[
    put(subresource!(vm "start"), "v1Start", "Starts it.", |call| order(call, Wish::Start)),
    put(subresource!(vm "stop"), "v1Stop", "Stops it.", |call| order(call, Wish::Stop)),
    put(subresource!(vm "restart"), "v1Restart", "Stops it and starts it again.", |call| {
        order(call, Wish::Restart)
    }),
];

/// A route by which something is asked of a machine.
const fn put(
    path: &'static str,
    id: &'static str,
    about: &'static str,
    handle: fn(&Request<'_>) -> Answer,
) -> Route<FleetContext> {
    Route::new(Method::Put, path, id, about, Shape::Empty, handle)
}

impl Kind {
    fn api_version(self) -> String {
        format!("{}/{}", self.group, self.version)
    }
}

fn list(call: &Request<'_>, kind: Kind) -> Answer {
    let (objects, now) = (call.context.view.objects(), clock::now());
    let namespace = call.parameter("namespace");
    let is_meant = |object: &&ObjectView| {
        object.wanted.owner.kind() == kind.name
            && (namespace.is_empty() || object.wanted.key.namespace == namespace)
    };
    let items: Vec<Value> =
        objects.iter().filter(is_meant).map(|object| object.to_json(&call.context.runtime, now)).collect();
    list_of(&kind.api_version(), kind.name, &items)
}

/// Answers with a list of objects of this kind.
pub(super) fn list_of(api_version: &str, kind: &str, items: &[Value]) -> Answer {
    let list = json!({
        "apiVersion": api_version,
        "kind": format!("{kind}List"),
        "metadata": {},
        "items": items,
    });
    Answer::Now(Response::json(200, list.to_string()))
}

/// What the path names.
pub(super) fn named(call: &Request<'_>) -> Key {
    Key { namespace: call.parameter("namespace").into(), name: call.parameter("name").into() }
}

/// Answers with what `then` makes of the object that the path names.
fn with_named(call: &Request<'_>, kind: Kind, then: impl FnOnce(&ObjectView) -> Answer) -> Answer {
    let key = named(call);
    let objects = call.context.view.objects();
    let is_meant = |object: &&ObjectView| object.wanted.owner.kind() == kind.name && object.wanted.key == key;
    let found = objects.iter().find(is_meant);
    match found {
        Some(object) => then(object),
        None => Answer::Now(failure::not_found(Subject {
            group: kind.group,
            resource: kind.plural,
            name: &key.name,
        })),
    }
}

fn read(call: &Request<'_>, kind: Kind) -> Answer {
    with_named(call, kind, |object| {
        Answer::Now(Response::json(200, object.to_json(&call.context.runtime, clock::now()).to_string()))
    })
}

/// The object's `autoscaling/v1` Scale.
fn scale_of(object: &ObjectView, replicas: u32) -> String {
    let key = &object.wanted.key;
    let scale = json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": key.name, "namespace": key.namespace},
        "spec": {"replicas": replicas},
        "status": {"replicas": object.machines.len(), "selector": object.selector()},
    });
    scale.to_string()
}

fn scale(call: &Request<'_>, kind: Kind) -> Answer {
    with_named(call, kind, |object| Answer::Now(Response::json(200, scale_of(object, object.replicas))))
}

#[derive(Default, Deserialize)]
struct Scale {
    spec: ScaleSpec,
}

#[derive(Default, Deserialize)]
struct ScaleSpec {
    replicas: u32,
}

fn set_scale(call: &Request<'_>, kind: Kind) -> Answer {
    with_named(call, kind, |object| {
        let wanted = match call.body::<Scale>() {
            Ok(scale) => scale.spec.replicas,
            Err(response) => return Answer::Now(response),
        };
        ask(
            call,
            Wish::Scale { id: object.wanted.id(), replicas: wanted },
            Response::json(200, scale_of(object, wanted)),
        )
    })
}

fn order(call: &Request<'_>, wish: fn(Key) -> Wish) -> Answer {
    ask(call, wish(named(call)), Response::empty(202))
}

fn ask(call: &Request<'_>, wish: Wish, done: Response) -> Answer {
    let responder = call.responder();
    let reply = Reply::new(move |result| {
        responder.answer(match result {
            Ok(Done::Finished | Done::Begun) => done,
            Err(refusal) => failure::refused(&refusal),
        });
    });
    call.context.orders.ask(wish, reply);
    Answer::Later
}
