//! `kubevmm image info`.

use std::fmt::Write as _;
use std::path::Path;

use block::ops::{self, ImageInfo};
use block::qcow2::{Compression, QcowSummary};
use serde_json::{Map, Value, json};

use super::super::Failure;
use super::super::output::print;
use super::source;
use super::units::human;
use crate::cli::args::Args;

pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let [path] = args.operands(["an image"])?;
    let form = Form::of(args)?;
    let info = ops::info(path, source::format(args, "format", path)?)?;
    print(&form.written(&value(path, &info)).unwrap_or_else(|| text(path, &info)))?;
    Ok(0)
}

/// For whom the output is. The words are qemu-img's, and those of the other commands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    People,
    Json,
    Yaml,
}

impl Form {
    /// What `--output` asks for.
    pub(super) fn of(args: &Args) -> Result<Self, Failure> {
        match args.text("output")?.as_deref() {
            None | Some("human" | "text") => Ok(Self::People),
            Some("json") => Ok(Self::Json),
            Some("yaml") => Ok(Self::Yaml),
            Some(other) => {
                Err(Failure::Usage(format!("there is no output format {other:?}: use human, json or yaml")))
            }
        }
    }

    /// The value as a program wants it, if the output is for one.
    pub(super) fn written(self, value: &Value) -> Option<String> {
        match self {
            Self::People => None,
            Self::Json => Some(format!("{value:#}\n")),
            Self::Yaml => Some(spec::yaml::write(value)),
        }
    }
}

fn value(path: &Path, info: &ImageInfo) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("filename", json!(path.display().to_string()));
    put("format", json!(info.format.to_string()));
    put("virtual-size", json!(info.virtual_size));
    put("actual-size", json!(info.actual_size));
    put("dirty-flag", json!(info.qcow2.as_ref().is_some_and(|qcow2| qcow2.dirty_flag)));
    if let Some(qcow2) = &info.qcow2 {
        put("cluster-size", json!(qcow2.cluster_size));
        if let Some(name) = &qcow2.backing_filename {
            put("backing-filename", json!(name));
        }
        if let Some(format) = &qcow2.backing_filename_format {
            put("backing-filename-format", json!(format));
        }
        put("format-specific", json!({ "type": "qcow2", "data": specific(qcow2) }));
    }
    Value::Object(fields)
}

fn specific(qcow2: &QcowSummary) -> Value {
    let mut data = json!({
        "compat": qcow2.compat,
        "compression-type": compression(qcow2),
        "refcount-bits": qcow2.refcount_bits,
    });
    if qcow2.compat != "0.10" {
        data["lazy-refcounts"] = json!(qcow2.lazy_refcounts);
        data["corrupt"] = json!(qcow2.corrupt);
        data["extended-l2"] = json!(qcow2.extended_l2);
    }
    // Not qemu-img's: it lists them, which takes reading more of the image.
    if qcow2.snapshots > 0 {
        data["snapshot-count"] = json!(qcow2.snapshots);
    }
    if qcow2.bitmaps {
        data["has-bitmaps"] = json!(true);
    }
    data
}

fn compression(qcow2: &QcowSummary) -> &'static str {
    if qcow2.compression_type == Compression::Zstd { "zstd" } else { "zlib" }
}

fn text(path: &Path, info: &ImageInfo) -> String {
    let mut text = format!(
        "image: {}\nfile format: {}\nvirtual size: {} ({} bytes)\ndisk size: {}\n",
        path.display(),
        info.format,
        human(info.virtual_size),
        info.virtual_size,
        human(info.actual_size)
    );
    let Some(qcow2) = &info.qcow2 else { return text };
    if qcow2.dirty_flag {
        text.push_str("cleanly shut down: no\n");
    }
    let _ = writeln!(text, "cluster_size: {}", qcow2.cluster_size);
    if let Some(name) = &qcow2.backing_filename {
        let _ = writeln!(text, "backing file: {}", name.escape_debug());
    }
    if let Some(format) = &qcow2.backing_filename_format {
        let _ = writeln!(text, "backing file format: {}", format.escape_debug());
    }
    let _ = write!(
        text,
        "Format specific information:\n    compat: {}\n    compression type: {}\n",
        qcow2.compat,
        compression(qcow2)
    );
    if qcow2.compat != "0.10" {
        let _ = writeln!(text, "    lazy refcounts: {}", qcow2.lazy_refcounts);
    }
    let _ = writeln!(text, "    refcount bits: {}", qcow2.refcount_bits);
    if qcow2.compat != "0.10" {
        let _ = writeln!(text, "    corrupt: {}\n    extended l2: {}", qcow2.corrupt, qcow2.extended_l2);
    }
    if qcow2.snapshots > 0 {
        let _ = writeln!(text, "    snapshots: {}", qcow2.snapshots);
    }
    if qcow2.bitmaps {
        text.push_str("    bitmaps: yes\n");
    }
    text
}
