//! Regular expressions of published schemas, in `pattern` and in `patternProperties`, under every draft.

use formledger_domain::{CompiledForm, DefinitionProblem, FormDefinition, FormVersion};
use serde_json::{Value, json};

const DRAFTS: [&str; 5] = [
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
];
const MAIL: &str = r"^[\w-\.]+@([\w-]+\.)+[\w-]{2,4}$";

fn compile(draft: &str, mut schema: Value) -> Result<CompiledForm, Vec<DefinitionProblem>> {
    schema["$schema"] = json!(draft);
    let definition = FormDefinition::parse(&json!({"title": "A form", "schema": schema}))?;
    CompiledForm::compile(&definition, &"a-form".parse().expect("an id"), FormVersion::FIRST)
}

fn fits(form: &CompiledForm, data: Value) -> bool {
    form.check(&data).is_ok()
}

#[test]
fn a_hyphen_beside_a_class_is_a_hyphen_in_every_draft_and_told() {
    for draft in DRAFTS {
        let form = compile(
            draft,
            json!({
                "properties": {"mail": {"pattern": MAIL}, "pattern": {"pattern": "^[\\w-.]+$"}},
                "patternProperties": {"^[\\w-.]+-n$": {"type": "integer"}}
            }),
        )
        .unwrap_or_else(|problems| panic!("{draft}: {problems:#?}"));
        assert!(
            fits(&form, json!({"mail": "jo-ann.x@my-site.org", "pattern": "a-b.c", "a-b-n": 1})),
            "{draft}"
        );
        for wrong in [json!({"mail": "jo ann@site.org"}), json!({"pattern": "a b"}), json!({"a-b-n": "x"})] {
            assert!(!fits(&form, wrong.clone()), "{draft} {wrong}");
        }
        let mut told: Vec<_> = form.remarks().iter().map(|remark| remark.pointer.as_str()).collect();
        told.sort_unstable();
        let places =
            ["patternProperties/^[\\w-.]+-n$", "properties/mail/pattern", "properties/pattern/pattern"];
        assert_eq!(told, places.map(|place| format!("/schema/{place}")), "{draft}");
    }
}

#[test]
fn what_ecma_262_has_and_the_engine_writes_differently_is_known() {
    for draft in DRAFTS {
        for (pattern, fitting, other) in [
            ("^[^]$", "\n", ""),
            (r"^\0$", "\0", "0"),
            (r"^[\b]$", "\u{8}", "b"),
            (r"^(?<y>a|b)\k<y>$", "bb", "ab"),
        ] {
            let form = compile(draft, json!({"properties": {"a": {"pattern": pattern}}}))
                .unwrap_or_else(|problems| panic!("{draft} {pattern}: {problems:#?}"));
            assert!(
                fits(&form, json!({"a": fitting})) && !fits(&form, json!({"a": other})),
                "{draft} {pattern}"
            );
            assert!(form.remarks().is_empty(), "it means what it says: {:?}", form.remarks());
        }
    }
}

#[test]
fn data_that_look_like_patterns_are_left_alone() {
    let looks = json!({"pattern": "[\\w-.]"});
    let form = compile(
        DRAFTS[4],
        json!({"properties": {"a": {"const": looks, "default": looks, "examples": [looks]}}}),
    )
    .expect("compiles");
    assert!(fits(&form, json!({"a": looks})) && form.remarks().is_empty());
}

#[test]
fn a_pattern_that_is_not_known_is_told_at_its_place_and_not_called_wrong() {
    for draft in DRAFTS {
        for (schema, place) in [
            (json!({"properties": {"a": {"pattern": "(unclosed"}}}), "/schema/properties/a/pattern"),
            (
                json!({"properties": {"a": {"patternProperties": {"(unclosed": {}}}}}),
                "/schema/properties/a/patternProperties",
            ),
        ] {
            let problems =
                compile(draft, schema).err().unwrap_or_else(|| panic!("{draft}: {place} was taken"));
            let problem = problems.iter().find(|problem| problem.pointer.starts_with(place));
            let problem = problem.unwrap_or_else(|| panic!("{draft}: {problems:#?}"));
            assert!(problem.message.contains("known here"), "{draft}: {problem:?}");
        }
    }
}
