//! References mean what the validator takes them for, to the count of checks and to the fields: URIs, not the likeness of names.

use chrono::DateTime;
use formledger_domain::{CompiledForm, DefinitionProblem, FieldKind, FormDefinition, FormVersion, TextKind};
use serde_json::{Value, json};

const DRAFT_4: &str = "http://json-schema.org/draft-04/schema#";
const DRAFT_7: &str = "http://json-schema.org/draft-07/schema#";
const DRAFT_2019: &str = "https://json-schema.org/draft/2019-09/schema";
const DRAFT_2020: &str = "https://json-schema.org/draft/2020-12/schema";

fn compile_all(definition: &Value) -> Result<CompiledForm, Vec<DefinitionProblem>> {
    let definition = FormDefinition::parse(definition)?;
    CompiledForm::compile(&definition, &"a-form".parse().expect("an id"), FormVersion::FIRST)
}

fn compile(schema: Value) -> Result<CompiledForm, Vec<DefinitionProblem>> {
    compile_all(&json!({"title": "A form", "schema": schema}))
}

fn published(schema: Value) -> CompiledForm {
    compile(schema).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn problem(schema: Value) -> DefinitionProblem {
    compile(schema).expect_err("refused").swap_remove(0)
}

fn kind(form: &CompiledForm, pointer: &str) -> FieldKind {
    form.fields().find(pointer).unwrap_or_else(|| panic!("{pointer} is described")).kind
}

/// A schema whose checks double with every level of the data, as `keyword: name` calls it.
fn doubling(keyword: &str, name: &str, child: Value) -> Value {
    let into = |k: u8| json!({"properties": {"child": child, "k": {"const": k}}, "required": ["k"]});
    json!({keyword: name, "type": "object", "anyOf": [into(1), into(2)]})
}

#[test]
fn what_the_validator_does_not_read_may_lead_nowhere() {
    published(json!({
        "$schema": DRAFT_2019, "type": "object", "properties": {"a": {"$dynamicRef": "#n"}},
        "$defs": {"n": {"$dynamicAnchor": "n", "type": "string"}}
    }));
    published(json!({
        "$schema": DRAFT_7, "type": "object", "properties": {"a": {"type": "string"}},
        "dependentSchemas": {"b": {"$id": "http://x/b", "properties": {"c": {"$ref": "#/definitions/t"}}}},
        "definitions": {"t": {"type": "string"}}
    }));
    // The same where it is read.
    let found = problem(json!({
        "$schema": DRAFT_2020, "type": "object", "properties": {"a": {"$dynamicRef": "#n"}}
    }));
    assert!(found.message.contains("cannot be resolved"), "{found:?}");
}

/// It took minutes: references times schemas of their name times the bytes of the base.
#[test]
fn many_looks_at_a_long_base_are_refused_before_they_cost() {
    let dynamic: Vec<Value> = (0..9_000).map(|_| json!({"$dynamicAnchor": "n"})).collect();
    let references: Vec<Value> = (0..125).map(|_| json!({"$dynamicRef": "#n"})).collect();
    let found = problem(json!({
        "$schema": DRAFT_2020, "$id": format!("http://x/{}", "a".repeat(400_000)), "type": "object",
        "properties": {"a": {"anyOf": references}}, "$defs": {"all": {"anyOf": dynamic}}
    }));
    assert!(found.message.contains("name"), "{found:?}");
}

/// In draft 4 a pointer through `if` keeps the base that it began with, so that one schema is read by many.
#[test]
fn one_schema_by_very_many_bases_is_refused_before_it_costs() {
    let members: serde_json::Map<String, Value> =
        (0..25_000).map(|n| (format!("{n:x}"), json!({}))).collect();
    let mut chain = json!({"x": {"leaf": {"properties": members}}});
    let mut references = Vec::new();
    for n in (0..48).rev() {
        chain = json!({"id": format!("http://a/{n}"), "if": chain});
        references.push(json!({"$ref": format!("http://a/{n}#{}/x/leaf", "/if".repeat(48 - n))}));
    }
    let found = problem(
        json!({"$schema": DRAFT_4, "type": "object", "allOf": references, "definitions": {"c": chain}}),
    );
    assert!(found.message.contains("by another `$id`"), "{found:?}");
}

#[test]
fn another_schema_of_a_like_name_hides_no_checks_that_double() {
    let reference = json!({"$ref": "node"});
    let cases = [
        (DRAFT_2020, "$id", json!({"$anchor": "node"})),
        (DRAFT_2020, "$id", json!({"$dynamicAnchor": "node"})),
        (DRAFT_2020, "$id", json!({"$id": "https://ex.org/other/", "$defs": {"a": {"$id": "node"}}})),
        (DRAFT_2019, "$id", json!({"$anchor": "node"})),
        (DRAFT_7, "$id", json!({"$id": "#node"})),
        (DRAFT_4, "id", json!({"id": "#node"})),
    ];
    for (draft, id, decoy) in cases {
        for decoy in [Some(decoy), None] {
            let mut definitions = json!({"n": doubling(id, "https://ex.org/node", reference.clone())});
            decoy.iter().for_each(|decoy| definitions["decoy"] = decoy.clone());
            let found = problem(json!({
                "$schema": draft, id: "https://ex.org/f", "properties": {"n": reference}, "definitions": definitions
            }));
            assert!(found.message.contains("2000 times"), "{draft} {decoy:?}: {found:?}");
            assert_eq!(found.pointer, "/schema/definitions/n", "{draft} {decoy:?}");
        }
    }
}

#[test]
fn checks_that_double_by_way_of_the_meta_schema_are_refused() {
    let meta = json!({"$ref": DRAFT_2020});
    published(json!({"properties": {"a": meta, "b": {"type": "array", "items": meta}}}));
    let found = problem(json!({"$id": "https://ex.org/f", "$dynamicAnchor": "meta", "anyOf": [meta, meta]}));
    assert!(found.message.contains("2000 times"), "{found:?}");
    published(json!({"$schema": DRAFT_7, "properties": {"a": {"$ref": DRAFT_7}}}));
}

#[test]
fn bundles_whose_schemas_have_like_names_are_published() {
    let base =
        |id: &str, uri: &str| json!({id: uri, "type": "object", "properties": {"a": {"type": "string"}}});
    let cases = [
        (
            DRAFT_2020,
            "$id",
            "https://ex.org/claim/schema.json",
            "/base/schema.json",
            "https://ex.org/base/schema.json",
        ),
        (DRAFT_7, "$id", "http://ex.org/v2/form.json", "/v1/form.json", "http://ex.org/v1/form.json"),
        (DRAFT_4, "id", "http://ex.org/v2/form.json#", "../v1/form.json#", "http://ex.org/v1/form.json#"),
    ];
    for (draft, id, uri, reference, base_uri) in cases {
        let form = published(json!({
            "$schema": draft, id: uri, "type": "object",
            "allOf": [{"$ref": reference}],
            "definitions": {"b": base(id, base_uri)}
        }));
        assert_eq!(kind(&form, "/a"), FieldKind::Text, "{draft}");
        assert!(form.check(&json!({"a": 1})).is_err(), "{draft}");
    }
    published(json!({
        "$id": "https://ex.org/claim/schema.json",
        "properties": {
            "x": {"anyOf": [{"$ref": "../p/schema.json"}, {"properties": {"y": {"$ref": "../p/schema.json"}}}]}
        },
        "$defs": {"p": {"$id": "https://ex.org/p/schema.json", "properties": {"n": {"type": "string"}}}}
    }));
}

#[test]
fn what_is_not_in_the_schema_is_told_where_it_is_referred_to() {
    for (root, reference) in [
        (json!({"allOf": [{"$ref": "../other/schema.json"}]}), "/schema/allOf/0/$ref"),
        (json!({"properties": {"x": {"$ref": "../other/schema.json#/a"}}}), "/schema/properties/x/$ref"),
        (json!({"properties": {"x": {"$ref": "#/definitions/none"}}}), "/schema/properties/x/$ref"),
        (json!({"properties": {"x": {"$ref": "#none"}}}), "/schema/properties/x/$ref"),
        // Nobody asks it, but the validator reads it all the same.
        (json!({"definitions": {"x": {"$ref": "schema.json/none"}}}), "/schema/definitions/x/$ref"),
    ] {
        let mut schema = root;
        schema["$schema"] = json!(DRAFT_7);
        schema["$id"] = json!("http://ex.org/config/schema.json");
        let found = problem(schema);
        assert_eq!(found.pointer, reference, "{found:?}");
        assert!(found.message.contains("cannot be resolved"), "{found:?}");
    }
}

#[test]
fn fields_have_the_types_of_the_schema_that_is_meant_and_of_no_namesake() {
    let money = json!({"type": "string", "format": "decimal"});
    let named = |keyword: &str, name: &str, schema: &Value| {
        let mut schema = schema.clone();
        schema[keyword] = json!(name);
        schema
    };
    // The same `$id` below two bases.
    let part = |uri: &str, item: Value| json!({"$id": uri, "properties": {"v": {"$ref": "item"}}, "$defs": {"i": item}});
    let form = published(json!({
        "$id": "https://ex.org/f",
        "properties": {"p": {"$ref": "https://ex.org/a/form"}, "q": {"$ref": "/b/form"}},
        "$defs": {
            "A": part("https://ex.org/a/form", named("$id", "item", &money)),
            "B": part("https://ex.org/b/form", named("$id", "item", &json!({"type": "integer"})))
        }
    }));
    assert_eq!(form.text_kind("/p/v"), TextKind::Decimal);
    assert_eq!(kind(&form, "/q/v"), FieldKind::Integer);
    // The same anchor in two resources (Core 8.2.2), by both of its spellings.
    for (draft, keyword, name) in [(DRAFT_2020, "$anchor", "val"), (DRAFT_7, "$id", "#val")] {
        let form = published(json!({
            "$schema": draft, "$id": "http://ex.org/f",
            "properties": {"a": {"$ref": "#val"}, "o": {"$ref": "http://ex.org/other"}},
            "definitions": {
                "o": {
                    "$id": "http://ex.org/other", "properties": {"x": {"$ref": "#val"}},
                    "definitions": {"v": named(keyword, name, &json!({"type": "integer"}))}
                },
                "z": named(keyword, name, &json!({"type": "string"}))
            }
        }));
        assert_eq!(
            (kind(&form, "/a"), kind(&form, "/o/x")),
            (FieldKind::Text, FieldKind::Integer),
            "{draft}"
        );
    }
    // An anchor, and a resource of that name.
    let form = published(json!({
        "$id": "https://ex.org/f", "properties": {"a": {"$ref": "item"}, "b": {"$ref": "#item"}},
        "$defs": {"a1": named("$anchor", "item", &money), "b": {"$id": "item", "type": "string"}}
    }));
    assert_eq!((form.text_kind("/a"), form.text_kind("/b")), (TextKind::Plain, TextKind::Decimal));
}

#[test]
fn fields_behind_relative_references_are_known() {
    let form = published(json!({
        "$id": "https://ex.org/schemas/examples/bundle",
        "properties": {"n": {"$ref": "#/$defs/count"}, "person": {"$ref": "../person/schema.json"}},
        "$defs": {
            "i": {"$id": "https://ex.org/schemas/mixins/integer", "type": "integer"},
            "count": {"allOf": [{"$ref": "/schemas/mixins/integer"}]},
            "p": {
                "$id": "https://ex.org/schemas/person/schema.json",
                "properties": {"name": {"$ref": "schema.json#/$defs/name"}}, "$defs": {"name": {"type": "string"}}
            }
        }
    }));
    assert_eq!((kind(&form, "/n"), kind(&form, "/person/name")), (FieldKind::Integer, FieldKind::Text));
    let form = published(json!({
        "$schema": DRAFT_7, "$id": "http://ex.org/s.json",
        "properties": {"a": {"$ref": "s.json#/definitions/a", "type": "integer"}},
        "definitions": {"a": {"type": "string"}}
    }));
    assert_eq!(kind(&form, "/a"), FieldKind::Text);
}

#[test]
fn a_resource_of_another_draft_is_read_by_its_own_rules() {
    let form = published(json!({
        "$schema": DRAFT_2020, "$id": "http://ex.org/f", "properties": {"o": {"$ref": "http://ex.org/old"}},
        "$defs": {"o": {
            "$schema": DRAFT_7, "$id": "http://ex.org/old", "type": "object",
            // What stands beside a reference means nothing to draft 7.
            "properties": {"n": {"$ref": "#/definitions/n", "maximum": 5}}, "definitions": {"n": {"type": "integer"}}
        }}
    }));
    let field = form.fields().find("/o/n").expect("described");
    assert_eq!((field.kind, field.constraints.maximum), (FieldKind::Integer, None));
    assert!(form.check(&json!({"o": {"n": 9}})).is_ok());
}

#[test]
fn dynamic_references_give_fields_the_types_of_the_way_that_led_there() {
    let list = json!({
        "$id": "https://ex.org/list", "type": "object", "properties": {"first": {"$dynamicRef": "#item"}},
        "$defs": {"any": {"$dynamicAnchor": "item"}}
    });
    let of = |uri: &str, kind: &str| json!({"$id": uri, "$ref": "list", "$defs": {"it": {"$dynamicAnchor": "item", "type": kind}}});
    let form = published(json!({
        "$id": "https://ex.org/f",
        "properties": {"t": {"$ref": "texts"}, "n": {"$ref": "numbers"}},
        "$defs": {"l": list, "t": of("https://ex.org/texts", "string"), "n": of("https://ex.org/numbers", "number")}
    }));
    assert_eq!((kind(&form, "/t/first"), kind(&form, "/n/first")), (FieldKind::Text, FieldKind::Number));
    assert!(form.check(&json!({"t": {"first": "a"}, "n": {"first": 1}})).is_ok());
    assert!(form.check(&json!({"t": {"first": 1}})).is_err());
}

#[test]
fn versions_whose_rules_took_a_field_for_unknown_go_on_and_are_published_no_more() {
    // Before relative references were followed, `a` was of any type.
    let definition = json!({
        "title": "A form",
        "schema": {
            "$schema": DRAFT_7, "$id": "http://ex.org/s.json",
            "properties": {"a": {"$ref": "/s.json#/definitions/a"}}, "definitions": {"a": {"type": "string"}}
        },
        "rules": [{"id": "c", "kind": "constraint", "assert": "a > 3"}]
    });
    let form = compile_all(&definition).expect("a version that was published");
    assert!(form.remarks().iter().any(DefinitionProblem::is_error), "{:#?}", form.remarks());
    assert!(form.check(&json!({"a": "x"})).is_ok());
    assert!(form.judge(&json!({}), DateTime::UNIX_EPOCH).is_ok());
}

#[test]
fn identifiers_that_stand_for_too_many_bytes_are_refused_before_they_are_kept() {
    let properties: serde_json::Map<String, Value> =
        (0..2_000).map(|at| (format!("p{at}"), json!({"$ref": format!("x{at}")}))).collect();
    let id = format!("https://ex.org/{}/f", "long".repeat(10_000));
    let found = problem(json!({"$id": id, "properties": properties}));
    assert!(found.message.contains("bytes of URIs"), "{found:?}");
}

#[test]
fn names_that_are_not_percent_encoded_are_followed_with_a_warning() {
    let form = published(json!({
        "$schema": DRAFT_7,
        "properties": {"a": {"$ref": "#/definitions/Binary object"}, "b": {"$ref": "#/definitions/List<T\u{e9}>"}},
        "definitions": {"Binary object": {"type": "string"}, "List<T\u{e9}>": {"type": "integer"}}
    }));
    assert_eq!((kind(&form, "/a"), kind(&form, "/b")), (FieldKind::Text, FieldKind::Integer));
    let places: Vec<_> = form.remarks().iter().map(|remark| &*remark.pointer).collect();
    assert_eq!(places, ["/schema/properties/a/$ref", "/schema/properties/b/$ref"]);
    // What is no URI otherwise is told where it is.
    let found = problem(json!({"properties": {"a": {"$ref": "http://ex.org:port/"}}}));
    assert_eq!(found.pointer, "/schema/properties/a/$ref", "{found:?}");
}

#[test]
fn a_schema_that_lets_no_object_through_is_warned_of() {
    for schema in [
        json!({"type": "array"}),
        json!({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"type": "string"}}}),
    ] {
        let form = published(schema);
        assert!(form.remarks().iter().any(|remark| remark.message.contains("no object through")));
    }
    for schema in [
        json!({}),
        json!({"minLength": 3}),
        json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "array"}}}),
    ] {
        assert!(published(schema.clone()).remarks().is_empty(), "{schema}");
    }
}

#[test]
fn an_index_behind_a_recursion_is_told_to_be_behind_one() {
    let problems = compile_all(&json!({
        "title": "A form", "index": ["/child/n", "/child/child/n", "/none"],
        "schema": {"properties": {"n": {"type": "string"}, "child": {"$ref": "#"}}}
    }))
    .expect_err("refused");
    let told: Vec<_> = problems.iter().map(|problem| problem.message.contains("back to itself")).collect();
    assert_eq!(told[problems.len() - 2..], [true, false], "{problems:#?}");
}
