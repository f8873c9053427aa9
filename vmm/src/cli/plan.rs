//! `kubevmm plan`.

use super::args::Args;
use super::output::{Format, print};
use super::{Failure, manifest, surroundings};
use crate::plan::{Plan, render};

/// Prints the plan.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let format = Format::of(args)?;
    let plan = manifest::plan(args, surroundings::gather)?.plan.without_contents();
    match format {
        Format::Text => print(&render(&plan))?,
        Format::Json => print(&format!("{:#}\n", value(&plan)?))?,
        Format::Yaml => print(&spec::yaml::write(&value(&plan)?))?,
    }
    Ok(0)
}

fn value(plan: &Plan) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(plan)
        .map_err(|error| Failure::Host { what: "the plan cannot be written", source: error.into() })
}
