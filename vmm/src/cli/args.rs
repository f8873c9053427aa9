//! Parsing of a command's arguments.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::str::FromStr;

use super::Failure;
use super::commands::{Command, Opt};

/// What a command was given.
pub(super) struct Args {
    options: Vec<(&'static str, OsString)>,
    files: Vec<PathBuf>,
}

impl Args {
    /// Parses `arguments` as `command` wants them: options anywhere, `--` before files that look like options.
    pub(super) fn parse(command: &Command, arguments: &[OsString]) -> Result<Self, Failure> {
        let mut args = Self { options: Vec::new(), files: Vec::new() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let text = argument.to_string_lossy();
            if text == "--" {
                args.files.extend(rest.by_ref().map(PathBuf::from));
            } else if text == "-" || !text.starts_with('-') {
                args.files.push(argument.into());
            } else if !args.letters(command, &text, argument, &mut rest)? {
                args.option(command, &text, argument, &mut rest)?;
            }
        }
        Ok(args)
    }

    /// Takes `-abVALUE`: letters without values, and perhaps one with its value behind it. False if it is no such
    /// thing.
    fn letters<'a>(
        &mut self,
        command: &Command,
        text: &str,
        argument: &OsStr,
        rest: &mut (impl Iterator<Item = &'a OsString> + Clone),
    ) -> Result<bool, Failure> {
        let letters: Vec<char> = text.chars().skip(1).collect();
        let find = |letter: &char| command.all_options().find(|option| option.short == Some(*letter));
        if text.starts_with("--") || letters.len() < 2 || letters.get(1) == Some(&'=') {
            return Ok(false);
        }
        if letters.first().is_none_or(|letter| find(letter).is_none()) {
            return Ok(false);
        }
        for (at, letter) in letters.iter().enumerate() {
            let option = format!("-{letter}");
            // What is before it are letters that are options, so single bytes.
            let takes_rest =
                find(letter).is_some_and(|option| option.value.is_some()) && at + 1 < letters.len();
            if takes_rest {
                let value = after_equals(argument, at + 1);
                let name = find(letter).map_or("", |option| option.name);
                self.options.push((name, value));
                return Ok(true);
            }
            self.option(command, &option, OsStr::new(&option), rest)?;
        }
        Ok(true)
    }

    fn option<'a>(
        &mut self,
        command: &Command,
        text: &str,
        argument: &OsStr,
        rest: &mut (impl Iterator<Item = &'a OsString> + Clone),
    ) -> Result<(), Failure> {
        let (name, inline) = match text.split_once('=') {
            Some((name, _)) => (name, Some(after_equals(argument, name.len()))),
            None => (text, None),
        };
        let option = command.all_options().find(|option| option.is_called(name)).ok_or_else(|| {
            Failure::Usage(format!(
                "{} has no option {name}; kubevmm {} --help lists them",
                command.name, command.name
            ))
        })?;
        let value = match (option.value, inline) {
            (None, None) => OsString::new(),
            (None, Some(_)) => return Err(Failure::Usage(format!("{name} takes no value"))),
            (Some(_), Some(value)) => value,
            (Some(_), None) if option.optional_words().is_some() => {
                let next = rest.clone().next().filter(|next| {
                    let is_meant = |words: &str| words.split('|').any(|word| next.as_os_str() == word);
                    option.optional_words().is_some_and(is_meant)
                });
                if next.is_some() {
                    rest.next();
                }
                next.cloned().unwrap_or_default()
            }
            (Some(value), None) => rest
                .next()
                .cloned()
                .ok_or_else(|| Failure::Usage(format!("{name} needs a value: {name} {value}")))?,
        };
        self.options.push((option.name, value));
        Ok(())
    }

    /// Whether the option was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(option, _)| *option == name)
    }

    /// Its last value.
    pub(super) fn value(&self, name: &str) -> Option<&OsStr> {
        self.options.iter().rev().find(|(option, _)| *option == name).map(|(_, value)| value.as_os_str())
    }

