//! Pages of submissions: every row once, also while rows are added; filters and order as a naive model has them.

mod support;

use chrono::{DateTime, Utc};
use formledger_domain::SubmissionId;
use formledger_projections::{
    Comparison, Condition, Operand, PAGE_ITEMS_MAX, QueryError, Sort, SortKey, SubmissionQuery,
    SubmissionRow, TenantReader,
};
use futures_util::TryStreamExt;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use support::{On, World, amended, drafted, form_id, on_both_databases, submitted_by};
use uuid::Uuid;

on_both_databases! {
    pages_show_every_row_once_also_while_rows_are_added,
    an_export_streams_what_the_pages_show,
    a_cursor_of_another_query_or_tenant_is_refused,
    a_cursor_is_refused_once_the_field_of_its_order_says_something_else,
    a_query_that_cannot_be_answered_says_what_would_be_right,
    a_text_is_found_in_values_and_not_in_names,
    submissions_of_all_versions_are_found_by_what_the_newest_one_indexes,
}

/// Every page from the first to the last.
async fn all_pages(reader: &TenantReader, query: &SubmissionQuery) -> Vec<SubmissionRow> {
    let mut query = query.clone();
    let mut rows = Vec::new();
    loop {
        let page = reader.submissions(&query).await.expect("page");
        rows.extend(page.items);
        match page.next_cursor {
            Some(cursor) => query.cursor = Some(cursor.as_str().to_owned()),
            None => return rows,
        }
    }
}

fn ids(rows: &[SubmissionRow]) -> Vec<SubmissionId> {
    rows.iter().map(|row| row.submission_id).collect()
}

async fn pages_show_every_row_once_also_while_rows_are_added(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &["/n"]).await;
    let mut made = Vec::new();
    for n in 0..40 {
        made.push(world.tenant("acme").submit("claim", json!({"n": n % 7})).await);
    }
    world.run_once().await;
    for sort in ["created_at", "-created_at", "/n", "-/n"] {
        let reader = world.reader("acme");
        let mut query = SubmissionQuery {
            form: Some(form_id("claim")),
            sort: sort.parse().expect("sort"),
            limit: Some(3),
            ..Default::default()
        };
        let mut seen = Vec::new();
        loop {
            let page = reader.submissions(&query).await.expect("page");
            seen.extend(ids(&page.items));
            world.tenant("acme").submit("claim", json!({"n": 3})).await;
            world.run_once().await;
            let Some(cursor) = page.next_cursor else { break };
            assert!(seen.len() < 400, "pages must end");
            query.cursor = Some(cursor.as_str().to_owned());
        }
        let mut distinct = seen.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), seen.len(), "{sort}: a row was shown twice");
        assert!(made.iter().all(|id| seen.contains(id)), "{sort}: a row was left out");
    }
}

async fn an_export_streams_what_the_pages_show(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &["/n"]).await;
    // More than an export reads at once, by their bytes.
    let why = "because ".repeat(1_000);
    for n in 0..PAGE_ITEMS_MAX + 200 {
        world.tenant("acme").submit("claim", json!({"n": n, "why": why})).await;
    }
    world.run_once().await;
    let reader = world.reader("acme");
    for (conditions, sort, shown) in
        [(vec![], "-created_at", 700), (vec!["/n>=20"], "created_at", 680), (vec!["/n<699"], "/n", 699)]
    {
        let query = SubmissionQuery {
            form: Some(form_id("claim")),
            conditions: conditions.iter().map(|text: &&str| text.parse().expect("a condition")).collect(),
            sort: sort.parse().expect("an order"),
            ..Default::default()
        };
        let streamed: Vec<SubmissionRow> = reader
            .all_submissions(query.clone())
            .await
            .expect("a query")
            .value
            .try_collect()
            .await
            .expect("rows");
        assert_eq!(streamed.len(), shown);
        assert_eq!(ids(&streamed), ids(&all_pages(&reader, &query).await));
    }
}

