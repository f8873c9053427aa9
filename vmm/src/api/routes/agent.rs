//! Subresources that the guest's agent answers (KubeVirt: `pkg/virt-api/rest/subresource.go`), and programs run in the guest,
//! for which KubeVirt has none.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::machine::named;
use super::operate::subresource;
use crate::agent::{
    AgentAnswer, AgentCommand, AgentError, AgentReply, Everything, ExecOutcome, ExecRequest, FileSystem,
    FreezeStatus, OsInfo, UNFREEZE, User,
};
use crate::api::duration;
use crate::api::http::{Method, Response};
use crate::api::router::{Call, Route, Shape};
use crate::api::{Answer, failure};
use crate::state::{Refusal, RefusalKind};

/// How long the end of a program is waited for if nobody says, and at the most.
const EXEC: Duration = Duration::from_secs(60);
const LONGEST_EXEC: Duration = Duration::from_secs(24 * 60 * 60);

/// The routes of this file.
pub(super) const ROUTES: &[Route] = &[
    Route::get(
        subresource!(machine "guestosinfo"),
        "v1Guestosinfo",
        "Who and what the guest and its agent are.",
        Shape::Object("VirtualMachineInstanceGuestAgentInfo"),
        |call| ask(call, AgentCommand::Info),
    ),
    Route::get(
        subresource!(machine "userlist"),
        "v1Userlist",
        "Who is logged in.",
        Shape::Object("VirtualMachineInstanceGuestOSUserList"),
        |call| ask(call, AgentCommand::Users),
    ),
    Route::get(
        subresource!(machine "filesystemlist"),
        "v1Filesystemlist",
        "What is mounted in the guest.",
        Shape::Object("VirtualMachineInstanceFileSystemList"),
        |call| ask(call, AgentCommand::FileSystems),
    ),
    Route {
        method: Method::Put,
        path: subresource!(machine "freeze"),
        id: "v1Freeze",
        about: "Has the guest's file systems write out what they hold, and hold further writes back.",
        query: &[],
        body: &[(
            "unfreezeTimeout",
            "when they are unfrozen if nobody has done it, as in 5m0s (default); 0s for never",
        )],
        answer: Shape::Empty,
        handle: freeze,
    },
    Route::new(
        Method::Put,
        subresource!(machine "unfreeze"),
        "v1Unfreeze",
        "Lets the guest's file systems take writes again.",
        Shape::Empty,
        |call| ask(call, AgentCommand::Thaw),
    ),
    Route {
        method: Method::Put,
        path: subresource!(machine "exec"),
        id: "kubevmmExec",
        about: "Runs a program in the guest and waits for its end.",
        query: &[],
        body: &[
            ("command", "the program and its arguments"),
            ("stdin", "what it reads, in base64"),
            ("timeout", "how long its end is waited for, as in 1m0s (default)"),
        ],
        answer: Shape::Object("ExecOutcome"),
        handle: exec,
    },
];

