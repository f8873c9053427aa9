//! `kubevmm cpu`: processor models, of this host and of several.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use arch::cpuid::{Baseline, GuestCpu, HostCpu, NamedModel, Obstacle};
use serde_json::{Value, json};

use super::args::Args;
use super::output::{Format, print, yaml_document};
use super::{Failure, REJECTED};
use crate::kvm::Hypervisor;
use crate::machine::BuildError;
use crate::state::RunError;

/// Longest description of a host that is read, in bytes. They have two thousand.
const DESCRIPTION: u64 = 1 << 20;

/// Runs the command; returns the exit code.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let words = args.words()?;
    let format = Format::of(args)?;
    match words.as_slice() {
        ["models"] => models(format),
        ["host"] => {
            let host = host()?;
            show(format, &json!(host), || describe(&host)).map(|()| 0)
        }
        ["compare", other] => compare(format, other),
        ["baseline", files @ ..] if !files.is_empty() => baseline(format, files),
        ["baseline"] => {
            Err(usage("baseline takes what `kubevmm cpu host -o json` printed on each host, a file each"))
        }
        ["compare", ..] => Err(usage("compare takes one model, or one file of `kubevmm cpu host -o json`")),
        _ => Err(usage("say what: models, host, compare or baseline; kubevmm cpu --help explains them")),
    }
}

fn usage(text: &str) -> Failure {
    Failure::Usage(text.to_owned())
}

/// This host's processor.
fn host() -> Result<HostCpu, Failure> {
    let host = Hypervisor::open().and_then(|hypervisor| hypervisor.processor());
    host.map_err(|error| Failure::Run(RunError::Build(BuildError::from(error))))
}

/// The processor of the host that a file tells of.
fn read(file: &str) -> Result<HostCpu, Failure> {
    let fail = |why: String| Failure::NotSo(format!("{file}: {why}"));
    let mut text = String::new();
    let opened: Box<dyn io::Read> = match file {
        "-" => Box::new(io::stdin()),
        path => Box::new(File::open(path).map_err(|error| fail(error.to_string()))?),
    };
    opened.take(DESCRIPTION).read_to_string(&mut text).map_err(|error| fail(error.to_string()))?;
    serde_json::from_str(&text)
        .map_err(|error| fail(format!("this is not what `kubevmm cpu host -o json` prints: {error}")))
}

fn show(format: Format, value: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
    match format {
        Format::Text => print(&text()),
        Format::Json => print(&format!("{value:#}\n")),
        Format::Yaml => print(&yaml_document(value)),
    }
}

fn describe(host: &HostCpu) -> String {
    let best = Baseline::of(std::slice::from_ref(host));
    let nearest = best.map_or_else(String::new, |Baseline { model, besides }| {
        format!("nearest model  {}\nbeyond it      {}\n", model.name(), besides.join(" "))
    });
    let HostCpu { vendor, family, model, stepping, features, limits } = host;
    let scaling = if limits.scales_tsc { "guests can have another" } else { "guests have the same" };
    format!(
        "vendor         {vendor}\nsignature      family {family}, model {model}, stepping {stepping}\n{nearest}addresses      {} bits\n\
         counter        {} kHz, {scaling}\nfeatures       {}\n",
        limits.physical_bits,
        limits.tsc_khz,
        features.join(" ")
    )
}

