//! The ACPI power button, which arrives as a key of an input device.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::thread;

use guest::sys::{Down, down};

/// Size of `struct input_event` on a 64-bit kernel.
const EVENT: usize = 24;
/// `EV_KEY` of `linux/input-event-codes.h`.
const EV_KEY: u16 = 1;
/// `KEY_POWER` of `linux/input-event-codes.h`.
const KEY_POWER: u16 = 116;

/// Powers the machine off when the power button is pressed.
pub(crate) fn obey() {
    let Ok(entries) = fs::read_dir("/dev/input") else { return };
    let devices = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("event")));
    for path in devices {
        thread::spawn(move || watch(path));
    }
}

fn watch(path: PathBuf) {
    let Ok(mut device) = File::open(path) else { return };
    let mut event = [0u8; EVENT];
    while device.read_exact(&mut event).is_ok() {
        if is_power_press(&event) {
            println!("guest: power button pressed");
            println!("guest: cannot power off: {}", down(Down::PowerOff));
        }
    }
}

fn is_power_press(event: &[u8; EVENT]) -> bool {
    let [.., k0, k1, c0, c1, v0, v1, v2, v3] = *event;
    u16::from_le_bytes([k0, k1]) == EV_KEY
        && u16::from_le_bytes([c0, c1]) == KEY_POWER
        && i32::from_le_bytes([v0, v1, v2, v3]) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_press_of_the_power_key_counts() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut bytes = [0u8; EVENT];
            bytes[16..18].copy_from_slice(&kind.to_le_bytes());
            bytes[18..20].copy_from_slice(&code.to_le_bytes());
            bytes[20..].copy_from_slice(&value.to_le_bytes());
            bytes
        };
        assert!(is_power_press(&event(EV_KEY, KEY_POWER, 1)));
        assert!(!is_power_press(&event(EV_KEY, KEY_POWER, 0)));
        assert!(!is_power_press(&event(EV_KEY, 30, 1)));
        assert!(!is_power_press(&event(0, KEY_POWER, 1)));
    }
}