    /// Its last value, as a path.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.value(name).map(PathBuf::from)
    }

    /// Its last value, as text.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Failure> {
        let text = |value: &OsStr| {
            value
                .to_str()
                .map(str::to_owned)
                .ok_or_else(|| Failure::Usage(format!("--{name} is not valid UTF-8")))
        };
        self.value(name).map(text).transpose()
    }

    /// Its last value, parsed.
    pub(super) fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, Failure>
    where
        T::Err: std::fmt::Display,
    {
        let parse = |text: String| text.parse().map_err(|error| Failure::Usage(format!("--{name}: {error}")));
        self.text(name)?.map(parse).transpose()
    }

    /// All its values, each of the form `KEY=VALUE`.
    pub(super) fn pairs(&self, name: &str) -> Result<Vec<(String, String)>, Failure> {
        let values = self.options.iter().filter(|(option, _)| *option == name);
        values
            .map(|(_, value)| {
                let pair = value.to_str().and_then(|text| text.split_once('='));
                let pair = pair.filter(|(key, value)| !key.is_empty() && !value.is_empty());
                let (key, value) = pair.ok_or_else(|| {
                    Failure::Usage(format!("--{name} takes a value of the form NAME=VALUE"))
                })?;
                Ok((key.to_owned(), value.to_owned()))
            })
            .collect()
    }

    /// Every option that was given, in order, with its value; a switch has an empty one.
    pub(super) fn given(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        self.options.iter().map(|(name, value)| (*name, value.as_os_str()))
    }

    /// All its values, as text.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&str>, Failure> {
        let values = self.options.iter().filter(|(option, _)| *option == name);
        let fault = || Failure::Usage(format!("--{name} is not valid UTF-8"));
        values.map(|(_, value)| value.to_str().ok_or_else(fault)).collect()
    }

    /// What is no option: as many as `what` has names.
    pub(super) fn operands<const N: usize>(&self, what: [&str; N]) -> Result<[&PathBuf; N], Failure> {
        let given: Vec<&PathBuf> = self.files.iter().collect();
        <[&PathBuf; N]>::try_from(given).map_err(|given| {
            Failure::Usage(format!("give {}; {} arguments were given", what.join(" and "), given.len()))
        })
    }

    /// What is no option, whatever it is.
    pub(super) fn all_operands(&self) -> &[PathBuf] {
        &self.files
    }

    /// What is no option, as text.
    pub(super) fn words(&self) -> Result<Vec<&str>, Failure> {
        let fault = || Failure::Usage("an argument is not valid UTF-8".into());
        self.files.iter().map(|path| path.to_str().ok_or_else(fault)).collect()
    }

    /// The files; there has to be one.
    pub(super) fn files(&self) -> Result<&[PathBuf], Failure> {
        if self.files.is_empty() {
            return Err(Failure::Usage("give at least one manifest file, or - for standard input".into()));
        }
        Ok(&self.files)
    }
}

impl Opt {
    fn is_called(&self, text: &str) -> bool {
        match (text.strip_prefix("--"), self.short) {
            (Some(name), _) => name == self.name,
            (None, Some(short)) => text.strip_prefix('-').is_some_and(|name| name.chars().eq([short])),
            (None, None) => false,
        }
    }
}

/// What follows `name=` in an argument that need not be UTF-8.
fn after_equals(argument: &OsStr, name: usize) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    OsString::from_vec(argument.as_bytes().get(name + 1..).unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::find;

    fn parse(arguments: &[&str]) -> Result<Args, Failure> {
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        Args::parse(find("run").unwrap(), &arguments)
    }

    #[test]
    fn options_may_stand_anywhere() {
        let args = parse(&["a.yaml", "--tap", "default=tap0", "-", "--tap=x=y", "--timings", "--", "--odd"])
            .unwrap();
        assert_eq!(args.files().unwrap(), [PathBuf::from("a.yaml"), "-".into(), "--odd".into()]);
        assert_eq!(args.pairs("tap").unwrap(), [("default".into(), "tap0".into()), ("x".into(), "y".into())]);
        assert!(args.has("timings") && !args.has("help"));
    }

    #[test]
    fn mistakes_are_usage_errors() {
        for bad in [&["--nope"][..], &["--timings=1"], &["--name"], &["-x"]] {
            assert!(matches!(parse(bad), Err(Failure::Usage(_))), "{bad:?}");
        }
        assert!(parse(&["--tap", "x"]).unwrap().pairs("tap").is_err());
        assert!(parse(&[]).unwrap().files().is_err());
    }

    #[test]
    fn letters_may_stand_together_and_before_their_value() {
        let command = find("check").unwrap();
        let parse = |text: &str| Args::parse(command, &[OsString::from(text)]);
        assert_eq!(parse("-ojson").unwrap().text("output").unwrap().as_deref(), Some("json"));
        assert_eq!(parse("-o=json").unwrap().text("output").unwrap().as_deref(), Some("json"));
        let both = parse("-hoa=b").unwrap();
        assert!(both.has("help") && both.text("output").unwrap().as_deref() == Some("a=b"));
        assert!(
            matches!(parse("-hx"), Err(Failure::Usage(_))) && matches!(parse("-ho"), Err(Failure::Usage(_)))
        );
    }
}
