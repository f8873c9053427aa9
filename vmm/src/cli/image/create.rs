//! `kubevmm image create`.

use std::path::{Path, PathBuf};

use block::ops::{self, Format};

use super::super::Failure;
use super::super::output::print;
use super::layout::{Layout, described};
use super::units::Bytes;
use crate::cli::args::Args;

pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let (path, size) = match args.all_operands() {
        [path] => (path, None),
        [path, size] => (path, Some(size_of(size)?)),
        _ => return Err(Failure::Usage("give the new image, and its size".into())),
    };
    let format: Format = args.parsed("format")?.unwrap_or(Format::Raw);
    let layout = Layout::of(args)?;
    let backing = backing(args, &layout)?;
    let size = match (size.or(layout.size), &backing) {
        (Some(size), _) => size,
        (None, Some((file, format))) => ops::info(&beside(path, file), *format)?.virtual_size,
        (None, None) => return Err(Failure::Usage("give the image's size".into())),
    };
    if let (Some((file, _)), false) = (&backing, args.has("backing-unsafe"))
        && let Err(source) = std::fs::metadata(beside(path, file))
    {
        return Err(Failure::Host {
            what: "the backing file cannot be looked at (-u goes on without)",
            source,
        });
    }
    let mut options = layout.options(format, size)?;
    options.backing = backing;
    if !args.has("quiet") {
        print(&format!("Formatting '{}', {}\n", path.display(), described(&options)))?;
    }
    ops::create(path, &options)?;
    Ok(0)
}

/// A size that is an operand.
pub(super) fn size_of(text: &Path) -> Result<u64, Failure> {
    let text = text.to_str().unwrap_or_default();
    text.parse::<Bytes>().map(|bytes| bytes.0).map_err(|error| Failure::Usage(error.to_string()))
}

fn backing(args: &Args, layout: &Layout) -> Result<Option<(String, Format)>, Failure> {
    let Some(file) = args.text("backing-file")?.or_else(|| layout.backing_file.clone()) else {
        return Ok(None);
    };
    let format = args.text("backing-format")?.or_else(|| layout.backing_format.clone()).ok_or_else(|| {
        Failure::Usage("give the backing file's format, too (-F); it is not guessed".into())
    })?;
    let format = format.parse().map_err(|error| Failure::Usage(format!("--backing-format: {error}")))?;
    Ok(Some((file, format)))
}

/// Where a name inside an image leads: it is relative to the image's folder.
fn beside(image: &Path, name: &str) -> PathBuf {
    image.parent().unwrap_or(Path::new("")).join(name)
}
