//! Forms that refer to themselves: the ordinary ones are published, and bad data cost little; those whose checks double with every
//! level of the data are refused where they do.

use std::time::{Duration, Instant};

use formledger_domain::{CompiledForm, DefinitionProblem, FormDefinition, FormVersion};
use serde_json::{Value, json};

/// The deepest data that a body may hold, in levels of objects and lists.
const LEVELS: usize = 64;
/// Far more than any of these needs in an unoptimised build on a busy machine, far less than checks that double 64 times.
const TIME_MAX: Duration = Duration::from_secs(5);

fn compile(schema: Value) -> Result<CompiledForm, Vec<DefinitionProblem>> {
    let definition = FormDefinition::parse(&json!({"title": "A form", "schema": schema}))?;
    CompiledForm::compile(&definition, &"a-form".parse().expect("an id"), FormVersion::FIRST)
}

/// `leaf` inside `wrap` as often as `levels` allow when each takes `each` of them.
fn nested(leaf: Value, each: usize, wrap: impl Fn(Value) -> Value) -> Value {
    (0..(LEVELS - 2) / each).fold(leaf, |inner, _| wrap(inner))
}

fn checks_quickly(form: &CompiledForm, data: &Value) -> bool {
    let started = Instant::now();
    let fits = form.check(data).is_ok();
    assert!(started.elapsed() < TIME_MAX, "{:?}", started.elapsed());
    fits
}

fn problem(schema: Value) -> DefinitionProblem {
    compile(schema).expect_err("refused").swap_remove(0)
}

fn panels() -> Value {
    let kind = |name: &str, children: &str| {
        json!({
            "type": "object",
            "properties": {"type": {"const": name}, children: {"type": "array", "items": {"$ref": "#/$defs/el"}}},
            "required": ["type"]
        })
    };
    let text = json!({"type": "object", "properties": {"type": {"const": "text"}}, "required": ["type"]});
    let alternatives = [text, kind("panel", "elements"), kind("paneldynamic", "templateElements")];
    json!({"properties": {"root": {"$ref": "#/$defs/el"}}, "$defs": {"el": {"oneOf": alternatives}}})
}

#[test]
fn panels_of_panels_are_published_because_each_alternative_looks_into_a_member_of_its_own() {
    let form = compile(panels()).expect("each value is asked about once");
    let inside =
        |leaf: &str| nested(json!({"type": leaf}), 2, |inner| json!({"type": "panel", "elements": [inner]}));
    assert!(checks_quickly(&form, &json!({"root": inside("text")})));
    assert!(!checks_quickly(&form, &json!({"root": inside("nothing")})));
    // Both members at once, of neither type: as much as such data can hold.
    let both = (0..10).fold(
        json!({"type": "nothing"}),
        |inner, _| json!({"type": "nothing", "elements": [inner.clone()], "templateElements": [inner]}),
    );
    assert!(!checks_quickly(&form, &json!({"root": both})));
}

#[test]
fn one_child_or_a_list_of_children_is_published_because_no_value_is_both() {
    let node = json!({"type": "object", "properties": {
        "name": {"type": "string"},
        "child": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "array", "items": {"$ref": "#/$defs/node"}}]}
    }});
    let form = compile(json!({"$ref": "#/$defs/node", "$defs": {"node": node}})).expect("asked about once");
    for name in [json!("x"), json!(1)] {
        let fits = name.is_string();
        let one = nested(json!({"name": name}), 1, |inner| json!({"child": inner}));
        let listed = nested(json!({"name": name}), 2, |inner| json!({"child": [inner]}));
        assert_eq!([one, listed].map(|data| checks_quickly(&form, &data)), [fits, fits]);
    }
}

/// What closes a tree: by reference, as the specification shows it, or by `allOf`, as earlier drafts had to.
#[test]
fn a_tree_that_is_closed_by_unevaluated_properties_is_published() {
    for closed in [json!({"$ref": "#/$defs/base"}), json!({"allOf": [{"$ref": "#/$defs/base"}]})] {
        let mut strict = closed;
        strict["unevaluatedProperties"] = json!(false);
        let base = json!({"type": "object", "properties": {
            "name": {"type": "string"},
            "children": {"type": "array", "items": {"$ref": "#/$defs/strict"}}
        }});
        let form = compile(json!({"$ref": "#/$defs/strict", "$defs": {"strict": strict, "base": base}}))
            .expect("the validator remembers what it marks");
        let inside = |leaf| nested(leaf, 2, |inner| json!({"name": "x", "children": [inner]}));
        assert!(checks_quickly(&form, &inside(json!({"name": "x"}))));
        assert!(!checks_quickly(&form, &inside(json!({"name": 1}))));
        assert!(!checks_quickly(&form, &inside(json!({"nmae": "x"}))));
    }
}

