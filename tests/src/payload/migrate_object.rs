//! Migrations that are ordered by KubeVirt's objects.

use serde_json::{Value, json};

use super::SOON;
use super::migrate::{address, counting, migration, number, waiting, waiting_with};
use crate::api::{Answer, call, call_with};
use crate::case::Ctx;
use crate::commands::beside;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::vm::Vm;
use crate::wait::until;

const MIGRATIONS: &str = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstancemigrations";

fn ask(vm: &Vm, method: &str, rest: &str, body: &Value) -> Result<Answer, Failure> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    call_with(&vm.runtime().join("api.sock"), method, &format!("{MIGRATIONS}{rest}"), &body)
}

fn order(name: &str, to: &str, options: &Value) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstanceMigration",
        "metadata": {"name": name, "annotations": {"kubevmm.io/migration-options": options.to_string()}},
        "spec": {"vmiName": "payload", "sendTo": {"migrationID": "", "connectURL": to}},
    })
}

/// An object that is posted has the machine moved; removed, it has it stay.
pub(super) fn posted(ctx: &Ctx) -> Outcome {
    let mut vm = counting(ctx)?;
    let mut second = waiting(ctx, "second")?;
    let mut slow = order("slow", &address(ctx, "second"), &json!({"bandwidth": 2 << 20, "downtimeMs": 1}));
    let refused = ask(
        &vm,
        "POST",
        "",
        &json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
        "metadata": {"name": "x"}, "spec": {"vmiName": "other"}}),
    )?;
    ensure!(refused.status == 422 && refused.text.contains("does not exist"), "{refused:?}");
    let made = ask(&vm, "POST", "", &slow)?;
    ensure!(made.status == 201, "{made:?}");
    let uid = made.json()?["metadata"]["uid"].clone();
    ensure!(uid.as_str().is_some_and(|uid| uid.len() == 36), "{made:?}");
    until("the migration to run", || {
        Ok(ask(&vm, "GET", "/slow", &Value::Null)?.json()?["status"]["phase"] == "Running")
    })?;
    ensure!(migration(&vm)?["migrationUid"] == uid, "{}", migration(&vm)?);
    // How much is left is known once the first piece is on its way.
    for wanted in
        ["kubevirt_vmi_migrations_in_running_phase{", "kubevirt_vmi_migration_data_remaining_bytes{"]
    {
        until(wanted, || {
            let metrics = call(&vm.runtime().join("api.sock"), "GET", "/metrics")?.text;
            Ok(metrics.lines().any(|line| line.starts_with(wanted) && !line.ends_with(" 0")))
        })?;
    }
    let refused = ask(&vm, "POST", "", &slow)?;
    ensure!(refused.status == 409 && refused.text.contains("\"AlreadyExists\""), "{refused:?}");
    slow["metadata"]["name"] = json!("another");
    let refused = ask(&vm, "POST", "", &slow)?;
    ensure!(refused.status == 409 && refused.text.contains("in-flight migration detected"), "{refused:?}");
    let gone = ask(&vm, "DELETE", "/slow", &Value::Null)?;
    ensure!(gone.status == 200, "{gone:?}");
    until("the object's end", || Ok(ask(&vm, "GET", "/slow", &Value::Null)?.status == 404))?;
    ensure!(migration(&vm)?["abortStatus"] == "Succeeded", "{}", migration(&vm)?);
    let seen = ask(&vm, "GET", "?watch=true&resourceVersion=1&timeoutSeconds=1", &Value::Null)?.text;
    for change in ["ADDED", "MODIFIED", "DELETED"] {
        ensure!(seen.contains(&format!("\"type\":\"{change}\"")), "a watch has no {change}: {seen}");
    }
    let seen = ask(&vm, "GET", "?watch=true&timeoutSeconds=1", &Value::Null)?.text;
    ensure!(!seen.contains("\"type\""), "a watch from now on shows what is gone: {seen}");
    let ended = second.wait_exit(SOON)?;
    ensure!(ended.code == Some(1), "a destination to which nothing came ended with {ended:?}");
    number(&mut vm)?;
    from_file(ctx, vm)
}

/// A file has the object, and the policy that it follows.
fn from_file(ctx: &Ctx, mut vm: Vm) -> Outcome {
    let mut third = waiting_with(ctx, "third", &["--migration-id", "of-tuesday"])?;
    // It waits for a migration that is called so.
    let (code, text) = beside(ctx, "run", &["migrate", "payload", &address(ctx, "third")])?;
    ensure!(code == Some(1) && text.contains("migration ID"), "migrate ended with {code:?} and {text:?}");
    let file = ctx.scratch.join("migration.yaml");
    let text = format!(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstanceMigration\nmetadata: {{generateName: by-file-}}\n\
         spec: {{vmiName: payload, sendTo: {{migrationID: of-tuesday, connectURL: '{}'}}}}\n---\n\
         apiVersion: migrations.kubevirt.io/v1alpha1\nkind: MigrationPolicy\nmetadata: {{name: careful}}\n\
         spec:\n  maxDowntimeMs: 777\n  selectors: {{namespaceSelector: {{kubernetes.io/metadata.name: default}}}}\n",
        address(ctx, "third")
    );
    std::fs::write(&file, text).doing("writing an object")?;
    let (code, text) = beside(ctx, "run", &["migrate", "-f", &file.to_string_lossy()])?;
    ensure!(code == Some(0), "migrate -f ended with {code:?} and {text:?}");
    vm.wait_exit(SOON)?.expect(0, "migrated")?;
    let state = migration(&vm)?;
    ensure!(
        state["migrationPolicyName"] == "careful"
            && state["migrationConfiguration"]["maxDowntimeMs"] == 777
            && state["mode"] == "PreCopy",
        "{state}"
    );
    number(&mut third)?;
    third.type_in("q")?;
    third.wait_exit(SOON)?.expect(0, "guest-shutdown").map(drop)
}
