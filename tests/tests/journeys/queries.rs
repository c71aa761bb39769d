//! Finding submissions: filters, order, and pages that show every row once, also while others write.

use std::collections::BTreeSet;

use formledger_tests::definitions::{expense, expense_claim};
use formledger_tests::{Client, Stage};
use serde_json::{Value, json};

/// Submits one claim per amount and answers the ids in that order, with the last position.
async fn submit_all(
    client: &Client,
    amounts: impl IntoIterator<Item = f64>,
    country: &str,
) -> (Vec<String>, u64) {
    let (mut ids, mut position) = (Vec::new(), 0);
    for amount in amounts {
        let answer = client.submit("expense", &expense(amount, country)).await.expect(201);
        ids.push(answer.json()["submission_id"].as_str().expect("an id").to_owned());
        position = answer.position();
    }
    (ids, position)
}

/// The amounts of a query's items, in order.
async fn amounts(client: &Client, query: &str, at: u64) -> Vec<f64> {
    let page = client.get_at(&format!("/v1/submissions?{query}"), at).await.expect(200).json();
    let amount = |item: &Value| item["data"]["amount"].as_f64().expect("an amount");
    page["items"].as_array().expect("items").iter().map(amount).collect()
}

#[tokio::test]
async fn filters_find_what_they_name_and_nothing_else() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    stage.admin.publish("other", &expense_claim()).await;
    submit_all(&stage.admin, [5.0, 50.0, 500.0], "DE").await;
    let sam = stage.somebody("acme", "sam", "submitter").await;
    submit_all(&sam, [7.0], "IT").await;
    stage.admin.submit("other", &expense(9.0, "FR")).await.expect(201);
    let at = stage.head().await;
    let admin = &stage.admin;
    for (query, expected) in [
        ("form=expense", &[7.0, 500.0, 50.0, 5.0][..]),
        ("form=other", &[9.0]),
        ("form=nosuch", &[]),
        ("state=submitted&form=expense&submitter=sam", &[7.0]),
        ("state=approved", &[]),
        ("submitter=ada&form=expense", &[500.0, 50.0, 5.0]),
        ("form=expense&where=/amount%3E=50", &[500.0, 50.0]),
        ("form=expense&where=/amount%3E50", &[500.0]),
        ("form=expense&where=/amount%3C50", &[7.0, 5.0]),
        ("form=expense&where=/amount%3C=50", &[7.0, 50.0, 5.0]),
        ("form=expense&where=/amount=50", &[50.0]),
        ("form=expense&where=/country=IT", &[7.0]),
        ("form=expense&where=/country!=DE", &[7.0]),
        ("form=expense&where=/country=DE&where=/amount%3C100", &[50.0, 5.0]),
        ("form=expense&q=it", &[7.0]),
    ] {
        assert_eq!(amounts(admin, query, at).await, expected, "{query}");
    }
}

