//! Idioms of published JSON Schemas, draft by draft: what compiles, what is accepted, what is refused and where.

use formledger_domain::{CompiledForm, DefinitionProblem, FieldKind, FormDefinition, FormVersion, Refusal};
use serde_json::{Value, json};

fn try_compile(schema: Value) -> Result<CompiledForm, Vec<DefinitionProblem>> {
    let definition = json!({"title": "A form", "schema": schema});
    let definition = FormDefinition::parse(&definition)?;
    CompiledForm::compile(&definition, &"a-form".parse().expect("an id"), FormVersion::FIRST)
}

fn compile(schema: Value) -> CompiledForm {
    try_compile(schema).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn accepts(form: &CompiledForm, data: Value) {
    assert_eq!(form.check(&data), Ok(()), "{data}");
}

/// Pointer and keyword of what is told about `data`, in order.
fn told(form: &CompiledForm, data: Value) -> Vec<(String, String)> {
    match form.check(&data) {
        Err(Refusal::Violations(violations)) => {
            violations.into_iter().map(|violation| (violation.pointer, violation.keyword)).collect()
        }
        other => panic!("{data} was not refused by the schema: {other:?}"),
    }
}

fn refuses(form: &CompiledForm, data: Value, expected: &[(&str, &str)]) {
    let told = told(form, data.clone());
    let told: Vec<_> = told.iter().map(|(pointer, keyword)| (pointer.as_str(), keyword.as_str())).collect();
    assert_eq!(told, expected, "{data}");
}

fn problem_at(schema: Value, pointer: &str) -> String {
    let problems = try_compile(schema).expect_err("it has a problem");
    let found = problems.iter().find(|problem| problem.pointer == pointer);
    found.unwrap_or_else(|| panic!("no problem at {pointer}: {problems:#?}")).message.clone()
}

const DRAFTS: [&str; 10] = [
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-04/schema",
    "https://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2020-12/schema#",
    "http://json-schema.org/schema#",
];

#[test]
fn every_supported_draft_is_recognised_however_its_name_is_written() {
    for draft in DRAFTS {
        let form =
            compile(json!({"$schema": draft, "type": "object", "properties": {"a": {"type": "string"}}}));
        accepts(&form, json!({"a": "x"}));
        refuses(&form, json!({"a": 1}), &[("/a", "type")]);
    }
}

#[test]
fn an_unknown_draft_is_a_problem_that_names_the_known_ones() {
    let message =
        problem_at(json!({"$schema": "http://json-schema.org/draft-03/schema#"}), "/schema/$schema");
    assert!(message.contains("2020-12"), "{message}");
    problem_at(json!({"$schema": 4}), "/schema/$schema");
}

#[test]
fn exclusive_bounds_are_flags_in_draft_4_and_numbers_later() {
    let old = compile(json!({
        "$schema": "http://json-schema.org/draft-04/schema#",
        "properties": {"age": {"type": "integer", "minimum": 17, "exclusiveMinimum": true}}
    }));
    accepts(&old, json!({"age": 18}));
    refuses(&old, json!({"age": 17}), &[("/age", "exclusiveMinimum")]);
    assert_eq!(old.fields().find("/age").and_then(|age| age.constraints.minimum), Some(17.0));

    let new = compile(json!({"properties": {"age": {"type": "integer", "exclusiveMinimum": 17}}}));
    accepts(&new, json!({"age": 18}));
    refuses(&new, json!({"age": 17}), &[("/age", "exclusiveMinimum")]);
    problem_at(
        json!({"properties": {"age": {"minimum": 17, "exclusiveMinimum": true}}}),
        "/schema/properties/age/exclusiveMinimum",
    );
}

#[test]
fn an_id_of_draft_4_is_a_name_and_not_an_address_to_fetch() {
    let form = compile(json!({
        "$schema": "http://json-schema.org/draft-04/schema#",
        "id": "https://forms.example.org/claims/claim.json",
        "definitions": {"name": {"type": "string", "minLength": 1}, "code": {"id": "#code", "type": "integer"}},
        "properties": {"name": {"$ref": "#/definitions/name"}, "code": {"$ref": "#code"}}
    }));
    accepts(&form, json!({"name": "x", "code": 1}));
    refuses(&form, json!({"name": "", "code": "x"}), &[("/code", "type"), ("/name", "minLength")]);
    assert_eq!(form.fields().find("/name").map(|name| name.kind), Some(FieldKind::Text));
    assert_eq!(form.fields().find("/code").map(|code| code.kind), Some(FieldKind::Integer));
}

#[test]
fn references_reach_embedded_schemas_anchors_and_escaped_names() {
    let form = compile(json!({
        "$defs": {
            "a/b c": {"type": "string"},
            "anchored": {"$anchor": "money", "type": "string", "format": "decimal"},
            "address": {
                "$id": "https://forms.example.org/address",
                "$defs": {"zip": {"type": "string", "pattern": "^\\d{5}$"}},
                "type": "object",
                "properties": {"zip": {"$ref": "#/$defs/zip"}}
            }
        },
        "properties": {
            "text": {"$ref": "#/$defs/a~1b%20c"},
            "fee": {"$ref": "#money"},
            "home": {"$ref": "https://forms.example.org/address"}
        }
    }));
    accepts(&form, json!({"text": "x", "fee": "10.50", "home": {"zip": "12345"}}));
    refuses(
        &form,
        json!({"text": 1, "fee": "ten", "home": {"zip": "1"}}),
        &[("/fee", "format"), ("/home/zip", "pattern"), ("/text", "type")],
    );
    let kinds =
        ["/text", "/fee", "/home", "/home/zip"].map(|p| form.fields().find(p).map(|field| field.kind));
    let expected = [FieldKind::Text, FieldKind::Text, FieldKind::Open, FieldKind::Text].map(Some);
    assert_eq!(kinds, expected);
}

#[test]
fn a_reference_to_elsewhere_is_never_fetched() {
    for reference in
        ["https://forms.example.org/other.json", "other.json#/definitions/x", "#/definitions/missing"]
    {
        let schema = json!({"properties": {"a": {"type": "string"}, "b": {"$ref": reference}}});
        let message = problem_at(schema, "/schema/properties/b/$ref");
        assert!(message.contains("nothing is fetched"), "{message}");
    }
}

#[test]
fn a_schema_that_refers_to_itself_compiles_and_validates_at_every_depth() {
    let form = compile(json!({
        "$ref": "#/$defs/person",
        "$defs": {"person": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/person"}}}
        }}
    }));
    accepts(&form, json!({"name": "a", "children": [{"name": "b", "children": [{"name": "c"}]}]}));
    refuses(
        &form,
        json!({"children": [{"children": [{"name": 1}]}]}),
        &[("/children/0/children/0/name", "type")],
    );
}

