//! Answers as lines out of a stream of bytes.

/// A line of the agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Its bytes, without the end.
    Whole(Vec<u8>),
    /// It was longer than is taken. None of it was kept.
    TooLong,
}

/// The byte that no JSON text has, which agents put in front of their answer to `guest-sync-delimited`.
pub(super) const MARK: u8 = 0xff;

/// Collects bytes until a line is whole. It holds one line of at most the length that is allowed at the time, and what came
/// with its end.
#[derive(Debug, Default)]
pub(super) struct Lines {
    held: Vec<u8>,
    /// Bytes of `held` in which there is no end of a line.
    searched: usize,
    /// The line that is coming in was too long; its end is waited for.
    skipping: bool,
}

impl Lines {
    /// Takes bytes in.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Takes the next whole line out. To be called until there is none before more bytes are taken in.
    ///
    /// A mark starts the line anew: what was before it is not for us.
    pub(super) fn next(&mut self, longest: usize) -> Option<Line> {
        let fresh = self.held.get(self.searched..).unwrap_or_default();
        let end = fresh.iter().position(|byte| *byte == b'\n');
        let line = fresh.get(..end.unwrap_or(fresh.len())).unwrap_or_default();
        let mut end = end.map(|end| end + self.searched);
        if let Some(mark) = line.iter().rposition(|byte| *byte == MARK).map(|at| at + self.searched) {
            self.held.drain(..mark);
            end = end.map(|end| end - mark);
            self.skipping = false;
        }
        let Some(end) = end else {
            self.searched = self.held.len();
            if self.skipping || self.searched > longest {
                self.clear();
                self.skipping = true;
            }
            return None;
        };
        let rest = self.held.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.held, rest);
        self.searched = 0;
        let too_long = std::mem::take(&mut self.skipping) || end > longest;
        line.truncate(end);
        Some(if too_long { Line::TooLong } else { Line::Whole(line) })
    }

    /// Forgets what has come in.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(lines: &mut Lines, longest: usize) -> Vec<Line> {
        std::iter::from_fn(|| lines.next(longest)).collect()
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_is_not() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.push(&[b'x'; 10]);
            assert_eq!(lines.next(64), None);
            assert!(lines.held.len() <= 64, "no more is held than is allowed");
        }
        lines.push(b"\nshort\n");
        assert_eq!(all(&mut lines, 64), [Line::TooLong, Line::Whole(b"short".to_vec())]);
    }

    #[test]
    fn a_mark_ends_whatever_was_before() {
        let mut lines = Lines::default();
        lines.push(&[b'x'; 100]);
        assert_eq!(lines.next(64), None);
        lines.push(b"yy\xff{}\n");
        assert_eq!(all(&mut lines, 64), [Line::Whole(b"\xff{}".to_vec())]);
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_come_in(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(b'b')], 0..200),
            cuts in proptest::collection::vec(1usize..20, 1..40),
        ) {
            let mut pieces = Lines::default();
            let (mut got, mut left, mut turn) = (Vec::new(), text.as_slice(), cuts.iter().cycle());
            while !left.is_empty() {
                let (now, then) = left.split_at((*turn.next().unwrap()).min(left.len()));
                pieces.push(now);
                got.extend(all(&mut pieces, 8));
                left = then;
            }
            let expected: Vec<_> = text
                .split(|byte| *byte == b'\n')
                .take(text.iter().filter(|byte| **byte == b'\n').count())
                .map(|line| if line.len() > 8 { Line::TooLong } else { Line::Whole(line.to_vec()) })
                .collect();
            prop_assert_eq!(got, expected);
        }
    }
}
