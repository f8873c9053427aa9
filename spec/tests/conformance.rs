//! Scores admission against KubeVirt's own verdicts. The data is not part of the repository: the test looks for it in
//! `$KUBEVMM_CONFORMANCE` or beside the checkout, and says so when it is skipped.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use spec::{Cause, Manifests, Reason, Verdict, admit};

/// Cases whose verdict cannot be matched, each with its reason: none of those at hand.
///
/// There is one deliberate difference that they do not show: the bindings `macvtap` and `passt` of older releases, which
/// KubeVirt refuses today, are accepted, for the manifests of any release are welcome.
const DEVIATIONS: &[(&str, &str)] = &[];

fn data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/kubevirt");
    let path = std::env::var_os("KUBEVMM_CONFORMANCE").map_or(beside, PathBuf::from);
    if path.join("verdicts.jsonl").is_file() {
        return Some(path);
    }
    eprintln!("SKIPPED: no conformance data in {} (set KUBEVMM_CONFORMANCE)", path.display());
    None
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn verdicts(path: &Path) -> Vec<Verdict> {
    let manifests = spec::load(&[path.to_owned()]).unwrap();
    manifests.documents.iter().map(|document| admit(document, &manifests)).collect()
}

fn wanted_fields(verdict: &Value) -> Vec<&str> {
    verdict["causes"].as_array().unwrap().iter().map(|cause| cause["field"].as_str().unwrap()).collect()
}

fn is_refusal(cause: &Cause) -> bool {
    cause.reason == Reason::NotSupported
}

fn shown(causes: &[Cause]) -> String {
    causes
        .iter()
        .map(|cause| format!("\n    {} {:?}: {}", cause.reason, cause.field, cause.message))
        .collect()
}

#[derive(Default)]
struct Score {
    rejected: usize,
    same_field: usize,
    all_fields: usize,
    admitted: usize,
    accepted: usize,
    called_invalid: usize,
}

impl Score {
    fn rejected_case(&mut self, name: &str, want: &Value, got: &Verdict) {
        self.rejected += 1;
        let fields = wanted_fields(want);
        let is_named = |field: &str| got.causes.iter().any(|cause| cause.field == field);
        if fields.iter().any(|field| is_named(field)) {
            self.same_field += 1;
        } else {
            println!("{name}: wanted {fields:?}, got{}", shown(&got.causes));
        }
        if fields.iter().all(|field| is_named(field)) {
            self.all_fields += 1;
        }
    }

    fn admitted_case(&mut self, name: &str, got: &Verdict) {
        self.admitted += 1;
        if got.allowed {
            self.accepted += 1;
        } else if !got.causes.iter().all(is_refusal) {
            self.called_invalid += 1;
            println!("{name}: KubeVirt admits it, got{}", shown(&got.causes));
        }
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    let count = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    100.0 * count(part) / count(whole.max(1))
}

#[test]
fn verdicts_on_cases_are_kubevirts() {
    let Some(data) = data() else { return };
    let deviations: BTreeMap<_, _> = DEVIATIONS.iter().copied().collect();
    let mut score = Score::default();
    for want in lines(&data.join("verdicts.jsonl")) {
        let name = want["case"].as_str().unwrap();
        let got = verdicts(&data.join("cases").join(name)).swap_remove(0);
        if want["allowed"] == true {
            score.admitted_case(name, &got);
        } else {
            score.rejected_case(name, &want, &got);
            if let Some(reason) = deviations.get(name) {
                println!("{name}: a known deviation: {reason}");
            }
        }
    }
    println!(
        "rejected cases: {} of {} on the same field ({:.1} %), {} on all fields\n\
         admitted cases: {} of {} accepted ({:.1} %), {} called invalid",
        score.same_field,
        score.rejected,
        percent(score.same_field, score.rejected),
        score.all_fields,
        score.accepted,
        score.admitted,
        percent(score.accepted, score.admitted),
        score.called_invalid,
    );
    assert!(percent(score.same_field, score.rejected) >= 97.0);
    assert_eq!(score.called_invalid, 0);
    assert!(percent(score.accepted, score.admitted) >= 85.0);
}

#[test]
fn verdicts_on_examples_are_kubevirts() {
    let Some(data) = data() else { return };
    let mut score = Score::default();
    for want in lines(&data.join("example-verdicts.jsonl")) {
        let (file, number) = (want["file"].as_str().unwrap(), want["document"].as_u64().unwrap());
        let manifests = spec::load(&[data.join("examples").join(file)]).unwrap();
        let document = &manifests.documents[usize::try_from(number).unwrap() - 1];
        assert_eq!(document.kind(), want["kind"].as_str().unwrap());
        assert_eq!(document.name(), want["name"].as_str().unwrap());
        let got = admit(document, &manifests);
        if want["allowed"] == true {
            score.admitted_case(file, &got);
            if !got.allowed {
                println!("{file}: refused{}", shown(&got.causes));
            }
        } else {
            score.rejected_case(file, &want, &got);
        }
    }
    println!("examples: {} of {} accepted", score.accepted, score.admitted);
    assert_eq!(score.called_invalid, 0);
    assert_eq!(score.same_field, score.rejected);
}

/// Given all together, a few examples contradict one another; KubeVirt's verdicts are on each file alone.
#[test]
fn examples_given_together_are_refused_for_their_instancetypes_only() {
    let Some(data) = data() else { return };
    let mut files: Vec<_> =
        std::fs::read_dir(data.join("examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let manifests = spec::load(&files).unwrap();
    for document in &manifests.documents {
        for cause in admit(document, &manifests).causes.iter().filter(|cause| !is_refusal(cause)) {
            println!("{}: {} {}", cause.location, cause.field, cause.message);
            assert!(cause.message.contains("is set by the instancetype"), "{}", cause.message);
        }
    }
}

#[test]
fn every_key_of_the_api_is_known() {
    let Some(data) = data() else { return };
    for file in ["kubevirt.io.v1.VirtualMachine.yaml", "kubevirt.io.v1.VirtualMachineInstance.yaml"] {
        let text = std::fs::read_to_string(data.join("api").join(file)).unwrap();
        let manifests = Manifests::parse(file, &text).unwrap();
        let verdict = admit(&manifests.documents[0], &manifests);
        let unknown: Vec<_> = verdict
            .causes
            .iter()
            .filter(|cause| cause.message.starts_with("unknown field") || cause.reason == Reason::TypeInvalid)
            .map(|cause| format!("{}: {}", cause.path, cause.message))
            .collect();
        assert!(unknown.is_empty(), "{file}: {unknown:#?}");
    }
}
