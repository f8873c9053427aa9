//! What a YAML parser complains of, in plain words.

use granit_parser::{ErrorKind, ScanError};

use super::node::Mark;
use super::yaml::{Fault, mark};

/// The parser's complaint in plain words, with the commonest causes named.
pub(super) fn fault(text: &str, error: &ScanError) -> Fault {
    let mark = mark(error.marker());
    let line_no = usize::try_from(mark.line).unwrap_or(usize::MAX);
    let line = text.lines().nth(line_no.saturating_sub(1)).unwrap_or_default();
    let indent = line.get(..line.len() - line.trim_start().len()).unwrap_or_default();
    if let Some(at) = indent.find('\t') {
        let column = u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1);
        let message = "a tab is used for indentation, where YAML allows spaces only: replace it".to_owned();
        return Fault { mark: Mark { line: mark.line, column }, message };
    }
    let mark = match error.kind() {
        ErrorKind::UnclosedQuotedScalar | ErrorKind::InvalidQuotedScalarIndent => {
            open_quote(until(text, mark)).unwrap_or(mark)
        }
        _ => mark,
    };
    Fault { mark, message: explain(error) }
}

/// The text before a line.
fn until(text: &str, mark: Mark) -> &str {
    let lines = usize::try_from(mark.line.saturating_sub(1)).unwrap_or(usize::MAX);
    let end = text.split_inclusive('\n').take(lines).map(str::len).sum();
    text.get(..end).unwrap_or(text)
}

/// Where the quotation mark stands that nothing closes: one that begins a value, with none of its kind behind it.
fn open_quote(text: &str) -> Option<Mark> {
    let begins_value = |at: &usize| {
        let before = text.get(..*at).and_then(|before| before.chars().next_back());
        before.is_none_or(|letter| letter.is_whitespace() || matches!(letter, '[' | '{' | ','))
    };
    let at = ['"', '\''].iter().filter_map(|quote| last_quote(text, *quote)).filter(begins_value).min()?;
    let before = text.get(..at)?;
    let line = before.matches('\n').count().saturating_add(1);
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1);
    Some(Mark { line: u32::try_from(line).ok()?, column: u32::try_from(column).ok()? })
}

/// The last quotation mark that is no part of a text: not behind a backslash, not one of a pair.
fn last_quote(text: &str, quote: char) -> Option<usize> {
    let escape = if quote == '"' { '\\' } else { quote };
    let mut rest = text;
    loop {
        let at = rest.rfind(quote)?;
        match rest.get(..at)?.strip_suffix(escape) {
            Some(before) => rest = before,
            None => return Some(at),
        }
    }
}

/// What is wrong, with a remedy where one is known.
fn explain(error: &ScanError) -> String {
    use ErrorKind as Kind;
    let hint = match error.kind() {
        Kind::TabNotAllowed
        | Kind::TabInBlockIndentation
        | Kind::TabAtBlockScalarStart
        | Kind::TabInIndentation
        | Kind::TabInPlainScalar => "a tab stands where YAML allows only spaces",
        Kind::MappingValueNotAllowed | Kind::InvalidColonPlacement => {
            "a colon cannot stand here: indent the key like its neighbours, or quote a value that holds \": \""
        }
        Kind::SimpleKeyExpected | Kind::InvalidSimpleKey => {
            "a key needs a colon and a space behind it, as in \"name: value\""
        }
        Kind::ExpectedBlockMappingKey
        | Kind::ExpectedBlockSequenceEntry
        | Kind::InvalidIndentation
        | Kind::InvalidFlowScalarIndent
        | Kind::BlockSequenceEntryNotAllowed => "the indentation does not fit the lines above",
        Kind::UnclosedQuotedScalar | Kind::InvalidQuotedScalarIndent => {
            "a quotation mark is opened and not closed"
        }
        Kind::UnclosedFlowCollection { .. }
        | Kind::UnexpectedEofFlowSequence
        | Kind::UnexpectedEofFlowMapping
        | Kind::UnexpectedEofImplicitFlowMapping => "a bracket or brace is not closed",
        Kind::ExpectedFlowMappingSeparator | Kind::ExpectedFlowSequenceSeparator => {
            "a comma is missing between brackets or braces, or they are not closed"
        }
        Kind::UnknownAnchor => "the alias refers to an anchor that does not stand before it",
        Kind::RecursionLimitExceeded => "lists and mappings are nested too deeply",
        _ => return format!("this is not YAML: {}", error.info()),
    };
    hint.to_owned()
}
