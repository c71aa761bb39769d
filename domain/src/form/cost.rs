//! How often a schema can make the validator look at one and the same value: through references, alternatives and recursion this can
//! double at every step, so that a short schema keeps a worker busy for years. Called when a form is compiled.
//! Counts too much rather than too little, and reads every keyword of every draft; what a schema means is `shape`'s business.
//!
//! Counted twice: quickly, by schema, and where that is too much, exactly, by the ways into the data (`paths`).

use std::ptr;

use serde_json::Value;

use self::build::NODES_MAX;
use self::graph::Graph;
use super::references::{LOOKS_MAX, References};
use crate::json::pointer;

mod build;
mod graph;
mod paths;

/// The most checks of one value; a form beyond it is refused. Of the published forms in the tests none needs more than 19, a `oneOf`
/// over all countries needs 250. The worst body of 1 MiB then takes seconds, not hours.
const CHECKS_PER_VALUE_MAX: u64 = 2_000;
/// The most steps of references and combinations before a keyword looks into the value; a longer chain is refused, because the
/// validator walks it by recursion.
const STEPS_IN_PLACE_MAX: usize = 128;

/// The most schemas that all `unevaluatedProperties` and `unevaluatedItems` look through, counted as often as a way leads there: the
/// validator keeps something for each, also for those that it reaches twice.
const MARKS_MAX: u64 = 1_000_000;

/// Why a schema would cost too much, or why nobody can tell, and where in it.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct TooCostly {
    /// The place in the schema, as a JSON Pointer.
    pub(super) place: String,
    why: Why,
}

#[derive(Debug, thiserror::Error)]
enum Why {
    /// One value is looked at too often.
    #[error(
        "this can check one value more than {CHECKS_PER_VALUE_MAX} times, because several alternatives look into the same member, and \
         alternatives in it do so again; let one of them look into it, or write what they share once, beside them"
    )]
    Checks,
    /// There are too many ways into the data to follow them all.
    #[error(
        "there are so many different ways into the data that counting how often this can check one value was given up after \
         {} steps, and a quick count by schema comes to more than {CHECKS_PER_VALUE_MAX} times; describe fewer alternatives that refer to \
         each other, or split the form",
        paths::ENTRIES_MAX
    )]
    GivenUp,
    /// References go on for too long.
    #[error(
        "more than {STEPS_IN_PLACE_MAX} references and combinations lead from one to the next; shorten the chain"
    )]
    Steps,
    /// References come back to where they started, without a step into the data.
    #[error("references lead back to themselves without looking into the data, so nothing decides what fits")]
    Circle,
    /// A reference that means nothing in this document.
    #[error(
        "the reference `{0}` cannot be resolved: there is no schema here whose `$id`, `$anchor` or place this is; nothing is fetched, so \
         put the schema it means into this one, under `$defs` or `definitions`"
    )]
    Unknown(String),
    /// References that may mean too many schemas.
    #[error(
        "references mean names that so many schemas have that there are more than {LOOKS_MAX} to look at; give each `$anchor`, \
         `$dynamicAnchor` and `$id` a name of its own"
    )]
    Names,
    /// Schemas are read in too many ways.
    #[error(
        "references read the same schemas in so many ways, each by another `$id` that they lie under or are found by, that there are more \
         than {NODES_MAX} to count; let references name the schema that they mean by its own `$id`, not by a path from another one"
    )]
    Readings,
    /// Too much is marked for `unevaluatedProperties` and `unevaluatedItems`.
    #[error(
        "`unevaluatedProperties` and `unevaluatedItems` look through more than {MARKS_MAX} schemas in all; use them in fewer places, or \
         over fewer alternatives"
    )]
    Marks,
}

/// Where in a schema its cost is wrong; the place is found only when it is told.
struct Fault<'s> {
    schema: &'s Value,
    /// The keyword in it, where that is known.
    keyword: Option<&'static str>,
    why: Why,
}

/// Refuses a schema that costs too much.
pub(super) fn check(schema: &Value, references: &References<'_>) -> Result<(), TooCostly> {
    let counted = Graph::of(schema, references).and_then(|graph| {
        if !graph.is_cheap() {
            paths::check(&graph)?;
        }
        graph.marks_little()
    });
    counted.map_err(|Fault { schema: faulty, keyword, why }| {
        let mut place = String::new();
        find(schema, faulty, &mut place);
        keyword.into_iter().for_each(|keyword| pointer::push(&mut place, keyword));
        TooCostly { place, why }
    })
}

/// Puts the place of `wanted` in `value` into `place`; whether it is there.
fn find(value: &Value, wanted: &Value, place: &mut String) -> bool {
    if ptr::eq(value, wanted) {
        return true;
    }
    let before = place.len();
    let mut below = |token: &str, member: &Value| {
        pointer::push(place, token);
        let found = find(member, wanted, place);
        if !found {
            place.truncate(before);
        }
        found
    };
    match value {
        Value::Object(members) => members.iter().any(|(name, member)| below(name, member)),
        Value::Array(items) => items.iter().enumerate().any(|(at, item)| below(&at.to_string(), item)),
        _ => false,
    }
}