/// Schemas of the objects of this file.
pub(super) fn schemas() -> impl Iterator<Item = (String, Value)> {
    let text = || json!({ "type": "string" });
    let number = || json!({ "type": "number" });
    let object = |fields: &[(&str, Value)]| {
        let fields: serde_json::Map<_, _> =
            fields.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
        json!({ "type": "object", "properties": fields })
    };
    let list = |item: &Value| json!({ "type": "array", "items": item });
    let user = object(&[("userName", text()), ("domain", text()), ("loginTime", number())]);
    let disk = object(&[("serial", text()), ("busType", text())]);
    let file_system = object(&[
        ("diskName", text()),
        ("mountPoint", text()),
        ("fileSystemType", text()),
        ("usedBytes", number()),
        ("totalBytes", number()),
        ("disk", list(&disk)),
    ]);
    let command = object(&[("name", text()), ("enabled", json!({ "type": "boolean" }))]);
    let info = object(&[
        ("guestAgentVersion", text()),
        ("supportedCommands", list(&command)),
        ("hostname", text()),
        ("os", json!({ "type": "object" })),
        ("timezone", text()),
        ("userList", list(&user)),
        ("fsInfo", object(&[("disks", list(&file_system))])),
        ("fsFreezeStatus", text()),
    ]);
    let exec = object(&[
        ("exitCode", json!({ "type": ["integer", "null"] })),
        ("signal", json!({ "type": ["integer", "null"] })),
        ("stdout", text()),
        ("stderr", text()),
        ("truncated", json!({ "type": "boolean" })),
    ]);
    let all = [
        ("VirtualMachineInstanceGuestAgentInfo", info),
        ("VirtualMachineInstanceGuestOSUserList", object(&[("items", list(&user))])),
        ("VirtualMachineInstanceFileSystemList", object(&[("items", list(&file_system))])),
        ("ExecOutcome", exec),
    ];
    all.into_iter().map(|(name, schema)| (name.to_owned(), schema))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FreezeOptions {
    unfreeze_timeout: Option<String>,
}

fn freeze(call: &Call<'_>) -> Answer {
    let read = || {
        let options: FreezeOptions = call.body()?;
        let thaw_after = time("unfreezeTimeout", options.unfreeze_timeout.as_deref(), UNFREEZE)?;
        Ok(AgentCommand::Freeze { thaw_after: (!thaw_after.is_zero()).then_some(thaw_after) })
    };
    asked(call, read())
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ExecOptions {
    command: Vec<String>,
    stdin: String,
    timeout: Option<String>,
}

fn exec(call: &Call<'_>) -> Answer {
    let read = || {
        let options: ExecOptions = call.body()?;
        let input = spec::base64::decode(&options.stdin);
        let input = input.map_err(|error| failure::bad_request(&format!("stdin: {error}")))?;
        let timeout = time("timeout", options.timeout.as_deref(), EXEC)?.min(LONGEST_EXEC);
        Ok(AgentCommand::Exec(ExecRequest { argv: options.command, input, timeout }))
    };
    asked(call, read())
}

/// A length of time of the body.
fn time(field: &str, text: Option<&str>, usual: Duration) -> Result<Duration, Response> {
    text.map_or(Ok(usual), |text| {
        duration::parse(text).ok_or_else(|| {
            failure::bad_request(&format!("{field}: {text:?} is no length of time such as 30s or 5m0s"))
        })
    })
}

fn asked(call: &Call<'_>, command: Result<AgentCommand, Response>) -> Answer {
    match command {
        Ok(command) => ask(call, command),
        Err(response) => Answer::Now(response),
    }
}

/// Asks the agent; the answer comes when it has one.
fn ask(call: &Call<'_>, command: AgentCommand) -> Answer {
    if let Err(response) = named(call) {
        return Answer::Now(response);
    }
    let Some(agent) = &call.context.agent else {
        return Answer::Now(failure::refused(&AgentError::LeftToSocket.into()));
    };
    let responder = call.responder();
    let reply = AgentReply::new(move |answer| {
        responder.answer(answer.map_or_else(|error| failure::refused(&error.into()), said));
    });
    agent.ask(command, reply);
    Answer::Later
}

impl From<AgentError> for Refusal {
    fn from(error: AgentError) -> Self {
        let kind = match &error {
            AgentError::NotConnected
            | AgentError::LeftToSocket
            | AgentError::Paused
            | AgentError::Frozen
            | AgentError::Unsupported(_) => RefusalKind::Conflict,
            AgentError::Refused(_) | AgentError::TooLong(_) | AgentError::Odd(_) => RefusalKind::Internal,
            AgentError::TimedOut(_) | AgentError::StillRuns { .. } => RefusalKind::TimedOut,
            AgentError::Lost(_) | AgentError::Busy => RefusalKind::Unavailable,
            AgentError::Invalid(_) => RefusalKind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}

/// What an agent said, as KubeVirt says it.
fn said(answer: AgentAnswer) -> Response {
    let object = match answer {
        AgentAnswer::Done => return Response::empty(202),
        AgentAnswer::Info(all) => everything(&all),
        AgentAnswer::Users(all) => {
            list("VirtualMachineInstanceGuestOSUserList", all.iter().map(user).collect())
        }
        AgentAnswer::FileSystems(all) => {
            list("VirtualMachineInstanceFileSystemList", all.iter().map(file_system).collect())
        }
        AgentAnswer::Freeze(status) => json!({ "fsFreezeStatus": freeze_status(status) }),
        AgentAnswer::Exec(outcome) => json!(Exec::from(outcome)),
    };
    Response::json(200, object.to_string())
}

fn list(kind: &str, items: Vec<Value>) -> Value {
    json!({ "kind": kind, "apiVersion": "kubevirt.io/v1", "metadata": {}, "items": items })
}

fn everything(all: &Everything) -> Value {
    let Everything { agent, guest, users, file_systems } = all;
    let commands =
        agent.commands.iter().map(|command| json!({ "name": command.name, "enabled": command.enabled }));
    json!({
        "kind": "VirtualMachineInstanceGuestAgentInfo",
        "apiVersion": "kubevirt.io/v1",
        "guestAgentVersion": agent.version,
        "supportedCommands": commands.collect::<Vec<_>>(),
        "hostname": guest.host_name,
        "os": guest.os.as_ref().map(os).unwrap_or_default(),
        "timezone": guest.time_zone.as_ref().map(|zone| format!("{}, {}", zone.zone, zone.offset)).unwrap_or_default(),
        "userList": users.iter().map(user).collect::<Vec<_>>(),
        "fsInfo": { "disks": file_systems.iter().map(file_system).collect::<Vec<_>>() },
        "fsFreezeStatus": guest.freeze.map(freeze_status).unwrap_or_default(),
    })
}

fn os(os: &OsInfo) -> Value {
    json!({
        "name": os.name,
        "kernelRelease": os.kernel_release,
        "version": os.version,
        "prettyName": os.pretty_name,
        "versionId": os.version_id,
        "kernelVersion": os.kernel_version,
        "machine": os.machine,
        "id": os.id,
    })
}

fn user(user: &User) -> Value {
    json!({ "userName": user.name, "domain": user.domain, "loginTime": user.login_time })
}

fn file_system(system: &FileSystem) -> Value {
    let disks = system.devices.iter().map(|disk| json!({ "serial": disk.serial, "busType": disk.bus_type }));
    json!({
        "diskName": system.name,
        "mountPoint": system.mount_point,
        "fileSystemType": system.kind,
        "usedBytes": system.used_bytes,
        "totalBytes": system.total_bytes,
        "disk": disks.collect::<Vec<_>>(),
    })
}

fn freeze_status(status: FreezeStatus) -> &'static str {
    match status {
        FreezeStatus::Frozen => "frozen",
        FreezeStatus::Thawed => "thawed",
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Exec {
    exit_code: Option<i64>,
    signal: Option<i64>,
    stdout: String,
    stderr: String,
    truncated: bool,
}

impl From<ExecOutcome> for Exec {
    fn from(outcome: ExecOutcome) -> Self {
        Self {
            exit_code: outcome.exit_code,
            signal: outcome.signal,
            stdout: spec::base64::encode(&outcome.stdout),
            stderr: spec::base64::encode(&outcome.stderr),
            truncated: outcome.truncated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Device, GuestInfo};

    #[test]
    fn answers_have_kubevirts_form() {
        let system = FileSystem {
            name: "vda1".into(),
            mount_point: "/".into(),
            kind: "ext4".into(),
            used_bytes: 1,
            total_bytes: 2,
            devices: vec![Device { serial: "s".into(), bus_type: "virtio".into() }],
        };
        let os = OsInfo { id: "debian".into(), kernel_release: "6.1".into(), ..OsInfo::default() };
        let guest = GuestInfo { os: Some(os), freeze: Some(FreezeStatus::Thawed), ..GuestInfo::default() };
        let all = everything(&Everything { guest, file_systems: vec![system], ..Everything::default() });
        assert_eq!(all.pointer("/os/kernelRelease").unwrap(), "6.1");
        assert_eq!(all.pointer("/fsInfo/disks/0/disk/0/busType").unwrap(), "virtio");
        assert_eq!(all.pointer("/fsInfo/disks/0/mountPoint").unwrap(), "/");
        assert_eq!(all["fsFreezeStatus"], "thawed");
        let exec = json!(Exec::from(ExecOutcome {
            exit_code: Some(3),
            stdout: b"hi".to_vec(),
            ..Default::default()
        }));
        assert_eq!(
            (&exec["exitCode"], &exec["stdout"], &exec["signal"]),
            (&json!(3), &json!("aGk="), &Value::Null)
        );
    }
}