async fn a_cursor_of_another_query_or_tenant_is_refused(on: On) {
    let mut world = World::new(on).await;
    for tenant in ["acme", "globex"] {
        world.tenant(tenant).publish("claim", 1, &["/n"]).await;
        for n in 0..3 {
            world.tenant(tenant).submit("claim", json!({"n": n})).await;
        }
    }
    world.run_once().await;
    let query = SubmissionQuery { limit: Some(1), ..Default::default() };
    let cursor = world.reader("acme").submissions(&query).await.expect("page").next_cursor.expect("cursor");
    let with = |query: &SubmissionQuery, cursor: &str| SubmissionQuery {
        cursor: Some(cursor.to_owned()),
        ..query.clone()
    };
    assert!(world.reader("acme").submissions(&with(&query, cursor.as_str())).await.is_ok());
    let other_filter = SubmissionQuery { state: Some("submitted".to_owned()), ..query.clone() };
    let other_sort = SubmissionQuery { sort: "created_at".parse().expect("sort"), ..query.clone() };
    for (tenant, query) in [
        ("globex", with(&query, cursor.as_str())),
        ("acme", with(&other_filter, cursor.as_str())),
        ("acme", with(&other_sort, cursor.as_str())),
        ("acme", with(&query, "bm9uc2Vuc2U")),
    ] {
        let refused = world.reader(tenant).submissions(&query).await;
        assert!(matches!(refused, Err(QueryError::Cursor(_))), "{refused:?}");
    }
}

async fn a_cursor_is_refused_once_the_field_of_its_order_says_something_else(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &["/total", "/n"]).await;
    for total in ["10", "9.5", "100"] {
        world.tenant("acme").submit("claim", json!({"total": total, "n": total})).await;
    }
    world.run_once().await;
    let sorted = |by: &str| SubmissionQuery {
        form: Some(form_id("claim")),
        sort: by.parse().expect("an order"),
        limit: Some(1),
        ..Default::default()
    };
    let first = async |world: &World, query: &SubmissionQuery| {
        let page = world.reader("acme").submissions(query).await.expect("a page");
        let cursor = page.next_cursor.expect("there is more").as_str().to_owned();
        (page.items[0].data.as_str().to_owned(), SubmissionQuery { cursor: Some(cursor), ..query.clone() })
    };
    let (_, after_total) = first(&world, &sorted("/total")).await;
    let (_, after_n) = first(&world, &sorted("/n")).await;
    let found = SubmissionQuery {
        conditions: vec!["/total!=7".parse().expect("a condition")],
        ..sorted("created_at")
    };
    let (_, after_found) = first(&world, &found).await;

    // From here on its texts are numbers.
    let total = json!({"type": "object", "properties": {"n": {"type": "string"}, "total": {"type": "string", "format": "decimal"}}});
    world.tenant("acme").publish_with("claim", 2, total, &["/total", "/n"]).await;
    world.run_once().await;
    for query in [&after_total, &after_found] {
        let refused = world.reader("acme").submissions(query).await.expect_err("of another order");
        assert!(matches!(refused, QueryError::Cursor(_)), "{refused:?}");
        assert!(refused.to_string().contains("repeat the query without `cursor`"), "{refused}");
    }
    world.reader("acme").submissions(&after_n).await.expect("the other field is what it was");
    let (smallest, again) = first(&world, &sorted("/total")).await;
    assert!(smallest.contains("9.5"), "{smallest}");
    world.reader("acme").submissions(&again).await.expect("a cursor of now");
}