#[test]
fn the_extensible_trees_of_the_specifications_are_published() {
    let tree = json!({
        "$id": "https://example.com/tree",
        "type": "object",
        "properties": {"data": true, "children": {"type": "array"}}
    });
    let strict =
        json!({"$id": "https://example.com/strict-tree", "$ref": "tree", "unevaluatedProperties": false});
    let mut dynamic = [tree.clone(), strict.clone()];
    dynamic.iter_mut().for_each(|schema| schema["$dynamicAnchor"] = json!("node"));
    dynamic[0]["properties"]["children"]["items"] = json!({"$dynamicRef": "#node"});
    let mut recursive = [tree, strict];
    recursive.iter_mut().for_each(|schema| schema["$recursiveAnchor"] = json!(true));
    recursive[0]["properties"]["children"]["items"] = json!({"$recursiveRef": "#"});
    for (draft, [tree, mut strict]) in [("2020-12", dynamic), ("2019-09", recursive)] {
        strict["$schema"] = json!(format!("https://json-schema.org/draft/{draft}/schema"));
        strict["$defs"] = json!({"tree": tree});
        let form = compile(strict).unwrap_or_else(|problems| panic!("{draft}: {problems:#?}"));
        let inside = |leaf| nested(leaf, 2, |inner| json!({"children": [inner]}));
        assert!(checks_quickly(&form, &inside(json!({"data": 1}))), "{draft}");
        assert!(!checks_quickly(&form, &inside(json!({"daat": 1}))), "{draft}");
    }
}

/// As the meta-schemas of drafts 4 to 7 and those of OpenAPI are built.
#[test]
fn schemas_of_schemas_are_published() {
    let own = json!({"$ref": "#/definitions/schema"});
    let or_reference = json!({"oneOf": [own, {"$ref": "#/definitions/reference"}]});
    let either = json!({"anyOf": [own, {"type": "array", "minItems": 1, "items": own}]});
    let schema = json!({
        "type": "object",
        "properties": {
            "items": either,
            "additionalItems": {"anyOf": [{"type": "boolean"}, own]},
            "not": or_reference,
            "allOf": {"type": "array", "items": or_reference},
            "properties": {"type": "object", "additionalProperties": or_reference},
            "dependencies": {"additionalProperties": {"anyOf": [own, {"type": "array"}]}},
            "additionalProperties": {"oneOf": [own, {"$ref": "#/definitions/reference"}, {"type": "boolean"}]}
        },
        "patternProperties": {"^x-": {}},
        "additionalProperties": false
    });
    let reference = json!({
        "type": "object", "required": ["$ref"], "patternProperties": {"^\\$ref$": {"type": "string"}}
    });
    let form = compile(json!({
        "$schema": "http://json-schema.org/draft-04/schema#",
        "allOf": [own],
        "definitions": {"schema": schema, "reference": reference}
    }))
    .expect("each value is asked about once or twice");
    assert!(checks_quickly(&form, &nested(json!({}), 1, |inner| json!({"items": inner}))));
    assert!(!checks_quickly(&form, &nested(json!({"itmes": 1}), 2, |inner| json!({"allOf": [inner]}))));
}

#[test]
fn alternatives_that_look_into_the_same_member_are_refused_where_they_stand() {
    let into = |required: &str| json!({"properties": {"child": {"$ref": "#/$defs/node"}, "v": {"type": "string"}}, "required": [required]});
    let schema = json!({
        "properties": {"root": {"$ref": "#/$defs/node"}},
        "$defs": {"node": {"anyOf": [into("v"), into("child")]}}
    });
    let problem = problem(schema);
    assert_eq!(problem.pointer, "/schema/$defs/node");
    assert!(
        problem.message.contains("2000 times") && problem.message.contains("beside"),
        "{}",
        problem.message
    );
}

#[test]
fn marking_by_alternatives_that_look_into_the_same_member_is_refused_too() {
    let base = json!({"properties": {"children": {"items": {"$ref": "#/$defs/strict"}}}});
    let strict = json!({"anyOf": [{"$ref": "#/$defs/base"}, {"$ref": "#/$defs/base"}], "unevaluatedProperties": false});
    let found = problem(json!({"$ref": "#/$defs/strict", "$defs": {"strict": strict, "base": base}}));
    assert!(found.pointer.starts_with("/schema/$defs/"), "{found:?}");
    // No circle, so nothing is remembered: each of them asks twice for what is below.
    let mut defs = json!({"d40": {"type": "string"}});
    for at in 0..40 {
        let next = json!({"$ref": format!("#/$defs/d{}", at + 1)});
        defs[format!("d{at}")] = json!({"allOf": [next], "unevaluatedProperties": false});
    }
    assert!(problem(json!({"$ref": "#/$defs/d0", "$defs": defs})).message.contains("2000 times"));
}

#[test]
fn references_that_cannot_be_followed_and_circles_are_told_where_they_are() {
    let circle = json!({"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}});
    assert!(problem(circle).pointer.starts_with("/schema/$defs/a"));
}

#[test]
fn ways_without_end_are_given_up() {
    let started = Instant::now();
    // Each letter leads to other schemas, so that no way is like another.
    let node = |at: usize| {
        let into = |step: usize| {
            let members = (0..26).map(|name| {
                let to = (at * 31 + name * step + 7) % 40;
                (format!("m{name}"), json!({"$ref": format!("#/$defs/n{to}")}))
            });
            json!({"properties": members.collect::<serde_json::Map<_, _>>()})
        };
        (format!("n{at}"), json!({"anyOf": [into(1), into(3)]}))
    };
    let defs: serde_json::Map<String, Value> = (0..40).map(node).collect();
    let found = problem(json!({"$ref": "#/$defs/n0", "$defs": defs}));
    assert!(found.message.contains("given up"), "{found:?}");
    // Each name with each pattern.
    let names: serde_json::Map<String, Value> =
        (0..30_000).map(|at| (format!("n{at}"), json!(true))).collect();
    let patterns: serde_json::Map<String, Value> =
        (0..30_000).map(|at| (format!("^p{at}"), json!({}))).collect();
    assert!(compile(json!({"properties": names, "patternProperties": patterns})).is_err());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}
