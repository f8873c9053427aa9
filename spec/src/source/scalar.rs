//! What an unquoted YAML word means: null, boolean, number or text.
//!
//! The words are those of Kubernetes' own reader (YAML 1.2 with the booleans and octal numbers of YAML 1.1),
//! so that a manifest means here what it means to `kubectl apply`.

use super::node::Value;

/// The value of a scalar; `tag` is the suffix of a `!!tag`, or some other word for a tag that is not YAML's.
pub(crate) fn value(text: &str, plain: bool, tag: Option<&str>) -> Result<Value, String> {
    match tag {
        None if plain => Ok(resolve(text)),
        None | Some("str" | "binary" | "timestamp") => Ok(Value::Text(text.into())),
        Some("int" | "float" | "bool" | "null") => match resolve(text) {
            Value::Text(_) => Err(format!("{text:?} does not fit its tag")),
            value => Ok(value),
        },
        Some(_) => Err("YAML tags other than YAML's own (such as !!str) have no meaning here".into()),
    }
}

/// Whether a word stands for itself as text when it is written without quotes.
pub(crate) fn is_plain_text(text: &str) -> bool {
    let is_plain = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+' | ' ' | ':' | '@' | '%')
    };
    let is_start = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_');
    text.starts_with(is_start)
        && text.chars().all(is_plain)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && matches!(resolve(text), Value::Text(_))
}

fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "false" | "False" | "FALSE" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        _ => number(text).map_or_else(|| Value::Text(text.into()), Value::Number),
    }
}

/// The number in decimal, if the word is one.
fn number(text: &str) -> Option<Box<str>> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return None;
    }
    let clean: String = text.chars().filter(|c| *c != '_').collect();
    let (sign, digits) = match clean.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", clean.strip_prefix('+').unwrap_or(&clean)),
    };
    if let Some(value) = based(digits) {
        return Some(format!("{sign}{value}").into());
    }
    is_decimal(digits).then(|| format!("{sign}{digits}").into())
}

/// Numbers with a base: `0x1f`, `0b11`, `0o17` and YAML 1.1's `017`.
fn based(digits: &str) -> Option<u128> {
    let (radix, rest) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, digits.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, digits.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => return None,
    };
    if rest.starts_with(['+', '-']) {
        return None;
    }
    u128::from_str_radix(rest, radix).ok()
}

/// Digits with at most one point, and at most one exponent behind.
fn is_decimal(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|part| {
        let part = part.strip_prefix(['+', '-']).unwrap_or(part);
        !part.is_empty() && all_digits(part)
    });
    !(whole.is_empty() && fraction.is_empty()) && all_digits(whole) && all_digits(fraction) && exponent_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn number(text: &str) -> Value {
        Value::Number(text.into())
    }

    #[test]
    fn plain_words_mean_what_kubernetes_takes_them_for() {
        let cases = [
            ("", Value::Null),
            ("~", Value::Null),
            ("yes", Value::Bool(true)),
            ("off", Value::Bool(false)),
            ("12", number("12")),
            ("-12", number("-12")),
            ("+1_000", number("1000")),
            ("0x1F", number("31")),
            ("0755", number("493")),
            ("0o17", number("15")),
            ("089", number("089")),
            ("1.5", number("1.5")),
            ("2e3", number("2e3")),
            ("1Gi", text("1Gi")),
            ("02:00:00:00:00:01", text("02:00:00:00:00:01")),
            ("1.2.3", text("1.2.3")),
            ("e3", text("e3")),
            (".", text(".")),
            ("-", text("-")),
            ("0x", text("0x")),
            ("1e", text("1e")),
        ];
        for (word, want) in cases {
            assert_eq!(value(word, true, None).unwrap(), want, "{word}");
        }
    }

    #[test]
    fn quotes_and_tags_make_text() {
        assert_eq!(value("12", false, None).unwrap(), text("12"));
        assert_eq!(value("12", true, Some("str")).unwrap(), text("12"));
        assert!(value("x", true, Some("int")).is_err());
        assert!(value("x", true, Some("custom")).is_err());
    }
}
