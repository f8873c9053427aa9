//! What cards are planned for: the network namespace that this process is in, and the pod around it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use net::host::Survey;

use crate::plan::{Surroundings, VifCache};

/// What the names of KubeVirt's notes about a pod's interfaces begin and end with.
const CACHE: (&str, &str) = ("vif-cache-", ".json");
/// The longest note that is read; they have about 1 KiB.
const LONGEST: u64 = 1 << 20;

/// Looks at the host's network, and at the private folder of a KubeVirt pod if this process runs in one. Nothing is changed.
///
/// # Errors
/// The kernel cannot be asked.
pub fn look_around(pod: Option<&Path>) -> io::Result<Surroundings> {
    let survey = Survey::gather().map_err(io::Error::other)?;
    Ok(Surroundings { survey, vif_cache: pod.map(vif_cache).unwrap_or_default() })
}

/// KubeVirt's notes about the pod's interfaces, by their names. One that cannot be read is none.
fn vif_cache(folder: &Path) -> BTreeMap<String, VifCache> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let notes = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let interface = name.strip_prefix(CACHE.0)?.strip_suffix(CACHE.1)?;
        let mut text = String::new();
        File::open(entry.path()).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
        Some((interface.to_owned(), VifCache::parse(&text).ok()?))
    });
    notes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubevirts_notes_are_found_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("vif-cache-eth0.json", r#"{"Mtu": 1450}"#),
            ("vif-cache-pod2c26b46b68f.json", "{}"),
            ("vif-cache-bad.json", "{"),
            ("other.json", "{}"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let found = vif_cache(folder.path());
        assert_eq!(found.keys().collect::<Vec<_>>(), ["eth0", "pod2c26b46b68f"]);
        assert_eq!(found["eth0"].mtu, Some(1450));
        assert!(vif_cache(&folder.path().join("none")).is_empty());
    }
}
