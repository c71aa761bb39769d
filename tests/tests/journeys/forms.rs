//! Forms: a draft with its problems, publication, versions that never change, retirement.

use formledger_tests::Stage;
use formledger_tests::definitions::{anything, expense, expense_claim};
use serde_json::{Value, json};

/// The expense claim with a misspelt field in its constraint.
fn misspelt() -> Value {
    let mut definition = expense_claim();
    definition["rules"][0]["assert"] = json!("aplicant.age >= 18");
    definition
}

#[tokio::test]
async fn a_draft_with_a_misspelt_field_is_kept_and_the_problem_is_pointed_at() {
    let stage = Stage::set().await;
    let saved = stage.admin.put("/v1/forms/expense", &misspelt()).await.expect(200);
    let problems = saved.json()["problems"].clone();
    // Warnings, which come after them, stand in nobody's way.
    let errors = problems.as_array().into_iter().flatten().filter(|problem| problem["severity"] == "error");
    assert_eq!(errors.count(), 1, "{problems}");
    assert_eq!(problems[0]["pointer"], "/rules/0/assert");
    assert!(problems[0]["message"].as_str().is_some_and(|m| m.contains("aplicant")), "{problems}");
}

#[tokio::test]
async fn a_form_with_a_problem_is_not_published_and_the_error_spans_the_misspelt_word() {
    let stage = Stage::set().await;
    stage.admin.put("/v1/forms/expense", &misspelt()).await.expect(200);
    let head = stage.head().await;
    let refused = stage.admin.post("/v1/forms/expense/publish").await.expect_problem(422, "form-invalid");
    let error = &refused["errors"][0];
    assert_eq!(error["pointer"], "/rules/0/assert", "{refused}");
    let place = |name: &str| {
        let place = error["span"][name].as_u64().unwrap_or_else(|| panic!("span.{name}: {refused}"));
        usize::try_from(place).expect("a place in a short text")
    };
    assert_eq!(&"aplicant.age >= 18"[place("start")..place("end")], "aplicant", "{refused}");
    assert_eq!(stage.head().await, head, "a refused publication records nothing");
}

#[tokio::test]
async fn a_schema_that_is_none_is_pointed_at() {
    let stage = Stage::set().await;
    let definition = json!({ "title": "Odd", "schema": { "type": "objekt" } });
    stage.admin.put("/v1/forms/odd", &definition).await.expect(200);
    let refused = stage.admin.post("/v1/forms/odd/publish").await.expect_problem(422, "form-invalid");
    assert_eq!(refused["errors"][0]["pointer"], "/schema/type", "{refused}");
}

#[tokio::test]
async fn title_and_schema_are_required() {
    let stage = Stage::set().await;
    let saved = stage.admin.put("/v1/forms/bare", &json!({})).await.expect(200).json();
    let pointers: Vec<&Value> =
        saved["problems"].as_array().expect("problems").iter().map(|problem| &problem["pointer"]).collect();
    assert!(pointers.contains(&&json!("/title")) && pointers.contains(&&json!("/schema")), "{saved}");
    stage.admin.post("/v1/forms/bare/publish").await.expect_problem(422, "form-invalid");
}

#[tokio::test]
async fn publishing_answers_form_and_version_with_their_place_in_the_ledger() {
    let stage = Stage::set().await;
    let published = stage.admin.publish("expense", &expense_claim()).await;
    let body = published.json();
    assert_eq!((&body["form"], &body["version"]), (&json!("expense"), &json!(1)));
    assert_eq!(body["position"].as_u64(), Some(published.position()));
    assert_eq!(published.header("etag"), Some(format!("\"{}\"", body["sequence"]).as_str()));
    assert_eq!(stage.head().await, published.position());
}

