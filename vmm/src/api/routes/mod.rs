//! The routes, a file a subject.

mod discovery;
mod events;
mod health;
mod machine;
mod openapi;
mod operate;

use super::router::{Route, Routes};
use crate::api::ApiContext;

/// The routes of a machine.
pub const ALL: Routes<ApiContext> =
    &[machine::ROUTES, operate::ROUTES, events::ROUTES, health::ROUTES, discovery::ROUTES, openapi::ROUTES];

/// One after the other.
pub fn all() -> impl Iterator<Item = &'static Route> {
    ALL.iter().copied().flatten()
}
