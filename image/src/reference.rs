//! How an image is named.

use std::fmt;
use std::path::PathBuf;

/// The name of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// `oci:DIR[:TAG]`: an OCI image layout on this host.
    Oci {
        /// The layout's directory.
        dir: PathBuf,
        /// Which of its images; without one, its only image or the one tagged `latest`.
        tag: Option<String>,
    },
    /// `rootfs:DIR`: a directory that is the image's root file system.
    Rootfs {
        /// The directory.
        dir: PathBuf,
    },
    /// A registry's name for it, such as `quay.io/containerdisks/fedora:42`.
    Registry {
        /// Everything before tag or digest, safe to use as a relative path.
        repository: String,
        /// Which version.
        version: Version,
    },
}

/// Which version of a repository's image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// By tag; `latest` where the name has none.
    Tag(String),
    /// By the manifest's digest, `sha256:…`.
    Digest(String),
}

/// Why a text is not an image's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not an image name: {reason}; use oci:DIR[:TAG], rootfs:DIR or a registry name such as quay.io/org/name:tag"
)]
pub struct ReferenceError {
    text: String,
    reason: &'static str,
}

impl Reference {
    /// Reads a name. `docker://` in front of a registry name is allowed.
    ///
    /// # Errors
    /// When it follows none of the three forms.
    pub fn parse(text: &str) -> Result<Reference, ReferenceError> {
        let parsed = if let Some(rest) = text.strip_prefix("oci:") {
            oci(rest)
        } else if let Some(dir) = text.strip_prefix("rootfs:") {
            nonempty_dir(dir).map(|dir| Reference::Rootfs { dir })
        } else {
            registry(text.strip_prefix("docker://").unwrap_or(text))
        };
        parsed.map_err(|reason| ReferenceError { text: text.chars().take(300).collect(), reason })
    }
}

fn nonempty_dir(dir: &str) -> Result<PathBuf, &'static str> {
    if dir.is_empty() { Err("the directory is missing") } else { Ok(dir.into()) }
}

fn oci(text: &str) -> Result<Reference, &'static str> {
    // A colon before the last slash belongs to the directory.
    match text.rsplit_once(':') {
        Some((dir, tag)) if !tag.contains('/') => {
            check_tag(tag)?;
            Ok(Reference::Oci { dir: nonempty_dir(dir)?, tag: Some(tag.to_owned()) })
        }
        _ => Ok(Reference::Oci { dir: nonempty_dir(text)?, tag: None }),
    }
}

fn registry(text: &str) -> Result<Reference, &'static str> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    };
    if repository.len() > 255 || !repository.split('/').all(is_component) {
        return Err("a repository is made of lower-case names with slashes between them");
    }
    let version = match (digest, tag) {
        (Some(digest), _) if is_digest(digest) => Version::Digest(digest.to_owned()),
        (Some(_), _) => return Err("only sha256 digests of 64 hexadecimal digits are known"),
        (None, Some(tag)) => {
            check_tag(tag)?;
            Version::Tag(tag.to_owned())
        }
        (None, None) => Version::Tag("latest".to_owned()),
    };
    Ok(Reference::Registry { repository: repository.to_owned(), version })
}

/// A part of a repository's name, or the registry's host with a port. Never `.` or `..`.
fn is_component(part: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(fine)
}

/// OCI distribution specification, "Pulling manifests": `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn check_tag(tag: &str) -> Result<(), &'static str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let starts = tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if starts && tag.len() <= 128 && tag.chars().all(fine) { Ok(()) } else { Err("the tag is malformed") }
}

/// `sha256:` and 64 lower-case hexadecimal digits.
pub(crate) fn is_digest(text: &str) -> bool {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    text.strip_prefix("sha256:").is_some_and(|rest| rest.len() == 64 && rest.chars().all(hex))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Oci { dir, tag: None } => write!(f, "oci:{}", dir.display()),
            Reference::Oci { dir, tag: Some(tag) } => write!(f, "oci:{}:{tag}", dir.display()),
            Reference::Rootfs { dir } => write!(f, "rootfs:{}", dir.display()),
            Reference::Registry { repository, version: Version::Tag(tag) } => write!(f, "{repository}:{tag}"),
            Reference::Registry { repository, version: Version::Digest(digest) } => {
                write!(f, "{repository}@{digest}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(repository: &str, tag: &str) -> Reference {
        Reference::Registry { repository: repository.into(), version: Version::Tag(tag.into()) }
    }

    #[test]
    fn the_three_forms() {
        let oci = |dir: &str, tag: Option<&str>| Reference::Oci { dir: dir.into(), tag: tag.map(Into::into) };
        let parse = |text| Reference::parse(text).unwrap();
        assert_eq!(parse("oci:/a/b"), oci("/a/b", None));
        assert_eq!(parse("oci:/a/b:v1"), oci("/a/b", Some("v1")));
        assert_eq!(parse("oci:/a:1/b"), oci("/a:1/b", None));
        assert_eq!(parse("rootfs:/a:b"), Reference::Rootfs { dir: "/a:b".into() });
        assert_eq!(parse("fedora"), registry("fedora", "latest"));
        assert_eq!(parse("docker://quay.io/x/y_z:1.2"), registry("quay.io/x/y_z", "1.2"));
        assert_eq!(parse("localhost:5000/x"), registry("localhost:5000/x", "latest"));
        let digest = format!("sha256:{}", "0a".repeat(32));
        let by_digest = parse(&format!("x/y:tag@{digest}"));
        assert_eq!(by_digest.to_string(), format!("x/y@{digest}"));
    }

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        for text in [
            "", "/etc", "../x", "a/../b", "a//b", "a/./b", "a:b:c/..", "oci:", "rootfs:", "x:ta g",
            "x@md5:1", "oci:d:", "a/",
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