#[tokio::test]
async fn decimals_are_found_and_sorted_as_numbers_and_moments_as_moments() {
    let invoice = |total: Value, index: Value| {
        json!({"title": "Invoice", "index": index, "schema": {"type": "object", "properties": {
            "total": total, "net": {"type": "string", "format": "decimal"},
            "received": {"type": "string", "format": "date-time"}, "a>b": {"type": "string"}}},
            "rules": [{"id": "net", "kind": "compute", "value": "has(total) ? decimal(total) / 2 : decimal('0')", "into": "/net"}]})
    };
    let fields = json!(["/total", "/net", "/received", "/a>b"]);
    let stage = Stage::with_form("invoice", &invoice(json!({"type": "string"}), fields.clone())).await;
    // Of a version in which it was any text: found as the newest version has it.
    let old = json!({"total": "100.00", "received": "2026-01-31T23:30:00Z"});
    stage.admin.submit("invoice", &old).await.expect(201);
    stage.admin.publish("invoice", &invoice(json!({"type": "string", "format": "decimal"}), fields)).await;
    for (total, received) in [
        ("9.50", "2026-02-01T02:00:00+03:00"),
        ("-3", "2026-02-01T00:00:00Z"),
        ("1250.00", "2026-01-31T23:00:00.5Z"),
        ("99999999999999999999.01", "2025-12-31T23:59:59Z"),
    ] {
        let data = json!({"total": total, "received": received, "a>b": total});
        stage.admin.submit("invoice", &data).await.expect(201);
    }
    let at = stage.head().await;
    let found = async |query: &str| {
        let page =
            stage.admin.get_at(&format!("/v1/submissions?form=invoice&{query}"), at).await.expect(200).json();
        let total = |item: &Value| item["data"]["total"].as_str().expect("a total").to_owned();
        page["items"].as_array().expect("items").iter().map(total).collect::<Vec<_>>()
    };
    for (query, expected) in [
        ("sort=/total", &["-3", "9.50", "100.00", "1250.00", "99999999999999999999.01"][..]),
        ("sort=-/net&limit=2", &["99999999999999999999.01", "1250.00"]),
        ("where=/total%3E9&sort=/total", &["9.50", "100.00", "1250.00", "99999999999999999999.01"]),
        ("where=/total%3E%3D9.5&where=/total%3C2000&sort=/total", &["9.50", "100.00", "1250.00"]),
        ("where=/total%3E%2299999999999999999999%22", &["99999999999999999999.01"]),
        ("where=/total=1250", &["1250.00"]),
        ("where=/total=%221250.0%22", &["1250.00"]),
        ("where=/total=100", &["100.00"]),
        ("where=/net=50", &["100.00"]),
        ("sort=/received", &["99999999999999999999.01", "9.50", "1250.00", "100.00", "-3"]),
        ("where=/received%3E%3D2026-02-01", &["-3"]),
        ("where=/received%3C2026-01", &["99999999999999999999.01"]),
        ("where=/received=2026-01-31T23:00:00Z", &["9.50"]),
        ("where=%22/a%3Eb%22=9.50", &["9.50"]),
    ] {
        assert_eq!(found(query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn rows_come_newest_first_or_in_the_order_asked_for() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let (_, at) = submit_all(&stage.admin, [30.0, 10.0, 20.0, 10.0], "DE").await;
    for (query, expected) in [
        ("form=expense", [10.0, 20.0, 10.0, 30.0]),
        ("form=expense&sort=created_at", [30.0, 10.0, 20.0, 10.0]),
        ("form=expense&sort=-created_at", [10.0, 20.0, 10.0, 30.0]),
        ("form=expense&sort=/amount", [10.0, 10.0, 20.0, 30.0]),
        ("form=expense&sort=-/amount", [30.0, 20.0, 10.0, 10.0]),
    ] {
        assert_eq!(amounts(&stage.admin, query, at).await, expected, "{query}");
    }
}

/// All ids along `next_cursor`, calling `between` before each page after the first.
async fn walk(client: &Client, query: &str, at: u64, between: impl AsyncFn()) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.get_at(&format!("/v1/submissions?{query}{cursor}"), at).await.expect(200);
        ids.extend(page.submission_ids());
        match page.json()["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
        between().await;
    }
}

#[tokio::test]
async fn pages_show_every_row_once_in_every_order_also_with_equal_values() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let (all, at) = submit_all(&stage.admin, (0..37).map(|n| f64::from(n % 5)), "DE").await;
    for sort in ["created_at", "-created_at", "updated_at", "/amount", "-/amount"] {
        for limit in [1, 7, 37, 100] {
            let seen =
                walk(&stage.admin, &format!("form=expense&sort={sort}&limit={limit}"), at, async || ()).await;
            assert_eq!(seen.len(), all.len(), "sort={sort} limit={limit}");
            assert_eq!(BTreeSet::from_iter(&seen), BTreeSet::from_iter(&all), "sort={sort} limit={limit}");
        }
    }
}

#[tokio::test]
async fn pages_show_every_earlier_row_once_while_new_ones_come_in() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let (all, at) = submit_all(&stage.admin, (0..30).map(f64::from), "DE").await;
    let write = async || {
        submit_all(&stage.admin, [15.5], "DE").await;
    };
    for sort in ["created_at", "-created_at", "/amount", "-/amount"] {
        let seen = walk(&stage.admin, &format!("form=expense&sort={sort}&limit=4"), at, write).await;
        for id in &all {
            assert_eq!(seen.iter().filter(|other| *other == id).count(), 1, "sort={sort}");
        }
    }
}

#[tokio::test]
async fn what_is_no_query_is_400_and_says_what_would_be_right() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let (_, at) = submit_all(&stage.admin, [1.0, 2.0, 3.0], "DE").await;
    let page = stage.admin.get_at("/v1/submissions?form=expense&limit=1", at).await.expect(200).json();
    let cursor = page["next_cursor"].as_str().expect("more rows").to_owned();
    let of_another_order = format!("form=expense&limit=1&sort=/amount&cursor={cursor}");
    for query in [
        "cursor=garbage",
        "cursor=%00",
        &of_another_order,
        "form=expense&where=amount",
        "form=expense&where=/amount~5",
        "form=expense&where=/nosuch=5",
        "where=/amount=5",
        "form=expense&sort=amount",
        "form=expense&sort=/nosuch",
        "limit=0",
        "limit=-1",
        "limit=100000",
        "limit=many",
        "min_position=soon",
        "form=expense&nosuch=1",
    ] {
        let answer = stage.admin.get(&format!("/v1/submissions?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        answer.expect_any_problem(400);
    }
}

#[tokio::test]
async fn a_cursor_of_another_tenant_shows_nothing_of_that_tenant() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let (ours, at) = submit_all(&stage.admin, [1.0, 2.0, 3.0], "DE").await;
    let page = stage.admin.get_at("/v1/submissions?form=expense&limit=1", at).await.expect(200).json();
    let cursor = page["next_cursor"].as_str().expect("more rows");
    let other = stage.somebody("globex", "gus", "admin").await;
    other.publish("expense", &expense_claim()).await;
    let answer = other.get(&format!("/v1/submissions?form=expense&limit=1&cursor={cursor}")).await;
    assert!(ours.iter().all(|id| !answer.text().contains(id)), "{}", answer.text());
}
