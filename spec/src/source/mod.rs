//! Reading manifests: files and standard input, YAML and JSON, many documents, `List` objects.

mod complaint;
mod document;
mod load;
mod node;
mod scalar;
mod tree;
mod yaml;

pub use document::{Document, Location, Source};
pub use load::{LoadError, MAX_FILE_BYTES, Manifests, load};
pub use node::{Entry, Mark, Node, Value};
pub(crate) use scalar::is_plain_text;

#[cfg(test)]
mod tests;
