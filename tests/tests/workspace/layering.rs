//! Crates depend in one direction, and what belongs in one place is found nowhere else.

use std::process::Command;

use formledger_tests::installation::repository;
use serde_json::Value;

use crate::source::{CRATES, Source, product, sources};

/// Every place in `sources` whose code contains one of `words`, as `path:line: text`.
fn places(sources: impl IntoIterator<Item = Source>, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for (number, line) in source.code() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    found
}

#[track_caller]
fn assert_nowhere(found: &[String], what_to_do: &str) {
    assert!(found.is_empty(), "{what_to_do}\n{}", found.join("\n"));
}

fn packages() -> Vec<Value> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(repository());
    let output = cargo.output().expect("cargo runs these tests, so it can be found");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    metadata["packages"].as_array().expect("a workspace has packages").clone()
}

#[test]
fn crates_depend_only_on_those_to_their_left() {
    let place = |name: &str| {
        let short = name.strip_prefix("formledger-")?;
        CRATES.iter().position(|krate| *krate == short)
    };
    for package in packages() {
        let name = package["name"].as_str().expect("packages have names");
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let needed = dependency["name"].as_str().expect("dependencies have names");
            let Some(left) = place(needed) else { continue };
            let allowed = match place(name) {
                Some(own) => left < own || dependency["kind"] == "dev",
                // `tests` proves the product from outside.
                None => name != "formledger-tests",
            };
            assert!(
                allowed,
                "`{name}` depends on `{needed}`: dependencies go {} only; move the code to the crate it belongs to",
                CRATES.join(" ← ")
            );
        }
    }
}

#[test]
fn only_the_configuration_reads_the_environment() {
    let others = product().filter(|source| source.path != "api/src/config.rs");
    assert_nowhere(
        &places(others, &["env::var", "std::env::", "use std::env"]),
        "add an option in api/src/config.rs and hand its value in; these read the environment themselves:",
    );
}

#[test]
fn deciding_needs_no_clock_and_no_chance() {
    let pure = sources("domain").into_iter().chain(sources("rules"));
    let words = [
        "Utc::now",
        "Local::now",
        "SystemTime",
        "Instant::now",
        "now_v7",
        "new_v4",
        "rand::",
        "fastrand",
        "tokio::",
    ];
    assert_nowhere(
        &places(pure, &words),
        "take times and identifiers from the command or the context; `domain` and `rules` decide the same way for ever:",
    );
}

#[test]
fn one_file_says_which_status_an_error_has() {
    let words = [
        "StatusCode::BAD_REQUEST",
        "StatusCode::UNAUTHORIZED",
        "StatusCode::FORBIDDEN",
        "StatusCode::NOT_FOUND",
        "StatusCode::METHOD_NOT_ALLOWED",
        "StatusCode::CONFLICT",
        "StatusCode::PRECONDITION_FAILED",
        "StatusCode::PAYLOAD_TOO_LARGE",
        "StatusCode::UNSUPPORTED_MEDIA_TYPE",
        "StatusCode::UNPROCESSABLE_ENTITY",
        "StatusCode::TOO_MANY_REQUESTS",
        "StatusCode::INTERNAL_SERVER_ERROR",
        "StatusCode::SERVICE_UNAVAILABLE",
    ];
    let others = sources("api").into_iter().filter(|source| source.path != "api/src/error.rs");
    assert_nowhere(
        &places(others, &words),
        "add a variant to `ApiError` and give it its status in api/src/error.rs:",
    );
}

#[test]
fn only_the_ledger_and_the_read_models_speak_sql() {
    let others = ["rules", "domain", "api"].into_iter().flat_map(sources);
    assert_nowhere(
        &places(others, &["sqlx::", "rusqlite::"]),
        "SQL on the ledger belongs to `store`, SQL on read models to `projections`; ask them through a function:",
    );
}
