//! How many bytes of buffers wait for the next frame.

/// Frames over which the longest counts.
const PERIOD: u32 = 64;
/// The window is never smaller than this, or the longest frame.
const SMALLEST: u32 = 4096;

/// Follows the length of frames: each buffer in the window costs something with every frame, each byte that does not
/// fit has to be copied.
#[derive(Debug)]
pub(super) struct WindowSize {
    longest: u32,
    wanted: u32,
    /// Longest of the period so far, and its frames.
    recent: u32,
    frames: u32,
}

impl WindowSize {
    /// For frames of at most `longest` bytes.
    pub(super) fn new(longest: u32) -> Self {
        Self { longest, wanted: SMALLEST.min(longest), recent: 0, frames: 0 }
    }

    /// Longest frame that may come.
    pub(super) fn longest(&self) -> u32 {
        self.longest
    }

    /// Bytes that should wait.
    pub(super) fn wanted(&self) -> u32 {
        self.wanted
    }

    /// Takes note of a frame.
    pub(super) fn saw(&mut self, len: u32) {
        self.recent = self.recent.max(len);
        self.frames += 1;
        if len > self.wanted {
            self.wanted = self.longest;
            self.frames = 0;
        } else if self.frames >= PERIOD {
            self.wanted = self.recent.max(SMALLEST).min(self.longest);
            self.recent = 0;
            self.frames = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_at_once_and_shrinks_after_a_while() {
        let mut window = WindowSize::new(65562);
        assert_eq!(window.wanted(), 4096);
        window.saw(9000);
        assert_eq!(window.wanted(), 65562);
        (0..PERIOD * 2).for_each(|_| window.saw(1500));
        assert_eq!(window.wanted(), 4096);
        assert_eq!(WindowSize::new(1530).wanted(), 1530);
    }
}
