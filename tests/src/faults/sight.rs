//! What can be seen of a machine from outside.

use serde_json::Value;

use crate::machine::condition;
use crate::vm::Vm;

/// The machine as its process has it: by its API, for its file system may be full.
pub(super) fn object(vm: &Vm) -> Value {
    vm.object().unwrap_or_default()
}

/// Whether the source has come to an end with its move.
pub(super) fn is_over(object: &Value) -> bool {
    object["status"]["migrationState"]["completed"] == true
}

/// Whether the destination runs the machine, or never will, or has not seen any yet.
pub(super) fn has_decided(vm: &Vm, object: &Value) -> bool {
    !vm.errors().contains("is on its way")
        || ["Running", "Failed"].iter().any(|phase| object["status"]["phase"] == *phase)
}

/// Whether the destination runs the machine.
pub(super) fn runs(object: &Value) -> bool {
    object["status"]["phase"] == "Running"
}

/// Whether the source stands still, and nobody can tell what became of the machine.
pub(super) fn is_in_doubt(vm: &Vm, object: &Value) -> bool {
    vm.errors().contains("cannot be told: it stands still here") && !is_over(object) && !serves(object)
}

/// Whether the source has nothing but memory that is needed elsewhere.
pub(super) fn serves(object: &Value) -> bool {
    annotation(object, "kubevmm.io/migration-progress")["phase"] == "Serving"
}

/// Whether some of the destination's memory has not come.
pub(super) fn lacks(object: &Value) -> bool {
    !annotation(object, "kubevmm.io/memory-on-demand")["missingBytes"].is_null()
}

/// Whether the destination stands still, because it lacks memory and nobody is there who has it.
pub(super) fn waits(object: &Value) -> bool {
    lacks(object)
        && condition(object, "Paused") == "True"
        && object["status"]["conditions"].to_string().contains("PostcopyFailed")
}

fn annotation(object: &Value, name: &str) -> Value {
    let text = object["metadata"]["annotations"][name].as_str().unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

/// Lines that the guest has printed there.
pub(super) fn lines(vm: &Vm) -> usize {
    vm.console().text().lines().count()
}
