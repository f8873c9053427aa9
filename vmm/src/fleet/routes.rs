//! A fleet's API: its VirtualMachines, replica sets and pools, with KubeVirt's paths.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use super::orders::{Orders, Wish};
use super::view::{ObjectView, View};
use super::{Key, clock};
use crate::api::failure::{self, Subject};
use crate::api::http::{Method, Response};
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
}

type Request<'a> = Call<'a, FleetContext>;

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

/// A route of this file.
const fn route(
    method: Method,
    path: &'static str,
    id: &'static str,
    about: &'static str,
    answer: Shape,
    handle: fn(&Request<'_>) -> Answer,
) -> Route<FleetContext> {
    Route { method, path, id, about, query: &[], body: &[], answer, handle }
}

/// The routes of a fleet.
pub const ALL: Routes<FleetContext> = &[SEEN, ASKED];

macro_rules! vms {
    ($rest:literal) => {
        concat!("/apis/kubevirt.io/v1/", $rest, "virtualmachines")
    };
}

macro_rules! subresource {
    ($verb:literal) => {
        concat!("/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachines/{name}/", $verb)
    };
}

const SETS: &str = "/apis/kubevirt.io/v1/virtualmachineinstancereplicasets";
const SETS_WITHIN: &str = "/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstancereplicasets";
const SET_PATH: &str = "/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstancereplicasets/{name}";
const SET_SCALE: &str =
    "/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstancereplicasets/{name}/scale";
const POOLS: &str = "/apis/pool.kubevirt.io/v1beta1/virtualmachinepools";
const POOLS_WITHIN: &str = "/apis/pool.kubevirt.io/v1beta1/namespaces/{namespace}/virtualmachinepools";
const POOL_PATH: &str = "/apis/pool.kubevirt.io/v1beta1/namespaces/{namespace}/virtualmachinepools/{name}";
const POOL_SCALE: &str =
    "/apis/pool.kubevirt.io/v1beta1/namespaces/{namespace}/virtualmachinepools/{name}/scale";

const SEEN: &[Route<FleetContext>] = &[
    route(
        Method::Get,
        vms!(""),
        "listVirtualMachines",
        "All VirtualMachines.",
        Shape::Object("List"),
        |call| list(call, VM),
    ),
    route(
        Method::Get,
        vms!("namespaces/{namespace}/"),
        "listNamespacedVirtualMachine",
        "The VirtualMachines of a namespace.",
        Shape::Object("List"),
        |call| list(call, VM),
    ),
    route(
        Method::Get,
        "/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachines/{name}",
        "readNamespacedVirtualMachine",
        "A VirtualMachine as it is.",
        Shape::Object("VirtualMachine"),
        |call| read(call, VM),
    ),
    route(Method::Get, SETS, "listReplicaSets", "All replica sets.", Shape::Object("List"), |call| {
        list(call, SET)
    }),
    route(
        Method::Get,
        SETS_WITHIN,
        "listNamespacedReplicaSet",
        "A namespace's.",
        Shape::Object("List"),
        |call| list(call, SET),
    ),
    route(
        Method::Get,
        SET_PATH,
        "readNamespacedReplicaSet",
        "A replica set.",
        Shape::Object("Object"),
        |call| read(call, SET),
    ),
    route(Method::Get, POOLS, "listPools", "All pools.", Shape::Object("List"), |call| list(call, POOL)),
    route(Method::Get, POOLS_WITHIN, "listNamespacedPool", "A namespace's.", Shape::Object("List"), |call| {
        list(call, POOL)
    }),
    route(Method::Get, POOL_PATH, "readNamespacedPool", "A pool.", Shape::Object("Object"), |call| {
        read(call, POOL)
    }),
    route(Method::Get, SET_SCALE, "readReplicaSetScale", "Its number.", Shape::Object("Scale"), |call| {
        scale(call, SET)
    }),
    route(Method::Get, POOL_SCALE, "readPoolScale", "Its number.", Shape::Object("Scale"), |call| {
        scale(call, POOL)
    }),
];

const ASKED: &[Route<FleetContext>] = &[
    route(Method::Put, subresource!("start"), "v1Start", "Starts it.", Shape::Empty, |call| {
        order(call, Wish::Start)
    }),
    route(Method::Put, subresource!("stop"), "v1Stop", "Stops it.", Shape::Empty, |call| {
        order(call, Wish::Stop)
    }),
    route(
        Method::Put,
        subresource!("restart"),
        "v1Restart",
        "Stops it and starts it again.",
        Shape::Empty,
        |call| order(call, Wish::Restart),
    ),
    route(
        Method::Put,
        SET_SCALE,
        "scaleReplicaSet",
        "Gives it another number of machines.",
        Shape::Object("Scale"),
        |call| set_scale(call, SET),
    ),
    route(
        Method::Put,
        POOL_SCALE,
        "scalePool",
        "Gives it another number of machines.",
        Shape::Object("Scale"),
        |call| set_scale(call, POOL),
    ),
];

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
    let list = json!({
        "apiVersion": kind.api_version(),
        "kind": format!("{}List", kind.name),
        "metadata": {},
        "items": items,
    });
    Answer::Now(Response::json(200, list.to_string()))
}

/// Answers with what `then` makes of the object that the path names.
fn with_named(call: &Request<'_>, kind: Kind, then: impl FnOnce(&ObjectView) -> Answer) -> Answer {
    let (namespace, name) = (call.parameter("namespace"), call.parameter("name"));
    let objects = call.context.view.objects();
    let found = objects.iter().find(|object| {
        let wanted = &object.wanted;
        wanted.owner.kind() == kind.name && wanted.key.namespace == namespace && wanted.key.name == name
    });
    match found {
        Some(object) => then(object),
        None => Answer::Now(failure::not_found(Subject { group: kind.group, resource: kind.plural, name })),
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
    let key = Key { namespace: call.parameter("namespace").into(), name: call.parameter("name").into() };
    ask(call, wish(key), Response::empty(202))
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
