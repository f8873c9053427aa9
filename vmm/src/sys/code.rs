//! The pages of this program's own code.
#![expect(unsafe_code, reason = "madvise has no safe wrapper in our dependencies")]

use std::fs;
use std::ops::Range;

/// Lets go of the pages of this program's code. Those that are needed again come back from the page cache; those that
/// only parse, plan and build, most of all, do not stay resident for as long as the guest runs.
///
/// Programs that are being debugged keep theirs, since breakpoints are in them.
pub fn let_go() {
    if cfg!(debug_assertions) {
        return;
    }
    let here = let_go as *const () as usize;
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    if let Some(range) = maps.lines().filter_map(executable).find(|range| range.contains(&here)) {
        // SAFETY: the range is one whole mapping of this program's file, private, executable and not writable, so that its
        // pages are as they are in the file, from which they come back when they are touched.
        let _ = unsafe { libc::madvise(range.start as *mut _, range.len(), libc::MADV_DONTNEED) };
    }
}

/// The addresses of a line of /proc/PID/maps that maps code of a file (proc_pid_maps(5)).
fn executable(line: &str) -> Option<Range<usize>> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    if words.next()? != "r-xp" || !words.nth(3)?.starts_with('/') {
        return None;
    }
    let address = |digits| usize::from_str_radix(digits, 16).ok();
    Some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_a_file_is_found() {
        let line = |what: &str| executable(&format!("7f10-7f20 {what}"));
        assert_eq!(line("r-xp 00001000 fe:00 123  /usr/bin/kubevmm"), Some(0x7f10..0x7f20));
        assert_eq!(line("r--p 00001000 fe:00 123  /usr/bin/kubevmm"), None);
        assert_eq!(line("rwxp 00001000 fe:00 123  /usr/bin/kubevmm"), None);
        assert_eq!(line("r-xp 00000000 00:00 0  [vdso]"), None);
        assert_eq!(line("r-xp 00000000 00:00 0"), None);
        assert_eq!(executable(""), None);
    }
}
