//! One object of a manifest file, and places in it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::node::{Mark, Node};

/// A manifest file's text, kept so that messages can quote it.
#[derive(Debug)]
pub struct Source {
    file: PathBuf,
    text: String,
    /// Where each line begins; made when the first line is asked for.
    lines: OnceLock<Vec<usize>>,
}

impl Source {
    /// A source of the given name and text; standard input is named `-`.
    pub fn new(file: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { file: file.into(), text: text.into(), lines: OnceLock::new() }
    }

    /// The file's name as given by the user.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A line by its number, from 1.
    pub fn line(&self, number: u32) -> Option<&str> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let lines = self.lines.get_or_init(|| starts(&self.text));
        let start = *lines.get(index)?;
        let end = lines.get(index.saturating_add(1)).copied().unwrap_or(self.text.len());
        self.text.get(start..end).map(|line| line.trim_end_matches(['\n', '\r']))
    }
}

/// Where lines begin. They end as YAML's do: with a line feed, a carriage return, or both.
fn starts(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let is_end = |at: usize, byte: u8| byte == b'\n' || byte == b'\r' && bytes.get(at + 1) != Some(&b'\n');
    let ends = bytes.iter().enumerate().filter(|(at, byte)| is_end(*at, **byte));
    std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect()
}

/// A place in a manifest file.
#[derive(Clone)]
pub struct Location {
    source: Arc<Source>,
    mark: Mark,
}

impl Location {
    pub(crate) fn new(source: Arc<Source>, mark: Mark) -> Self {
        Self { source, mark }
    }

    /// The file's name as given by the user; `-` for standard input.
    pub fn file(&self) -> &Path {
        self.source.file()
    }

    /// The line, from 1.
    pub fn line(&self) -> u32 {
        self.mark.line
    }

    /// The column in characters, from 1.
    pub fn column(&self) -> u32 {
        self.mark.column
    }

    /// The source line with a caret under the place, for people to read.
    pub fn excerpt(&self) -> String {
        /// Longer lines are cut around the caret so that a minified file stays readable.
        const WIDTH: usize = 100;
        let line = self.source.line(self.mark.line).unwrap_or_default();
        let column = usize::try_from(self.mark.column.saturating_sub(1)).unwrap_or(0);
        let skip = if column < WIDTH { 0 } else { column.saturating_sub(WIDTH / 2) };
        let shown: String =
            line.chars().skip(skip).take(WIDTH).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let number = self.mark.line.to_string();
        let margin = " ".repeat(number.len());
        let space = " ".repeat(column.saturating_sub(skip));
        format!("{margin} |\n{number} | {}\n{margin} | {space}^", shown.trim_end())
    }
}

/// `file:line:column`, as editors understand it.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file().display(), self.line(), self.column())
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Location {
    fn eq(&self, other: &Self) -> bool {
        self.mark == other.mark && self.file() == other.file()
    }
}

/// One object of a manifest, as written.
#[derive(Debug, Clone)]
pub struct Document {
    source: Arc<Source>,
    number: usize,
    root: Node,
}

impl Document {
    pub(crate) fn new(source: Arc<Source>, number: usize, root: Node) -> Self {
        Self { source, number, root }
    }

    /// The text that it comes from.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// The number of the document in its file, from 1; the items of a `List` share their document's.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The file it stands in.
    pub fn file(&self) -> &Path {
        self.source.file()
    }

    /// The object as written, before types and defaults.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// `apiVersion`, empty when missing.
    pub fn api_version(&self) -> &str {
        self.top("apiVersion")
    }

    /// `kind`, empty when missing.
    pub fn kind(&self) -> &str {
        self.top("kind")
    }

    /// `metadata.name`, empty when missing.
    pub fn name(&self) -> &str {
        self.metadata("name")
    }

    /// `metadata.namespace`, empty when missing.
    pub fn namespace(&self) -> &str {
        self.metadata("namespace")
    }

    /// Where the value at `path` stands, or its nearest parent that exists.
    pub fn locate(&self, path: &str) -> Location {
        Location::new(self.source.clone(), self.root.locate(path).0)
    }

    /// Whether there is a value at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.root.locate(path).1
    }

    fn top(&self, key: &str) -> &str {
        self.root.get(key).and_then(Node::text).unwrap_or_default()
    }

    fn metadata(&self, key: &str) -> &str {
        self.root.get("metadata").and_then(|node| node.get(key)).and_then(Node::text).unwrap_or_default()
    }
}
