//! The commands of QEMU's guest agent protocol (`qga/qapi-schema.json`), each with its answer's form and what it may cost.

use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::facts::HostName;
use super::{
    AgentInfo, ExecRequest, FileSystem, FreezeStatus, Interface, OsInfo, ShutdownMode, TimeZone, User,
};

/// Largest answer that is taken, but for what programs wrote.
const LARGEST: usize = 1 << 20;
/// Largest answer with what a program wrote: the agent keeps 16 MiB each of output and errors, in base64.
const LARGEST_OUTPUT: usize = 44 << 20;
/// Time for what an agent knows by heart. A guest may be busy, or have little of a processor.
const SHORT: Duration = Duration::from_secs(10);
/// Time for what needs other programs or disks.
const LONG: Duration = Duration::from_secs(30);
/// Time for file systems to write out all that they hold, as KubeVirt gives them.
const FREEZE: Duration = Duration::from_secs(60);

/// A command on its way, and what is expected of it.
#[derive(Debug)]
pub(super) struct Call<T> {
    /// Its name.
    pub(super) name: &'static str,
    /// Its arguments; null if it has none.
    pub(super) arguments: Value,
    /// How long its answer is waited for.
    pub(super) patience: Duration,
    /// Largest answer.
    pub(super) largest: usize,
    answer: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Call<T> {
    fn new(name: &'static str, arguments: Value, patience: Duration) -> Self {
        Self { name, arguments, patience, largest: LARGEST, answer: PhantomData }
    }
}

/// A list that is cut while it is read, so that a long one costs no memory.
#[derive(Debug, Deserialize)]
#[serde(transparent, bound = "T: Deserialize<'de>")]
pub(super) struct List<T>(#[serde(deserialize_with = "super::facts::few")] pub(super) Vec<T>);

/// A program that was started.
#[derive(Debug, Deserialize)]
pub(super) struct Started {
    pub(super) pid: i64,
}

/// How a program does.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct ExecStatus {
    pub(super) exited: bool,
    #[serde(rename = "exitcode")]
    pub(super) exit_code: Option<i64>,
    pub(super) signal: Option<i64>,
    #[serde(deserialize_with = "base64")]
    pub(super) out_data: Vec<u8>,
    #[serde(deserialize_with = "base64")]
    pub(super) err_data: Vec<u8>,
    pub(super) out_truncated: bool,
    pub(super) err_truncated: bool,
}

fn base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    spec::base64::decode(&text).map_err(serde::de::Error::custom)
}

pub(super) fn ping() -> Call<IgnoredAny> {
    Call::new("guest-ping", Value::Null, SHORT)
}

pub(super) fn info() -> Call<AgentInfo> {
    Call::new("guest-info", Value::Null, SHORT)
}

pub(super) fn os_info() -> Call<OsInfo> {
    Call::new("guest-get-osinfo", Value::Null, SHORT)
}

pub(super) fn host_name() -> Call<HostName> {
    Call::new("guest-get-host-name", Value::Null, SHORT)
}

pub(super) fn time_zone() -> Call<TimeZone> {
    Call::new("guest-get-timezone", Value::Null, SHORT)
}

pub(super) fn users() -> Call<List<User>> {
    Call::new("guest-get-users", Value::Null, SHORT)
}

pub(super) fn file_systems() -> Call<List<FileSystem>> {
    Call::new("guest-get-fsinfo", Value::Null, LONG)
}

pub(super) fn interfaces() -> Call<List<Interface>> {
    Call::new("guest-network-get-interfaces", Value::Null, SHORT)
}

pub(super) fn freeze_status() -> Call<FreezeStatus> {
    Call::new("guest-fsfreeze-status", Value::Null, SHORT)
}

/// The answer is the number of file systems that were frozen.
pub(super) fn freeze() -> Call<i64> {
    Call::new("guest-fsfreeze-freeze", Value::Null, FREEZE)
}

/// The answer is the number of file systems that were thawed.
pub(super) fn thaw() -> Call<i64> {
    Call::new("guest-fsfreeze-thaw", Value::Null, FREEZE)
}

pub(super) fn exec(request: &ExecRequest) -> Call<Started> {
    let (path, arguments) =
        request.argv.split_first().map_or(("", &[][..]), |(path, rest)| (path.as_str(), rest));
    let mut values = json!({ "path": path, "arg": arguments, "capture-output": true });
    if !request.input.is_empty()
        && let Some(values) = values.as_object_mut()
    {
        values.insert("input-data".into(), spec::base64::encode(&request.input).into());
    }
    Call::new("guest-exec", values, LONG)
}

pub(super) fn exec_status(pid: i64) -> Call<ExecStatus> {
    Call { largest: LARGEST_OUTPUT, ..Call::new("guest-exec-status", json!({ "pid": pid }), LONG) }
}

/// Puts the keys into the user's `authorized_keys`, in place of what is there.
pub(super) fn set_keys(user: &str, keys: &[String]) -> Call<IgnoredAny> {
    let arguments = json!({ "username": user, "keys": keys, "reset": true });
    Call::new("guest-ssh-add-authorized-keys", arguments, LONG)
}

/// Sets the user's password.
pub(super) fn set_password(user: &str, password: &[u8]) -> Call<IgnoredAny> {
    let password = spec::base64::encode(password);
    let arguments = json!({ "username": user, "password": password, "crypted": false });
    Call::new("guest-set-user-password", arguments, LONG)
}

/// An agent that obeys gives no answer.
pub(super) fn shut_down(mode: ShutdownMode) -> Call<IgnoredAny> {
    let mode = match mode {
        ShutdownMode::PowerOff => "powerdown",
        ShutdownMode::Reboot => "reboot",
    };
    Call::new("guest-shutdown", json!({ "mode": mode }), Duration::from_secs(3))
}
