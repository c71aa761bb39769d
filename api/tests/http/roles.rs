//! The matrix of routes and roles in the documentation, against the router's table and against the running routes.

use http::Method;
use serde_json::json;

use crate::support::{Server, admin, bearer, token};

/// The page for administrators.
const PAGE: &str = include_str!("../../../docs/roles.md");

include!("../support/route_matrix.rs");

/// What the matrix says of one route.
struct Row {
    method: Method,
    template: String,
    /// By role, in the order of the heading.
    cells: Vec<String>,
    /// What a credential for some forms reaches.
    for_forms: String,
}

impl Row {
    fn path(&self, form: &str, submission: &str) -> String {
        let path =
            self.template.replace("{form}", form).replace("{version}", "1").replace("{name}", "approve");
        let path = path.replace("{id}", submission).replace("{sha256}", &"0".repeat(64));
        // What nobody can do without: from which moment on.
        if path.ends_with("/diff") { path + "?from_position=1" } else { path }
    }

    fn is_open(&self) -> bool {
        self.cells.iter().all(|cell| cell == "open")
    }
}

/// The roles of the heading, and the rows.
fn matrix() -> (Vec<String>, Vec<Row>) {
    let listed = PAGE.split_once(START).and_then(|(_, rest)| rest.split_once(END)).expect("a matrix").0;
    let mut lines = listed
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>());
    let heading = lines.next().expect("a heading");
    let row = |cells: Vec<String>| {
        let (method, template) = cells[0].trim_matches('`').split_once(' ').expect("a method and a path");
        let method = method.parse().expect("a method");
        let (for_forms, by_role) = cells[1..].split_last().expect("cells");
        Row { method, template: template.to_owned(), cells: by_role.to_vec(), for_forms: for_forms.clone() }
    };
    (heading[1..heading.len() - 1].to_vec(), lines.skip(1).map(row).collect())
}

/// The status with which a route answers, and the code of a problem.
async fn visit(server: &Server, row: &Row, path: &str, token: Option<&str>) -> (u16, String) {
    let authorization = token.map(bearer).unwrap_or_default();
    let mut headers = vec![("content-type", "application/json")];
    if token.is_some() {
        headers.push(("authorization", &authorization));
    }
    let body = match path.ends_with("/submissions") {
        true => json!({"data": {"amount": 1}}).to_string(),
        false => "{}".to_owned(),
    };
    if row.template == "/v1/feed" && server.open(Method::GET, path, &headers, "").await.status() == 200 {
        // A feed that is open has no end.
        return (200, String::new());
    }
    let body = if row.method == Method::GET { "" } else { &body };
    let answer = server.call(row.method.clone(), path, &headers, body).await;
    let code = match answer.status.is_client_error() {
        true => answer.json()["code"].as_str().expect("a code").to_owned(),
        false => String::new(),
    };
    (answer.status.as_u16(), code)
}

#[test]
fn the_page_shows_who_may_use_each_route() {
    let listed = PAGE.split_once(START).and_then(|(_, rest)| rest.split_once(END)).map(|(listed, _)| listed);
    assert!(
        listed == Some(&*formledger_api::route_matrix()),
        "docs/roles.md is stale: `cargo run -p formledger-api --example route_matrix > roles.md && mv roles.md docs/roles.md`"
    );
}

