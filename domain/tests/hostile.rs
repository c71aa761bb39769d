//! Definitions and data that were made to hurt: each is answered, refused or accepted, within bounded time and memory.

use std::time::{Duration, Instant};

use formledger_domain::{CompiledForm, DefinitionProblem, FormDefinition, FormVersion};
use serde_json::{Map, Value, json};

const DRAFT_7: &str = "http://json-schema.org/draft-07/schema#";
const DRAFT_2019_09: &str = "https://json-schema.org/draft/2019-09/schema";

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

/// Definitions `d0` to `d40`, each made of the next one's reference by `level`.
fn doubling(level: impl Fn(Value) -> Value) -> Value {
    let mut defs: Map<String, Value> = (0..40)
        .map(|at| (format!("d{at}"), level(json!({"$ref": format!("#/$defs/d{}", at + 1)}))))
        .collect();
    defs.insert("d40".to_owned(), json!({"type": "string"}));
    Value::Object(defs)
}

#[test]
fn alternatives_that_double_are_refused_under_every_keyword_that_holds_a_schema() {
    let start = json!({"$ref": "#/$defs/d0"});
    for root in [
        json!({"not": start}),
        json!({"if": start}),
        json!({"items": {"not": start}}),
        json!({"contains": start}),
        json!({"propertyNames": start}),
        json!({"prefixItems": [start]}),
        json!({"additionalProperties": start}),
        json!({"unevaluatedProperties": start}),
        json!({"unevaluatedItems": start}),
        json!({"patternProperties": {"^a": start}}),
        json!({"dependentSchemas": {"a": start}}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": [start]}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": [true], "additionalItems": start}),
        json!({"$schema": "http://json-schema.org/draft-04/schema#", "dependencies": {"a": start}}),
        // Marking asks the alternatives, too; the validator would be as large as it is slow.
        json!({"$ref": "#/$defs/d0", "unevaluatedItems": false}),
        json!({"$ref": "#/$defs/d0", "unevaluatedProperties": false}),
    ] {
        let mut schema = root.clone();
        schema["$defs"] = doubling(|next| json!({"anyOf": [next, next]}));
        let problems = compile(schema).expect_err("2^40 checks of one value");
        assert!(problems.iter().any(|problem| problem.message.contains("times")), "{root}: {problems:?}");
    }
}

#[test]
fn keywords_that_a_draft_does_not_know_hide_no_doubling() {
    let start = json!({"$ref": "#/$defs/d0"});
    let doubling = doubling(|next| json!({"anyOf": [next, next]}));
    for draft in ["http://json-schema.org/draft-04/schema#", DRAFT_7, DRAFT_2019_09] {
        for root in [
            json!({"prefixItems": [], "items": [start]}),
            json!({"prefixItems": [true, true], "items": [true, start]}),
            json!({"prefixItems": [true], "items": [], "additionalItems": start}),
            json!({"prefixItems": [true], "items": start, "additionalItems": true, "unevaluatedItems": true}),
        ] {
            let mut schema = root.clone();
            (schema["$schema"], schema["$defs"]) = (json!(draft), doubling.clone());
            assert!(compile(schema).is_err(), "{draft} {root}");
        }
    }
    // Without `items`, `additionalItems` means nothing.
    for ignored in [json!({"additionalItems": true}), json!({"prefixItems": [true], "additionalItems": {}})] {
        let mut schema = ignored.clone();
        (schema["$schema"], schema["unevaluatedItems"]) = (json!(DRAFT_2019_09), start.clone());
        schema["$defs"] = doubling.clone();
        assert!(compile(schema).is_err(), "{ignored}");
    }
}