async fn a_query_that_cannot_be_answered_says_what_would_be_right(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &["/n"]).await;
    world.run_once().await;
    let reader = world.reader("acme");
    let claim = SubmissionQuery { form: Some(form_id("claim")), ..Default::default() };
    let condition = |pointer: &str| vec![format!("{pointer}=1").parse().expect("condition")];

    let query = SubmissionQuery { conditions: condition("/n"), ..Default::default() };
    assert!(matches!(reader.submissions(&query).await, Err(QueryError::FieldWithoutForm { .. })));
    let query = SubmissionQuery { conditions: condition("/other"), ..claim.clone() };
    assert!(matches!(reader.submissions(&query).await, Err(QueryError::NotIndexed { .. })));
    let query = SubmissionQuery { sort: "/other".parse().expect("sort"), ..claim.clone() };
    assert!(matches!(reader.submissions(&query).await, Err(QueryError::NotIndexed { .. })));
    for limit in [0, PAGE_ITEMS_MAX + 1] {
        let query = SubmissionQuery { limit: Some(limit), ..claim.clone() };
        assert!(matches!(reader.submissions(&query).await, Err(QueryError::Limit { .. })));
    }
    for text in ["", "name", "-", "created_at,-n"] {
        assert!(text.parse::<Sort>().is_err(), "{text}");
    }
}

async fn a_text_is_found_in_values_and_not_in_names(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    let id = world
        .tenant("acme")
        .submit(
            "claim",
            json!({"name": "Ann \"Annie\" O'Neil", "list": [{"city": "50%_off\\"}], "amount": 4711}),
        )
        .await;
    world.tenant("acme").submit("claim", json!({"name": "nobody"})).await;
    world.run_once().await;
    let found = async |text: &str| {
        let query = SubmissionQuery { q: Some(text.to_owned()), ..Default::default() };
        ids(&world.reader("acme").submissions(&query).await.expect("page").items)
    };
    for text in ["annie", "\"Annie\"", "O'Neil", "50%_off\\", "%_", "471"] {
        assert_eq!(found(text).await, [id], "{text}");
    }
    for text in ["city", "amount", "x_off", "name\":"] {
        assert_eq!(found(text).await, [], "{text}");
    }
}

