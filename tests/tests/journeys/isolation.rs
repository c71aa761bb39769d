//! The tenant wall: every route of the served description is visited without a credential and as somebody of another tenant.
//! A route that the description gains is visited without anybody having to remember it.

use std::collections::BTreeSet;

use formledger_tests::credentials::{claims, sign_hs256};
use formledger_tests::definitions::{anything, expense, expense_claim};
use formledger_tests::installation::SECRET;
use formledger_tests::sse::Frame;
use formledger_tests::{Answer, Client, Stage};
use http::Method;
use serde_json::{Value, json};

/// Routes that answer anybody, because they say nothing of any tenant. This list may only shrink.
const OPEN_TO_ANYBODY: [&str; 5] = ["/", "/healthz", "/readyz", "/metrics", "/openapi.json"];
/// What stands in everything that `acme` owns and may never reach anybody else.
const MARK: &str = "acmeonly";

/// An operation of the served description.
#[derive(Debug, Clone)]
struct Route {
    method: Method,
    template: String,
}

impl Route {
    /// The path with `form` and `submission` in the template's places.
    fn path(&self, form: &str, submission: &str) -> String {
        let part = |part: &str| match part {
            "{form}" => form.to_owned(),
            "{version}" | "{n}" => "1".to_owned(),
            given if given.starts_with('{') => submission.to_owned(),
            given => given.to_owned(),
        };
        self.template.split('/').map(part).collect::<Vec<_>>().join("/")
    }

    fn is_feed(&self) -> bool {
        self.template == "/v1/feed"
    }
}

async fn routes(client: &Client) -> Vec<Route> {
    let description = client.get("/openapi.json").await.expect(200).json();
    let mut routes = Vec::new();
    for (template, operations) in description["paths"].as_object().expect("paths") {
        for method in operations.as_object().expect("operations").keys() {
            // Beside the methods a path item may hold `parameters`, `summary` and such.
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            if ["GET", "PUT", "POST", "DELETE", "PATCH"].contains(&method.as_str()) {
                routes.push(Route { method, template: template.clone() });
            }
        }
    }
    routes
}

async fn visit(client: &Client, route: &Route, path: &str) -> Answer {
    let call = client.call(route.method.clone(), path);
    match route.method {
        Method::GET => call.await,
        _ if path.ends_with("/submissions") => call.json(&json!({ "data": {} })).await,
        _ => call.json(&json!({})).await,
    }
}

/// A stage on which `acme` owns a form and a submission that both carry the mark.
async fn marked() -> (Stage, String) {
    let mut definition = expense_claim();
    definition["title"] = json!(MARK);
    let stage = Stage::with_form(MARK, &definition).await;
    let mut data = expense(20_000.0, "DE");
    data["lines"] = json!([{ "price": MARK }]);
    let answer = stage.admin.submit(MARK, &data).await.expect(201);
    let id = answer.json()["submission_id"].as_str().expect("an id").to_owned();
    stage.admin.get_at("/v1/submissions", answer.position()).await.expect(200);
    (stage, id)
}

/// An administrator of a tenant that has done nothing but begin to exist.
async fn stranger(stage: &Stage, tenant: &str) -> Client {
    let client = stage.server.client(&sign_hs256(&claims(tenant), SECRET.as_bytes()));
    client.put("/v1/forms/own", &anything("Own")).await.expect(200);
    client
}

#[tokio::test]
async fn the_description_names_every_route_of_the_contract() {
    let stage = Stage::set().await;
    let described: BTreeSet<String> = routes(&stage.admin)
        .await
        .iter()
        .map(|route| format!("{} {}", route.method, route.path("F", "S")))
        .collect();
    for route in [
        "PUT /v1/forms/F",
        "POST /v1/forms/F/publish",
        "POST /v1/forms/F/retire",
        "POST /v1/forms/F/submissions",
        "GET /v1/forms",
        "GET /v1/forms/F",
        "GET /v1/forms/F/versions/1",
        "GET /v1/submissions",
        "GET /v1/submissions/S",
        "GET /v1/submissions/S/timeline",
        "GET /v1/submissions/S/diff",
        "PATCH /v1/submissions/S",
        "POST /v1/submissions/S/submit",
        "POST /v1/submissions/S/transitions/S",
        "POST /v1/submissions/S/comments",
        "POST /v1/submissions/S/assign",
        "POST /v1/submissions/S/attachments",
        "GET /v1/submissions/S/attachments",
        "GET /v1/submissions/S/attachments/S",
        "DELETE /v1/submissions/S/attachments/S",
        "POST /v1/submissions/S/claim",
        "POST /v1/submissions/S/release",
        "POST /v1/submissions/S/delegate",
        "POST /v1/submissions/S/withdraw",
        "POST /v1/submissions:import",
        "POST /v1/submissions:transition",
        "GET /v1/tasks",
        "GET /v1/stats",
        "GET /v1/diff",
        "GET /v1/audit",
        "PUT /v1/audit",
        "GET /v1/audit/entries",
        "GET /v1/api-keys",
        "POST /v1/api-keys",
        "DELETE /v1/api-keys/S",
        "GET /v1/events",
        "POST /v1/replays",
        "GET /v1/replays",
        "GET /v1/replays/S",
        "GET /v1/replays/S/feed",
        "POST /v1/replays/S/pause",
        "POST /v1/replays/S/resume",
        "POST /v1/replays/S/cancel",
        "GET /v1/ledger",
        "GET /v1/feed",
        "GET /v1/exports/submissions.csv",
        "GET /v1/exports/submissions.ndjson",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /openapi.json",
    ] {
        assert!(described.contains(route), "`{route}` is not in /openapi.json: {described:#?}");
    }
}