#[test]
fn what_stands_beside_a_reference_counts_since_2019_09_and_not_before() {
    let schema = |draft: &str| {
        json!({
            "$schema": draft,
            "definitions": {"text": {"type": "string"}},
            "properties": {"a": {"$ref": "#/definitions/text", "maxLength": 3, "title": "A"}}
        })
    };
    let old = compile(schema("http://json-schema.org/draft-07/schema#"));
    accepts(&old, json!({"a": "long text"}));
    let new = compile(schema("https://json-schema.org/draft/2019-09/schema"));
    refuses(&new, json!({"a": "long text"}), &[("/a", "maxLength")]);
    for form in [old, new] {
        assert_eq!(form.fields().find("/a").and_then(|a| a.title.clone()).as_deref(), Some("A"));
    }
}

#[test]
fn patterns_are_those_of_ecma_262() {
    let form = compile(json!({"properties": {
        "lookahead": {"pattern": "^(?!\\s)(?!.*?\\s{2,})[^<>%$#@!^&*0-9]+$"},
        "lookbehind": {"pattern": "^(?<!0)\\d+$"},
        "digits": {"pattern": "^\\d+$"},
        "hyphen": {"pattern": "^[\\w-.]+$"},
        "escapes": {"pattern": "^\\@\\_\\'\\:\\ \\#$"},
        "slash": {"pattern": "^\\/a\\-b$"},
        "unicode": {"pattern": "^\\p{L}+$"},
        "named": {"pattern": "^(?<year>\\d{4})$"},
        "backreference": {"pattern": "^(a|b)\\1$"}
    }}));
    accepts(
        &form,
        json!({
            "lookahead": "Mary Ann", "lookbehind": "12", "digits": "12", "hyphen": "a-b.c", "escapes": "@_': #", "slash": "/a-b",
            "unicode": "Ærø", "named": "2026", "backreference": "aa"
        }),
    );
    // In ECMA-262 `\d` is 0 to 9 only.
    refuses(&form, json!({"digits": "१२"}), &[("/digits", "pattern")]);
    refuses(&form, json!({"lookahead": "Mary  Ann"}), &[("/lookahead", "pattern")]);
}