async fn submissions_of_all_versions_are_found_by_what_the_newest_one_indexes(on: On) {
    let mut world = World::new(on).await;
    let schema =
        |total: Value| json!({"type": "object", "properties": {"n": {"type": "number"}, "total": total}});
    let (text, decimal) = (json!({"type": "string"}), json!({"type": "string", "format": "decimal"}));
    world.tenant("acme").publish_with("claim", 1, schema(text.clone()), &["/n"]).await;
    world.tenant("acme").publish_with("claims", 1, schema(text), &["/n"]).await;
    world.tenant("globex").publish("claim", 1, &["/n"]).await;
    let mut made = Vec::new();
    // More than are made again at once.
    for n in 0..300 {
        made.push(world.tenant("acme").submit("claim", json!({"n": n, "total": format!("{n}.0")})).await);
    }
    for (tenant, form) in [("acme", "claims"), ("globex", "claim")] {
        world.tenant(tenant).submit(form, json!({"n": 7, "total": "7"})).await;
    }
    world.run_once().await;
    let found = async |world: &World, tenant: &str, form: &str, condition: &str, sort: &str| {
        let query = SubmissionQuery {
            form: Some(form_id(form)),
            conditions: vec![condition.parse().expect("a condition")],
            sort: sort.parse().expect("an order"),
            ..Default::default()
        };
        let reader = world.reader(tenant);
        Ok::<_, QueryError>(
            match reader.submissions(&SubmissionQuery { limit: Some(1), ..query.clone() }).await {
                Ok(_) => ids(&all_pages(&reader, &query).await),
                Err(error) => return Err(error),
            },
        )
    };
    let not_indexed = |found: Result<_, QueryError>| matches!(found, Err(QueryError::NotIndexed { .. }));
    assert!(not_indexed(found(&world, "acme", "claim", "/total>=9", "created_at").await));

    // One of them is changed, and one made, in the batch that publishes.
    let last = *made.last().expect("some");
    world
        .tenant("acme")
        .submission_events(
            last,
            &[amended("claim", &json!({"n": 299, "total": "8"}), &json!({"total": "8"}))],
        )
        .await;
    world.tenant("acme").publish_with("claim", 2, schema(decimal.clone()), &["/total"]).await;
    made.push(world.tenant("acme").submit("claim", json!({"n": 1000, "total": "1000"})).await);
    world.run_once().await;
    let expected: Vec<_> = made[298..299].iter().chain(&made[300..]).copied().collect();
    assert_eq!(found(&world, "acme", "claim", "/total>=298", "/total").await.expect("found"), expected);
    assert_eq!(
        found(&world, "acme", "claim", "/total=8.00", "created_at").await.expect("found"),
        [made[8], last]
    );
    assert_eq!(found(&world, "acme", "claim", "/total!=8", "/total").await.expect("found").len(), 299);
    assert!(
        not_indexed(found(&world, "acme", "claim", "/n>=9", "created_at").await),
        "it is indexed no more"
    );
    for (tenant, form) in [("acme", "claims"), ("globex", "claim")] {
        assert_eq!(found(&world, tenant, form, "/n=7", "/n").await.expect("another form's").len(), 1);
    }
    assert_eq!(world.differences_from_rebuilt().await, []);

    // In another order, in a batch that changes one of them as well.
    let both = |first, second| json!({"n": first, "total": second});
    world.tenant("acme").publish_with("claim", 3, schema(decimal.clone()), &["/n", "/total"]).await;
    world.run_once().await;
    world
        .tenant("acme")
        .submission_events(made[1], &[amended("claim", &both(71, "81"), &both(71, "81"))])
        .await;
    world.tenant("acme").publish_with("claim", 4, schema(decimal.clone()), &["/total", "/n"]).await;
    world.run_once().await;
    assert_eq!(found(&world, "acme", "claim", "/total=81", "/n").await.expect("found").len(), 2);
    assert_eq!(world.differences_from_rebuilt().await, []);

    // What comes after it is kept as before, and what indexes the same changes nothing.
    world.tenant("acme").publish_with("claim", 5, schema(decimal.clone()), &["/total"]).await;
    world.run_once().await;
    world.tenant("acme").publish_with("claim", 6, schema(decimal), &["/total"]).await;
    world
        .tenant("acme")
        .submission_events(made[0], &[amended("claim", &json!({"total": "9999"}), &json!({"total": "9999"}))])
        .await;
    world.run_once().await;
    let expected = [made[300], made[0]];
    assert_eq!(found(&world, "acme", "claim", "/total>=1000", "/total").await.expect("found"), expected);
    assert_eq!(world.differences_from_rebuilt().await, []);
}

/// A submission as the model keeps it, in order of creation.
#[derive(Debug, Clone)]
struct Modelled {
    id: SubmissionId,
    form: &'static str,
    state: &'static str,
    submitter: &'static str,
    /// At each of [`FIELDS`].
    values: [Value; 4],
}

/// The indexed fields: two of any value, one of decimals, one of moments.
const FIELDS: [&str; 4] = ["/v", "/w", "/d", "/t"];

impl Modelled {
    fn at(&self, pointer: &str) -> &Value {
        &self.values[FIELDS.iter().position(|field| *field == pointer).expect("an indexed field")]
    }
}

/// A schema for [`FIELDS`].
fn schema() -> Value {
    let any = json!({"type": ["string", "number", "boolean", "null"]});
    let text = |format| json!({"type": "string", "format": format});
    json!({"type": "object", "properties": {"v": any, "w": any, "d": text("decimal"), "t": text("date-time")}})
}

/// Decimals, and what a draft may hold instead.
fn any_decimal() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["9.5", "10", "010.00", "-1", "+0.5", "-0", "100.25", "many", "", "1"])
}

/// Moments, some of them alike, and what a draft may hold instead.
fn any_moment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "2026-01-31T23:30:00Z",
        "2026-02-01T01:00:00+02:00",
        "2026-01-31T23:00:00Z",
        "2026-01-31T23:00:00.5Z",
        "2026-01-31",
        "2026-02",
        "1969-12-31T23:59:59.999Z",
        "soon",
    ])
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        (-3i64..4).prop_map(Value::from),
        (-6i64..7).prop_map(|half| json!(half as f64 / 2.0)),
        prop_oneof![Just("a"), Just("b"), Just("1"), Just("")].prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(json!([1])),
    ]
}

