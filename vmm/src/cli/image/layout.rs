//! What `-o NAME=VALUE,…` says of a new image.

use block::ops::{CreateOptions, Format, Preallocation};
use block::qcow2::Compression;

use super::super::Failure;
use super::units::Bytes;
use crate::cli::args::Args;

/// Options of a new image besides its format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) size: Option<u64>,
    pub(super) backing_file: Option<String>,
    pub(super) backing_format: Option<String>,
    pairs: Vec<(String, String)>,
}

impl Layout {
    /// Reads all `-o` options.
    pub(super) fn of(args: &Args) -> Result<Layout, Failure> {
        let mut layout = Layout::default();
        for text in args.texts("options")? {
            for pair in text.split(',').filter(|pair| !pair.is_empty()) {
                let (name, value) = pair
                    .split_once('=')
                    .ok_or_else(|| Failure::Usage(format!("-o takes NAME=VALUE, and not {pair:?}")))?;
                match name {
                    "size" => layout.size = Some(number(name, value)?),
                    "backing_file" => layout.backing_file = Some(value.to_owned()),
                    "backing_fmt" => layout.backing_format = Some(value.to_owned()),
                    _ => layout.pairs.push((name.to_owned(), value.to_owned())),
                }
            }
        }
        Ok(layout)
    }

    /// The options of a new image of this format and size.
    pub(super) fn options(&self, format: Format, size: u64) -> Result<CreateOptions, Failure> {
        // Whole sectors, as qemu-img rounds them.
        let size = size.checked_next_multiple_of(512).unwrap_or(u64::MAX);
        // As with qemu-img, a file that is there is replaced.
        let mut options = CreateOptions { overwrite: true, ..CreateOptions::new(format, size) };
        for (name, value) in &self.pairs {
            set(&mut options, name, value)?;
        }
        Ok(options)
    }
}

fn set(options: &mut CreateOptions, name: &str, value: &str) -> Result<(), Failure> {
    let unknown = || Err(Failure::Usage(format!("{name}={value} is not possible")));
    match (options.format, name, value) {
        (_, "preallocation", "off") => options.preallocation = Preallocation::Off,
        (_, "preallocation", "metadata") => options.preallocation = Preallocation::Metadata,
        (_, "preallocation", "falloc") => options.preallocation = Preallocation::Falloc,
        (_, "preallocation", "full") => options.preallocation = Preallocation::Full,
        (Format::Qcow2, "cluster_size", value) => {
            options.cluster_size = u32::try_from(number(name, value)?).or_else(|_| unknown().map(|()| 0))?;
        }
        (Format::Qcow2, "refcount_bits", value) => {
            options.refcount_bits = u32::try_from(number(name, value)?).or_else(|_| unknown().map(|()| 0))?;
        }
        (Format::Qcow2, "compat", "0.10" | "v2") => options.old_version = true,
        (Format::Qcow2, "compat", "1.1" | "v3") => options.old_version = false,
        (Format::Qcow2, "compression_type", "zlib") => options.compression = Compression::Zlib,
        (Format::Qcow2, "compression_type", "zstd") => options.compression = Compression::Zstd,
        (Format::Qcow2, "extended_l2", value) => options.extended_l2 = switch(name, value)?,
        (Format::Qcow2, "lazy_refcounts", value) => options.lazy_refcounts = switch(name, value)?,
        (_, "preallocation" | "compat" | "compression_type", _) => return unknown(),
        (format, name, _) => {
            return Err(Failure::Usage(format!("{format} images have no option {name}")));
        }
    }
    Ok(())
}

fn switch(name: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "on" | "yes" | "true" => Ok(true),
        "off" | "no" | "false" => Ok(false),
        _ => Err(Failure::Usage(format!("{name} is on or off, and not {value:?}"))),
    }
}

fn number(name: &str, value: &str) -> Result<u64, Failure> {
    let bytes: Bytes = value.parse().map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
    Ok(bytes.0)
}

/// The options in words, as qemu-img says them.
pub(super) fn described(options: &CreateOptions) -> String {
    let switch = |on: bool| if on { "on" } else { "off" };
    let mut text = format!("fmt={}", options.format);
    let mut add = |name: &str, value: &str| {
        text.push(' ');
        text.push_str(name);
        text.push('=');
        text.push_str(value);
    };
    let preallocation = match options.preallocation {
        Preallocation::Off => None,
        Preallocation::Metadata => Some("metadata"),
        Preallocation::Falloc => Some("falloc"),
        Preallocation::Full => Some("full"),
    };
    if options.format == Format::Qcow2 {
        add("cluster_size", &options.cluster_size.to_string());
        add("extended_l2", switch(options.extended_l2));
    }
    if let (Some(preallocation), Format::Qcow2) = (preallocation, options.format) {
        add("preallocation", preallocation);
    }
    if options.format == Format::Qcow2 {
        add("compression_type", if options.compression == Compression::Zstd { "zstd" } else { "zlib" });
    }
    add("size", &options.size.to_string());
    if let (Some(preallocation), Format::Raw) = (preallocation, options.format) {
        add("preallocation", preallocation);
    }
    if let Some((file, format)) = &options.backing {
        add("backing_file", file);
        add("backing_fmt", &format.to_string());
    }
    if options.format == Format::Qcow2 {
        if options.old_version {
            add("compat", "0.10");
        }
        add("lazy_refcounts", switch(options.lazy_refcounts));
        add("refcount_bits", &options.refcount_bits.to_string());
    }
    text
}