#[test]
fn a_pattern_that_is_no_regular_expression_is_a_problem_at_its_place() {
    problem_at(json!({"properties": {"a": {"pattern": "(unclosed"}}}), "/schema/properties/a/pattern");
}

#[test]
fn a_pattern_that_explodes_is_stopped() {
    let form = compile(json!({"properties": {"a": {"type": "string", "pattern": "^(?=(a+)+$)(a|aa)+$"}}}));
    let started = std::time::Instant::now();
    let _ = form.check(&json!({"a": format!("{}b", "a".repeat(5_000))}));
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[test]
fn known_formats_are_checked_in_every_draft_and_unknown_ones_are_not() {
    for draft in DRAFTS {
        let form = compile(json!({"$schema": draft, "properties": {
            "mail": {"type": "string", "format": "email"},
            "day": {"type": "string", "format": "date"},
            "at": {"type": "string", "format": "date-time"},
            "site": {"type": "string", "format": "uri"},
            "fee": {"type": "string", "format": "decimal"},
            "tel": {"type": "string", "format": "tel"},
            "odd": {"type": "string", "format": "^d{9}$"},
            "number": {"type": "integer", "format": "int64"}
        }}));
        accepts(
            &form,
            json!({
                "mail": "a@example.org", "day": "2026-02-28", "at": "2026-02-28T12:00:00Z", "site": "https://example.org",
                "fee": "-12.50", "tel": "no number", "odd": "x", "number": 1
            }),
        );
        for (name, value) in [
            ("mail", "a@"),
            ("day", "2026-02-30"),
            ("at", "2026-02-28 12:00"),
            ("site", "example"),
            ("fee", "1,5"),
        ] {
            refuses(&form, json!({name: value}), &[(&format!("/{name}"), "format")]);
        }
    }
}

#[test]
fn formats_that_later_drafts_added_are_checked_in_earlier_ones_too() {
    let formats = [
        ("duration", "P3DT2H", "3 days"),
        ("uuid", "8f14e45f-ceea-467f-a8f8-1e2b5a3c4d5e", "8f14e45f"),
        ("uri-reference", "../a?b#c", "a b"),
        ("uri-template", "/a/{b}", "/a/{b"),
        ("iri", "https://example.org/ä", "ä ö"),
        ("iri-reference", "/ä", "ä ö"),
        ("json-pointer", "/a~1b", "a"),
        ("relative-json-pointer", "1/a", "/a"),
        ("idn-email", "jörg@bücher.example", ""),
        ("idn-hostname", "bücher.example", "-a"),
        ("hostname", "example.org", "-a"),
        ("hostname", "xn--bcher-kva.example", "ab--c.example"),
        ("time", "12:00:00Z", "noon"),
        ("ipv6", "::1", ":"),
        ("regex", "^a$", "("),
    ];
    for draft in DRAFTS {
        for (format, fitting, other) in formats {
            let form =
                compile(json!({"$schema": draft, "properties": {"a": {"type": "string", "format": format}}}));
            accepts(&form, json!({"a": fitting}));
            refuses(&form, json!({"a": other}), &[("/a", "format")]);
        }
    }
    let inner = json!({
        "$id": "https://example.org/inner", "$schema": "http://json-schema.org/draft-07/schema#", "format": "uuid"
    });
    let mixed = compile(
        json!({"properties": {"a": {"$ref": "https://example.org/inner"}}, "$defs": {"inner": inner}}),
    );
    refuses(&mixed, json!({"a": "8f14e45f"}), &[("/a", "format")]);
}

#[test]
fn of_alternatives_the_one_that_was_meant_tells_what_is_wrong() {
    let form = compile(json!({"properties": {"payment": {"oneOf": [
        {"type": "null"},
        {"type": "object", "properties": {"by": {"const": "card"}, "number": {"type": "string"}}, "required": ["by", "number"]},
        {"type": "object", "properties": {"by": {"const": "bank"}, "iban": {"type": "string"}}, "required": ["by", "iban"]}
    ]}}}));
    accepts(&form, json!({"payment": null}));
    accepts(&form, json!({"payment": {"by": "bank", "iban": "DE00"}}));
    refuses(&form, json!({"payment": {"by": "bank"}}), &[("/payment/iban", "required")]);
    refuses(&form, json!({"payment": {"by": "card", "number": 4}}), &[("/payment/number", "type")]);

    let payment = form.fields().find("/payment").expect("described");
    assert!(payment.nullable && payment.conditional);
    assert_eq!(
        payment.child("by").and_then(|by| by.options.clone()).as_deref(),
        Some(&[json!("card"), json!("bank")][..])
    );
    assert!(payment.child("by").is_some_and(|by| by.required));
    assert!(payment.child("iban").is_some_and(|iban| !iban.required));
}

#[test]
fn when_no_alternative_was_meant_all_are_told() {
    let form = compile(json!({
        "type": "object",
        "properties": {"ssn": {"type": "string"}, "file": {"type": "string"}},
        "anyOf": [{"required": ["ssn"]}, {"required": ["file"]}]
    }));
    refuses(&form, json!({}), &[("", "anyOf"), ("/ssn", "required"), ("/file", "required")]);
    let one = compile(json!({"properties": {"a": {"oneOf": [{"minimum": 1}, {"maximum": 5}]}}}));
    refuses(&one, json!({"a": 3}), &[("/a", "oneOf")]);
}

#[test]
fn conditions_and_dependencies_tell_of_fields_that_may_be_there() {
    let form = compile(json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"married": {"type": "boolean"}, "card": {"type": "string"}},
        "if": {"properties": {"married": {"const": true}}, "required": ["married"]},
        "then": {"properties": {"spouse": {"type": "string"}}, "required": ["spouse"]},
        "dependencies": {"card": {"properties": {"billing": {"type": "string"}}, "required": ["billing"]}, "spouse": ["married"]}
    }));
    accepts(&form, json!({"married": false}));
    refuses(&form, json!({"married": true}), &[("/spouse", "required")]);
    refuses(&form, json!({"card": "1"}), &[("/billing", "required")]);
    refuses(&form, json!({"spouse": "x"}), &[("/married", "required")]);
    for optional in ["/spouse", "/billing"] {
        let field = form.fields().find(optional).expect("described");
        assert_eq!((field.kind, field.required), (FieldKind::Text, false), "{optional}");
    }
}

