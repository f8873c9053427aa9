//! `kubevmm image resize`.

use std::ffi::OsString;
use std::path::Path;

use block::ops;

use super::super::Failure;
use super::super::output::print;
use super::create::size_of;
use super::source;
use crate::cli::args::Args;

pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let [path, size] = args.operands(["an image", "its new size"])?;
    let format = source::format_to_write(args, path)?;
    let size = new_size(ops::info(path, format)?.virtual_size, size)?;
    ops::resize(path, format, size, args.has("shrink"))?;
    if !args.has("quiet") {
        print("Image resized.\n")?;
    }
    Ok(0)
}

/// Lets a last argument like `-1G` be a size, as with qemu-img, and no option.
pub(super) fn with_size_last(arguments: &[OsString]) -> Vec<OsString> {
    let mut all = arguments.to_vec();
    let is_less = |text: &OsString| {
        text.to_str()
            .and_then(|text| text.strip_prefix('-'))
            .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    if let Some(size) = all.pop_if(|last| is_less(last)) {
        all.extend(["--".into(), size]);
    }
    all
}

/// What `SIZE`, `+SIZE` or `-SIZE` make of the size now, in whole sectors.
fn new_size(now: u64, text: &Path) -> Result<u64, Failure> {
    let words = text.to_str().unwrap_or_default();
    let wanted = match (words.strip_prefix('+'), words.strip_prefix('-')) {
        (Some(more), _) => now.checked_add(size_of(Path::new(more))?),
        (_, Some(less)) => now.checked_sub(size_of(Path::new(less))?),
        _ => Some(size_of(text)?),
    };
    wanted
        .and_then(|size| size.checked_next_multiple_of(512))
        .ok_or_else(|| Failure::Usage(format!("{words} makes no size of the {now} bytes that the disk has")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_absolute_or_relative() {
        let size = |text: &str| new_size(1 << 20, Path::new(text)).ok();
        assert_eq!(size("2M"), Some(2 << 20));
        assert_eq!(size("+1k"), Some((1 << 20) + 1024));
        assert_eq!(size("-1k"), Some((1 << 20) - 1024));
        assert_eq!(size("1000"), Some(1024));
        assert_eq!(size("-2M"), None);
        assert_eq!(size("+16383P"), Some((16383 << 50) + (1 << 20)));
        assert_eq!(size("+x"), None);
    }
}
