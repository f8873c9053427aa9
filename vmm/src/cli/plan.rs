//! `kubevmm plan`.

use super::args::Args;
use super::{Failure, manifest};
use crate::plan::render;

/// Prints the plan.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let format = args.text("output")?;
    let plan = manifest::plan(args, || ())?;
    match format.as_deref() {
        None | Some("text") => print!("{}", render(&plan)),
        Some("json") => println!("{}", json(&plan)?),
        Some("yaml") => print!("{}", yaml(&plan)?),
        Some(other) => return Err(unknown(other)),
    }
    Ok(0)
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map_err(|error| Failure::Host { what: "the plan could not be written", source: error.into() })
}

fn yaml(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_saphyr::to_string(value).map_err(|error| Failure::Host {
        what: "the plan could not be written",
        source: std::io::Error::other(error),
    })
}

pub(super) fn unknown(format: &str) -> Failure {
    Failure::Usage(format!("there is no output format {format:?}: use text, json or yaml"))
}