#[tokio::test]
async fn a_published_version_never_changes_and_submissions_stay_with_theirs() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let first = stage.admin.submit("expense", &expense(10.0, "DE")).await.expect(201).json();
    let mut changed = expense_claim();
    changed["title"] = json!("Expense claim, second edition");
    let published = stage.admin.publish("expense", &changed).await;
    assert_eq!(published.json()["version"], 2);
    let second = stage.admin.submit("expense", &expense(1.0, "DE")).await.expect(201);
    assert_eq!((&first["form_version"], &second.json()["form_version"]), (&json!(1), &json!(2)));

    let at = second.position();
    let version = |n: u32| stage.admin.get_at(&format!("/v1/forms/expense/versions/{n}"), at);
    assert_eq!(version(1).await.expect(200).json()["definition"], expense_claim());
    assert_eq!(version(2).await.expect(200).json()["definition"], changed);
    version(3).await.expect_problem(404, "not-found");
    let id = first["submission_id"].as_str().expect("an id");
    let then = stage.admin.get_at(&format!("/v1/submissions/{id}"), at).await.expect(200).json();
    assert_eq!(then["form_version"], 1);
}

#[tokio::test]
async fn a_form_lists_its_versions_and_its_draft() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let draft = stage.admin.put("/v1/forms/expense", &anything("Next")).await.expect(200);
    let form = stage.admin.get_at("/v1/forms/expense", draft.position()).await.expect(200).json();
    assert_eq!(form["form"], "expense");
    assert_eq!(form["version"], 1);
    assert_eq!(form["title"], "Expense claim");
    assert_eq!(form["draft"], anything("Next"));
    assert_eq!(form["versions"].as_array().map(Vec::len), Some(1), "{form}");
    let list = stage.admin.get("/v1/forms").await.expect(200).json();
    assert_eq!(list["items"][0]["form"], "expense", "{list}");
}

#[tokio::test]
async fn a_retired_form_takes_no_submissions_and_keeps_those_it_has() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let before = stage.admin.submit("expense", &expense(1.0, "DE")).await.expect(201).json();
    let retire = stage.admin.post("/v1/forms/expense/retire").json(&json!({ "reason": "replaced" }));
    let retired = retire.await.expect(200);
    stage.admin.submit("expense", &expense(1.0, "DE")).await.expect_any_problem(409);
    assert_eq!(stage.head().await, retired.position(), "the refused submission left no trace");
    let path = format!("/v1/submissions/{}", before["submission_id"].as_str().expect("an id"));
    stage.admin.get_at(&path, retired.position()).await.expect(200);
}

#[tokio::test]
async fn there_is_nothing_to_publish_twice_and_nothing_without_a_draft() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    stage.admin.post("/v1/forms/expense/publish").await.expect_any_problem(409);
    stage.admin.post("/v1/forms/nosuch/publish").await.expect_problem(404, "not-found");
    stage.admin.submit("nosuch", &json!({})).await.expect_problem(404, "not-found");
    stage.admin.put("/v1/forms/draft-only", &anything("Draft")).await.expect(200);
    stage.admin.submit("draft-only", &json!({})).await.expect_any_problem(409);
}

#[tokio::test]
async fn only_administrators_and_designers_change_forms() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let designer = stage.somebody("acme", "dora", "designer").await;
    designer.publish("second", &anything("Second")).await;
    for roles in ["submitter", "reviewer", "auditor", "anything-else"] {
        let somebody = stage.somebody("acme", "sam", roles).await;
        somebody.put("/v1/forms/third", &anything("Third")).await.expect_problem(403, "not-permitted");
        somebody.post("/v1/forms/expense/publish").await.expect_problem(403, "not-permitted");
        somebody.post("/v1/forms/expense/retire").await.expect_problem(403, "not-permitted");
    }
}

#[tokio::test]
async fn a_draft_saved_over_a_newer_one_is_refused_by_if_match() {
    let stage = Stage::set().await;
    let first = stage.admin.put("/v1/forms/expense", &expense_claim()).await.expect(200);
    let etag = first.header("etag").expect("an ETag").to_owned();
    let save = |title: &str, etag: &str| {
        stage.admin.put("/v1/forms/expense", &anything(title)).header("If-Match", etag)
    };
    save("Second", &etag).await.expect(200);
    save("Lost update", &etag).await.expect_any_problem(412);
    let form = stage.admin.get_at("/v1/forms/expense", stage.head().await).await.expect(200).json();
    assert_eq!(form["draft"]["title"], "Second");
}
