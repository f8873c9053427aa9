//! Kubernetes quantities: `512Mi`, `1.5`, `250m`, `2e3`.

use std::fmt;
use std::str::FromStr;

use super::kind::Kind;
use super::read::{Reader, Value};
use crate::admit::Reason;
use crate::source::{Node, Value as NodeValue};

/// An exact amount, kept as written and as billionths, the finest step that Kubernetes knows.
#[derive(Clone)]
pub struct Quantity {
    text: Box<str>,
    nano: i128,
}

const NANO: i128 = 1_000_000_000;

/// Why a text is not a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It does not begin with a number.
    #[error("must be a number with a unit such as 512Mi, 2G or 500m")]
    NoNumber,
    /// A space stands between the number and the unit, or around them.
    #[error("must not hold a space: write the number and the unit together, such as 1Gi")]
    Space,
    /// The unit is not one of Kubernetes'.
    #[error(
        "has an unknown unit: use Ki, Mi, Gi, Ti, Pi, Ei (powers of 1024) or m, k, M, G, T, P, E (powers of 1000)"
    )]
    UnknownUnit,
    /// The amount is beyond what can be counted.
    #[error("is too large")]
    TooLarge,
}

impl Quantity {
    /// A quantity of whole units.
    pub fn of(value: u64) -> Self {
        Self { text: value.to_string().into(), nano: i128::from(value).saturating_mul(NANO) }
    }

    /// A number of bytes, in the largest binary unit that has no fraction, as Kubernetes writes it (`BinarySI`).
    pub fn of_bytes(bytes: u64) -> Self {
        let units = [(60, "Ei"), (50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")];
        let whole = units.iter().find(|(shift, _)| bytes != 0 && bytes.trailing_zeros() >= *shift);
        let text =
            whole.map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift));
        Self { text: text.into(), ..Self::of(bytes) }
    }

    /// The whole units, rounded up as Kubernetes does (`500m` is 1); `None` when negative or beyond `u64`.
    pub fn bytes(&self) -> Option<u64> {
        u64::try_from(self.ceil()).ok()
    }

    /// The whole units, rounded up; negative amounts round towards zero.
    pub fn ceil(&self) -> i128 {
        let whole = self.nano.div_euclid(NANO);
        if self.nano.rem_euclid(NANO) == 0 { whole } else { whole.saturating_add(1) }
    }

    /// The amount, where it is a whole number of units.
    pub fn whole(&self) -> Option<i128> {
        (self.nano.rem_euclid(NANO) == 0).then(|| self.nano.div_euclid(NANO))
    }

    /// The amount in billionths, for comparisons.
    pub fn nano(&self) -> i128 {
        self.nano
    }

    /// Whether the amount is below zero.
    pub fn is_negative(&self) -> bool {
        self.nano < 0
    }

    /// Whether the amount is zero.
    pub fn is_zero(&self) -> bool {
        self.nano == 0
    }
}

/// The value of a unit: numerator and denominator.
fn unit(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, NANO),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => return exponent(suffix),
    })
}

/// `e3`, `E-6`: a power of ten.
fn exponent(suffix: &str) -> Option<(i128, i128)> {
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let value = 10i128.checked_pow(power.unsigned_abs())?;
    Some(if power < 0 { (1, value) } else { (value, 1) })
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        /// Longer numbers hold nothing that a machine has.
        const LONGEST: usize = 64;
        if text.len() > LONGEST {
            return Err(QuantityError::TooLarge);
        }
        if text.contains(char::is_whitespace) {
            return Err(QuantityError::Space);
        }
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(QuantityError::NoNumber);
        }
        let (up, down) = unit(suffix).ok_or(QuantityError::UnknownUnit)?;
        let nano = scaled(whole, fraction, up, down).ok_or(QuantityError::TooLarge)?;
        Ok(Self { text: text.into(), nano: if negative { nano.saturating_neg() } else { nano } })
    }
}

