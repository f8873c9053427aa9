//! Files and standard input to documents.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::{Document, Location, Source};
use super::node::{Mark, Node};
use super::yaml;

/// The largest manifest file read: 16 MiB. A cluster refuses single objects beyond 1.5 MiB, so this leaves room
/// for thousands of VMs in one file, and a mistaken disk image ends with a clear error.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// The most faults of one file; beyond them nobody reads on.
const MOST_ERRORS: usize = 20;

/// Why a manifest file, or the rest of it, could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be opened or read.
    #[error("cannot read the manifest {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than any manifest.
    #[error("{} is larger than {} MiB: is it a manifest?", file.display(), MAX_FILE_BYTES >> 20)]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// The file is not UTF-8 text.
    #[error("{location}: not UTF-8 text (byte {offset}): save the file as UTF-8")]
    Encoding {
        /// The place of the first wrong byte.
        location: Location,
        /// Its offset in the file.
        offset: usize,
    },
    /// The text is not YAML or JSON, or breaks a limit.
    #[error("{location}: {message}")]
    Syntax {
        /// Where it went wrong.
        location: Location,
        /// What is wrong and what to do.
        message: String,
    },
    /// The file holds no object at all.
    #[error("{} holds no object", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
}

impl LoadError {
    /// The place in the manifest, where there is one.
    pub fn location(&self) -> Option<&Location> {
        match self {
            Self::Encoding { location, .. } | Self::Syntax { location, .. } => Some(location),
            _ => None,
        }
    }

    /// The file that was read.
    pub fn file(&self) -> &Path {
        match self {
            Self::Read { file, .. } | Self::TooLarge { file } | Self::Empty { file } => file,
            Self::Encoding { location, .. } | Self::Syntax { location, .. } => location.file(),
        }
    }
}

/// The most objects read together: many times what anybody gives, few enough that objects may look for one another.
pub(super) const MAX_DOCUMENTS: usize = 20_000;

/// All objects of the given manifest files.
#[derive(Debug, Default)]
pub struct Manifests {
    /// The objects, in the order of the files and within them.
    pub documents: Vec<Document>,
    /// Where among them the objects of a kind are.
    kinds: HashMap<Box<str>, Vec<usize>>,
    /// Where among them the objects of a kind and name are.
    names: HashMap<(Box<str>, Box<str>), Vec<usize>>,
}

impl Manifests {
    /// Reads the files (`-` is standard input) as far as they go: what could be read, and every error.
    pub fn load(paths: &[PathBuf]) -> (Self, Vec<LoadError>) {
        let mut manifests = Self::default();
        let mut errors = Vec::new();
        for path in paths {
            let read = if path.as_os_str() == "-" {
                read_text(path, std::io::stdin().lock())
            } else {
                File::open(path)
                    .map_err(|source| LoadError::Read { file: path.clone(), source })
                    .and_then(|file| read_text(path, file))
            };
            match read {
                Ok(text) => errors.extend(manifests.add(Source::new(path, text))),
                Err(error) => errors.push(error),
            }
        }
        (manifests, errors)
    }

