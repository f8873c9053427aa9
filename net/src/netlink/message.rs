//! Netlink messages: making them and reading them. Numbers are in the host's byte order unless a family says otherwise.

/// `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// `NLMSG_ALIGNTO` and `NLA_ALIGNTO`.
const ALIGN: usize = 4;
/// Bits of an attribute's type that are flags.
const TYPE_MASK: u16 = 0x3fff;

/// A message that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// Of type `kind`, with `flags` (`NLM_F_*`), beginning with its family's own header.
    pub(crate) fn new(kind: u16, flags: u16, family_header: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        splice(&mut bytes, 4, &kind.to_ne_bytes());
        splice(&mut bytes, 6, &flags.to_ne_bytes());
        bytes.extend_from_slice(family_header);
        let mut message = Self(bytes);
        message.pad();
        message
    }

    /// Adds an attribute.
    #[must_use]
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.add(kind, value);
        self
    }

    /// Adds an attribute, if there is a value.
    #[must_use]
    pub(crate) fn with_some<V: AsRef<[u8]>>(self, kind: u16, value: Option<V>) -> Self {
        match value {
            Some(value) => self.with(kind, value.as_ref()),
            None => self,
        }
    }

    /// Adds a text, closed by a zero byte.
    #[must_use]
    pub(crate) fn with_text(self, kind: u16, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.with(kind, &bytes)
    }

    /// Adds an attribute that consists of attributes.
    #[must_use]
    pub(crate) fn nest(mut self, kind: u16, inner: impl FnOnce(Self) -> Self) -> Self {
        let start = self.0.len();
        self.add(kind | NESTED, &[]);
        self = inner(self);
        let len = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        splice(&mut self.0, start, &len.to_ne_bytes());
        self
    }

    /// To be answered even if nothing is wrong with it: `NLM_F_ACK`.
    #[must_use]
    pub(crate) fn acknowledged(mut self) -> Self {
        if let Some(flags) = self.0.get_mut(6..8).and_then(|flags| <&mut [u8; 2]>::try_from(flags).ok()) {
            *flags = (u16::from_ne_bytes(*flags) | 0x04).to_ne_bytes();
        }
        self
    }

    /// The message with its length and number filled in.
    pub(crate) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        splice(&mut self.0, 0, &len.to_ne_bytes());
        splice(&mut self.0, 8, &sequence.to_ne_bytes());
        self.0
    }

    /// The bytes of one attribute alone that holds a text.
    pub(crate) fn attribute_text(kind: u16, text: &str) -> Vec<u8> {
        Self(Vec::new()).with_text(kind, text).0
    }

    fn add(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(value.len() + ALIGN).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.pad();
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(ALIGN), 0);
    }
}

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

fn splice(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// A message as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    /// Its type.
    pub(crate) kind: u16,
    /// `NLM_F_*`.
    pub(crate) flags: u16,
    /// The number of the request that it answers.
    pub(crate) sequence: u32,
    /// What follows its header.
    pub(crate) body: &'a [u8],
}

impl<'a> Received<'a> {
    /// What follows the family's own header of `len` bytes.
    pub(crate) fn attributes(&self, len: usize) -> Attributes<'a> {
        Attributes(self.body.get(len.next_multiple_of(ALIGN)..).unwrap_or_default())
    }
}

/// The messages in what was received together. Ends where something makes no sense.
#[derive(Debug)]
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Received<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::try_from(u32_at(self.0, 0)?).ok()?;
        let body = self.0.get(HEADER..len)?;
        let received = Received {
            kind: u16_at(self.0, 4)?,
            flags: u16_at(self.0, 6)?,
            sequence: u32_at(self.0, 8)?,
            body,
        };
        self.0 = self.0.get(len.next_multiple_of(ALIGN)..).unwrap_or_default();
        Some(received)
    }
}

/// Attributes one after the other: type without flags, and value. Ends where something makes no sense.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the first attribute of that type.
    pub(crate) fn find(mut self, wanted: u16) -> Option<&'a [u8]> {
        self.find_map(|(kind, value)| (kind == wanted).then_some(value))
    }

    /// The attributes within the first attribute of that type.
    pub(crate) fn inside(self, wanted: u16) -> Attributes<'a> {
        Attributes(self.find(wanted).unwrap_or_default())
    }

    /// The number that the first attribute of that type holds.
    pub(crate) fn u32(self, wanted: u16) -> Option<u32> {
        u32_at(self.find(wanted)?, 0)
    }

    /// The text that the first attribute of that type holds.
    pub(crate) fn text(self, wanted: u16) -> Option<String> {
        let value = self.find(wanted)?;
        let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
        Some(String::from_utf8_lossy(value.get(..end)?).into_owned())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & TYPE_MASK;
        let value = self.0.get(ALIGN..len)?;
        self.0 = self.0.get(len.next_multiple_of(ALIGN)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// The number at `at`.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

/// The number at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_can_be_read() {
        let message = Message::new(16, 5, &[1, 2, 3, 4])
            .with_text(3, "name")
            .nest(18, |m| m.with(1, b"bridge").with_some(2, None::<[u8; 4]>).with(9, &7_u32.to_ne_bytes()));
        let bytes = message.finish(77);
        let mut all = Messages(&bytes);
        let received = all.next().unwrap();
        assert_eq!((received.kind, received.flags, received.sequence), (16, 5, 77));
        assert!(all.next().is_none());
        let attributes = received.attributes(4);
        assert_eq!(attributes.text(3).unwrap(), "name");
        assert_eq!(attributes.inside(18).u32(9), Some(7));
        assert_eq!(attributes.inside(18).find(1), Some(&b"bridge"[..]));
        assert_eq!(attributes.find(4), None);
    }

    proptest::proptest! {
        #[test]
        fn garbage_ends_and_does_not_panic(bytes: Vec<u8>) {
            for message in Messages(&bytes) {
                proptest::prop_assert!(message.attributes(8).count() <= bytes.len());
            }
            proptest::prop_assert!(Attributes(&bytes).count() <= bytes.len());
        }
    }
}
