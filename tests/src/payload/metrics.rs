//! What Prometheus is told of a payload.

use std::collections::{BTreeMap, BTreeSet};

use super::{SOON, code, start};
use crate::api;
use crate::case::Ctx;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::vm::Vm;

/// Names that have to be there, disks and cards or not.
const NAMES: [&str; 9] = [
    "kubevirt_vmi_info",
    "kubevirt_vmi_cpu_usage_seconds_total",
    "kubevirt_vmi_vcpu_seconds_total",
    "kubevirt_vmi_vcpu_wait_seconds_total",
    "kubevirt_vmi_vcpu_delay_seconds_total",
    "kubevirt_vmi_memory_domain_bytes",
    "kubevirt_vmi_memory_resident_bytes",
    "kubevmm_vcpu_exits_total",
    "kubevmm_milestone_seconds",
];

/// The text is what Prometheus takes, and no counter goes back when the guest is reset.
pub(super) fn metrics(ctx: &Ctx) -> Outcome {
    let mut vm = start(ctx, code::echo(), &[])?;
    vm.console().wait_for("payload: type\n", SOON)?;
    let before = read(&vm)?;
    let names: BTreeSet<&str> =
        before.keys().map(|series| series.split('{').next().unwrap_or(series)).collect();
    let missing: Vec<_> = NAMES.iter().filter(|name| !names.contains(*name)).collect();
    ensure!(missing.is_empty(), "{missing:?} are missing among {names:?}");
    let has_exits = sum(&before, "kubevmm_vcpu_exits_total") > 10.0;
    ensure!(has_exits, "a guest that wrote a line had no exits");
    vm.operate("reset")?;
    vm.console().wait_for_times("payload: type\n", 2, SOON)?;
    let after = read(&vm)?;
    for (series, value) in before.iter().filter(|(series, _)| series.contains("_total{")) {
        let now = after.get(series).ok_or_else(|| Failure(format!("{series} is gone after a reset")))?;
        let goes_back = now < value;
        ensure!(!goes_back, "{series} went from {value} to {now}");
    }
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown").map(drop)
}

fn sum(all: &BTreeMap<String, f64>, name: &str) -> f64 {
    all.iter().filter(|(series, _)| series.starts_with(name)).map(|(_, value)| value).sum()
}

/// Reads the metrics by the rules of the format: a type before its samples, labels in quotes, each series once.
fn read(vm: &Vm) -> Result<BTreeMap<String, f64>, Failure> {
    let text = api::call(&vm.runtime().join("api.sock"), "GET", "/metrics")?.text;
    ensure!(text.ends_with('\n'), "the text ends in the middle of a line");
    let (mut all, mut metric) = (BTreeMap::new(), "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            metric = rest.split(' ').next().unwrap_or_default();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let kind = rest.strip_prefix(metric).map(str::trim);
            let is_counter = metric.ends_with("_total");
            ensure!(kind == Some(if is_counter { "counter" } else { "gauge" }), "{line:?} behind {metric}");
        } else {
            let (series, value) = line.rsplit_once(' ').ok_or_else(|| Failure(format!("{line:?}")))?;
            let labels = series.strip_prefix(metric).and_then(|rest| rest.strip_prefix('{'));
            let labels = labels.and_then(|rest| rest.strip_suffix('}'));
            let labels = labels.ok_or_else(|| Failure(format!("{line:?} is no sample of {metric}")))?;
            ensure!(labels.contains("namespace=\"default\",name=\"payload\""), "labels of {line:?}");
            ensure!(labels.split("\",").all(|label| label.contains("=\"")), "labels of {line:?}");
            let value: f64 = value.parse().doing("reading a value")?;
            ensure!((0.0..f64::INFINITY).contains(&value), "{line:?}");
            ensure!(all.insert(series.to_owned(), value).is_none(), "{series} comes twice");
        }
    }
    Ok(all)
}
