//! The room that a reply has for its options.

use super::request::{COOKIE, FILE_LEN, NAME_LEN};

/// What every client takes, with the headers of IP and UDP (RFC 2131 §2), and the most that goes into a frame.
const LEAST: u16 = 576;
const MOST: u16 = 1500;
/// Headers of IP and UDP, the fixed part of the message, and the cookie.
const BEFORE: u16 = 28 + 236 + 4;
/// Longest value of one option.
pub(super) const LONGEST: usize = 255;
/// Says that options go on in the message's fields (RFC 2132 §9.3).
const OVERLOAD: u8 = 52;
const END: u8 = 255;

/// Puts options where there is room: behind the message, then into its unused fields.
pub(super) struct Options {
    main: Area,
    file: Area,
    name: Area,
    left_out: u64,
}

struct Area {
    bytes: Vec<u8>,
    room: usize,
}

impl Area {
    fn new(room: usize) -> Self {
        Self { bytes: Vec::new(), room }
    }

    fn take(&mut self, code: u8, value: &[u8]) -> bool {
        let Some(len) =
            u8::try_from(value.len()).ok().filter(|_| self.bytes.len() + value.len() + 2 <= self.room)
        else {
            return false;
        };
        self.bytes.extend_from_slice(&[code, len]);
        self.bytes.extend_from_slice(value);
        true
    }

    fn close(mut self) -> Vec<u8> {
        if !self.bytes.is_empty() {
            self.bytes.push(END);
        }
        self.bytes
    }
}

/// The parts of a message that hold options.
pub(super) struct Areas {
    pub(super) name: Vec<u8>,
    pub(super) file: Vec<u8>,
    /// With the cookie in front.
    pub(super) options: Vec<u8>,
}

impl Options {
    /// Room for what a client takes that says how long its messages may be, or does not.
    pub(super) fn for_client(longest: Option<u16>) -> Self {
        let message = longest.unwrap_or(LEAST).clamp(LEAST, MOST);
        // One byte for the end of each area, and three for saying that there are more areas.
        let main = Area::new(usize::from(message - BEFORE) - 4);
        let [file, name] = [FILE_LEN, NAME_LEN].map(|len| Area::new(len - 1));
        Self { main, file, name, left_out: 0 }
    }

    /// Puts an option in, the important ones first: what finds no room any more is left out.
    pub(super) fn put(&mut self, code: u8, value: &[u8]) {
        let placed = [&mut self.main, &mut self.file, &mut self.name]
            .into_iter()
            .any(|area: &mut Area| area.take(code, value));
        self.left_out += u64::from(!placed);
    }

    /// How many were left out.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    pub(super) fn finish(self) -> Areas {
        let (file, name) = (self.file.close(), self.name.close());
        let used = u8::from(!file.is_empty()) | u8::from(!name.is_empty()) << 1;
        let mut options = COOKIE.to_vec();
        options.extend_from_slice(&self.main.bytes);
        if used != 0 {
            options.extend_from_slice(&[OVERLOAD, 1, used]);
        }
        options.push(END);
        Areas { name, file, options }
    }
}
