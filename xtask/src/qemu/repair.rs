//! A mistake of QEMU's software CPU, made good in a copy of the program.
//!
//! A hypervisor starts a guest with an interrupt to deliver. QEMU (`helper_vmrun`, target/i386/tcg/sysemu/svm_helper.c, 7.2 and
//! 10.0) delivers it at once, but leaves its number where exceptions wait that are still to be delivered. Nearly always the
//! guest's next exit wipes that out. If QEMU has something else to do before, a timer for instance, it delivers the
//! interrupt once more, whether or not the guest has disabled interrupts: a guest that is holding a spinlock
//! then waits for itself for ever. So the store of the number, which nobody needs, is made a no-op.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Doing, Result};

/// The instructions around that store, as in Debian's 7.2 (`mov %r13d,0x3380(%rbx)`; the store of `%esi`; two more moves and
/// the beginning of a test). They are there once.
const BEFORE: &[u8] = &[0x44, 0x89, 0xab, 0x80, 0x33, 0, 0];
const STORE: &[u8] = &[0x89, 0xb3, 0x54, 0xef, 0xff, 0xff];
const AFTER: &[u8] = &[
    0xc7, 0x83, 0x84, 0x33, 0, 0, 0, 0, 0, 0, 0x48, 0xc7, 0x83, 0x88, 0x33, 0, 0, 0xff, 0xff, 0xff, 0xff,
    0xf6, 0x05,
];
/// A no-op of the same length.
const NOTHING: &[u8] = &[0x66, 0x0f, 0x1f, 0x44, 0, 0];

/// The program to run instead of `program`: a repaired copy beside it, where QEMU finds its firmware, or the program itself if
/// it is not the one that is known.
pub(super) fn repaired(program: &Path) -> Result<PathBuf> {
    let copy = program.with_file_name("qemu-system-x86_64-repaired");
    if copy.is_file() {
        return Ok(copy);
    }
    let bytes = fs::read(program).doing("reading QEMU")?;
    let Some(bytes) = repair(bytes) else { return Ok(program.to_owned()) };
    let new = copy.with_extension(std::process::id().to_string());
    fs::write(&new, bytes).doing("writing a repaired QEMU")?;
    fs::set_permissions(&new, Permissions::from_mode(0o755)).doing("making QEMU a program")?;
    fs::rename(&new, &copy).doing("putting a repaired QEMU in its place")?;
    Ok(copy)
}

fn repair(mut program: Vec<u8>) -> Option<Vec<u8>> {
    let whole = [BEFORE, STORE, AFTER].concat();
    let mut found = program.windows(whole.len()).enumerate().filter(|(_, bytes)| *bytes == whole);
    let (at, _) = found.next()?;
    if found.next().is_some() {
        return None;
    }
    let store = program.get_mut(at + BEFORE.len()..)?.get_mut(..STORE.len())?;
    store.copy_from_slice(NOTHING);
    Some(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_store_is_changed() {
        let whole = [BEFORE, STORE, AFTER].concat();
        let program = [b"before", &whole[..], b"after"].concat();
        let expected = [b"before", BEFORE, NOTHING, AFTER, b"after"].concat();
        assert_eq!(repair(program), Some(expected));
        assert_eq!(repair(b"another program".repeat(9)), None);
        assert_eq!(repair(whole.repeat(2)), None, "not the one that is known");
    }
}
