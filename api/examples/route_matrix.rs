//! Prints `docs/roles.md` with its matrix made anew from the router's table:
//! `cargo run -p formledger-api --example route_matrix > roles.md && mv roles.md docs/roles.md`.

/// The page as it is.
const PAGE: &str = include_str!("../../docs/roles.md");

fn main() {
    let (before, rest) = PAGE.split_once(START).expect("the page marks where its matrix starts");
    let (_, after) = rest.split_once(END).expect("the page marks where its matrix ends");
    print!("{before}{START}{}{END}{after}", formledger_api::route_matrix());
}

include!("../tests/support/route_matrix.rs");
