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
}

impl Row {
    fn path(&self, form: &str, submission: &str) -> String {
        let path =
            self.template.replace("{form}", form).replace("{version}", "1").replace("{name}", "approve");
        path.replace("{id}", submission)
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
        Row { method, template: template.to_owned(), cells: cells[1..].to_vec() }
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
