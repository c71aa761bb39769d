//! Prints `docs/rules.md` with its function list made anew from the overload table:
//! `cargo run -p formledger-rules --example function_list > rules.md && mv rules.md docs/rules.md`.

use std::collections::BTreeMap;

use formledger_rules::functions;

/// The page as it is.
const PAGE: &str = include_str!("../../docs/rules.md");

fn main() {
    let (before, rest) = PAGE.split_once(START).expect("the page marks where its list starts");
    let (_, after) = rest.split_once(END).expect("the page marks where its list ends");
    print!("{before}{START}{}{END}{after}", list());
}

include!("../tests/support/function_list.rs");