fn any_submission() -> impl Strategy<Value = Modelled> {
    let form = prop_oneof![Just("claim"), Just("other")];
    let state = prop_oneof![Just("submitted"), Just("draft")];
    let submitter = prop_oneof![Just("ann"), Just("bob")];
    let decimal = prop_oneof![any_decimal().prop_map(Value::from), any_value()];
    let moment = prop_oneof![any_moment().prop_map(Value::from), any_value()];
    let values = (any_value(), any_value(), decimal, moment).prop_map(|(v, w, d, t)| [v, w, d, t]);
    (form, state, submitter, values).prop_map(|(form, state, submitter, values)| Modelled {
        id: SubmissionId(Uuid::now_v7()),
        form,
        // A draft in these histories is always ann's.
        submitter: if state == "draft" { "ann" } else { submitter },
        state,
        values,
    })
}

fn any_pointer() -> impl Strategy<Value = String> {
    prop::sample::select(FIELDS.to_vec()).prop_map(str::to_owned)
}

fn any_query() -> impl Strategy<Value = SubmissionQuery> {
    let key = prop_oneof![
        Just(SortKey::CreatedAt),
        Just(SortKey::UpdatedAt),
        any_pointer().prop_map(SortKey::Field),
    ];
    let comparison = prop_oneof![
        Just(Comparison::Equal),
        Just(Comparison::NotEqual),
        Just(Comparison::Less),
        Just(Comparison::LessOrEqual),
        Just(Comparison::Greater),
        Just(Comparison::GreaterOrEqual),
    ];
    let operand = prop_oneof![
        prop_oneof![(-3i64..4).prop_map(|number| number.to_string()), Just("9.50".to_owned())]
            .prop_map(Operand::Number),
        prop_oneof![Just("a"), Just("b"), Just("1"), Just(""), Just("true"), any_decimal(), any_moment()]
            .prop_map(|text| Operand::Text(text.to_owned())),
    ];
    let condition = (any_pointer(), comparison, operand)
        .prop_map(|(pointer, comparison, operand)| Condition { pointer, comparison, operand });
    (
        prop::option::of(prop_oneof![Just("submitted"), Just("draft")]),
        prop::option::of(prop_oneof![Just("ann"), Just("bob")]),
        prop::collection::vec(condition, 0..3),
        key,
        any::<bool>(),
        1u32..6,
    )
        .prop_map(|(state, submitter, conditions, key, descending, limit)| SubmissionQuery {
            form: Some(form_id("claim")),
            state: state.map(str::to_owned),
            submitter: submitter.map(str::to_owned),
            conditions,
            sort: Sort { key, descending },
            limit: Some(limit),
            ..Default::default()
        })
}

/// What an indexed value compares by: kind, number, text, moment.
type Comparable = (u8, f64, String, Option<DateTime<Utc>>);

fn comparable(pointer: &str, value: &Value) -> Comparable {
    match value {
        Value::Number(number) => (1, number.as_f64().expect("small"), String::new(), None),
        Value::String(text) => said(pointer, text).unwrap_or((2, 0.0, text.clone(), None)),
        Value::Bool(flag) => (2, 0.0, flag.to_string(), None),
        _ => (0, 0.0, String::new(), None),
    }
}

/// What a text says in a field of decimals or of moments.
fn said(pointer: &str, text: &str) -> Option<Comparable> {
    let decimal = || text.parse::<f64>().ok().map(|number| (1, number + 0.0, String::new(), None));
    let moment = || {
        let written = match text.len() {
            7 => format!("{text}-01T00:00:00Z"),
            10 => format!("{text}T00:00:00Z"),
            _ => text.to_owned(),
        };
        written.parse().ok().map(|time| (3, 0.0, String::new(), Some(time)))
    };
    match pointer {
        "/d" => decimal(),
        "/t" => moment(),
        _ => None,
    }
}