#[test]
fn extra_members_are_told_by_their_own_names() {
    let form = compile(
        json!({"type": "object", "properties": {"a/b": {"type": "object", "properties": {}, "additionalProperties": false}},
        "unevaluatedProperties": false}),
    );
    refuses(&form, json!({"a/b": {"x~y": 1}}), &[("/a~1b/x~0y", "additionalProperties")]);
    refuses(&form, json!({"z": 1}), &[("/z", "unevaluatedProperties")]);
}

#[test]
fn nullable_tuple_and_map_fields_have_their_kinds() {
    let form = compile(json!({"properties": {
        "note": {"type": ["string", "null"]},
        "either": {"type": ["string", "integer"]},
        "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false},
        "old_pair": {"type": "array", "items": {"type": "integer"}},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        "only": {"const": 5},
        "rating": {"enum": ["low", "high", null]},
        "anything": true
    }}));
    let kind = |name: &str| form.fields().child(name).map(|field| (field.kind, field.nullable));
    assert_eq!(kind("note"), Some((FieldKind::Text, true)));
    assert_eq!(kind("either"), Some((FieldKind::Scalar, false)));
    assert_eq!(kind("pair"), Some((FieldKind::List, false)));
    assert_eq!(kind("old_pair"), Some((FieldKind::List, false)));
    assert_eq!(kind("map"), Some((FieldKind::Open, false)));
    assert_eq!(kind("only"), Some((FieldKind::Integer, false)));
    assert_eq!(kind("rating"), Some((FieldKind::Text, true)));
    assert_eq!(kind("anything"), Some((FieldKind::Any, false)));
}

#[test]
fn slips_that_change_no_meaning_are_mended_and_told() {
    let form = compile(json!({
        "$schema": "http://json-schema.org/draft-04/schema#",
        "type": "object",
        "required": [],
        "properties": {
            "list": {"type": "array", "items": {"type": "object", "required": [], "properties": {"x": {"required": false, "enum": ["a", "b"]}}}},
            "title": {"type": "string", "title": 5}
        }
    }));
    let mut places: Vec<_> = form.remarks().iter().map(|warning| warning.pointer.as_str()).collect();
    places.sort_unstable();
    assert_eq!(
        places,
        [
            "/schema/properties/list/items/properties/x/required",
            "/schema/properties/list/items/required",
            "/schema/properties/title/title",
            "/schema/required",
        ]
    );
    assert!(form.remarks().iter().all(|warning| !warning.is_error()));
    refuses(&form, json!({"list": [{"x": "c"}]}), &[("/list/0/x", "enum")]);
}

