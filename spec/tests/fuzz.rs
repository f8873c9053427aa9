//! Throws broken manifests at `check`, for two seconds in every test; `cargo xtask fuzz check` does it for long, steered by
//! what the inputs reach. No input may panic, take longer than two seconds, or bring the process above 256 MiB.
//!
//! The corpus is every manifest of `tests/messages/`, the benchmark's machine, the seeds in `fuzz/corpus/check` and the
//! inputs that once failed, in `fuzz/findings/check`.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use spec::{Manifests, admit, explain, report, yaml};

/// What an input may take.
const LIMIT: Duration = Duration::from_secs(2);

/// What is done with every input: all that `kubevmm check --show-defaults` does.
fn target(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match Manifests::parse("fuzz.yaml", &text) {
        Err(errors) => errors.iter().for_each(|error| drop(report::load_error(error))),
        Ok(manifests) => {
            for document in &manifests.documents {
                let verdict = admit(document, &manifests);
                drop(report::text(&verdict));
                drop(report::json(document, &verdict).to_string());
                drop(yaml::write(&verdict.object.to_json()));
                if let Some(machine) = verdict.machine() {
                    let _ = (machine.topology(), machine.memory_bytes(), machine.hostname().len());
                }
            }
        }
    }
    drop(explain(text.get(..text.len().min(40)).unwrap_or_default()));
}

/// The time that processors have spent on this thread: others that want them, too, keep it waiting for longer.
fn spent() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// What an input takes. One that takes longer than it may is given a second chance: the host itself may be kept waiting.
fn time_of(input: &[u8], limit: Duration) -> Duration {
    let once = || {
        let start = spent();
        target(input);
        spent().saturating_sub(start)
    };
    let first = once();
    if first > limit { once() } else { first }
}

/// A small generator of numbers (xorshift), so that a run can be repeated from its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides.max(1)).unwrap()).unwrap()
    }
}

const WORDS: &[&str] = &[
    "&a",
    "*a",
    "<<: *a",
    "---\n",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "|\n",
    ">\n",
    "\t",
    "'",
    "\"",
    "!!str ",
    "? ",
    "null",
    "~",
    "-1",
    "1e999",
    "99999999999999999999999999999999999999999",
    "0x",
    ".5",
    "\u{feff}",
    "\u{0}",
    "\r\n",
    "Gi",
    "1Gi",
    "spec:",
    "domain:",
    "disks:",
    "volumes:",
    "interfaces:",
    "kind: List\nitems:\n",
    "VirtualMachine",
    "é\u{301}🦀",
    "- name: x\n",
    "  ",
    "hugepages: {pageSize: 0}",
    "cores: 4294967295",
    "sockets: 4294967295",
    "%YAML 1.2\n",
];

fn mutate(seed: &[u8], corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut input = seed.to_vec();
    for _ in 0..=dice.roll(6) {
        let at = dice.roll(input.len() + 1);
        match dice.roll(7) {
            0 if at < input.len() => input[at] = u8::try_from(dice.roll(256)).unwrap(),
            1 => input.truncate(at),
            2 | 3 => {
                let word = WORDS[dice.roll(WORDS.len())];
                input.splice(at..at, word.bytes());
            }
            4 => {
                let end = (at + dice.roll(40)).min(input.len());
                input.drain(at..end);
            }
            5 => {
                let end = (at + dice.roll(200)).min(input.len());
                let piece = input[at..end].repeat(1 + dice.roll(20));
                input.splice(at..at, piece);
            }
            _ => {
                let other = &corpus[dice.roll(corpus.len())];
                let from = dice.roll(other.len() + 1);
                input.splice(at..at, other[from..].iter().copied().take(400));
            }
        }
    }
    input
}

fn corpus() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut corpus = vec![std::fs::read(root.join("benches/typical.yaml")).unwrap()];
    for folder in ["tests/messages", "../fuzz/corpus/check", "../fuzz/findings/check"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let is_expected = |path: &Path| path.extension().is_some_and(|extension| extension == "txt");
        let mut files: Vec<_> = entries.filter(|path| !is_expected(path)).collect();
        files.sort();
        corpus.extend(files.iter().map(|path| std::fs::read(path).unwrap()));
    }
    corpus
}

/// The most memory that the process has had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn broken_manifests_do_no_harm() {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let end = Instant::now() + Duration::from_secs(seconds);
    let corpus = corpus();
    corpus.iter().for_each(|input| target(input));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ seconds);
    let mut count = 0u64;
    while Instant::now() < end {
        let seed = &corpus[dice.roll(corpus.len())];
        let input = mutate(seed, &corpus, &mut dice);
        let took = std::panic::catch_unwind(|| time_of(&input, LIMIT));
        if took.as_ref().map_or(true, |took| *took > LIMIT) {
            let kept = std::env::temp_dir().join(format!("fuzz-{count}.yaml"));
            std::fs::write(&kept, &input).unwrap();
            panic!("input {count} ended with {took:?}; it is kept in {}", kept.display());
        }
        count += 1;
    }
    println!("{count} inputs in {seconds} s, at most {} MiB", peak_mib());
    assert!(peak_mib() < 256);
}

#[test]
fn inputs_made_to_cost_much_end_soon() {
    let many_keys: String = (0..50_000).map(|n| format!("k{n}: 1\n")).collect();
    let many_disks = format!(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nspec:\n  domain:\n    devices:\n      disks:\n{}",
        "      - {name: x}\n".repeat(20_000)
    );
    let many_unknown = format!(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nspec:\n{}",
        (0..20_000).map(|n| format!("  k{n}: 1\n")).collect::<String>()
    );
    let many_documents =
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nspec:\n  a: 1\n---\n".repeat(1_000);
    let many_presets =
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstancePreset\n---\napiVersion: kubevirt.io/v1\n\
                        kind: VirtualMachineInstance\n---\n"
            .repeat(1_000);
    let long_line = format!("kind: {}\n", "x".repeat(4_000_000));
    let quotes = "'\n".repeat(500_000);
    let nested = "- ".repeat(200_000);
    let flows = "[{".repeat(200_000);
    let colons = ": ".repeat(200_000);
    let inputs = [
        many_keys,
        many_disks,
        many_unknown,
        many_documents,
        many_presets,
        long_line,
        quotes,
        nested,
        flows,
        colons,
    ];
    for input in inputs {
        let limit = Duration::from_secs(30);
        let took = time_of(input.as_bytes(), limit);
        assert!(took < limit, "{took:?} for {:?}", input.get(..60));
        println!("{took:?} for {:?}", input.get(..40));
    }
}
