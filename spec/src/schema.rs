//! JSON Schema (draft 2020-12) of everything accepted, so that editors complete and check manifests.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::admit::kinds;
use crate::api::ROOTS;
use crate::api::kind::{Field, Kind, ObjectType, Support, When};

/// The schema of a manifest: any of the kinds, chosen by `kind`.
pub fn schema() -> Value {
    let mut definitions = BTreeMap::new();
    let mut choices = Vec::new();
    for root in ROOTS {
        let Some(object) = root.object.object() else { continue };
        define(object, &mut definitions);
        let versions = kinds::versions(root.kind);
        choices.push(json!({
            "if": {"properties": {"kind": {"const": root.kind}}, "required": ["kind"]},
            "then": {
                "$ref": reference(object),
                "properties": {"apiVersion": {"enum": versions}},
                "required": ["apiVersion"],
            },
        }));
    }
    choices.push(json!({
        "if": {"properties": {"kind": {"const": "List"}}, "required": ["kind"]},
        "then": {
            "properties": {"apiVersion": {"const": "v1"}, "items": {"type": "array", "items": {"$ref": "#"}}},
            "required": ["apiVersion", "items"],
        },
    }));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "KubeVirt objects that kubevmm accepts",
        "type": "object",
        "required": ["apiVersion", "kind"],
        "properties": {"kind": {"examples": kinds::names().collect::<Vec<_>>()}},
        "allOf": choices,
        "$defs": definitions,
    })
}

fn reference(object: &ObjectType) -> String {
    format!("#/$defs/{}", object.name)
}

fn define(object: &'static ObjectType, definitions: &mut BTreeMap<&'static str, Value>) {
    if definitions.contains_key(object.name) {
        return;
    }
    // Types do not contain themselves, so this only marks what is under way.
    definitions.insert(object.name, Value::Null);
    let mut properties = Map::new();
    for field in object.fields() {
        if let Some(child) = field.kind.object() {
            define(child, definitions);
        }
        properties.insert(field.name.into(), property(field));
    }
    let required: Vec<_> = object.fields().filter(|field| field.required).map(|field| field.name).collect();
    let mut definition = json!({
        "type": "object",
        "description": words(object.doc),
        "properties": properties,
        "additionalProperties": false,
    });
    if let Some(definition) = definition.as_object_mut().filter(|_| !required.is_empty()) {
        definition.insert("required".into(), json!(required));
    }
    definitions.insert(object.name, definition);
}

fn words(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn property(field: &Field) -> Value {
    let mut description = words(field.doc);
    if !field.default.is_empty() {
        description.push_str(&format!(" Default: {}.", field.default));
    }
    if let Support::NotSupported(When::Given, reason) = field.support {
        description.push_str(&format!(" Not supported: {reason}."));
    }
    let mut schema = of_kind(&field.kind);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".into(), description.into());
    }
    schema
}

fn of_kind(kind: &Kind) -> Value {
    match kind {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Int(min, max) => json!({"type": "integer", "minimum": bound(*min), "maximum": bound(*max)}),
        Kind::Text | Kind::Base64 => json!({"type": "string"}),
        // What kubectl prints has `creationTimestamp: null`.
        Kind::Time => json!({"type": ["string", "null"], "format": "date-time"}),
        Kind::Choice(words) => json!({"enum": words}),
        Kind::Quantity => json!({
            "type": ["string", "number"],
            "pattern": "^[+-]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
        }),
        Kind::IntOrString => json!({"type": ["integer", "string"]}),
        Kind::Object(object) => json!({"$ref": reference(object)}),
        Kind::List(item) => json!({"type": "array", "items": of_kind(item)}),
        Kind::Map(item) => json!({"type": "object", "additionalProperties": of_kind(item)}),
        Kind::Any => json!({}),
    }
}

/// A bound as a JSON number; those beyond 64 bits are not of use.
fn bound(value: i128) -> Value {
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(value), _) => value.into(),
        (_, Ok(value)) => value.into(),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_holds_every_type_and_no_dangling_reference() {
        let schema = schema();
        let definitions = schema["$defs"].as_object().unwrap();
        let text = schema.to_string();
        let mut references = text.split("\"$ref\":\"#/$defs/").skip(1);
        assert!(references.all(|rest| definitions.contains_key(rest.split('"').next().unwrap())));
        assert!(definitions.values().all(|definition| definition.is_object()));
        let disk = &definitions["Disk"];
        assert_eq!(disk["required"], json!(["name"]));
        assert_eq!(disk["properties"]["cache"]["enum"], json!(["none", "writethrough", "writeback"]));
        assert_eq!(disk["additionalProperties"], json!(false));
    }
}
