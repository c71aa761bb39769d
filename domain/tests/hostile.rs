//! Definitions and data that were made to hurt: each is answered, refused or accepted, within bounded time and memory.

use std::time::{Duration, Instant};

use formledger_domain::{CompiledForm, DefinitionProblem, FormDefinition, FormVersion};
use serde_json::{Map, Value, json};

/// Far more than any of these needs in an unoptimised build on a busy machine, far less than an attack would want.
const TIME_MAX: Duration = Duration::from_secs(20);

fn compile(schema: Value) -> Result<CompiledForm, Vec<DefinitionProblem>> {
    let started = Instant::now();
    let definition = FormDefinition::parse(&json!({"title": "Hostile", "schema": schema}));
    let compiled = definition.and_then(|definition| {
        CompiledForm::compile(&definition, &"hostile".parse().expect("an id"), FormVersion::FIRST)
    });
    assert!(started.elapsed() < TIME_MAX, "{:?}", started.elapsed());
    compiled
}

#[test]
fn references_that_double_at_every_step_are_refused() {
    let mut defs = Map::new();
    for level in 0..40 {
        let next = format!("#/$defs/d{}", level + 1);
        defs.insert(
            format!("d{level}"),
            json!({"type": "object", "properties": {"a": {"$ref": next}, "b": {"$ref": next}}}),
        );
    }
    defs.insert("d40".to_owned(), json!({"type": "string"}));
    let problems = compile(json!({"$ref": "#/$defs/d0", "$defs": defs})).expect_err("2^40 fields");
    assert!(problems.iter().any(|problem| problem.message.contains("fields")), "{problems:?}");
}

#[test]
fn all_of_that_doubles_at_every_step_is_refused_or_bounded() {
    let mut defs = Map::new();
    for level in 0..30 {
        let next = format!("#/$defs/d{}", level + 1);
        defs.insert(format!("d{level}"), json!({"allOf": [{"$ref": next}, {"$ref": next}]}));
    }
    defs.insert("d30".to_owned(), json!({"type": "string"}));
    let compiled = compile(json!({"properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": defs}));
    assert!(compiled.is_err(), "2^30 checks of one value");
}

#[test]
fn references_in_a_circle_are_no_endless_loop() {
    let form = compile(
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
    );
    if let Ok(form) = form {
        let _ = form.check(&json!({}));
    }
    let form =
        compile(json!({"properties": {"x": {"anyOf": [{"$ref": "#/properties/x"}, {"type": "string"}]}}}));
    if let Ok(form) = form {
        let _ = form.check(&json!({"x": 1}));
    }
}

#[test]
fn absurd_keywords_are_answered() {
    for schema in [
        json!({"properties": {"a": {"multipleOf": 0}}}),
        json!({"properties": {"a": {"maxLength": -1}}}),
        json!({"properties": {"a": {"pattern": "(a{1000}){1000}"}}}),
        json!({"properties": {"a": {"pattern": "\\"}}}),
        json!({"properties": {"a": {"type": []}}}),
        json!({"properties": {"a": {"$ref": 5}}}),
        json!({"$id": "not a uri \u{0}", "$schema": "https://json-schema.org/draft/2020-12/schema"}),
    ] {
        let compiled = compile(schema.clone());
        assert!(compiled.is_err(), "{schema}");
    }
    // Nothing fits, but it is a schema.
    assert!(compile(json!({"properties": {"a": {"enum": [], "minLength": 1e30}}})).is_ok());
}

#[test]
fn a_thousand_fields_and_a_long_list_of_options_compile() {
    let mut properties = Map::new();
    for field in 0..1_000 {
        properties
            .insert(format!("field{field}"), json!({"type": "string", "enum": vec![format!("{field}"); 1]}));
    }
    let options: Vec<String> = (0..20_000).map(|option| option.to_string()).collect();
    properties.insert("country".to_owned(), json!({"enum": options}));
    let form = compile(json!({"type": "object", "properties": properties})).expect("compiles");
    assert_eq!(form.fields().children.len(), 1_001);
    assert!(form.check(&json!({"country": "19999", "field7": "7"})).is_ok());
    assert!(form.check(&json!({"country": "20000"})).is_err());
}
