//! The overload table as documentation sees it.

use std::collections::HashSet;

use formledger_rules::functions;

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
