//! Images named on the command line.

use std::path::{Path, PathBuf};

use block::ops::{self, Format, OpenOptions, Opened};
use block::qcow2::{Backing, QcowError};
use block::{CacheMode, Disk, DiskError, EngineKind};
use devices::chain;

use super::super::{Failure, output};
use super::units::Cache;
use crate::cli::args::Args;

/// Which options name an image's format and backing files.
#[derive(Clone, Copy)]
pub(super) struct Names {
    pub(super) format: &'static str,
    pub(super) backing: &'static str,
}

impl Names {
    /// As most commands have them.
    pub(super) const USUAL: Names = Names { format: "format", backing: "backing" };
}

/// An open image.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) opened: Opened,
}

impl Source {
    /// The size of its disk in bytes.
    pub(super) fn size(&self) -> u64 {
        self.disk().info().size_bytes
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        self.opened.disk()
    }

    /// As `block::ops` wants it.
    pub(super) fn named(&self) -> (&Path, &Opened) {
        (&self.path, &self.opened)
    }
}

/// Opens an image for reading, with the caching that `--source-cache` names.
pub(super) fn open(args: &Args, path: &Path, names: Names) -> Result<Source, Failure> {
    let cache = cache(args, "source-cache", CacheMode::Writeback)?;
    open_with(args, path, names, OpenOptions { read_only: true, cache, ..OpenOptions::default() })
}

/// Opens an image as `options` say; format, backing files and sharing are the command line's.
pub(super) fn open_with(
    args: &Args,
    path: &Path,
    names: Names,
    options: OpenOptions,
) -> Result<Source, Failure> {
    let format = format(args, names.format, path)?;
    let shareable = args.has("force-share");
    if shareable && !options.read_only {
        return Err(Failure::Usage("an image cannot be written while others may (--force-share)".into()));
    }
    let backing = backing(args, names.backing)?;
    let opened = ops::open(path, format, &OpenOptions { shareable, backing, ..options });
    let opened = opened.map_err(|error| asking_for_backing(error, names.backing))?;
    Ok(Source { path: path.to_owned(), opened })
}

/// The error, with the option that names a backing file where one is wanted.
fn asking_for_backing(error: DiskError, option: &str) -> Failure {
    match &error {
        DiskError::Format { source: QcowError::HasBacking(_), .. } => {
            Failure::Usage(format!("{}: --{option} FORMAT:FILE does so", chain(&error)))
        }
        _ => error.into(),
    }
}

/// The format that an option names, or else what the image's first bytes say.
pub(super) fn format(args: &Args, option: &str, path: &Path) -> Result<Format, Failure> {
    match args.parsed(option)? {
        Some(format) => Ok(format),
        None => Ok(Format::detect(path)?),
    }
}

/// As [`format`], for an image that is about to be changed: whoever could write it before has a say in what its first
/// bytes look like.
pub(super) fn format_to_write(args: &Args, path: &Path) -> Result<Format, Failure> {
    let format = format(args, "format", path)?;
    if args.value("format").is_none() {
        output::say(&format!(
            "kubevmm: warning: no format was given (-f), and by its first bytes, which a guest may have written, {} is \
             {format}\n",
            path.display()
        ));
    }
    Ok(format)
}

/// Host caching as an option names it.
pub(super) fn cache(args: &Args, option: &str, default: CacheMode) -> Result<CacheMode, Failure> {
    Ok(args.parsed::<Cache>(option)?.map_or(default, |cache| cache.0))
}

/// What `--aio` and `--native` ask for.
pub(super) fn engine(args: &Args) -> Result<EngineKind, Failure> {
    let named = args.parsed::<super::units::Engine>("aio")?.map(|engine| engine.0);
    let native = args.has("native").then_some(EngineKind::Native);
    Ok(named.or(native).unwrap_or_default())
}

fn backing(args: &Args, option: &str) -> Result<Vec<Backing>, Failure> {
    args.texts(option)?
        .into_iter()
        .map(|text| match text.split_once(':') {
            Some(("raw", file)) if !file.is_empty() => Ok(Backing::Raw(file.into())),
            Some(("qcow2", file)) if !file.is_empty() => Ok(Backing::Qcow2(file.into())),
            _ => Err(Failure::Usage(format!("--{option} takes raw:FILE or qcow2:FILE"))),
        })
        .collect()
}