fn holds(condition: &Condition, value: &Value) -> bool {
    let value = comparable(&condition.pointer, value);
    let number = |written: &str| (1, written.parse::<f64>().expect("a number"), String::new(), None);
    let wanted = match &condition.operand {
        Operand::Number(written) => number(written),
        Operand::Text(text) => said(&condition.pointer, text).unwrap_or((2, 0.0, text.clone(), None)),
    };
    let is_written_alike = match &condition.operand {
        Operand::Number(written) => ["/v", "/w"].contains(&&*condition.pointer) && value.2 == *written,
        Operand::Text(_) => false,
    };
    let equal = value == wanted || is_written_alike;
    let ordering = (value.0 == wanted.0).then(|| value.partial_cmp(&wanted).expect("JSON holds no NaN"));
    match condition.comparison {
        Comparison::Equal => equal,
        Comparison::NotEqual => !equal,
        Comparison::Less => ordering.is_some_and(|ordering| ordering.is_lt()),
        Comparison::LessOrEqual => ordering.is_some_and(|ordering| ordering.is_le()),
        Comparison::Greater => ordering.is_some_and(|ordering| ordering.is_gt()),
        Comparison::GreaterOrEqual => ordering.is_some_and(|ordering| ordering.is_ge()),
    }
}

fn expected(model: &[Modelled], query: &SubmissionQuery) -> Vec<SubmissionId> {
    let mut rows: Vec<&Modelled> = model
        .iter()
        .filter(|row| row.form == "claim")
        .filter(|row| query.state.as_ref().is_none_or(|state| state == row.state))
        .filter(|row| query.submitter.as_ref().is_none_or(|submitter| submitter == row.submitter))
        .filter(|row| query.conditions.iter().all(|condition| holds(condition, row.at(&condition.pointer))))
        .collect();
    if let SortKey::Field(pointer) = &query.sort.key {
        let value = |row: &Modelled| comparable(pointer, row.at(pointer));
        rows.sort_by(|a, b| value(a).partial_cmp(&value(b)).expect("JSON holds no NaN"));
    }
    if query.sort.descending {
        rows.reverse();
    }
    rows.iter().map(|row| row.id).collect()
}

/// Runs and queries per run; each run writes a ledger of its own.
const RUNS: u32 = 12;
const QUERIES: usize = 25;

#[test]
fn filters_order_and_pages_agree_with_a_naive_model() {
    agree_with_a_naive_model(On::Sqlite);
}

#[test]
fn filters_order_and_pages_agree_with_a_naive_model_on_postgres() {
    agree_with_a_naive_model(On::Postgres);
}

fn agree_with_a_naive_model(on: On) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let cases = (prop::collection::vec(any_submission(), 0..40), prop::collection::vec(any_query(), QUERIES));
    let mut runner = TestRunner::new(ProptestConfig { cases: RUNS, ..ProptestConfig::default() });
    let checked = runner.run(&cases, |(model, queries)| {
        runtime.block_on(async {
            let mut world = World::new(on).await;
            for form in ["claim", "other"] {
                world.tenant("acme").publish_with(form, 1, schema(), &FIELDS).await;
            }
            for row in &model {
                let [v, w, d, t] = &row.values;
                let data = json!({"v": v, "w": w, "d": d, "t": t});
                let event = match row.state {
                    "draft" => drafted(row.form, &data),
                    _ => submitted_by(row.form, &data, row.submitter),
                };
                world.tenant("acme").submission_events(row.id, &[event]).await;
            }
            world.run_once().await;
            for query in &queries {
                let rows = all_pages(&world.reader("acme"), query).await;
                prop_assert_eq!(ids(&rows), expected(&model, query), "{:?}", query);
            }
            Ok(())
        })
    });
    checked.expect("every page agrees");
}