/// What warnings there are, by place.
fn warned(schema: Value) -> Vec<(String, String)> {
    let form = compile(schema);
    assert!(!form.remarks().iter().any(DefinitionProblem::is_error), "{:#?}", form.remarks());
    form.remarks().iter().map(|warning| (warning.pointer.clone(), warning.message.clone())).collect()
}

#[test]
fn a_keyword_that_is_misspelt_is_warned_of_where_it_stands() {
    for draft in DRAFTS {
        for (name, value, meant) in [
            ("minimun", json!(3), "minimum"),
            ("requird", json!(["a"]), "required"),
            ("propertys", json!({"a": {}}), "properties"),
            ("aditionalProperties", json!(false), "additionalProperties"),
            ("minlength", json!(3), "minLength"),
            ("maxLenght", json!(3), "maxLength"),
            ("tyep", json!("string"), "type"),
            ("ref", json!("#/definitions/a"), "$ref"),
            ("formt", json!("email"), "format"),
            ("oneof", json!([{}]), "oneOf"),
            ("titel", json!("A"), "title"),
            ("cosnt", json!("A"), "const"),
            ("Const", json!("A"), "const"),
        ] {
            let message =
                format!("`{name}` is no keyword of JSON Schema, so it says nothing; did you mean `{meant}`?");
            let schema = json!({"$schema": draft, "properties": {"x": {"allOf": [{"not": {name: value}}]}}});
            let place = format!("/schema/properties/x/allOf/0/not/{name}");
            assert_eq!(warned(schema), [(place, message)], "{draft}");
        }
    }
}

#[test]
fn words_of_other_tools_are_no_misspelt_keywords() {
    // No slips, of nothing that is a keyword by its value, or by the book.
    let others = json!({
        "x-minimun": 3, "ui:order": [], "options": {"minimun": 3}, "propertyOrder": 1, "enumNames": ["a"], "widget": "x", "note": "not that",
        "hint": "x", "unit": "EUR", "label": "x", "group": "x", "of": {}, "types": ["invoice"], "nullable": true, "example": 1, "xml": {},
        "discriminator": {"propertyName": "kind"}, "externalDocs": {}, "maxim": 3, "definition_of_done": "x", "comment": "x", "ids": "x",
        "cost": 3, "count": 1, "constr": "x"
    });
    // What the data are called is nobody's business here.
    let names = json!({"minimun": {"type": "string"}, "requird": {"default": {"minimun": 1}, "enum": [{"tyep": 1}], "examples": [{"titel": 1}]}});
    for draft in DRAFTS {
        let mut schema = others.clone();
        schema["$schema"] = json!(draft);
        schema["properties"] = names.clone();
        schema["definitions"] = names.clone();
        schema["dependencies"] = json!({"minimun": ["requird"], "requird": {}});
        assert_eq!(warned(schema), [], "{draft}");
    }
}

/// Each is compared once and told at each place, up to a number of names.
#[test]
fn so_many_names_are_compared_and_no_more() {
    let names = |from: usize, count: usize| (from..from + count).map(|at| (format!("aaa{at:05}"), json!(1)));
    // In the order of their names: what is misspelt comes behind the others.
    let with = |count: usize| {
        let before: serde_json::Map<_, _> = names(0, count).collect();
        let slip = || json!({"minimun": 3});
        warned(json!({"allOf": [before.clone(), before, slip(), slip()]})).len()
    };
    assert_eq!([with(999), with(1_000)], [2, 0]);
}

