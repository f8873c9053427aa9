//! What is to become of a disk. Pure.

use super::sameness::Sameness;
use super::{DiskKind, DiskNote, Verdict, Wish};

/// What the destination knows of a disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Whether it is the source's.
    pub(super) sameness: Sameness,
    /// What is below both is the same.
    pub(super) same_base: bool,
    /// Disks here may be written over.
    pub(super) takes_copies: bool,
}

/// What is to become of the source's disk.
pub(super) fn decide(note: &DiskNote, known: Known) -> Result<Verdict, String> {
    let name = &note.name;
    let copy = || {
        if known.takes_copies {
            return Ok(Verdict::Copy);
        }
        Err(format!(
            "disk {name} is to be copied: have receive take copies, which write over it, by --copy-storage"
        ))
    };
    match note.kind {
        DiskKind::Files => return Ok(Verdict::Copy),
        DiskKind::Scratch if known.same_base => return Ok(Verdict::CopyDifferences),
        DiskKind::Scratch => return Ok(Verdict::Copy),
        DiskKind::Storage => {}
    }
    if note.read_only && known.sameness != Sameness::Same {
        // Nobody writes to it: one that is alike does as well.
        return Ok(Verdict::Compare);
    }
    match (note.wish, known.sameness) {
        (Wish::Copy, Sameness::Same | Sameness::Likely) => {
            Err(format!("disk {name} is the same storage on both sides, and cannot be copied onto itself"))
        }
        (_, Sameness::Same) => Ok(Verdict::Shared),
        (Wish::Copy, _) | (Wish::CopyOthers, Sameness::Other) => copy(),
        (Wish::CopyOthers, Sameness::Unknown) => Err(format!(
            "whether disk {name} is the same storage on both sides cannot be told: if it is not, have migrate copy it by --copy-disk {name}"
        )),
        (Wish::Share | Wish::CopyOthers, Sameness::Likely) | (Wish::Share, Sameness::Unknown) => {
            Ok(Verdict::Compare)
        }
        (Wish::Share, Sameness::Other) => Err(format!(
            "disk {name} is not the same storage here as at the source: have it copied by --copy-storage, or receive the machine with the same one"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(kind: DiskKind, wish: Wish, read_only: bool, known: Known) -> Result<Verdict, String> {
        let (name, file, bases, content) = ("d".to_owned(), None, Vec::new(), None);
        decide(&DiskNote { name, bytes: 1, read_only, kind, wish, file, bases, content }, known)
    }

    #[test]
    fn what_is_the_same_is_never_copied_and_what_is_not_never_taken_for_it() {
        use Sameness::{Likely, Other, Same, Unknown};
        let known = |sameness| Known { sameness, same_base: false, takes_copies: true };
        let storage = |wish, sameness| decided(DiskKind::Storage, wish, false, known(sameness));
        for (wish, sameness, expected) in [
            (Wish::Share, Same, Some(Verdict::Shared)),
            (Wish::Share, Likely, Some(Verdict::Compare)),
            (Wish::Share, Unknown, Some(Verdict::Compare)),
            (Wish::Share, Other, None),
            (Wish::CopyOthers, Same, Some(Verdict::Shared)),
            (Wish::CopyOthers, Likely, Some(Verdict::Compare)),
            (Wish::CopyOthers, Unknown, None),
            (Wish::CopyOthers, Other, Some(Verdict::Copy)),
            (Wish::Copy, Same, None),
            (Wish::Copy, Likely, None),
            (Wish::Copy, Unknown, Some(Verdict::Copy)),
            (Wish::Copy, Other, Some(Verdict::Copy)),
        ] {
            assert_eq!(storage(wish, sameness).ok(), expected, "{wish:?} {sameness:?}");
        }
        for sameness in [Other, Unknown] {
            let strict = Known { takes_copies: false, ..known(sameness) };
            let refused = decided(DiskKind::Storage, Wish::Copy, false, strict).unwrap_err();
            assert!(refused.contains("--copy-storage"), "{refused}");
            let alike = decided(DiskKind::Storage, Wish::Copy, true, strict);
            assert_eq!(alike, Ok(Verdict::Compare), "what is only read is not copied");
        }
        // What is gone with the process needs nobody's consent.
        let strict = Known { takes_copies: false, ..known(Unknown) };
        let scratch = |known| decided(DiskKind::Scratch, Wish::Share, false, known);
        assert_eq!(scratch(strict), Ok(Verdict::Copy));
        assert_eq!(scratch(Known { same_base: true, ..strict }), Ok(Verdict::CopyDifferences));
        assert_eq!(decided(DiskKind::Files, Wish::Share, true, strict), Ok(Verdict::Copy));
    }
}