    /// Reads one text, named `file` in messages.
    ///
    /// # Errors
    /// All faults of the text.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<LoadError>> {
        let mut manifests = Self::default();
        let errors = manifests.add(Source::new(file, text));
        if errors.is_empty() { Ok(manifests) } else { Err(errors) }
    }

    /// The texts that the objects come from, in the order in which they were read.
    pub fn sources(&self) -> Vec<&Source> {
        let mut sources: Vec<_> = self.documents.iter().map(Document::source).collect();
        sources.dedup_by(|a, b| std::ptr::eq(*a, *b));
        sources
    }

    /// The objects of this kind alone.
    #[must_use]
    pub fn only(&self, kind: &str) -> Self {
        let mut some = Self::default();
        for document in self.documents.iter().filter(|document| document.kind() == kind) {
            some.push(document.clone());
        }
        some
    }

    /// The first object of this kind, namespace and name; an empty namespace is `default`.
    pub fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<&Document> {
        self.called(kind, name).find(|document| is_within(document, namespace))
    }

    /// All objects of this kind and namespace; an empty namespace is `default`.
    pub fn within<'a, 'b>(
        &'a self,
        kind: &str,
        namespace: &'b str,
    ) -> impl Iterator<Item = &'a Document> + use<'a, 'b> {
        let places = self.kinds.get(kind).map(Vec::as_slice).unwrap_or_default();
        self.at(places).filter(move |document| is_within(document, namespace))
    }

    /// The first object of this kind and name in any namespace, for kinds that have none.
    pub fn find_cluster(&self, kind: &str, name: &str) -> Option<&Document> {
        self.called(kind, name).next()
    }

    fn called(&self, kind: &str, name: &str) -> impl Iterator<Item = &Document> {
        let places = self.names.get(&(kind.into(), name.into())).map(Vec::as_slice).unwrap_or_default();
        self.at(places)
    }

    fn at<'a>(&'a self, places: &'a [usize]) -> impl Iterator<Item = &'a Document> {
        places.iter().filter_map(|place| self.documents.get(*place))
    }

    fn push(&mut self, document: Document) {
        let (kind, name): (Box<str>, Box<str>) = (document.kind().into(), document.name().into());
        let place = self.documents.len();
        self.kinds.entry(kind.clone()).or_default().push(place);
        self.names.entry((kind, name)).or_default().push(place);
        self.documents.push(document);
    }

    fn add(&mut self, source: Source) -> Vec<LoadError> {
        let source = Arc::new(source);
        let (roots, fault) = yaml::read(source.text());
        let mut errors = Vec::new();
        if roots.is_empty() && fault.is_none() {
            errors.push(LoadError::Empty { file: source.file().to_owned() });
        }
        for (index, root) in roots.into_iter().enumerate() {
            self.add_object(&source, index.saturating_add(1), root, &mut errors);
            if errors.len() > MOST_ERRORS {
                return errors;
            }
        }
        errors.extend(fault.map(|fault| LoadError::Syntax {
            location: Location::new(source.clone(), fault.mark),
            message: fault.message,
        }));
        errors
    }

    /// Adds an object, or the items of a `List` in its place.
    fn add_object(&mut self, source: &Arc<Source>, number: usize, root: Node, errors: &mut Vec<LoadError>) {
        use super::node::Value;
        if !matches!(root.value, Value::Map(_)) {
            errors.push(LoadError::Syntax {
                location: Location::new(source.clone(), root.mark),
                message: format!(
                    "a manifest must be an object with apiVersion and kind, not {}",
                    root.value.describe()
                ),
            });
            return;
        }
        let is_list = root.get("kind").and_then(Node::text).is_some_and(|kind| kind.ends_with("List"));
        match (is_list, take_items(root)) {
            (true, Ok(items)) => {
                for item in items {
                    self.add_object(source, number, item, errors);
                    if errors.len() > MOST_ERRORS {
                        return;
                    }
                }
            }
            (_, Ok(_)) => {}
            (_, Err(root)) if self.documents.len() < MAX_DOCUMENTS => {
                self.push(Document::new(source.clone(), number, *root));
            }
            (_, Err(root)) => errors.push(LoadError::Syntax {
                location: Location::new(source.clone(), root.mark),
                message: format!("there are more than {MAX_DOCUMENTS} objects: give fewer at a time"),
            }),
        }
    }
}

/// Whether an object is in a namespace; an empty one is `default`.
fn is_within(document: &Document, namespace: &str) -> bool {
    fn or_default(namespace: &str) -> &str {
        if namespace.is_empty() { "default" } else { namespace }
    }
    or_default(document.namespace()) == or_default(namespace)
}

/// The items of a `List` object, or the object itself when it is none.
fn take_items(root: Node) -> Result<Vec<Node>, Box<Node>> {
    use super::node::Value;
    let is_list = root.get("kind").and_then(Node::text).is_some_and(|kind| kind.ends_with("List"))
        && matches!(root.get("items").map(|items| &items.value), Some(Value::List(_)));
    if !is_list {
        return Err(Box::new(root));
    }
    let Value::Map(entries) = root.value else { return Ok(Vec::new()) };
    let items = entries.into_iter().find(|entry| *entry.key == *"items").map(|entry| entry.node.value);
    match items {
        Some(Value::List(items)) => Ok(items),
        _ => Ok(Vec::new()),
    }
}

fn read_text(path: &Path, reader: impl Read) -> Result<String, LoadError> {
    let file = path.to_owned();
    let mut bytes = Vec::new();
    reader
        .take(MAX_FILE_BYTES.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| LoadError::Read { file: file.clone(), source })?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge { file });
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes().get(..offset).unwrap_or_default()).into_owned();
        let line = text.bytes().filter(|byte| *byte == b'\n').count().saturating_add(1);
        let column = text.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1);
        let count = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let mark = Mark { line: count(line), column: count(column) };
        LoadError::Encoding { location: Location::new(Arc::new(Source::new(file, text)), mark), offset }
    })
}

/// Reads manifest files (`-` is standard input).
///
/// # Errors
/// Every file that cannot be read and every fault in their syntax.
pub fn load(paths: &[PathBuf]) -> Result<Manifests, Vec<LoadError>> {
    let (manifests, errors) = Manifests::load(paths);
    if errors.is_empty() { Ok(manifests) } else { Err(errors) }
}