/// `whole.fraction × up ÷ down` in billionths, rounded up.
fn scaled(whole: &str, fraction: &str, up: i128, down: i128) -> Option<i128> {
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let mantissa: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let places = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let divisor = places.checked_mul(down)?;
    let common = gcd(up.checked_mul(NANO)?, divisor);
    let (up, divisor) = (up.checked_mul(NANO)?.checked_div(common)?, divisor.checked_div(common)?);
    let product = mantissa.checked_mul(up)?;
    let floor = product.checked_div(divisor)?;
    if product.checked_rem(divisor)? == 0 { Some(floor) } else { floor.checked_add(1) }
}

fn gcd(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a.checked_rem(b).unwrap_or(0));
    }
    a.max(1)
}

impl Default for Quantity {
    fn default() -> Self {
        Self { text: "0".into(), nano: 0 }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Value for Quantity {
    const KIND: Kind = Kind::Quantity;

    fn read(node: &Node, reader: &mut Reader) -> Self {
        let (NodeValue::Number(text) | NodeValue::Text(text)) = &node.value else {
            reader.wrong_type("a quantity such as 512Mi", node);
            return Self::default();
        };
        text.parse().unwrap_or_else(|error: QuantityError| {
            let shown = crate::text::shorten(text, 60);
            reader.fault(Reason::Invalid, format!("{shown:?} is not a quantity: it {error}"));
            Self::default()
        })
    }

    fn to_json(&self) -> serde_json::Value {
        (*self.text).into()
    }

    fn is_absent(&self) -> bool {
        false
    }
}

impl serde::Serialize for Quantity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for Quantity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::read::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Option<u64> {
        text.parse::<Quantity>().unwrap().bytes()
    }

    #[test]
    fn bytes_are_written_in_the_largest_binary_unit() {
        for (bytes, text) in [(0, "0"), (1000, "1000"), (1024, "1Ki"), (192 << 20, "192Mi"), (1 << 63, "8Ei")]
        {
            let quantity = Quantity::of_bytes(bytes);
            assert_eq!(quantity.to_string(), text);
            assert_eq!(text.parse::<Quantity>().unwrap().bytes(), Some(bytes));
            assert_eq!(quantity.bytes(), Some(bytes));
        }
    }

    #[test]
    fn units_are_exact() {
        let cases = [
            ("0", 0),
            ("1024M", 1_024_000_000),
            ("1Gi", 1 << 30),
            ("1.5Gi", 3 << 29),
            ("0.1Ki", 103),
            ("2e3", 2000),
            ("1E", 1_000_000_000_000_000_000),
            ("1E3", 1000),
            ("15e-1", 2),
            ("500m", 1),
            ("1333m", 2),
            ("100n", 1),
            (".5", 1),
            ("8Ei", 1 << 63),
        ];
        for (text, want) in cases {
            assert_eq!(bytes(text), Some(want), "{text}");
        }
    }

    #[test]
    fn negative_and_huge_amounts_have_no_bytes() {
        assert_eq!(bytes("-3"), None);
        assert_eq!(bytes("100Ei"), None);
        assert_eq!("-1500m".parse::<Quantity>().unwrap().ceil(), -1);
    }

    #[test]
    fn what_is_no_quantity_says_why() {
        let cases = [
            ("", QuantityError::NoNumber),
            ("Gi", QuantityError::NoNumber),
            ("1.2.3", QuantityError::NoNumber),
            ("1G i", QuantityError::Space),
            ("1 Gi", QuantityError::Space),
            ("1gb", QuantityError::UnknownUnit),
            ("1GiB", QuantityError::UnknownUnit),
            ("1e999", QuantityError::UnknownUnit),
            ("99999999999999999999999999999999999999E", QuantityError::TooLarge),
        ];
        for (text, want) in cases {
            assert_eq!(text.parse::<Quantity>().unwrap_err(), want, "{text}");
        }
        assert_eq!("1".repeat(65).parse::<Quantity>().unwrap_err(), QuantityError::TooLarge);
    }

    #[test]
    fn amounts_compare_by_value() {
        let parse = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(parse("1Gi"), parse("1024Mi"));
        assert!(parse("1G") < parse("1Gi"));
    }
}
