//! Field names: `snake_case` in Rust, `camelCase` in manifests, turned at compile time.

/// How many bytes [`camel`] makes of a Rust field name.
pub(crate) const fn camel_len(name: &str) -> usize {
    let bytes = name.as_bytes();
    let mut at = raw_prefix(bytes);
    let mut len = 0;
    while at < bytes.len() {
        if bytes[at] != b'_' {
            len += 1;
        }
        at += 1;
    }
    len
}

/// `dedicated_io_thread` to `dedicatedIoThread`; a raw identifier loses its `r#`.
///
/// Evaluated at compile time only: an index out of range would be a compile error.
pub(crate) const fn camel<const N: usize>(name: &str) -> [u8; N] {
    let bytes = name.as_bytes();
    let mut out = [0; N];
    let mut at = raw_prefix(bytes);
    let mut len = 0;
    let mut upper = false;
    while at < bytes.len() {
        if bytes[at] == b'_' {
            upper = true;
        } else {
            out[len] = if upper { bytes[at].to_ascii_uppercase() } else { bytes[at] };
            upper = false;
            len += 1;
        }
        at += 1;
    }
    out
}

const fn raw_prefix(bytes: &[u8]) -> usize {
    if bytes.len() > 2 && bytes[0] == b'r' && bytes[1] == b'#' { 2 } else { 0 }
}

/// The bytes as text; names are ASCII, so nothing is ever lost.
pub(crate) const fn text(bytes: &'static [u8]) -> &'static str {
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => "",
    }
}

/// The name among `known` that `wrong` most likely stands for, if any is near enough.
pub(crate) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wrong.len() / 3).clamp(1, 4);
    known
        .map(|name| (distance(&wrong.to_ascii_lowercase(), &name.to_ascii_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Edits (insert, delete, replace, swap of neighbours) between two words; words beyond 64 bytes are far apart.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let replace = last.get(j).copied().unwrap_or(0) + usize::from(x != y);
            let insert = row.last().copied().unwrap_or(0) + 1;
            let delete = last.get(j + 1).copied().unwrap_or(0) + 1;
            let mut best = replace.min(insert).min(delete);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if let (true, Some(cost)) = (swapped, before.get(j.wrapping_sub(1))) {
                best = best.min(cost + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_turn_to_camel_case_at_compile_time() {
        const NAME: [u8; camel_len("dedicated_cpu_placement")] = camel("dedicated_cpu_placement");
        assert_eq!(text(&NAME), "dedicatedCpuPlacement");
        const RAW: [u8; camel_len("r#type")] = camel("r#type");
        assert_eq!(text(&RAW), "type");
    }

    #[test]
    fn the_nearest_name_is_found_and_strangers_are_not() {
        let known = || ["cores", "sockets", "threads", "model"].into_iter();
        assert_eq!(nearest("core", known()), Some("cores"));
        assert_eq!(nearest("scokets", known()), Some("sockets"));
        assert_eq!(nearest("Model", known()), Some("model"));
        assert_eq!(nearest("banana", known()), None);
        assert_eq!(nearest(&"x".repeat(5000), known()), None);
    }
}