#[tokio::test]
async fn every_route_lets_in_whom_the_matrix_lets_in_and_nobody_else() {
    let server = Server::start().await;
    server.publish(&admin("acme"), "expense").await;
    let recorded = server.submit(&admin("acme"), "expense", 1.0).await.expect(201);
    let (id, position) = (recorded.json()["submission_id"].clone(), recorded.json()["position"].clone());
    let id = id.as_str().expect("text");
    server.get(&admin("acme"), &format!("/v1/submissions?min_position={position}")).await.expect(200);
    let (roles, rows) = matrix();
    assert!(rows.len() >= 35 && roles.len() == 7, "{} rows of {roles:?}", rows.len());
    for row in &rows {
        let path = row.path("expense", id);
        let what = format!("{} {}", row.method, row.template);
        let (status, code) = visit(&server, row, &path, None).await;
        assert_eq!(status == 401, !row.is_open(), "{what} as nobody: {status} {code}");
        if row.is_open() {
            continue;
        }
        for (role, cell) in roles.iter().zip(&row.cells) {
            let role = if role == "any other" { "clerk" } else { role };
            let somebody = token("acme", "eve", &[role]);
            let (status, code) = visit(&server, row, &path, Some(&somebody)).await;
            let at_the_door = (status, code.as_str()) == (403, "not-permitted");
            let about_hers = row.template.starts_with("/v1/submissions/{id}");
            let reads_all = ["admin", "designer", "reviewer", "auditor"].contains(&role);
            let fits = match cell.as_str() {
                "yes" => !at_the_door && status != 401,
                "–" => at_the_door,
                // It is not hers: missing where it is one, left out where it is a list.
                "own" => status == if about_hers { 404 } else { 200 },
                // Where each line names its submission, each is answered by itself.
                "workflow" if !row.template.contains("{id}") => !at_the_door && status != 401,
                "workflow" => (status == 404) != reads_all,
                other => panic!("{what}: `{other}` means nothing"),
            };
            assert!(fits, "{what} as `{role}`: {status} {code}, the matrix says `{cell}`");
        }
        let stranger = admin("globex");
        let (status, code) = visit(&server, row, &path, Some(&stranger)).await;
        if row.template.contains("{id}") {
            let missing = [(404, "not-found"), (404, "tenant-unknown")];
            assert!(missing.contains(&(status, code.as_str())), "{what} as another tenant: {status} {code}");
        }
    }
}

/// Every route as somebody with a role for one form: there like the role, elsewhere like somebody with no role of the product.
#[tokio::test]
async fn a_role_for_one_form_is_the_role_there_and_reaches_nothing_of_another() {
    let (roles, rows) = matrix();
    for role in ["admin", "designer", "submitter", "reviewer", "auditor", "operator"] {
        let server = Server::start().await;
        let mut ids = Vec::new();
        let mut position = json!(0);
        for form in ["claim", "permit"] {
            server.publish(&admin("acme"), form).await;
            let recorded = server.submit(&admin("acme"), form, 1.0).await.expect(201).json();
            ids.push(recorded["submission_id"].as_str().expect("text").to_owned());
            position = recorded["position"].clone();
        }
        server.get(&admin("acme"), &format!("/v1/submissions?min_position={position}")).await.expect(200);
        let (eve, place) = (token("acme", "eve", &[&format!("{role}@claim")]), column(&roles, role));
        let nobody = column(&roles, "any other");
        for row in rows.iter().filter(|row| !row.is_open()) {
            for (form, id) in ["claim", "permit"].into_iter().zip(&ids) {
                let mut path = row.path(form, id);
                if row.for_forms == "with `form=`" {
                    let separator = if path.contains('?') { '&' } else { '?' };
                    path += &format!("{separator}form={form}");
                }
                let (status, code) = visit(&server, row, &path, Some(&eve)).await;
                let what = format!("{} {path} as `{role}@claim`: {status} {code}", row.method);
                let at_the_door = (status, code.as_str()) == (403, "not-permitted");
                let counts = form == "claim" && row.for_forms != "–";
                let cell = row.cells[if counts { place } else { nobody }].as_str();
                let about_one = row.template.contains("{id}");
                let reads_there = counts && ["admin", "designer", "reviewer", "auditor"].contains(&role);
                let fits = match cell {
                    "yes" => !at_the_door && status != 401,
                    // Which form it is about, a submission says first: of another form, it is missing to her.
                    "–" if about_one && row.for_forms == "its forms" => at_the_door || status == 404,
                    // Each line says which form it is about.
                    "–" if row.template == "/v1/submissions:import" => true,
                    "–" => at_the_door,
                    "own" => status == if about_one { 404 } else { 200 },
                    "workflow" if !about_one => !at_the_door && status != 401,
                    "workflow" => (status == 404) != reads_there,
                    other => panic!("{what}: `{other}` means nothing"),
                };
                assert!(fits, "{what}, the matrix says `{cell}`");
            }
        }
        // Of others': what the visits let her submit is hers to see.
        let seen = async |path: &str| {
            let items = server.get(&eve, path).await.expect(200).json()["items"].clone();
            items.as_array().expect("items").iter().filter(|item| item["submitter"] != "eve").count()
        };
        let reads = ["admin", "designer", "reviewer", "auditor"].contains(&role);
        let all_of_claim = seen("/v1/submissions?form=claim").await;
        assert_eq!(all_of_claim, usize::from(reads), "{role}");
        assert_eq!(seen("/v1/submissions?form=permit").await, 0, "{role}");
        assert_eq!(seen("/v1/submissions").await, 0, "{role}: a list of all forms is of one's own");
    }
}

