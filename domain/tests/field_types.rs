//! What rules and lists know of a field whose schema is put together from several: alternatives, nulls, what is ruled out.

use chrono::DateTime;
use formledger_domain::{
    CompiledForm, DefinitionProblem, Field, FieldKind, FormDefinition, FormVersion, TextKind,
};
use serde_json::{Value, json};

fn try_compile(definition: Value) -> Result<CompiledForm, Vec<DefinitionProblem>> {
    let definition = FormDefinition::parse(&definition)?;
    CompiledForm::compile(&definition, &"a-form".parse().expect("an id"), FormVersion::FIRST)
}

fn compile(definition: Value) -> CompiledForm {
    try_compile(definition).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// The field `a` of a form whose field `a` has this schema.
fn field(schema: Value) -> Field {
    let form = compile(json!({"title": "A form", "schema": {"type": "object", "properties": {"a": schema}}}));
    form.fields().find("/a").expect("described").clone()
}

/// A form with these properties and one constraint.
fn asserting(properties: Value, assert: &str) -> Value {
    json!({
        "title": "A form",
        "schema": {"type": "object", "properties": properties},
        "rules": [{"id": "holds", "kind": "constraint", "assert": assert}]
    })
}

fn holds(form: &CompiledForm, data: Value) -> bool {
    form.judge(&data, DateTime::UNIX_EPOCH).is_ok()
}

#[test]
fn an_alternative_that_is_only_null_makes_a_field_nullable_and_takes_nothing_away() {
    let known = json!({"type": "string", "format": "decimal", "minLength": 2, "title": "Amount"});
    let mut written_short = known.clone();
    written_short["type"] = json!(["string", "null"]);
    let expected = field(written_short);
    for nothing in [json!({"type": "null"}), json!({"const": null}), json!({"enum": [null], "title": "None"})]
    {
        for keyword in ["anyOf", "oneOf"] {
            assert_eq!(field(json!({keyword: [known, nothing]})), expected, "{keyword} {nothing}");
            assert_eq!(field(json!({keyword: [nothing, known]})), expected, "{keyword} {nothing}");
        }
    }
    assert_eq!(field(json!({"anyOf": [{"type": "null"}]})).kind, FieldKind::Any);
}

#[test]
fn a_nullable_choice_of_values_lists_null_among_them() {
    let choice = field(json!({"anyOf": [{"enum": ["low", "high"]}, {"type": "null"}]}));
    assert_eq!((choice.kind, choice.nullable, choice.conditional), (FieldKind::Text, true, false));
    assert_eq!(choice.options.as_deref(), Some(&[json!("low"), json!("high"), json!(null)][..]));
}

#[test]
fn nullable_money_and_days_are_money_and_days_to_rules_and_lists() {
    let nullable = |format: &str| json!({"anyOf": [{"type": "string", "format": format}, {"type": "null"}]});
    let mut money = asserting(json!({"amt": nullable("decimal")}), "amt > 9.5");
    money["index"] = json!(["/amt"]);
    let money = compile(money);
    assert_eq!(money.text_kind("/amt"), TextKind::Decimal);
    assert!(holds(&money, json!({"amt": "10"})) && holds(&money, json!({"amt": null})));
    assert!(!holds(&money, json!({"amt": "9.50"})));

    let day = compile(asserting(json!({"born": nullable("date")}), "born < date('2000-01-01')"));
    assert!(holds(&day, json!({"born": "1999-12-31"})) && !holds(&day, json!({"born": "2000-01-01"})));
}

#[test]
fn members_of_a_nullable_object_keep_their_types_and_their_being_required() {
    let person = json!({"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]});
    let person = field(json!({"anyOf": [person, {"type": "null"}]}));
    assert_eq!((person.kind, person.nullable), (FieldKind::Open, true));
    let age = person.child("age").expect("described");
    assert_eq!((age.kind, age.required, age.nullable), (FieldKind::Integer, true, false));
}

/// A form whose object `ans` has these alternatives.
fn answering(alternatives: Value, assert: &str) -> Result<CompiledForm, Vec<DefinitionProblem>> {
    try_compile(asserting(json!({"ans": {"type": "object", "oneOf": alternatives}}), assert))
}

#[test]
fn a_field_that_another_alternative_names_without_a_type_may_hold_anything() {
    let number = |value: Value| json!({"properties": {"kind": {"const": "num"}, "value": value}, "required": ["kind", "value"]});
    let others = [
        json!({"properties": {"kind": {"enum": ["text", "date"]}, "value": true}, "required": ["kind"]}),
        json!({"properties": {"kind": {"enum": ["text", "date"]}}, "required": ["kind", "value"]}),
    ];
    for value in [json!({"type": "number"}), json!({"minimum": 0}), json!({"enum": [1, 2]})] {
        for other in &others {
            let form = answering(json!([number(value.clone()), other]), "ans.value == 'yes'")
                .unwrap_or_else(|problems| panic!("{value} {other}: {problems:#?}"));
            assert!(holds(&form, json!({"ans": {"kind": "text", "value": "yes"}})));
            assert!(!holds(&form, json!({"ans": {"kind": "num", "value": 1}})));
        }
    }
}

/// As anything, no rule could calculate with it: `2.5 * 12` finds no overload of a double and an int, a text is no date.
#[test]
fn a_field_that_only_one_alternative_names_has_its_type_and_is_conditional() {
    let described = json!({"properties": {"kind": {"const": "num"}, "value": {"type": "number"}}});
    let other = json!({"properties": {"kind": {"const": "text"}}});
    let form = answering(json!([described, other]), "ans.value * 12 > 5").expect("a number");
    assert!(holds(&form, json!({"ans": {"kind": "num", "value": 2.5}})));
    let value = form.fields().find("/ans/value").expect("described");
    assert_eq!((value.kind, value.conditional, value.required), (FieldKind::Number, true, false));
    let closed = json!({"properties": {"kind": {"const": "text"}}, "additionalProperties": false});
    let form = answering(json!([described, closed]), "true").expect("compiles");
    assert!(!form.fields().find("/ans/value").expect("described").conditional);
}

#[test]
fn what_is_ruled_out_is_no_type_of_a_field() {
    for schema in
        [json!({"not": {"type": "string"}}), json!({"not": {"type": ["array", "object"]}, "title": "A"})]
    {
        assert_eq!(field(schema.clone()).kind, FieldKind::Any, "{schema}");
    }
    // Who rules out some texts is speaking of texts.
    assert_eq!(field(json!({"not": {"type": "string", "pattern": "^x"}})).kind, FieldKind::Text);
    let form = compile(asserting(json!({"a": {"not": {"type": "string"}}}), "a == 5"));
    assert!(holds(&form, json!({"a": 5})) && !holds(&form, json!({"a": 6})));
}

#[test]
fn versions_whose_rules_took_nullable_money_for_a_text_go_on_and_are_published_no_more() {
    let nullable = json!({"anyOf": [{"type": "string", "format": "decimal"}, {"type": "null"}]});
    let mut definition = asserting(json!({"amt": nullable}), "amt == null || amt != ''");
    definition["index"] = json!(["/amt"]);
    let id = "a-form".parse().expect("an id");
    assert!(FormDefinition::problems(&definition, &id).iter().any(DefinitionProblem::is_error));
    let form = compile(definition);
    assert!(form.remarks().iter().any(DefinitionProblem::is_error));
    assert_eq!(form.text_kind("/amt"), TextKind::Plain);
    assert!(holds(&form, json!({"amt": "9.50"})) && holds(&form, json!({"amt": null})));
    let mut indexed =
        json!({"title": "A form", "schema": {"properties": {"a": {"not": {"type": "string"}}}}});
    indexed["index"] = json!(["/a"]);
    assert!(compile(indexed).remarks().iter().any(DefinitionProblem::is_error));
    // What is wrong under both readings is no form at all.
    assert!(try_compile(asserting(json!({"amt": nullable}), "amt.nothing()")).is_err());
}

#[test]
fn members_are_found_by_their_names_in_whatever_order_they_were_described() {
    let names = ["b", "a", "ä", "Z", "", "a b", "zz"];
    let described: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
    let object = field(json!({"type": "object", "required": ["m"], "allOf": [{"properties": described}]}));
    assert!(
        names.iter().chain(&["m"]).all(|name| object.child(name).is_some_and(|child| *child.name == **name))
    );
    assert!(object.children.is_sorted_by_key(|child| child.name.clone()) && object.child("y").is_none());
}