#[tokio::test]
async fn every_route_wants_a_credential() {
    let (stage, id) = marked().await;
    let anybody = stage.server.anonymous();
    let mut open = BTreeSet::new();
    for route in routes(&stage.admin).await {
        let answer = visit(&anybody, &route, &route.path(MARK, &id)).await;
        assert!(
            !answer.text().contains(MARK) && !answer.text().contains("acme"),
            "{route:?}: {}",
            answer.text()
        );
        if answer.status == 401 {
            assert!(answer.header("www-authenticate").is_some(), "{route:?}");
            answer.expect_any_problem(401);
        } else {
            open.insert(route.template);
        }
    }
    let allowed = BTreeSet::from(OPEN_TO_ANYBODY.map(str::to_owned));
    assert!(
        open.is_subset(&allowed),
        "these routes answer without a credential: {:?}",
        open.difference(&allowed)
    );
}

#[tokio::test]
async fn another_tenants_thing_is_the_same_as_a_missing_one_on_every_route() {
    let (stage, id) = marked().await;
    let head = stage.head().await;
    let missing_id = "01890000-0000-7000-8000-000000000000";
    // Two strangers per route who did nothing else before: what one of them makes cannot explain what the other one sees.
    for (n, route) in routes(&stage.admin).await.into_iter().enumerate() {
        if route.is_feed() {
            let mut feed =
                stranger(&stage, &format!("feed-{n}")).await.feed(&route.path(MARK, &id), None).await;
            let first = feed.next_frame().await.expect("an open feed");
            assert!(matches!(&first, Frame::Comment(text) if !text.contains(MARK)), "{first:?}");
            continue;
        }
        let one = stranger(&stage, &format!("their-{n}")).await;
        let theirs = visit(&one, &route, &route.path(MARK, &id)).await;
        let another = stranger(&stage, &format!("none-{n}")).await;
        let nothing = visit(&another, &route, &route.path("no-such", missing_id)).await;
        let seen = theirs.text().replace(MARK, "no-such").replace(&id, missing_id);
        let own_name = seen.replace(&format!("their-{n}"), &format!("none-{n}"));
        assert_eq!(theirs.status, nothing.status, "{route:?}: {seen}");
        if theirs.status.is_client_error() {
            assert_eq!(comparable(&own_name), comparable(&nothing.text()), "{route:?}");
        }
        let given = [MARK.to_owned(), id.clone()];
        let by_request = route.path(MARK, &id);
        let leaked = given.iter().any(|word| theirs.text().contains(word) && !by_request.contains(word));
        assert!(!leaked, "{route:?}: {}", theirs.text());
    }
    assert_eq!(stage.head().await, head, "no stranger wrote into acme's ledger");
}

/// A problem without what differs from request to request.
fn comparable(text: &str) -> Value {
    let mut value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    if let Some(members) = value.as_object_mut() {
        members.remove("instance");
    }
    value
}

#[tokio::test]
async fn two_tenants_at_equal_positions_never_meet() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let other = stage.somebody("globex", "gus", "admin").await;
    other.publish("expense", &expense_claim()).await;
    let mut position = 0;
    for n in 0..20 {
        let ours = stage.admin.submit("expense", &expense(1.0 + f64::from(n), "DE")).await.expect(201);
        let theirs = other.submit("expense", &expense(1000.0 + f64::from(n), "FR")).await.expect(201);
        assert_eq!(ours.position(), theirs.position(), "each ledger counts for itself");
        position = ours.position();
    }
    for (client, country, least, tenant) in
        [(&stage.admin, "DE", 1.0, "acme"), (&other, "FR", 1000.0, "globex")]
    {
        let page = client.get_at("/v1/submissions?limit=100", position).await.expect(200).json();
        let items = page["items"].as_array().expect("items");
        assert_eq!(items.len(), 20, "{tenant}");
        for item in items {
            assert_eq!(item["data"]["country"], country);
            let amount = item["data"]["amount"].as_f64().expect("an amount");
            assert!((least..least + 20.0).contains(&amount), "{tenant}: {amount}");
        }
        let stats = client.get_at("/v1/stats", position).await.expect(200).json();
        assert_eq!(stats["states"][0]["count"], 20, "{tenant}: {stats}");
        let events = client.get("/v1/events?after=0&limit=1000").await.expect(200).json();
        let events = events["events"].as_array().expect("events").clone();
        assert_eq!(events.len() as u64, position, "{tenant}");
        assert!(events.iter().all(|event| event["tenant"] == tenant));
        assert_eq!(client.get("/v1/ledger").await.expect(200).json()["tenant"], tenant);
    }
    let roots = [&stage.admin, &other].map(|client| client.get("/v1/ledger"));
    let [ours, theirs] = roots;
    assert_ne!(ours.await.json()["root_hash"], theirs.await.json()["root_hash"]);
}