#[test]
fn items_behind_a_prefix_that_the_draft_does_not_know_are_counted_from_the_first() {
    let level = |next: Value| json!({"anyOf": [{"prefixItems": [true], "items": next}, {"items": [next]}]});
    let schema = json!({"$schema": DRAFT_7, "allOf": [{"$ref": "#/$defs/d0"}], "$defs": doubling(level)});
    assert!(compile(schema).is_err());
    let level =
        |next: Value| json!({"anyOf": [{"prefixItems": [true], "items": next}, {"prefixItems": [next]}]});
    let schema = json!({"allOf": [{"$ref": "#/$defs/d0"}], "$defs": doubling(level)});
    assert!(compile(schema).is_ok(), "2020-12 asks one of them about each item");
}

#[test]
fn recursive_references_that_come_back_by_the_way_that_led_there_hide_no_doubling() {
    let into = json!({"properties": {"x": {"$ref": "b"}}});
    let start = (0..20).fold(json!({"$ref": "a"}), |inner, _| json!({"properties": {"p": inner}}));
    let schema = json!({
        "$schema": DRAFT_2019_09,
        "$id": "https://example.org/root",
        "allOf": [start],
        "$defs": {
            "a": {"$id": "https://example.org/a", "$recursiveAnchor": true, "anyOf": [into, into]},
            "b": {"$id": "https://example.org/b", "$recursiveAnchor": true, "properties": {"y": {"$recursiveRef": "#"}}},
        },
    });
    assert!(compile(schema).is_err());
}

#[test]
fn names_that_very_many_schemas_share_are_refused_before_they_fill_the_memory() {
    let many = |schema: Value| vec![schema; 20_000];
    for (named, reference, told) in [
        // Which of them is meant depends on the way that led there.
        (json!({"$dynamicAnchor": "a"}), json!({"$dynamicRef": "#a"}), "a name of its own"),
        // One of them is meant, and found at once.
        (json!({"$anchor": "a"}), json!({"$ref": "#a"}), "more than 20000 fields"),
        (json!({"$id": "x/a"}), json!({"$ref": "x/a"}), "more than 20000 fields"),
        (json!({"$id": "x/a"}), json!({"$ref": "a"}), "cannot be resolved"),
        (json!({"$id": "x/a"}), json!({"$ref": "x/a#/not/there"}), "cannot be resolved"),
    ] {
        let properties: Map<String, Value> =
            many(reference.clone()).into_iter().enumerate().map(|(at, it)| (format!("p{at}"), it)).collect();
        let schema = json!({"properties": properties, "$defs": {"named": {"anyOf": many(named)}}});
        let problems = compile(schema).expect_err("4e8 schemas to look at");
        assert!(problems.iter().any(|problem| problem.message.contains(told)), "{reference}: {problems:?}");
    }
}

#[test]
fn names_that_only_a_validator_can_build_hide_no_doubling() {
    let mut inner = json!({"$id": "inner", "$ref": "#/$defs/d0"});
    inner["$defs"] = doubling(|next| json!({"anyOf": [next, next]}));
    let schema = json!({
        "$id": "https://example.org/forms/outer",
        "not": {"$ref": "https://example.org/forms/inner"},
        "$defs": {"inner": inner},
    });
    assert!(compile(schema).is_err());
    let by_name = |name: &str, next: Value| json!({"$anchor": name, "anyOf": [next, next]});
    let mut defs: Map<String, Value> = (0..40)
        .map(|at| (format!("d{at}"), by_name(&format!("a{at}"), json!({"$ref": format!("#a{}", at + 1)}))))
        .collect();
    defs.insert("d40".to_owned(), json!({"$anchor": "a40", "type": "string"}));
    assert!(compile(json!({"not": {"$ref": "#a0"}, "$defs": defs})).is_err());
}

