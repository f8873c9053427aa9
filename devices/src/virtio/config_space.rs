//! Device-specific configuration spaces, laid out field by field.

/// The bytes of a configuration space.
#[derive(Debug, Default)]
pub(crate) struct ConfigSpace(Vec<u8>);

impl ConfigSpace {
    /// Places a little-endian field at its offset; what lies between fields is zero.
    pub(crate) fn put(&mut self, offset: usize, field: &[u8]) -> &mut Self {
        let end = offset.saturating_add(field.len());
        if self.0.len() < end {
            self.0.resize(end, 0);
        }
        if let Some(place) = self.0.get_mut(offset..end) {
            place.copy_from_slice(field);
        }
        self
    }

    /// Reads as the driver does; zero past the end.
    pub(crate) fn read(&self, offset: u64, data: &mut [u8]) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let space = self.0.get(start..).unwrap_or_default().iter().copied();
        for (to, from) in data.iter_mut().zip(space.chain(std::iter::repeat(0))) {
            *to = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_reach_over_the_end_and_beyond() {
        let mut space = ConfigSpace::default();
        space.put(2, &0x1234u16.to_le_bytes()).put(0, &[9]);
        let mut data = [7; 6];
        space.read(0, &mut data);
        assert_eq!(data, [9, 0, 0x34, 0x12, 0, 0]);
        space.read(3, &mut data);
        assert_eq!(data, [0x12, 0, 0, 0, 0, 0]);
        space.read(u64::MAX, &mut data);
        assert_eq!(data, [0; 6]);
    }
}