fn models(format: Format) -> Result<u8, Failure> {
    let host = host()?;
    let rows: Vec<_> = NamedModel::all().map(|model| (model, host.obstacle(model))).collect();
    let value: Vec<_> = rows
        .iter()
        .map(|(model, obstacle)| {
            json!({"name": model.name(), "vendor": model.vendor(), "usable": obstacle.is_none(), "missing": missing(obstacle.as_ref())})
        })
        .collect();
    let text = || {
        let width = rows.iter().map(|(model, _)| model.name().len()).max().unwrap_or_default();
        let mut text = format!("{:width$}  USABLE  MISSING\n", "NAME");
        for (model, obstacle) in &rows {
            let usable = if obstacle.is_none() { "yes" } else { "no" };
            let line = format!("{:width$}  {usable:<6}  {}", model.name(), reason(obstacle.as_ref()));
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    };
    show(format, &json!(value), text).map(|()| 0)
}

fn missing(obstacle: Option<&Obstacle>) -> &[&'static str] {
    match obstacle {
        Some(Obstacle::Missing(missing)) => missing,
        _ => &[],
    }
}

/// Why not, in a few words.
fn reason(obstacle: Option<&Obstacle>) -> String {
    match obstacle {
        None => String::new(),
        Some(Obstacle::Vendor(vendor)) => format!("a processor of {vendor}"),
        Some(Obstacle::Missing(missing)) => missing.join(" "),
    }
}

/// What a machine needs that this host has not.
fn lack(host: &HostCpu, other: &str) -> Result<Option<String>, Failure> {
    if let Some(model) = NamedModel::find(other) {
        let obstacle = host.obstacle(model);
        return Ok(obstacle.as_ref().map(|obstacle| reason(Some(obstacle))));
    }
    if other != "-" && !Path::new(other).exists() {
        return Err(Failure::Usage(format!(
            "{other:?} is neither a file nor a model; `kubevmm cpu models` lists models"
        )));
    }
    let other = read(other)?;
    // A guest that has seen all of the other host.
    let guest = GuestCpu { seen: other, forced: Vec::new(), host: None };
    Ok(host.fits(&guest).err().map(|misfit| misfit.to_string()))
}

fn compare(format: Format, other: &str) -> Result<u8, Failure> {
    let lack = lack(&host()?, other)?;
    let value = json!({"runs": lack.is_none(), "missing": lack});
    show(format, &value, || match &lack {
        None => format!("machines of {other} can run on this host\n"),
        Some(lack) => format!("machines of {other} cannot run on this host: {lack}\n"),
    })?;
    Ok(if lack.is_some() { REJECTED } else { 0 })
}

fn baseline(format: Format, files: &[&str]) -> Result<u8, Failure> {
    let hosts = files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    let Some(Baseline { model, besides }) = Baseline::of(&hosts) else {
        return Err(Failure::NotSo("these hosts have no model in common".into()));
    };
    let features: Vec<_> = besides.iter().map(|name| json!({"name": name, "policy": "require"})).collect();
    let value = json!({"model": model.name(), "features": features});
    // A piece of a manifest is what is wanted, also by people.
    show(format, &value, || spec::yaml::write(&json!({"cpu": value})))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use arch::cpuid::Limits;

    use super::*;

    fn host(features: &[&str]) -> HostCpu {
        let features = features.iter().map(|name| (*name).to_owned()).collect();
        let vendor = "GenuineIntel".into();
        HostCpu { vendor, family: 6, model: 60, stepping: 4, features, limits: Limits::default() }
    }

    #[test]
    fn hosts_are_written_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host.json");
        let written = host(&["sse2", "lm"]);
        std::fs::write(&path, json!(written).to_string()).unwrap();
        assert_eq!(read(path.to_str().unwrap()).unwrap(), written);
        std::fs::write(&path, "{\"vendor\": 3}").unwrap();
        assert!(read(path.to_str().unwrap()).unwrap_err().to_string().contains("cpu host -o json"));
    }

    #[test]
    fn what_a_host_lacks_is_named() {
        let haswell = host(&NamedModel::find("Haswell").unwrap().features());
        assert_eq!(lack(&haswell, "IvyBridge").unwrap(), None);
        assert_eq!(lack(&haswell, "Broadwell").unwrap().unwrap(), "rdseed adx smap 3dnowprefetch");
        assert_eq!(lack(&haswell, "EPYC").unwrap().unwrap(), "a processor of AuthenticAMD");
        assert!(matches!(lack(&haswell, "/nowhere"), Err(Failure::Usage(_))));
        let features =
            haswell.features.iter().map(String::as_str).chain(["rdseed", "adx"]).collect::<Vec<_>>();
        let more = describe(&host(&features));
        assert!(more.contains("nearest model  Haswell\nbeyond it      rdseed adx\n"), "{more}");
    }
}
