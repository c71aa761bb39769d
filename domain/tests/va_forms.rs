//! Real published forms: every schema compiles, every example is accepted, and a broken example is refused at the right place.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use formledger_domain::{CompiledForm, Field, FieldKind, FormDefinition, FormVersion, Refusal};
use serde_json::{Value, json};

fn documents(suffix: &str) -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/va-forms");
    fs::read_dir(folder)
        .expect("the forms are there")
        .map(|entry| entry.expect("an entry").path())
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(suffix)?.to_owned();
            let text = fs::read(&path).expect("readable");
            Some((name, formledger_domain::parse_exact(&text).expect("JSON")))
        })
        .collect()
}

fn compile(name: &str, schema: &Value) -> CompiledForm {
    let definition = json!({"title": name, "schema": schema});
    FormDefinition::parse(&definition)
        .and_then(|parsed| CompiledForm::compile(&parsed, &name.parse().expect("an id"), FormVersion::FIRST))
        .unwrap_or_else(|problems| panic!("{name}: {problems:#?}"))
}

#[test]
fn every_published_form_compiles() {
    let schemas = documents(".schema.json");
    assert_eq!(schemas.len(), 40);
    for (name, schema) in &schemas {
        let form = compile(name, schema);
        let fields = form.fields();
        assert!(matches!(fields.kind, FieldKind::Object | FieldKind::Open), "{name}: {:?}", fields.kind);
    }
}

/// The tree is what rules, indexes and rendering see; a form that it does not describe is of little use there.
#[test]
fn nearly_all_fields_of_the_published_forms_have_a_type() {
    let fields: Vec<_> = documents(".schema.json")
        .iter()
        .map(|(name, schema)| compile(name, schema).fields().clone())
        .collect();
    let all = fields.iter().flat_map(|form| form.walk()).count();
    let any = fields.iter().flat_map(|form| form.walk()).filter(|field| field.kind == FieldKind::Any).count();
    assert!(all > 3_000, "{all}");
    assert!(any * 100 < all, "{any} of {all} fields have no type");
}

#[test]
fn every_example_is_accepted() {
    let schemas = documents(".schema.json");
    let examples = documents(".example.json");
    assert_eq!(examples.len(), 4);
    for (name, example) in &examples {
        let form = compile(name, &schemas[name]);
        assert_eq!(form.check(example), Ok(()), "{name}");
    }
}

/// Every place in `data` with the field that describes it.
fn places<'f>(field: &'f Field, data: &Value, pointer: &str, found: &mut Vec<(String, &'f Field)>) {
    found.push((pointer.to_owned(), field));
    match data {
        Value::Object(members) => {
            for (name, member) in members {
                if let Some(child) = field.child(name) {
                    places(child, member, &format!("{pointer}/{name}"), found);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if let Some(child) = field.children.first() {
                    places(child, item, &format!("{pointer}/{index}"), found);
                }
            }
        }
        _ => {}
    }
}

fn remove(data: &mut Value, pointer: &str) {
    let (parent, name) = pointer.rsplit_once('/').expect("not the root");
    let parent = data.pointer_mut(parent).expect("it is there").as_object_mut();
    parent.expect("an object").remove(name);
}

fn refused_at(form: &CompiledForm, data: &Value, pointer: &str, keyword: &str) {
    let Err(Refusal::Violations(violations)) = form.check(data) else {
        panic!("{}: accepted although `{keyword}` is broken at {pointer}", form.id());
    };
    assert!(
        violations.iter().any(|violation| violation.pointer == pointer && violation.keyword == keyword),
        "{}: `{keyword}` broken at {pointer}, but told: {violations:#?}",
        form.id()
    );
    assert!(violations.iter().all(|violation| violation.message.len() < 1_000));
}

#[test]
fn an_example_without_a_required_field_is_refused_at_that_field() {
    let broken = break_examples(|field, data, pointer| {
        (field.required && pointer.contains('/')).then(|| {
            remove(data, pointer);
            "required"
        })
    });
    assert!(broken > 30, "only {broken} required fields were tried");
}

#[test]
fn an_example_with_a_value_of_another_type_is_refused_at_that_field() {
    let broken = break_examples(|field, data, pointer| {
        matches!(field.kind, FieldKind::Text | FieldKind::Integer | FieldKind::Number | FieldKind::Boolean)
            .then(|| {
                *data.pointer_mut(pointer).expect("it is there") = json!({"not": ["a", "scalar"]});
                "type"
            })
    });
    assert!(broken > 100, "only {broken} fields were tried");
}

#[test]
fn an_example_with_a_text_that_breaks_a_pattern_is_refused_at_that_field() {
    // No single text breaks every pattern: some forbid digits, some want nothing else, some forbid doubled spaces.
    const TEXTS: [&str; 3] = ["  two spaces in front", "<%1%>", "~"];
    let mut tried = 0;
    for (form, example) in examples() {
        let mut found = Vec::new();
        places(form.fields(), &example, "", &mut found);
        for (pointer, field) in found {
            let Some(pattern) = &field.constraints.pattern else { continue };
            let broken = TEXTS.iter().map(|text| {
                let mut data = example.clone();
                *data.pointer_mut(&pointer).expect("it is there") = json!(text);
                data
            });
            let refused = broken.filter(|data| form.check(data).is_err()).collect::<Vec<_>>();
            assert!(!refused.is_empty(), "{pointer}: `{pattern}` takes everything");
            refused.iter().for_each(|data| refused_at(&form, data, &pointer, "pattern"));
            tried += 1;
        }
    }
    assert!(tried > 20, "only {tried} patterns were tried");
}

fn examples() -> Vec<(CompiledForm, Value)> {
    let schemas = documents(".schema.json");
    let examples = documents(".example.json").into_iter();
    examples.map(|(name, example)| (compile(&name, &schemas[&name]), example)).collect()
}

/// Breaks every example in every place that `break_it` takes, one at a time; answers how many were tried.
fn break_examples(break_it: impl Fn(&Field, &mut Value, &str) -> Option<&'static str>) -> usize {
    let mut tried = 0;
    for (form, example) in examples() {
        let mut found = Vec::new();
        places(form.fields(), &example, "", &mut found);
        for (pointer, field) in found {
            let mut data = example.clone();
            if let Some(keyword) = break_it(field, &mut data, &pointer) {
                refused_at(&form, &data, &pointer, keyword);
                tried += 1;
            }
        }
    }
    tried
}
