//! Properties that hold for any machine and any text.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use spec::api::VirtualMachineInstance;
use spec::api::kind::Kind;
use spec::{Manifests, admit, yaml};

/// Any value that fits a type of the API, with few fields and short lists.
fn fitting(kind: &'static Kind, depth: u32) -> BoxedStrategy<Value> {
    match kind {
        Kind::Bool => any::<bool>().prop_map(Value::from).boxed(),
        Kind::Int(min, max) => {
            let (min, max) = ((*min).max(-1000), (*max).min(100_000));
            (i64::try_from(min).unwrap()..=i64::try_from(max).unwrap()).prop_map(Value::from).boxed()
        }
        Kind::Text => "[ -~]{1,12}|[a-z]{1,8}\n {0,3}[a-z]{0,4}\n?".prop_map(Value::from).boxed(),
        Kind::Choice(words) => prop::sample::select(words.to_vec()).prop_map(Value::from).boxed(),
        Kind::Quantity => "[0-9]{1,4}(Mi|Gi|k|m|)".prop_map(Value::from).boxed(),
        Kind::IntOrString => prop_oneof![(1i64..9999).prop_map(Value::from), Just(json!("http"))].boxed(),
        Kind::Time => Just(json!("2008-01-01T01:01:01Z")).boxed(),
        Kind::Base64 => Just(json!("Zm9v")).boxed(),
        Kind::Any => Just(json!({"any": [1, "thing"]})).boxed(),
        Kind::List(item) => prop::collection::vec(fitting(item, depth), 1..3).prop_map(Value::from).boxed(),
        Kind::Map(item) => prop::collection::btree_map("[a-z]{1,5}", fitting(item, depth), 1..3)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
            .boxed(),
        Kind::Object(object) => {
            let own: Vec<_> = object.own.iter().collect();
            let inline: Vec<_> = object.inline.iter().collect();
            let chosen = if depth == 0 { 0..=0 } else { 0..=own.len().min(4) };
            let own = prop::sample::subsequence(own, chosen);
            let inline = prop::sample::subsequence(inline.clone(), inline.len().min(1));
            (own, inline)
                .prop_flat_map(move |(own, inline)| {
                    own.into_iter()
                        .chain(inline)
                        .map(|field| {
                            let value = fitting(&field.kind, depth.saturating_sub(1));
                            value.prop_map(move |value| (field.name.to_owned(), value))
                        })
                        .collect::<Vec<_>>()
                })
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>()))
                .boxed()
        }
    }
}

fn any_machine() -> BoxedStrategy<Value> {
    static SPEC: std::sync::OnceLock<&'static Kind> = std::sync::OnceLock::new();
    let kind = SPEC.get_or_init(|| {
        let root = spec::api::ROOTS.first().unwrap();
        &root.object.object().unwrap().field("spec").unwrap().kind
    });
    fitting(kind, 6)
        .prop_map(|spec| {
            json!({
                "apiVersion": "kubevirt.io/v1",
                "kind": "VirtualMachineInstance",
                "metadata": {"name": "any"},
                "spec": spec,
            })
        })
        .boxed()
}

fn admitted(text: &str) -> (VirtualMachineInstance, bool) {
    let manifests = Manifests::parse("any.yaml", text).unwrap();
    let verdict = admit(&manifests.documents[0], &manifests);
    (verdict.machine().unwrap().clone(), verdict.allowed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_written_reads_back(machine in any_machine()) {
        let machine: VirtualMachineInstance = serde_json::from_value(with_required(machine)).unwrap();
        let text = yaml::write(&serde_json::to_value(&machine).unwrap());
        let manifests = Manifests::parse("any.yaml", &text).unwrap();
        let again: VirtualMachineInstance =
            serde_json::from_value(serde_json::to_value(&machine).unwrap()).unwrap();
        prop_assert_eq!(&again, &machine);
        let tree = manifests.documents[0].root();
        let json: spec::source::Node = serde_json::from_value(serde_json::to_value(&machine).unwrap()).unwrap();
        prop_assert_eq!(plain(tree), plain(&json), "{}", text);
    }

    #[test]
    fn defaults_are_idempotent(machine in any_machine()) {
        let (once, _) = admitted(&machine.to_string());
        let text = serde_json::to_string(&once).unwrap();
        let (twice, _) = admitted(&text);
        prop_assert_eq!(serde_json::to_value(once).unwrap(), serde_json::to_value(twice).unwrap());
    }

    #[test]
    fn no_text_is_too_much(text in "(?s).{0,200}|[ \\t\\n:{}\\[\\]&*!|>'\"%@`#,?a-c0-9-]{0,200}") {
        if let Ok(manifests) = Manifests::parse("any.yaml", &text) {
            for document in &manifests.documents {
                admit(document, &manifests);
            }
        }
    }

    #[test]
    fn quantities_are_exact(whole in 0u64..1 << 40, unit in prop::sample::select(vec![("", 1u64), ("k", 1000), ("Ki", 1024), ("M", 1_000_000), ("Mi", 1 << 20)])) {
        let quantity: spec::api::Quantity = format!("{whole}{}", unit.0).parse().unwrap();
        prop_assert_eq!(quantity.bytes(), whole.checked_mul(unit.1));
    }
}

/// Adds what the API demands, at every level.
fn with_required(value: Value) -> Value {
    fn fill(value: &mut Value, kind: &Kind) {
        match (kind, value) {
            (Kind::Object(object), Value::Object(map)) => {
                for field in object.fields() {
                    if field.required && !map.contains_key(field.name) {
                        map.insert(field.name.into(), blank(&field.kind));
                    }
                    if let Some(value) = map.get_mut(field.name) {
                        fill(value, &field.kind);
                    }
                }
            }
            (Kind::List(item), Value::Array(items)) => items.iter_mut().for_each(|value| fill(value, item)),
            (Kind::Map(item), Value::Object(map)) => map.values_mut().for_each(|value| fill(value, item)),
            _ => {}
        }
    }
    fn blank(kind: &Kind) -> Value {
        match kind {
            Kind::Object(_) | Kind::Map(_) | Kind::Any => json!({}),
            Kind::List(_) => json!([]),
            Kind::Int(..) | Kind::IntOrString => json!(0),
            Kind::Bool => json!(false),
            Kind::Quantity => json!("1"),
            Kind::Text | Kind::Choice(_) | Kind::Time | Kind::Base64 => json!("x"),
        }
    }
    let mut value = value;
    fill(&mut value, &spec::api::ROOTS.first().unwrap().object);
    value
}

/// The tree without positions.
fn plain(node: &spec::source::Node) -> Value {
    use spec::source::Value as Tree;
    match &node.value {
        Tree::Null => Value::Null,
        Tree::Bool(value) => (*value).into(),
        Tree::Number(text) => format!("#{text}").into(),
        Tree::Text(text) => text.to_string().into(),
        Tree::List(items) => items.iter().map(plain).collect(),
        Tree::Map(entries) => {
            Value::Object(entries.iter().map(|entry| (entry.key.to_string(), plain(&entry.node))).collect())
        }
    }
}
