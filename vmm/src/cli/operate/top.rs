//! `kubevmm top`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::cli::Failure;
use crate::cli::args::Args;
use crate::cli::output::print;
use crate::cli::run::runtime_root;
use crate::client::{self, Machine};

use super::names;
use super::table::table;

const HEAD: [&str; 8] =
    ["NAMESPACE", "NAME", "CPU", "MEMORY", "DISK READ/s", "DISK WRITE/s", "NET RX/s", "NET TX/s"];
/// Sums that are shown as they are, or as what they grow by in a second.
const CPU: &str = "kubevirt_vmi_cpu_usage_seconds_total";
const MEMORY: &str = "kubevirt_vmi_memory_resident_bytes";
const RATES: [&str; 4] = [
    "kubevirt_vmi_storage_read_traffic_bytes_total",
    "kubevirt_vmi_storage_write_traffic_bytes_total",
    "kubevirt_vmi_network_receive_bytes_total",
    "kubevirt_vmi_network_transmit_bytes_total",
];

/// Metrics of a machine at one time, each the sum over its labels.
struct Sample {
    at: Instant,
    sums: HashMap<String, f64>,
}

impl Sample {
    /// Asks a machine; nothing of one that has ended.
    fn of(machine: &Machine) -> Option<Self> {
        let text = machine.ask("GET", "/metrics", "").ok()?.body;
        Some(Self { at: Instant::now(), sums: sums(&String::from_utf8_lossy(&text)) })
    }

    fn get(&self, name: &str) -> f64 {
        self.sums.get(name).copied().unwrap_or_default()
    }

    /// What the metric grew by in a second since `before`.
    fn rate(&self, before: &Self, name: &str) -> f64 {
        let time = self.at.duration_since(before.at).as_secs_f64().max(0.001);
        (self.get(name) - before.get(name)).max(0.0) / time
    }
}

/// Sums of a text in Prometheus' format, over all labels.
fn sums(text: &str) -> HashMap<String, f64> {
    let mut sums = HashMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let name = series.split('{').next().unwrap_or(series);
        if let Ok(value) = value.parse::<f64>() {
            *sums.entry(name.to_owned()).or_default() += value;
        }
    }
    sums
}

/// Shows what machines use.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let seconds: u32 = args.parsed("interval")?.unwrap_or(1);
    if seconds == 0 {
        return Err(Failure::Usage("--interval: at least one second is measured".into()));
    }
    let only = names::namespace(args)?;
    let machines = match args.words()?.as_slice() {
        [] => client::all(&runtime_root(args)),
        _ => names::machines(args)?,
    };
    let is_meant = |machine: &Machine| only.as_ref().is_none_or(|only| *only == machine.namespace);
    let machines: Vec<Machine> = machines.into_iter().filter(is_meant).collect();
    let mut before: Vec<_> = machines.iter().map(Sample::of).collect();
    loop {
        std::thread::sleep(Duration::from_secs(seconds.into()));
        let now: Vec<_> = machines.iter().map(Sample::of).collect();
        let rows: Vec<_> = machines
            .iter()
            .zip(before.iter().zip(&now))
            .filter_map(|(machine, (before, now))| Some(row(machine, before.as_ref()?, now.as_ref()?)))
            .collect();
        if rows.is_empty() {
            return print("No machines run.\n").map(|()| 0);
        }
        print(&table(&HEAD, &rows))?;
        if !args.has("watch") {
            return Ok(0);
        }
        before = now;
    }
}

fn row(machine: &Machine, before: &Sample, now: &Sample) -> Vec<String> {
    let cpu = format!("{:.0}m", now.rate(before, CPU) * 1000.0);
    let mut row = vec![machine.namespace.clone(), machine.name.clone(), cpu, bytes(now.get(MEMORY))];
    row.extend(RATES.map(|name| bytes(now.rate(before, name))));
    row
}

/// A number of bytes with a unit, in three digits or so.
fn bytes(count: f64) -> String {
    let mut count = count;
    for unit in ["", "Ki", "Mi", "Gi"] {
        if count < 1024.0 {
            let digits = if count < 10.0 && !unit.is_empty() { 1 } else { 0 };
            return format!("{count:.digits$}{unit}");
        }
        count /= 1024.0;
    }
    format!("{count:.1}Ti")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_metric_are_added() {
        let sums = sums("# TYPE a counter\na{x=\"1 }\"} 1.5\na{x=\"2\"} 2\nb 7\nnonsense\nc{} NaN?\n");
        assert_eq!((sums["a"], sums["b"], sums.len()), (3.5, 7.0, 2));
    }

    #[test]
    fn bytes_are_short() {
        for (count, text) in
            [(0.0, "0"), (1023.0, "1023"), (1536.0, "1.5Ki"), (50.0 * 1048576.0, "50Mi"), (5e12, "4.5Ti")]
        {
            assert_eq!(bytes(count), text);
        }
    }
}
