//! The page of problem codes against the source, which says what codes there are, and against the description, which says where.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use http::{Method, StatusCode};

use crate::description::operations;
use crate::support::Server;

/// The page for those who write clients.
const PAGE: &str = include_str!("../../../docs/errors.md");

/// The statuses of each code.
type Codes = BTreeMap<String, BTreeSet<u16>>;

/// What the page's tables say: `| code | status | what it means | what to do |`.
fn told() -> Codes {
    let mut codes = Codes::new();
    for row in PAGE.lines().filter_map(|line| line.strip_prefix("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [code, statuses, meaning, advice, ""] = cells.as_slice() else { panic!("four cells: {row}") };
        assert!(!meaning.is_empty() && !advice.is_empty(), "{row}");
        let statuses = statuses.split(", ").map(|status| status.parse().expect("a status")).collect();
        let code = code.trim_end_matches('`').to_owned();
        assert_eq!(codes.insert(code.clone(), statuses), None, "`{code}` stands there twice");
    }
    codes
}

/// The product's sources, each without comments, tests and white space.
fn sources(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(path).expect("UTF-8");
            let product = text.split("#[cfg(test)]").next().unwrap_or_default();
            let code = product.lines().filter(|line| !line.trim_start().starts_with("//"));
            all.push(code.flat_map(str::split_whitespace).collect());
        }
    }
    all
}

/// The status that a name of the `http` crate stands for.
fn status(name: &str) -> u16 {
    let spelt = |status: StatusCode| {
        status.canonical_reason().map(|reason| reason.to_uppercase().replace([' ', '-'], "_"))
    };
    let all = (400..600).filter_map(|status| StatusCode::from_u16(status).ok());
    let found = all.into_iter().find(|status| spelt(*status).as_deref() == Some(name));
    found.unwrap_or_else(|| panic!("`StatusCode::{name}`")).as_u16()
}

/// The statuses of a code by what stands before it; `None` where it is no code.
fn statuses(before: &str) -> Option<BTreeSet<u16>> {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    if let Some(before) = before.strip_suffix("{code:") {
        let variant = before.rsplit(|char| !is_name(char)).next().unwrap_or_default();
        let status = match variant {
            "Malformed" => 400,
            "Conflict" => 409,
            "Refused" => 422,
            "OverQuota" => 429,
            "Overloaded" | "ServerFull" => 503,
            other => panic!("which status has `ApiError::{other}`? Say it here"),
        };
        return Some([status].into());
    }
    if let Some((_, name)) = before.strip_suffix(',').and_then(|before| before.rsplit_once("StatusCode::")) {
        return name.chars().all(is_name).then(|| [status(name)].into());
    }
    if before.ends_with(".refusal(") {
        return Some([429, 503].into());
    }
    before.ends_with("refused(").then(|| [422].into())
}

/// What the source says: each text that stands where a code is chosen.
fn chosen() -> Codes {
    let mut codes = Codes::new();
    for source in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        for (at, _) in source.match_indices('"') {
            let Some((text, _)) = source[at + 1..].split_once('"') else { continue };
            let is_code = text.starts_with(|char: char| char.is_ascii_lowercase())
                && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            if let Some(statuses) = is_code.then(|| statuses(&source[..at])).flatten() {
                codes.entry(text.to_owned()).or_default().extend(statuses);
            }
        }
    }
    codes
}

#[test]
fn the_page_tells_every_code_with_its_status_and_no_other() {
    let (told, chosen) = (told(), chosen());
    assert!(chosen.len() > 60, "{chosen:?}");
    let missing: Vec<_> =
        chosen.iter().filter(|(code, statuses)| told.get(*code) != Some(statuses)).collect();
    assert!(missing.is_empty(), "docs/errors.md: give each of these a row with these statuses: {missing:?}");
    let gone: Vec<_> = told.keys().filter(|code| !chosen.contains_key(*code)).collect();
    assert!(gone.is_empty(), "docs/errors.md: nothing answers these any more, take their rows out: {gone:?}");
}

#[tokio::test]
async fn the_description_names_no_code_that_the_page_does_not_tell() {
    let server = Server::start().await;
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    let told = told();
    let mut unknown = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        for (status, answer) in operation["responses"].as_object().expect("responses") {
            let Ok(status @ 400..) = status.parse::<u16>() else { continue };
            let text = answer["description"].as_str().expect("a description");
            let spans = text.split('`').skip(1).step_by(2);
            let is_code = |span: &&str| {
                span.contains('-') && span.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            };
            let told_so = |code: &str| told.get(code).is_some_and(|statuses| statuses.contains(&status));
            unknown.extend(
                spans
                    .filter(is_code)
                    .filter(|code| !told_so(code))
                    .map(|code| format!("{method} {path} {status} {code}")),
            );
        }
    }
    assert!(unknown.is_empty(), "docs/errors.md tells nothing of these: {unknown:#?}");
}

/// The members that are added to problems: what stands between `.with("` and a quote.
#[tokio::test]
async fn every_member_of_problems_is_described_and_no_other() {
    let server = Server::start().await;
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    let described = document["components"]["schemas"]["ProblemDetails"]["properties"].as_object();
    let described: BTreeSet<String> = described.expect("a schema").keys().cloned().collect();
    let first = ["type", "title", "status", "code", "detail", "instance"].map(str::to_owned);
    let mut added: BTreeSet<String> = first.into();
    for source in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let members = source.split(".with(\"").skip(1).filter_map(|rest| rest.split('"').next());
        added.extend(members.map(str::to_owned));
    }
    assert!(added.len() > 15, "{added:?}");
    assert_eq!(described, added, "api/src/openapi/problem.rs");
}
