//! The first steps of a process that the kernel started as init.

use std::fs;
use std::io;
use std::path::Path;

use crate::sys;

/// File in an initramfs that names kernel modules, one path a line, each after those it needs.
pub const MODULE_LIST: &str = "/lib/modules/order";

/// Mounts what every program expects to find.
///
/// # Errors
/// If one of them cannot be mounted.
pub fn mount_basics() -> io::Result<()> {
    let mounts = [
        ("proc", "/proc", "proc"),
        ("sysfs", "/sys", "sysfs"),
        ("dev", "/dev", "devtmpfs"),
        ("tmp", "/tmp", "tmpfs"),
        ("run", "/run", "tmpfs"),
    ];
    for (source, target, kind) in mounts {
        fs::create_dir_all(target)?;
        match sys::mount(source, target, kind, false) {
            Err(error) if error.raw_os_error() != Some(libc::EBUSY) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Inserts the modules of [`MODULE_LIST`]. Returns a line for each that failed;
/// an initramfs without a list has nothing to insert.
#[must_use]
pub fn insert_modules() -> Vec<String> {
    let list = fs::read_to_string(MODULE_LIST).unwrap_or_default();
    list.lines()
        .filter_map(|path| {
            sys::insert_module(Path::new(path)).err().map(|error| format!("module {path}: {error}"))
        })
        .collect()
}

/// The value of `name=value` on the kernel's command line, or `""` for a bare `name`.
#[must_use]
pub fn argument(name: &str) -> Option<String> {
    find_argument(&fs::read_to_string("/proc/cmdline").unwrap_or_default(), name)
}

fn find_argument(line: &str, name: &str) -> Option<String> {
    line.split_whitespace().find_map(|word| {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        (key == name).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::find_argument;

    #[test]
    fn arguments_are_found_by_whole_name() {
        let line = "console=ttyS0 quiet kubevmm.mode=test,all a.b=c=d";
        assert_eq!(find_argument(line, "kubevmm.mode").as_deref(), Some("test,all"));
        assert_eq!(find_argument(line, "quiet").as_deref(), Some(""));
        assert_eq!(find_argument(line, "a.b").as_deref(), Some("c=d"));
        assert_eq!(find_argument(line, "mode"), None);
    }
}
