//! What the command line says of taps.

use std::str::FromStr;

/// The value of `--tap NETWORK=…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TapSource {
    /// An interface by its name.
    Interface(String),
    /// Files that this process was started with, one a queue pair.
    Files(Vec<i32>),
}

/// The text names no tap.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither the name of an interface nor fd:N[,N…] with the numbers of open files, from 3 on")]
pub struct BadTap(String);

impl FromStr for TapSource {
    type Err = BadTap;

    fn from_str(text: &str) -> Result<Self, BadTap> {
        let bad = || BadTap(text.to_owned());
        let Some(numbers) = text.strip_prefix("fd:") else {
            let is_name = spec::formats::interface_name(text).is_none();
            return is_name.then(|| Self::Interface(text.to_owned())).ok_or_else(bad);
        };
        // The first three are standard input, output and error.
        let number = |text: &str| text.parse().ok().filter(|number| *number > 2).ok_or_else(bad);
        let numbers = numbers.split(',').map(number).collect::<Result<Vec<i32>, _>>()?;
        let is_twice = |number: &i32| numbers.iter().filter(|other| *other == number).count() > 1;
        if numbers.iter().any(is_twice) { Err(bad()) } else { Ok(Self::Files(numbers)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_have_names_or_numbers() {
        assert_eq!("tap0".parse::<TapSource>().unwrap(), TapSource::Interface("tap0".into()));
        assert_eq!("fd:3,7".parse::<TapSource>().unwrap(), TapSource::Files(vec![3, 7]));
        for bad in ["", "fd:", "fd:x", "fd:2", "fd:3,", "fd:3,3", "fd:-4", "a b", "a-name-of-16-byt"] {
            assert!(bad.parse::<TapSource>().is_err(), "{bad}");
        }
    }
}
