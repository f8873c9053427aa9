use super::*;

fn parse(text: &str) -> Manifests {
    Manifests::parse("vm.yaml", text).unwrap()
}

fn refuse(text: &str) -> String {
    let errors = Manifests::parse("vm.yaml", text).unwrap_err();
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn documents_and_lists_become_objects() {
    let manifests = parse(
        "kind: A\n---\n---\nkind: List\nitems:\n- kind: B\n- kind: BList\n  items: [{kind: C}]\n---\n{\"kind\": \"D\"}\n",
    );
    let kinds: Vec<_> = manifests.documents.iter().map(Document::kind).collect();
    assert_eq!(kinds, ["A", "B", "C", "D"]);
}

#[test]
fn every_value_knows_its_place() {
    let manifests = parse("kind: A\nspec:\n  volumes:\n  - name: x\n  - {name: y, disk: {}}\n");
    let document = &manifests.documents[0];
    let at = |path: &str| document.locate(path).to_string();
    assert_eq!(at("spec.volumes[0].name"), "vm.yaml:4:5");
    assert_eq!(at("spec.volumes[1].disk"), "vm.yaml:5:15");
    assert_eq!(at("spec.volumes[1].disk.bus"), "vm.yaml:5:15", "the nearest parent stands in");
    assert_eq!(at("spec.domain"), "vm.yaml:2:1");
    assert_eq!(at(""), "vm.yaml:1:1");
    let excerpt = document.locate("spec.volumes[1].disk").excerpt();
    assert_eq!(excerpt, "  |\n5 |   - {name: y, disk: {}}\n  |               ^");
}

#[test]
fn anchors_and_merge_keys_are_expanded() {
    let manifests = parse("kind: A\nx: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz: *x\n");
    let root = manifests.documents[0].root();
    let text = |path: [&str; 2]| root.get(path[0]).unwrap().get(path[1]).unwrap().value.to_string();
    assert_eq!(text(["y", "a"]), "1");
    assert_eq!(text(["y", "b"]), "3");
    assert_eq!(text(["z", "b"]), "2");
}

#[test]
fn duplicate_keys_are_refused() {
    assert_eq!(
        refuse("kind: A\nspec: 1\nspec: 2\n"),
        "vm.yaml:3:1: the key \"spec\" is given twice in this mapping (first in line 2); remove one"
    );
    let many: String = (0..100).map(|n| format!("k{n}: 1\n")).collect();
    assert!(refuse(&format!("{many}k77: 2\n")).contains("\"k77\" is given twice"));
}

#[test]
fn a_tab_is_named() {
    assert_eq!(
        refuse("kind: A\nspec:\n\tdomain: 1\n"),
        "vm.yaml:3:1: a tab is used for indentation; YAML allows only spaces there"
    );
}

#[test]
fn documents_before_a_fault_are_kept() {
    let (roots, fault) = yaml::read("kind: A\n---\nkind: [\n");
    assert_eq!(roots.len(), 1);
    assert!(fault.is_some());
}

#[test]
fn what_is_no_object_is_refused() {
    assert!(refuse("- a\n").contains("must be an object"));
    assert!(refuse("").contains("holds no object"));
    assert!(refuse("? [a]\n: b\n").contains("a key must be text"));
}

#[test]
fn bombs_and_depths_end_in_an_error() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..20 {
        let list = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{list}]\n"));
    }
    assert!(refuse(&bomb).contains("more than 1000000 values"));
    assert!(refuse(&"[".repeat(100_000)).contains("vm.yaml:1:"));
    assert!(refuse("a: &a [*a]\n").contains("alias"));
}

#[test]
fn serde_values_make_the_same_tree() {
    let node: Node = serde_json::from_str(r#"{"a": [1, -2, 1.5, true, null, "x"]}"#).unwrap();
    let shown: Vec<_> = node.get("a").unwrap().items().iter().map(|item| item.value.to_string()).collect();
    assert_eq!(shown, ["1", "-2", "1.5", "true", "nothing", "\"x\""]);
}

#[test]
fn files_that_are_no_manifests_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let huge = folder.path().join("huge.yaml");
    std::fs::File::create(&huge).unwrap().set_len(100 << 20).unwrap();
    let latin = folder.path().join("latin.yaml");
    std::fs::write(&latin, b"kind: A\nname: caf\xe9\n").unwrap();
    let gone = folder.path().join("gone.yaml");
    let errors = load(&[huge, latin, gone]).unwrap_err();
    let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert!(said[0].ends_with("huge.yaml is larger than 16 MiB: is it a manifest?"), "{}", said[0]);
    assert!(
        said[1].ends_with("latin.yaml:2:10: not UTF-8 text (byte 17): save the file as UTF-8"),
        "{}",
        said[1]
    );
    assert!(said[2].starts_with("cannot read the manifest"), "{}", said[2]);
}

#[test]
fn json_is_read_in_any_layout() {
    let pretty = "{\n\t\"kind\": \"A\",\n\t\"list\": [\n\t\t1,\n\t\ttrue\n\t],\n\t\"text\": \"\\ud83e\\udd80\\/\"\n}\n";
    let dense = "{\"kind\":\"A\",\"list\":[1,true],\"text\":\"\\ud83e\\udd80\\/\"}";
    for text in [pretty, dense] {
        let manifests = parse(text);
        let root = manifests.documents[0].root();
        assert_eq!(root.get("list").unwrap().items().len(), 2);
        assert_eq!(root.get("text").unwrap().text(), Some("🦀/"));
    }
}

#[test]
fn lines_end_as_yaml_has_them() {
    let source = Source::new("x", "a\r\nb\rc\n\nd");
    let lines: Vec<_> = (1..=6).map(|number| source.line(number)).collect();
    assert_eq!(lines, [Some("a"), Some("b"), Some("c"), Some(""), Some("d"), None]);
    assert_eq!(source.line(0), None);
}
