//! What saved states have in common: a version, and reasons why one does not fit.

/// Why a saved state was not taken over; the device keeps the state that it had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StateError {
    /// The state was written in another layout.
    #[error(
        "state of {device} has version {found}, this program reads version {known}: restore it with the program that saved it"
    )]
    Version {
        /// Which device.
        device: &'static str,
        /// Version in the state.
        found: u32,
        /// Version that is understood here.
        known: u32,
    },
    /// A value is outside what the device can hold.
    #[error("state of {device} is damaged: {what}")]
    Damaged {
        /// Which device.
        device: &'static str,
        /// What is wrong.
        what: &'static str,
    },
}

/// Accepts a state of `device` in layout `known` only.
pub(super) fn check_version(device: &'static str, found: u32, known: u32) -> Result<(), StateError> {
    if found == known { Ok(()) } else { Err(StateError::Version { device, found, known }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_known_version_is_read() {
        assert_eq!(check_version("rtc", 1, 1), Ok(()));
        let error = check_version("rtc", 2, 1).unwrap_err();
        assert!(error.to_string().contains("state of rtc has version 2"), "{error}");
    }
}
