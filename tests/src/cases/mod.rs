//! The cases, by subject. To add one, write a function and name it in its file's list.

use crate::case::Case;

mod agent;
mod bad_input;
mod block;
mod boot;
mod claims;
mod clone;
mod devices;
mod examples;
mod host;
mod hotplug;
mod lifecycle;
mod migrate;
mod net;
pub(crate) mod net_bindings;
mod net_guests;
mod net_passt;
mod net_vhost;
mod operate;
mod pause;
pub(crate) mod snapshot;
pub(crate) mod tools;
mod volumes;

/// The guest image as an OCI image layout, relative to the payload and to the workspace alike.
const IMAGE: &str = "target/kubevmm/images/hello";

/// Every case of both tiers.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        host::CASES,
        crate::payload::CASES,
        crate::payload::FLEETS,
        boot::CASES,
        block::CASES,
        migrate::CASES,
        net::CASES,
        net_bindings::CASES,
        net_guests::CASES,
        net_passt::CASES,
        net_vhost::CASES,
        lifecycle::CASES,
        pause::CASES,
        snapshot::CASES,
        clone::CASES,
        devices::CASES,
        agent::CASES,
        hotplug::CASES,
        operate::CASES,
        examples::CASES,
        volumes::CASES,
        claims::CASES,
        crate::long::CASES,
        bad_input::CASES,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let all = super::all();
        let names: BTreeSet<_> = all.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), all.len());
    }
}
