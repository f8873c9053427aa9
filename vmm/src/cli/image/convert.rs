//! `kubevmm image convert`.

use block::CacheMode;
use block::ops::{self, ConvertOptions, CreateOptions, Format};

use super::super::Failure;
use super::layout::Layout;
use super::progress::Progress;
use super::source::{self, Names};
use super::units::Bytes;
use crate::cli::args::Args;

pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let [from, to] = args.operands(["the image to copy", "the copy"])?;
    let source = source::open(args, from, Names::USUAL)?;
    let options = ConvertOptions {
        compress: args.has("compress"),
        existing: args.has("no-create"),
        full: args.parsed::<Bytes>("sparse-size")? == Some(Bytes(0)),
        cache: source::cache(args, "target-cache", CacheMode::Writeback)?,
        ..ConvertOptions::new(target(args, source.size())?)
    };
    let progress = Progress::new(args);
    let done = ops::convert(source.named(), to, &options, &|done| progress.show(done));
    if done.is_ok() {
        progress.finish();
    }
    done?;
    Ok(0)
}

/// What the copy shall be.
fn target(args: &Args, source_size: u64) -> Result<CreateOptions, Failure> {
    let format: Format = args.parsed("target-format")?.unwrap_or(Format::Raw);
    let layout = Layout::of(args)?;
    if layout.backing_file.is_some() || layout.backing_format.is_some() {
        return Err(Failure::Usage("a copy has all of the disk, so it has no backing file".into()));
    }
    let size = layout.size.unwrap_or(source_size);
    if size < source_size {
        return Err(Failure::Usage("the copy's size is smaller than the image to copy".into()));
    }
    layout.options(format, size)
}
