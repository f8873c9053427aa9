//! What the API of a machine and that of a fleet have in common of VirtualMachineInstanceMigrations.

use devices::chain;
use serde_json::Value;
use spec::api::VirtualMachineInstanceMigration;

use super::failure::{self, Subject};
use super::http::Response;
use super::router::Call;
use crate::migration::{ObjectError, admit};

/// A migration of this name, as answers speak of it.
pub(crate) fn subject(name: &str) -> Subject<'_> {
    Subject { group: "kubevirt.io", resource: "virtualmachineinstancemigrations", name }
}

/// The object as KubeVirt admits it.
///
/// # Errors
/// The response that says what is wrong with it.
pub(super) fn admitted(object: Value) -> Result<VirtualMachineInstanceMigration, Response> {
    admit(object).map_err(|error| match error {
        ObjectError::Odd(message) => failure::bad_request(&message),
        ObjectError::Refused(message) => failure::invalid(&message),
        error @ ObjectError::Host(_) => failure::internal(&chain(&error)),
    })
}

/// The object that is posted to a namespace.
///
/// # Errors
/// The response that says what is wrong with it.
pub(crate) fn posted<C>(call: &Call<'_, C>) -> Result<VirtualMachineInstanceMigration, Response> {
    let object = serde_json::from_slice(&call.request.body)
        .map_err(|error| failure::bad_request(&format!("the body cannot be read: {error}")))?;
    let object = admitted(object)?;
    if object.namespace() != call.parameter("namespace") {
        return Err(failure::bad_request("the namespace of the object is another one than that of the path"));
    }
    Ok(object)
}

/// There is no such machine here, in KubeVirt's words.
pub(crate) fn no_machine(migration: &VirtualMachineInstanceMigration) -> Response {
    let (namespace, name) = (migration.namespace(), &migration.spec.vmi_name);
    failure::invalid(&format!("the VMI \"{namespace}/{name}\" does not exist"))
}
