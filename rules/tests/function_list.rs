//! The overload table as documentation sees it.

use std::collections::{BTreeMap, HashSet};

use formledger_rules::functions;

/// The editor's page.
const PAGE: &str = include_str!("../../docs/rules.md");

include!("support/function_list.rs");

#[test]
fn every_row_has_a_signature_of_its_own() {
    let mut seen = HashSet::new();
    for function in functions() {
        assert!(function.signature.contains(" -> "), "{function:?}");
        assert!(seen.insert(function.signature.clone()), "`{}` is in the table twice", function.signature);
    }
    for expected in [
        "A in list(A) -> bool",
        "string.matches(string) -> bool",
        "decimal + int -> decimal",
        "list(A)[number] -> A",
    ] {
        assert!(seen.contains(expected), "`{expected}` is missing");
    }
}

#[test]
fn the_page_lists_the_functions_that_the_table_has() {
    let listed = PAGE.split_once(START).and_then(|(_, rest)| rest.split_once(END)).map(|(listed, _)| listed);
    assert!(
        listed == Some(&*list()),
        "docs/rules.md is stale: `cargo run -p formledger-rules --example function_list > rules.md && mv rules.md docs/rules.md`"
    );
}
