//! `kubevmm image map`.

use std::fmt::Write as _;

use block::ops::{self, Extent, ExtentKind, Format};
use serde_json::{Value, json};

use super::super::Failure;
use super::super::output::print;
use super::info::Form;
use super::source::{self, Names};
use super::units::Bytes;
use crate::cli::args::Args;

pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let [path] = args.operands(["an image"])?;
    let form = Form::of(args)?;
    let source = source::open(args, path, Names::USUAL)?;
    let start = args.parsed::<Bytes>("start-offset")?.map_or(0, |bytes| bytes.0);
    let length = args.parsed::<Bytes>("max-length")?.map_or(u64::MAX, |bytes| bytes.0);
    let extents = ops::map(&source.path, &source.opened)?;
    let extents = extents.into_iter().filter_map(|extent| cut(extent, start, start.saturating_add(length)));
    if form != Form::People {
        // A raw image's holes are at the place where their data would be.
        let raw = source::format(args, Names::USUAL.format, path)? == Format::Raw;
        let values: Vec<Value> = extents.map(|extent| value(&extent, raw)).collect();
        print(&match form {
            Form::Yaml => spec::yaml::write(&Value::Array(values)),
            // As qemu-img: an extent a line.
            _ => format!("[{}]\n", values.iter().map(Value::to_string).collect::<Vec<_>>().join(",\n")),
        })?;
        return Ok(0);
    }
    let mut names = vec![path.display().to_string()];
    names.extend(
        args.texts("backing")?.iter().filter_map(|text| text.split_once(':')).map(|(_, file)| file.into()),
    );
    print(&table(extents, &names))?;
    Ok(0)
}

/// The part of an extent within bounds.
fn cut(extent: Extent, from: u64, to: u64) -> Option<Extent> {
    let start = extent.start.max(from);
    let end = (extent.start + extent.length).min(to);
    let length = end.checked_sub(start).filter(|&length| length > 0)?;
    let kind = match extent.kind {
        ExtentKind::Data { depth, offset } => {
            ExtentKind::Data { depth, offset: offset + (start - extent.start) }
        }
        other => other,
    };
    Some(Extent { start, length, kind })
}

fn value(extent: &Extent, raw: bool) -> Value {
    let (depth, present, zero, compressed) = match extent.kind {
        ExtentKind::Zero { depth, present } => (depth, present, true, false),
        ExtentKind::Data { depth, .. } => (depth, true, false, false),
        ExtentKind::Compressed { depth } => (depth, true, false, true),
    };
    let mut value = json!({
        "start": extent.start,
        "length": extent.length,
        "depth": depth,
        "present": present,
        "zero": zero,
        "data": !zero,
        "compressed": compressed,
    });
    match extent.kind {
        ExtentKind::Data { offset, .. } => value["offset"] = json!(offset),
        ExtentKind::Zero { .. } if raw => value["offset"] = json!(extent.start),
        _ => {}
    }
    value
}

/// For people: where there is data, and in which file.
fn table(extents: impl Iterator<Item = Extent>, names: &[String]) -> String {
    let mut text = format!("{:<16}{:<16}{:<16}File\n", "Offset", "Length", "Mapped to");
    for extent in extents {
        let (depth, place) = match extent.kind {
            ExtentKind::Zero { .. } => continue,
            ExtentKind::Data { depth, offset } => (depth, hex(offset)),
            ExtentKind::Compressed { depth } => (depth, "(compressed)".to_owned()),
        };
        let name = names.get(depth).map_or("", String::as_str);
        let _ = writeln!(text, "{:<16}{:<16}{place:<16}{name}", hex(extent.start), hex(extent.length));
    }
    text
}

fn hex(number: u64) -> String {
    if number == 0 { "0".to_owned() } else { format!("{number:#x}") }
}