#[test]
fn the_keywords_of_every_draft_are_known() {
    let any = r#"{
        "$id": "https://example.org/a", "$comment": "x", "$defs": {}, "definitions": {}, "title": "x", "description": "x", "default": 1,
        "deprecated": false, "readOnly": false, "writeOnly": false, "examples": [], "type": "object", "enum": [{}], "const": {}, "multipleOf": 1,
        "maximum": 1, "minimum": 1, "maxLength": 1, "minLength": 1, "pattern": "a", "items": {}, "additionalItems": {}, "maxItems": 1, "minItems": 1,
        "uniqueItems": true, "contains": {}, "maxContains": 1, "minContains": 1, "maxProperties": 1, "minProperties": 1, "required": ["a"],
        "properties": {}, "patternProperties": {}, "additionalProperties": {}, "dependencies": {}, "dependentRequired": {}, "dependentSchemas": {},
        "propertyNames": {}, "if": {}, "then": {}, "else": {}, "allOf": [{}], "anyOf": [{}], "oneOf": [{}], "not": {}, "format": "email",
        "contentEncoding": "base64", "contentMediaType": "text/plain", "contentSchema": {}, "unevaluatedItems": {}, "unevaluatedProperties": {}
    }"#;
    let any: Value = serde_json::from_str(any).expect("JSON");
    for draft in DRAFTS {
        let mut schema = any.clone();
        schema["$schema"] = json!(draft);
        let old = draft.contains("draft-04");
        schema["exclusiveMinimum"] = if old { json!(true) } else { json!(1) };
        schema["exclusiveMaximum"] = schema["exclusiveMinimum"].clone();
        if old {
            schema["id"] = json!("https://example.org/a");
        }
        assert_eq!(warned(schema), [], "{draft}");
    }
    let newest = json!({
        "$anchor": "a", "$dynamicAnchor": "b", "prefixItems": [{}],
        "properties": {"a": {"$dynamicRef": "#b"}, "b": {"$ref": "#a"}}
    });
    assert_eq!(warned(newest), []);
    let middle = json!({
        "$schema": "https://json-schema.org/draft/2019-09/schema", "$recursiveAnchor": true, "properties": {"a": {"$recursiveRef": "#"}}
    });
    assert_eq!(warned(middle), []);
}

#[test]
fn a_format_that_nobody_checks_is_warned_of_unless_it_is_known_elsewhere() {
    let of = |format: &str| warned(json!({"properties": {"a": {"type": "string", "format": format}}}));
    for (format, advice) in [
        ("emial", "did you mean `email`?"),
        ("datetime", "did you mean `date-time`?"),
        ("Date", "did you mean `date`?"),
        ("url", "did you mean `uri`?"),
        ("decimel", "did you mean `decimal`?"),
        ("phone", "a `pattern` can say which texts fit"),
        ("^d{9}$", "a `pattern` can say which texts fit"),
    ] {
        let message = format!("`{format}` is no format that is checked, so any text has it; {advice}");
        assert_eq!(of(format), [("/schema/properties/a/format".to_owned(), message)]);
    }
    for format in ["email", "decimal", "uuid", "relative-json-pointer", "int64", "password", "binary"] {
        assert_eq!(of(format), [], "{format}");
    }
}

#[test]
fn of_very_many_slips_the_first_are_told() {
    let many: serde_json::Map<String, Value> =
        (0..1_000).map(|at| (format!("f{at}"), json!({"minimun": 3, "format": "emial"}))).collect();
    assert_eq!(warned(json!({"properties": many})).len(), 50);
}

#[test]
fn what_changes_the_meaning_is_a_problem() {
    problem_at(json!({"type": "objekt"}), "/schema/type");
    problem_at(json!({"properties": {"a": {"required": true}}}), "/schema/properties/a/required");
    problem_at(json!({"properties": {"a": {"minLength": "5"}}}), "/schema/properties/a/minLength");
    problem_at(json!({"properties": []}), "/schema/properties");
}

#[test]
fn violations_are_bounded_in_number_and_size_and_echo_no_value() {
    let form = compile(
        json!({"properties": {"list": {"type": "array", "items": {"enum": vec!["option"; 1]}}, "a": {"pattern": "^x{1,9}$".repeat(9)}}}),
    );
    let secret = "secret".repeat(10_000);
    let Err(Refusal::Violations(violations)) =
        form.check(&json!({"list": vec![secret.as_str(); 1_000], "a": secret.as_str()}))
    else {
        panic!("accepted")
    };
    assert_eq!(violations.len(), formledger_domain::VIOLATIONS_MAX);
    let text = serde_json::to_string(&violations).expect("writes");
    assert!(!text.contains("secret") && text.len() < 20_000, "{}", text.len());
}

