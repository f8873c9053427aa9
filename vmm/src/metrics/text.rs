//! Prometheus' text format, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats).

use std::fmt::Write as _;

/// Type of the whole, for the response that carries it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a value only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It does.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// The text, as it is being written.
pub(super) struct Text {
    out: String,
    /// Labels that all samples have.
    common: String,
}

impl Text {
    /// A text whose samples all have the labels `common`.
    pub(super) fn new(common: &[(&str, &str)]) -> Self {
        let mut labels = String::new();
        common.iter().for_each(|label| add_label(*label, &mut labels));
        Self { out: String::new(), common: labels }
    }

    /// Writes one metric with all its samples. One without samples is left out.
    pub(super) fn metric(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        samples: impl IntoIterator<Item = Sample>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for Sample { labels, value } in samples {
            let mut all = self.common.clone();
            labels.iter().for_each(|(key, value)| add_label((key, value), &mut all));
            let _ = writeln!(self.out, "{name}{{{all}}} {value}");
        }
    }

    /// The whole.
    pub(super) fn finish(self) -> String {
        self.out
    }
}

/// A value and its labels.
pub(super) struct Sample {
    labels: Vec<(&'static str, String)>,
    value: f64,
}

/// A sample without labels of its own.
pub(super) fn value(value: f64) -> Sample {
    Sample { labels: Vec::new(), value }
}

impl Sample {
    /// With one more label.
    pub(super) fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.labels.push((key, value.into()));
        self
    }
}

fn add_label((key, value): (&str, &str), labels: &mut String) {
    if !labels.is_empty() {
        labels.push(',');
    }
    let _ = write!(labels, "{key}=\"");
    for letter in value.chars() {
        match letter {
            '\\' => labels.push_str("\\\\"),
            '"' => labels.push_str("\\\""),
            '\n' => labels.push_str("\\n"),
            letter => labels.push(letter),
        }
    }
    labels.push('"');
}

/// A count as Prometheus has it: a float, exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "all numbers of the format are floats")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

/// Nanoseconds as seconds.
pub(super) fn seconds(nanoseconds: u64) -> f64 {
    number(nanoseconds) / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_common_labels_and_their_own() {
        let mut text = Text::new(&[("name", "a\"b\\c\nd"), ("node", "")]);
        text.metric("x_total", Kind::Counter, "Some.", [value(1.5).with("id", "0"), value(number(1 << 40))]);
        text.metric("left_out", Kind::Gauge, "Nothing.", []);
        assert_eq!(
            text.finish(),
            "# HELP x_total Some.\n# TYPE x_total counter\n\
             x_total{name=\"a\\\"b\\\\c\\nd\",node=\"\",id=\"0\"} 1.5\n\
             x_total{name=\"a\\\"b\\\\c\\nd\",node=\"\"} 1099511627776\n"
        );
    }
}
