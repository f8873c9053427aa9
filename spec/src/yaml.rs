//! Objects as YAML text, for people to read and for `kubevmm` to read again.

use serde_json::Value;

use crate::source::is_plain_text;

/// The value as a YAML document, ended by a line break.
pub fn write(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(map, 0, &mut text),
        Value::Array(items) if !items.is_empty() => list(items, 0, &mut text),
        _ => {
            scalar(value, 0, &mut text);
            text.push('\n');
        }
    }
    text
}

fn indent(depth: usize, text: &mut String) {
    text.extend(std::iter::repeat_n("  ", depth));
}

fn mapping(map: &serde_json::Map<String, Value>, depth: usize, text: &mut String) {
    for (position, (key, value)) in map.iter().enumerate() {
        // The first key of a list's item stands behind the dash.
        if position > 0 || !text.ends_with("- ") {
            indent(depth, text);
        }
        string(key, text);
        text.push(':');
        below(value, depth, text);
    }
}

fn list(items: &[Value], depth: usize, text: &mut String) {
    for (position, item) in items.iter().enumerate() {
        if position > 0 || !text.ends_with("- ") {
            indent(depth, text);
        }
        text.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => mapping(map, depth.saturating_add(1), text),
            Value::Array(items) if !items.is_empty() => list(items, depth.saturating_add(1), text),
            _ => {
                scalar(item, depth.saturating_add(1), text);
                text.push('\n');
            }
        }
    }
}

/// What stands behind a key: a scalar in the same line, or a collection below.
fn below(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            mapping(map, depth.saturating_add(1), text);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            list(items, depth, text);
        }
        _ => {
            text.push(' ');
            scalar(value, depth.saturating_add(1), text);
            text.push('\n');
        }
    }
}

fn scalar(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::String(value) if is_block(value) => block(value, depth, text),
        Value::String(value) => string(value, text),
        other => text.push_str(&other.to_string()),
    }
}

/// Text of several lines that a literal block can hold.
fn is_block(value: &str) -> bool {
    let is_printable =
        |c: char| c == '\n' || !c.is_control() && c != '\u{feff}' && !matches!(c, '\u{2028}' | '\u{2029}');
    value.trim_end_matches('\n').contains('\n')
        && value.chars().all(is_printable)
        && !value.starts_with([' ', '\n'])
}

fn block(value: &str, depth: usize, text: &mut String) {
    let body = value.trim_end_matches('\n');
    let ends = value.len().saturating_sub(body.len());
    text.push_str(match ends {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in value.strip_suffix('\n').unwrap_or(value).split('\n') {
        text.push('\n');
        if !line.is_empty() {
            indent(depth, text);
            text.push_str(line);
        }
    }
}

/// A word as it is where YAML reads it as text, else in quotes.
fn string(value: &str, text: &mut String) {
    if is_plain_text(value) {
        text.push_str(value);
    } else {
        // JSON's quoted strings are YAML's.
        text.push_str(&Value::from(value).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_reads_as_people_write_it() {
        let value = json!({
            "a": {"b": [1, {"c": "x", "d": [true]}, []], "e": {}},
            "words": ["yes", "1", "a: b", "- a", "", "plain text", "0x1", "null"],
            "script": "#!/bin/sh\n\n echo\n",
        });
        assert_eq!(
            write(&value),
            "a:\n  b:\n  - 1\n  - c: x\n    d:\n    - true\n  - []\n  e: {}\n\
             script: |\n  #!/bin/sh\n\n   echo\n\
             words:\n- \"yes\"\n- \"1\"\n- \"a: b\"\n- \"- a\"\n- \"\"\n- plain text\n- \"0x1\"\n- \"null\"\n"
        );
    }
}
