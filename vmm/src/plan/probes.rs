//! `spec.readinessProbe` and `spec.livenessProbe`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spec::api::{IntOrString, Probe, VirtualMachineInstance};

use super::PlanError;

/// A test of the guest's health, done again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbePlan {
    /// What is done.
    pub action: ProbeAction,
    /// Time before the first test.
    #[serde(with = "super::seconds")]
    pub initial_delay: Duration,
    /// Time from test to test.
    #[serde(with = "super::seconds")]
    pub period: Duration,
    /// Time after which a test has failed.
    #[serde(with = "super::seconds")]
    pub timeout: Duration,
    /// So many successes in a row make one.
    pub success_threshold: u32,
    /// So many failures in a row make one.
    pub failure_threshold: u32,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProbeAction {
    /// Runs a program in the guest, which is to exit with 0.
    Exec {
        /// The program and its arguments.
        command: Vec<String>,
    },
    /// Asks the guest agent whether it is there.
    Ping,
    /// Opens a TCP connection.
    Tcp {
        /// The host; the guest if there is none.
        host: Option<String>,
        /// The port.
        port: u16,
    },
    /// Asks by HTTP, for an answer with a status from 200 to 399.
    Http {
        /// The host; the guest if there is none.
        host: Option<String>,
        /// The port.
        port: u16,
        /// The path, with its query.
        path: String,
        /// Fields of the request's head.
        headers: Vec<(String, String)>,
    },
}

/// Plans the probe that the manifest has under `key`, if it has one.
pub(super) fn plan(
    vmi: &VirtualMachineInstance,
    probe: Option<&Probe>,
    key: &str,
) -> Result<Option<ProbePlan>, PlanError> {
    let Some(probe) = probe else { return Ok(None) };
    let path = format!("spec.{key}");
    let count = |value: i32, least: i32| u32::try_from(value.max(least)).unwrap_or(1);
    let seconds = |value: i32, least: i32| Duration::from_secs(count(value, least).into());
    Ok(Some(ProbePlan {
        action: action(vmi, probe, &path)?,
        initial_delay: seconds(probe.initial_delay_seconds, 0),
        period: seconds(probe.period_seconds, 1),
        timeout: seconds(probe.timeout_seconds, 1),
        success_threshold: count(probe.success_threshold, 1),
        failure_threshold: count(probe.failure_threshold, 1),
    }))
}

fn action(vmi: &VirtualMachineInstance, probe: &Probe, path: &str) -> Result<ProbeAction, PlanError> {
    let host = |host: &str| Some(host.to_owned()).filter(|host| !host.is_empty());
    if let Some(exec) = &probe.exec {
        if exec.command.first().is_none_or(String::is_empty) {
            return Err(PlanError::at(format!("{path}.exec.command"), "name a program to run in the guest"));
        }
        return Ok(ProbeAction::Exec { command: exec.command.clone() });
    }
    if let Some(tcp) = &probe.tcp_socket {
        let port = port(vmi, &tcp.port, &format!("{path}.tcpSocket.port"))?;
        return Ok(ProbeAction::Tcp { host: host(&tcp.host), port });
    }
    if let Some(http) = &probe.http_get {
        let port = port(vmi, &http.port, &format!("{path}.httpGet.port"))?;
        if !http.scheme.is_empty() && !http.scheme.eq_ignore_ascii_case("http") {
            return Ok(ProbeAction::Tcp { host: host(&http.host), port });
        }
        let headers: Vec<_> =
            http.http_headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect();
        let target = format!("/{}", http.path.trim_start_matches('/'));
        let is_plain = |text: &str| !text.chars().any(char::is_control);
        if !is_plain(&target) || target.contains(' ') {
            return Err(PlanError::at(
                format!("{path}.httpGet.path"),
                "a path has no spaces and control characters",
            ));
        }
        if headers
            .iter()
            .any(|(name, value)| !is_plain(name) || !is_plain(value) || name.contains([':', ' ']))
        {
            let message = "a header's name and value are single lines, and the name is one word";
            return Err(PlanError::at(format!("{path}.httpGet.httpHeaders"), message));
        }
        return Ok(ProbeAction::Http { host: host(&http.host), port, path: target, headers });
    }
    // One of them is there: the manifest was admitted.
    Ok(ProbeAction::Ping)
}

/// A port by number, or by the name that a card's ports give it.
fn port(vmi: &VirtualMachineInstance, port: &IntOrString, path: &str) -> Result<u16, PlanError> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::Text(name) => {
            let mut ports = vmi.spec.domain.devices.interfaces.iter().flat_map(|card| &card.ports);
            let named = ports.find(|port| port.name == *name).map(|port| i64::from(port.port));
            named.or_else(|| name.parse().ok())
        }
    };
    number.and_then(|number| u16::try_from(number).ok()).filter(|port| *port != 0).ok_or_else(|| {
        PlanError::at(
            path,
            "is no port: give a number from 1 to 65535, or the name of one of the interfaces' ports",
        )
    })
}
