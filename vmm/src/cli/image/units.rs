//! Sizes and names of modes, as qemu-img writes them.

use std::str::FromStr;

use block::{CacheMode, EngineKind};

/// A number of bytes: `512`, `64k`, `1.5G`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) u64);

/// The text says no size.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no size: use a number of bytes, or one with K, M, G, T, P or E behind it")]
pub(super) struct NoSize(String);

impl FromStr for Bytes {
    type Err = NoSize;

    fn from_str(text: &str) -> Result<Bytes, NoSize> {
        parse(text).map(Bytes).ok_or_else(|| NoSize(text.chars().take(40).collect()))
    }
}

fn parse(text: &str) -> Option<u64> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(number.len()..)?.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        "E" => 60,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let unit = 1u64 << shift;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // Of what is behind the point, as many digits as the multiplication has room for.
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 15 {
        return None;
    }
    let rest = match part {
        "" => 0,
        part => {
            let scale = 10u128.pow(u32::try_from(part.len()).ok()?);
            u64::try_from(part.parse::<u128>().ok()? * u128::from(unit) / scale).ok()?
        }
    };
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(rest)
}

/// A size for people: `10 MiB`, `1.5 GiB`.
pub(super) fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut power = 0;
    // As qemu-img does it: the next unit from 1000 of the last on.
    while power + 1 < UNITS.len() && bytes >> (10 * power) >= 1000 {
        power += 1;
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let value = bytes as f64 / (1u64 << (10 * power)) as f64;
    let unit = UNITS.get(power).copied().unwrap_or_default();
    // Three digits that matter, without zeroes at the end.
    let places = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    let text = format!("{value:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {unit}")
}

/// Host caching.
pub(super) struct Cache(pub(super) CacheMode);

/// The text names no mode.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not one of {1}")]
pub(super) struct NoMode(String, &'static str);

impl FromStr for Cache {
    type Err = NoMode;

    fn from_str(text: &str) -> Result<Cache, NoMode> {
        Ok(Cache(match text {
            "none" | "off" => CacheMode::None,
            "writethrough" => CacheMode::Writethrough,
            "writeback" => CacheMode::Writeback,
            "directsync" => CacheMode::Directsync,
            "unsafe" => CacheMode::Unsafe,
            other => {
                return Err(NoMode(other.to_owned(), "none, writethrough, writeback, directsync, unsafe"));
            }
        }))
    }
}

/// What carries out I/O.
pub(super) struct Engine(pub(super) EngineKind);

impl FromStr for Engine {
    type Err = NoMode;

    fn from_str(text: &str) -> Result<Engine, NoMode> {
        Ok(Engine(match text {
            "io_uring" | "native" => EngineKind::Native,
            "threads" => EngineKind::Threads,
            "sync" => EngineKind::Sync,
            other => return Err(NoMode(other.to_owned(), "io_uring, native, threads, sync")),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_qemu_img_reads_them() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("10b", 10),
            ("64k", 65536),
            ("1M", 1 << 20),
            ("1.5G", 3 << 29),
            ("0.25t", 1 << 38),
            ("7E", 7 << 60),
        ] {
            assert_eq!(text.parse::<Bytes>().unwrap().0, bytes, "{text}");
        }
        for bad in
            ["", "k", "-1", "+1", "1x", "1 M", "0x10", "1.2.3", ".5G", "16E", "1.0000000000000001G", "1KiB"]
        {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_written_as_qemu_img_writes_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (512, "512 B"),
            (1000, "0.98 KiB"),
            (462_848, "452 KiB"),
            (10 << 20, "10 MiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn modes_are_named() {
        assert!("native".parse::<Engine>().is_ok() && "unsafe".parse::<Cache>().is_ok());
        assert!("aio".parse::<Engine>().is_err() && "direct".parse::<Cache>().is_err());
    }
}
