//! Real published forms: every schema publishes, every example is accepted, and what is broken in an example is pointed at.

use formledger_tests::Stage;
use formledger_tests::va_forms::{PublishedForm, all};
use serde_json::{Value, json};

/// An example with one thing broken, and where an error must point.
struct Broken {
    what: String,
    data: Value,
    pointer: String,
}

#[tokio::test]
async fn every_schema_publishes_with_warnings_at_most() {
    let stage = Stage::set().await;
    for form in all() {
        let saved =
            stage.admin.put(&format!("/v1/forms/{}", form.name), &form.definition()).await.expect(200).json();
        let problems = saved["problems"].as_array().expect("problems");
        let warnings = problems.iter().all(|problem| problem["severity"] == "warning");
        assert!(warnings, "{}: {saved}", form.name);
        stage.admin.post(&format!("/v1/forms/{}/publish", form.name)).await.expect(201);
    }
}

#[tokio::test]
async fn every_example_is_accepted_and_read_back_as_it_was() {
    let stage = Stage::set().await;
    let mut accepted = 0;
    for form in all().iter().filter(|form| !form.examples.is_empty()) {
        stage.admin.publish(&form.name, &form.definition()).await;
        for example in &form.examples {
            let answer = stage.admin.submit(&form.name, example).await.expect(201);
            let location = answer.header("location").expect("a Location").to_owned();
            let read = stage.admin.get_at(&location, answer.position()).await.expect(200).json();
            assert_eq!(read["data"], *example, "{}", form.name);
            accepted += 1;
        }
    }
    assert!(accepted >= 4, "only {accepted} examples were found");
}

#[tokio::test]
async fn a_broken_example_is_refused_with_a_pointer_to_what_is_broken() {
    let stage = Stage::set().await;
    let mut refused = 0;
    for form in all().iter().filter(|form| !form.examples.is_empty()) {
        stage.admin.publish(&form.name, &form.definition()).await;
        for broken in form.examples.iter().flat_map(|example| every_way_to_break(form, example)) {
            let answer = stage.admin.submit(&form.name, &broken.data).await;
            let problem = answer.expect_problem(422, "submission-invalid");
            let errors = problem["errors"].as_array().expect("errors");
            let pointed = errors.iter().any(|error| error["pointer"] == broken.pointer.as_str());
            assert!(pointed, "{}: {}: no error at {}: {problem}", form.name, broken.what, broken.pointer);
            refused += 1;
        }
    }
    assert!(refused >= 200, "only {refused} broken examples were made");
}

/// Takes away each required field, gives each field another type, and breaks each pattern: what the schema says of the example
/// along `properties`, `items` and `$ref`. Alternatives (`oneOf`, `anyOf`) are left alone, because there an error has more than one true place.
fn every_way_to_break(form: &PublishedForm, example: &Value) -> Vec<Broken> {
    let mut places = Vec::new();
    walk(&form.schema, &form.schema, example, String::new(), &mut places);
    let mut broken = Vec::new();
    for (pointer, schema) in places {
        broken.extend(without_required(example, &pointer, schema));
        broken.extend(of_another_type(example, &pointer, schema));
        broken.extend(off_pattern(example, &pointer, schema));
    }
    broken
}

/// Every value of the example with the schema that describes it.
fn walk<'a>(
    root: &'a Value,
    schema: &'a Value,
    value: &Value,
    pointer: String,
    places: &mut Vec<(String, &'a Value)>,
) {
    let schema = resolve(root, schema);
    for (name, member) in value.as_object().into_iter().flatten() {
        if let Some(property) = schema["properties"].get(name) {
            let name = name.replace('~', "~0").replace('/', "~1");
            walk(root, property, member, format!("{pointer}/{name}"), places);
        }
    }
    if schema["items"].is_object() {
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            walk(root, &schema["items"], item, format!("{pointer}/{index}"), places);
        }
    }
    places.push((pointer, schema));
}

fn resolve<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    while let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("`{reference}` leads elsewhere"));
        schema = root.pointer(pointer).unwrap_or_else(|| panic!("`{reference}` leads nowhere"));
    }
    schema
}

fn without_required(example: &Value, pointer: &str, schema: &Value) -> Vec<Broken> {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let broken = required.map(|name| {
        let mut data = example.clone();
        let object = data.pointer_mut(pointer).and_then(Value::as_object_mut).expect("walked before");
        object
            .remove(name)
            .unwrap_or_else(|| panic!("the example lacks {pointer}/{name}, which is required"));
        Broken { what: format!("without `{name}`"), data, pointer: format!("{pointer}/{name}") }
    });
    broken.collect()
}

fn of_another_type(example: &Value, pointer: &str, schema: &Value) -> Option<Broken> {
    let other = match schema["type"].as_str()? {
        "string" | "boolean" => json!(["neither text nor truth"]),
        _ => json!("a text"),
    };
    let what = format!("{other} for {}", schema["type"]);
    Some(Broken { what, data: replaced(example, pointer, other), pointer: pointer.to_owned() })
}

fn off_pattern(example: &Value, pointer: &str, schema: &Value) -> Option<Broken> {
    let pattern = schema["pattern"].as_str()?;
    // Patterns that only exclude something let this text pass.
    if pattern.starts_with("^(?!") || !pattern.starts_with('^') {
        return None;
    }
    let data = replaced(example, pointer, json!("~\u{1}~"));
    Some(Broken { what: format!("a text that is not `{pattern}`"), data, pointer: pointer.to_owned() })
}

fn replaced(example: &Value, pointer: &str, by: Value) -> Value {
    let mut data = example.clone();
    *data.pointer_mut(pointer).expect("walked before") = by;
    data
}