#[test]
fn id_names_a_schema_in_draft_4_only_and_nothing_beside_a_reference_before_2019_09() {
    let items = |keyword: &str| json!({"type": "object", "properties": {"list": {"type": "array", "items": {(keyword): "item", "$ref": "#"}}, "n": {"type": "integer"}}});
    for (draft, keyword) in [
        ("http://json-schema.org/draft-04/schema#", "id"),
        ("http://json-schema.org/draft-06/schema#", "id"),
        ("http://json-schema.org/draft-07/schema#", "id"),
        ("http://json-schema.org/draft-07/schema#", "$id"),
        ("https://json-schema.org/draft/2019-09/schema", "id"),
        ("https://json-schema.org/draft/2020-12/schema", "id"),
    ] {
        let mut schema = items(keyword);
        schema["$schema"] = json!(draft);
        let form = compile(schema);
        accepts(&form, json!({"list": [{"list": [{"n": 1}]}]}));
        refuses(&form, json!({"list": [{"list": [{"n": "x"}]}]}), &[("/list/0/list/0/n", "type")]);
    }
    // The field of this name is described where the reference leads, not at a schema that only looks named.
    let form = compile(json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"text": {"type": "string"}},
        "properties": {"a": {"id": "inner", "definitions": {"text": {"type": "integer"}}, "allOf": [{"$ref": "#/definitions/text"}]}}
    }));
    assert_eq!(form.fields().find("/a").map(|field| field.kind), Some(FieldKind::Text));
    // Members of fields' names are no keywords, and neither are data.
    let form = compile(json!({"properties": {
        "const": {"$id": "https://example.org/c", "type": "string"},
        "b": {"$ref": "https://example.org/c", "default": {"$id": "https://example.org/c", "type": "integer"}}
    }}));
    assert_eq!(form.fields().find("/b").map(|field| field.kind), Some(FieldKind::Text));
}

#[test]
fn keywords_beside_a_reference_lead_into_no_circle_before_2019_09() {
    let form = compile(json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"a": {"type": "string"}},
        "properties": {"a": {"$ref": "#/definitions/a", "allOf": [{"$ref": "#/properties/a"}]}}
    }));
    refuses(&form, json!({"a": 1}), &[("/a", "type")]);
}

#[test]
fn references_in_data_are_data_and_every_reference_that_means_nothing_is_told_where_it_stands() {
    let looks = json!({"$ref": "#/nope"});
    let data = json!({"const": looks, "default": looks, "examples": [looks], "enum": [looks]});
    let properties = |keyword: &str, reference: &str| json!({"properties": {"a": data, "default": {(keyword): reference}}, "$defs": {"x": {"$id": "https://example.org/x"}, "y": {"$ref": "x"}}});
    for (keyword, reference) in [("$ref", "#/missing"), ("$dynamicRef", "#missing"), ("$ref", "missing.json")]
    {
        problem_at(properties(keyword, reference), &format!("/schema/properties/default/{keyword}"));
    }
}

#[test]
fn extra_items_and_names_that_do_not_fit_are_told_by_their_own_places() {
    let tuple = |draft: &str, keyword: &str, closing: &str| {
        let mut schema = json!({"$schema": draft, "properties": {"a": {"type": "array", (keyword): [{"type": "integer"}]}}});
        schema["properties"]["a"][closing] = json!(false);
        compile(schema)
    };
    let old = tuple("http://json-schema.org/draft-07/schema#", "items", "additionalItems");
    let new = tuple("https://json-schema.org/draft/2020-12/schema", "prefixItems", "unevaluatedItems");
    for (form, keyword) in [(old, "additionalItems"), (new, "unevaluatedItems")] {
        accepts(&form, json!({"a": [1]}));
        refuses(&form, json!({"a": [1, 1, "x"]}), &[("/a/1", keyword), ("/a/2", keyword)]);
        let many = vec![1; 10_000];
        assert_eq!(told(&form, json!({"a": many})).len(), formledger_domain::VIOLATIONS_MAX);
    }
    let form = compile(json!({"contains": {"type": "string"}, "minContains": 0, "unevaluatedItems": false}));
    refuses(&form, json!(["x", 1, "x", 2]), &[("/1", "unevaluatedItems"), ("/3", "unevaluatedItems")]);

    let form = compile(json!({"properties": {"a": {"propertyNames": {"maxLength": 3}}}}));
    refuses(
        &form,
        json!({"a": {"fine": 1, "a/bcd": 2}}),
        &[("/a/a~1bcd", "propertyNames"), ("/a/fine", "propertyNames")],
    );
}
