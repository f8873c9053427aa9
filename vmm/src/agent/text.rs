//! Text that a guest says of itself.

use serde::{Deserialize, Deserializer};

/// Longest text that is kept of a guest's, in characters: names are shorter, and so are most paths.
const LONGEST: usize = 1024;

/// Cuts a text to a bearable length, and takes out what could steer the terminal that it is shown on.
pub(super) fn tame(text: &str) -> String {
    text.chars().take(LONGEST).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Reads a text and tames it.
pub(super) fn tamed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(|text| tame(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_guests_is_short_and_steers_no_terminal() {
        assert_eq!(tame("Debian GNU/Linux 12 (bookworm) ü"), "Debian GNU/Linux 12 (bookworm) ü");
        assert_eq!(tame("a\x1b[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
        assert_eq!(tame(&"é".repeat(5000)).chars().count(), LONGEST);
    }
}
