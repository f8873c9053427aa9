//! The routes, a file a subject.

mod discovery;
mod events;
mod health;
mod machine;
mod openapi;
mod operate;

use super::router::Route;

/// All routes; the first that fits answers.
pub fn all() -> impl Iterator<Item = &'static Route> {
    [machine::ROUTES, operate::ROUTES, events::ROUTES, health::ROUTES, discovery::ROUTES, openapi::ROUTES]
        .into_iter()
        .flatten()
}