fn column(roles: &[String], role: &str) -> usize {
    roles.iter().position(|listed| listed == role).expect("a column")
}

/// Where a line names its form, the role is asked for that form; a tenant begins with nobody's role for one form.
#[tokio::test]
async fn lines_and_new_tenants_ask_for_the_role_where_it_counts() {
    let server = Server::start().await;
    for form in ["claim", "permit"] {
        server.publish(&admin("acme"), form).await;
    }
    let sam = token("acme", "sam", &["submitter@claim"]);
    let fields = [("authorization", &*bearer(&sam)), ("content-type", "application/x-ndjson")];
    let line = |form: &str| format!("{}\n", json!({"form": form, "data": {"amount": 1}}));
    let body = line("claim") + &line("permit");
    let answer = server.call(Method::POST, "/v1/submissions:import", &fields, &body).await.expect(200).text();
    let statuses: Vec<_> = answer
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["status"].clone())
        .collect();
    assert_eq!(statuses, [201, 403], "{answer}");
    server.submit(&sam, "claim", 1.0).await.expect(201);
    server.submit(&sam, "permit", 1.0).await.expect_problem(403, "not-permitted");
    let ada = token("newcomer", "ada", &["admin@claim"]);
    let definition = json!({"title": "T", "schema": {"type": "object"}});
    let begun = server.send(&ada, Method::PUT, "/v1/forms/claim", &definition).await;
    begun.expect_problem(404, "tenant-unknown");
}

/// A key may hold roles for forms as a token may, and be limited to forms besides.
#[tokio::test]
async fn an_api_key_holds_roles_for_forms() {
    let server = Server::start().await;
    for form in ["claim", "permit"] {
        server.publish(&admin("acme"), form).await;
    }
    let make = async |body: serde_json::Value| {
        server.send(&admin("acme"), Method::POST, "/v1/api-keys", &body).await
    };
    make(json!({"name": "k", "roles": ["operator@claim"]})).await.expect_problem(422, "api-key-invalid");
    make(json!({"name": "k", "roles": ["reviewer@no form"]})).await.expect_problem(422, "api-key-invalid");
    let made = make(json!({"name": "k", "roles": ["submitter@claim", "auditor@permit"]})).await.expect(201);
    let secret = made.json()["secret"].as_str().expect("a secret").to_owned();
    let fields = [("x-api-key", secret.as_str()), ("content-type", "application/json")];
    let body = json!({"data": {"amount": 1}}).to_string();
    for (form, status) in [("claim", 201), ("permit", 403)] {
        let path = format!("/v1/forms/{form}/submissions");
        server.call(Method::POST, &path, &fields, &body).await.expect(status);
    }
    for (form, status) in [("claim", 403), ("permit", 200)] {
        server.call(Method::GET, &format!("/v1/events?form={form}"), &fields, "").await.expect(status);
    }
    server.call(Method::GET, "/v1/events", &fields, "").await.expect_problem(403, "not-permitted");
}
