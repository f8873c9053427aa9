//! Field selectors (apimachinery/pkg/fields): `key=value,other!=value`.

use super::failure;
use super::http::Response;

/// Conditions that all have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    key: String,
    value: String,
    equals: bool,
}

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// The response to one that makes no sense.
    pub(super) fn parse(text: &str) -> Result<Self, Response> {
        let terms = text.split(',').filter(|term| !term.trim().is_empty()).map(|term| {
            let (key, value) = term.split_once('=').ok_or_else(|| bad(term))?;
            let (key, equals) = match key.strip_suffix('!') {
                Some(key) => (key, false),
                None => (key, true),
            };
            let value = value.strip_prefix('=').unwrap_or(value);
            Ok(Term { key: key.trim().to_owned(), value: value.trim().to_owned(), equals })
        });
        terms.collect::<Result<_, _>>().map(Self)
    }

    /// Whether the object is selected whose fields `field` knows.
    ///
    /// # Errors
    /// The response to a selector with a field that objects cannot be selected by.
    pub(super) fn selects<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> Result<bool, Response> {
        let mut selects = true;
        for term in &self.0 {
            let value = field(&term.key)
                .ok_or_else(|| failure::bad_request(&format!("field label not supported: {}", term.key)))?;
            selects &= (value == term.value) == term.equals;
        }
        Ok(selects)
    }
}

fn bad(term: &str) -> Response {
    failure::bad_request(&format!("invalid selector: {term:?}; use KEY=VALUE or KEY!=VALUE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str) -> Result<bool, u16> {
        let field = |key: &str| match key {
            "metadata.name" => Some("vm"),
            "metadata.namespace" => Some("default"),
            _ => None,
        };
        Selector::parse(selector).and_then(|selector| selector.selects(field)).map_err(|refusal| refusal.code)
    }

    #[test]
    fn all_terms_have_to_hold() {
        for yes in
            ["", "metadata.name=vm", "metadata.name==vm,metadata.namespace!=other", "metadata.name!=x,"]
        {
            assert_eq!(selects(yes), Ok(true), "{yes}");
        }
        for no in ["metadata.name=x", "metadata.name=vm,metadata.namespace=x", "metadata.name!=vm"] {
            assert_eq!(selects(no), Ok(false), "{no}");
        }
        for bad in ["metadata.name", "spec.nodeName=x"] {
            assert_eq!(selects(bad), Err(400), "{bad}");
        }
    }
}
