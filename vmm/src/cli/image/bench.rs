//! `kubevmm image bench`.

use block::CacheMode;
use block::ops::{self, BenchOptions, OpenOptions};

use super::super::Failure;
use super::super::output::print;
use super::source::{self, Names};
use super::units::Bytes;
use crate::cli::args::Args;

pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let [path] = args.operands(["an image"])?;
    let options = options(args)?;
    if options.write.is_some() {
        source::format_to_write(args, path)?;
    }
    let how = OpenOptions {
        read_only: options.write.is_none(),
        cache: source::cache(args, "cache", CacheMode::Writeback)?,
        engine: source::engine(args)?,
        ..OpenOptions::default()
    };
    let image = source::open_with(args, path, Names::USUAL, how)?;
    let quiet = args.has("quiet");
    if !quiet {
        print(&announcement(&options))?;
    }
    let taken = ops::bench(image.disk(), &options)?;
    if !quiet {
        print(&format!("Run completed in {:.3} seconds.\n", taken.as_secs_f64()))?;
    }
    Ok(0)
}

fn options(args: &Args) -> Result<BenchOptions, Failure> {
    let usual = BenchOptions::default();
    let bytes = |name| Ok::<_, Failure>(args.parsed::<Bytes>(name)?.map(|bytes| bytes.0));
    let size = bytes("buffer-size")?.map_or(Ok(usual.size), u32::try_from);
    let size = size.map_err(|_| Failure::Usage("--buffer-size is larger than 4 GiB".into()))?;
    let flush_interval = args.parsed("flush-interval")?.unwrap_or(0);
    let pattern: Option<u8> = args.parsed("pattern")?;
    let writes = args.has("write");
    if !writes && (pattern.is_some() || flush_interval > 0) {
        return Err(Failure::Usage("--pattern and --flush-interval are for writing (-w)".into()));
    }
    let depth = args.parsed("depth")?.unwrap_or(usual.depth);
    if depth == 0 || depth == u16::MAX {
        return Err(Failure::Usage("--depth is from 1 to 65534".into()));
    }
    Ok(BenchOptions {
        count: args.parsed("count")?.unwrap_or(usual.count),
        depth,
        size,
        step: bytes("step-size")?.unwrap_or(0),
        offset: bytes("offset")?.unwrap_or(0),
        write: writes.then(|| pattern.unwrap_or(0)),
        flush_interval,
        drain: !args.has("no-drain"),
    })
}

fn announcement(options: &BenchOptions) -> String {
    let BenchOptions { count, depth, size, step, offset, flush_interval, drain, .. } = options;
    let kind = if options.write.is_some() { "write" } else { "read" };
    let step = if *step == 0 { u64::from(*size) } else { *step };
    let mut text = format!(
        "Sending {count} {kind} requests, {size} bytes each, {depth} in parallel (starting at offset {offset}, step \
         size {step})\n"
    );
    if *flush_interval > 0 {
        let undrained = if *drain { "" } else { "undrained " };
        text.push_str(&format!("Sending {undrained}flush every {flush_interval} requests\n"));
    }
    text
}
