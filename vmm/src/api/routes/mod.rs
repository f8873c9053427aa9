//! The routes, a file a subject.

mod agent;
mod cards;
mod console;
mod devices;
mod discovery;
mod dump;
mod events;
mod health;
mod machine;
mod metrics;
mod migrate;
pub(in crate::api) mod migrations;
mod openapi;
mod operate;
mod snapshot;

pub(crate) use console::{ROLE as CONSOLE_ROLE, TYPIST as CONSOLE_TYPIST};
pub(crate) use operate::subresource;

use super::router::{Route, Routes};
use crate::api::ApiContext;

/// The routes of a machine.
pub const ALL: Routes<ApiContext> = &[
    machine::ROUTES,
    operate::ROUTES,
    snapshot::ROUTES,
    agent::ROUTES,
    devices::ROUTES,
    cards::ROUTES,
    dump::ROUTES,
    migrate::ROUTES,
    migrations::ROUTES,
    console::ROUTES,
    events::ROUTES,
    health::ROUTES,
    metrics::ROUTES,
    discovery::ROUTES,
    openapi::ROUTES,
];

/// One after the other.
pub fn all() -> impl Iterator<Item = &'static Route> {
    ALL.iter().copied().flatten()
}
