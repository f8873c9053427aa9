//! Standard output and its formats.

use std::io::{self, Write as _};
use std::str::FromStr;

use serde_json::Value;

use super::Failure;
use super::args::Args;

/// How a command writes what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For both.
    Yaml,
}

/// The text names no format.
#[derive(Debug, thiserror::Error)]
#[error("there is no output format {0:?}: use text, json or yaml")]
pub(super) struct NoSuchFormat(String);

impl FromStr for Format {
    type Err = NoSuchFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            other => Err(NoSuchFormat(other.to_owned())),
        }
    }
}

impl Format {
    /// What `--output` asks for.
    pub(super) fn of(args: &Args) -> Result<Self, Failure> {
        Ok(args.parsed("output")?.unwrap_or_default())
    }
}

/// A value as a YAML document of a stream.
pub(super) fn yaml_document(value: &Value) -> String {
    format!("---\n{}", spec::yaml::write(value))
}

/// Writes to standard error. There is nowhere to say that it failed.
pub(super) fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes to standard output. A reader that has seen enough, such as `head`, is no fault.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Host { what: "standard output cannot be written", source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_named() {
        assert_eq!("yaml".parse::<Format>().unwrap(), Format::Yaml);
        assert!("xml".parse::<Format>().unwrap_err().to_string().contains("text, json or yaml"));
    }
}