#[test]
fn a_resource_in_data_or_of_another_draft_hides_no_doubling() {
    let resource = |own: Value| {
        let mut resource = own;
        resource["allOf"] = json!([{"$ref": "#/$defs/d0"}]);
        resource["$defs"] = doubling(|next| json!({"anyOf": [next, next]}));
        resource
    };
    // What the references mean where they are read from the root.
    let harmless = json!({"d0": {"type": "string"}});
    let inside = resource(json!({"$id": "https://example.org/inside"}));
    let schema = json!({"properties": {"a": {"$ref": "#/default"}}, "default": inside, "$defs": harmless});
    let form = compile(schema).expect("the validator knows no resource in data, and reads it from the root");
    assert!(form.check(&json!({"a": "text"})).is_ok());
    assert!(form.check(&json!({"a": 1})).is_err());
    let mut defs = harmless;
    defs["old"] = resource(
        json!({"$schema": "http://json-schema.org/draft-04/schema#", "id": "https://example.org/old"}),
    );
    let by_id = json!({"not": {"$ref": "https://example.org/old"}, "$defs": defs});
    assert!(compile(by_id).is_err());
    let by_place = json!({"properties": {"a": {"$ref": "#/$defs/old"}}, "$defs": defs});
    let form = compile(by_place)
        .expect("the validator knows no `id` of draft 4 on this way, and reads it from the root");
    assert!(form.check(&json!({"a": "text"})).is_ok());
    assert!(form.check(&json!({"a": 1})).is_err());
}

#[test]
fn recursion_that_doubles_with_the_depth_of_the_data_is_refused_and_a_plain_tree_is_not() {
    let into = json!({"properties": {"child": {"$ref": "#/$defs/node"}}});
    let doubling = json!({"not": {"$ref": "#/$defs/node"}, "$defs": {"node": {"anyOf": [into, into]}}});
    assert!(compile(doubling).is_err());
    let tree = json!({
        "$ref": "#/$defs/node",
        "$defs": {"node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "left": {"$ref": "#/$defs/node"},
                "right": {"$ref": "#/$defs/node"},
                "others": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "additionalProperties": false,
        }},
    });
    let form = compile(tree).expect("every value is checked once");
    assert!(form.check(&json!({"left": {"right": {"others": [{"name": "leaf"}]}}})).is_ok());
    assert!(form.check(&json!({"left": {"right": {"others": [{"name": 1}]}}})).is_err());
}

#[test]
fn chains_of_references_that_go_on_for_too_long_are_refused() {
    let mut defs: Map<String, Value> =
        (0..1_000).map(|at| (format!("d{at}"), json!({"$ref": format!("#/$defs/d{}", at + 1)}))).collect();
    defs.insert("d1000".to_owned(), json!({"type": "string"}));
    let problems =
        compile(json!({"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": defs})).expect_err("long");
    assert!(problems.iter().any(|problem| problem.message.contains("shorten")), "{problems:?}");
}

#[test]
fn a_pattern_that_steps_back_without_end_does_not_fit_and_takes_no_time() {
    // The back reference keeps it from the engine that never steps back.
    let form = compile(json!({"properties": {"a": {"pattern": r"^(a|a)*(a*)*\2b$"}}})).expect("a pattern");
    let started = Instant::now();
    assert!(form.check(&json!({"a": "a".repeat(40)})).is_err());
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    let form =
        compile(json!({"properties": {"a": {"pattern": r"^(?!000)\d{3}-(?!00)\d{2}$"}}})).expect("a pattern");
    assert!(form.check(&json!({"a": "123-45"})).is_ok());
    assert!(form.check(&json!({"a": "000-45"})).is_err());
}

#[test]
fn chains_of_references_at_many_levels_of_the_data_do_not_exhaust_the_stack() {
    let steps = 40 * 120;
    let mut defs = Map::new();
    for at in 0..steps {
        let next = json!({"$ref": format!("#/$defs/d{}", at + 1)});
        let schema = if at % 120 == 0 { json!({"properties": {"a": next}}) } else { next };
        defs.insert(format!("d{at}"), schema);
    }
    defs.insert(format!("d{steps}"), json!({"type": "string"}));
    let form = compile(json!({"$ref": "#/$defs/d0", "$defs": defs})).expect("every value is checked once");
    assert!(form.check(&json!({"a": {"a": {}}})).is_ok());
}
