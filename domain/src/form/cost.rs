//! How often a schema can make the validator look at one and the same value: through references, alternatives and recursion this can
//! double at every step, so that a short schema keeps a worker busy for years. Called when a form is compiled.
//! Counts too much rather than too little, and reads every keyword of every draft; what a schema means is `shape`'s business.

use std::collections::HashMap;
use std::ptr;

use serde_json::{Map, Value};

use super::references::References;
use crate::json::NESTING_MAX;

/// The most checks of one value; a form beyond it is refused. Of the published forms in the tests none needs more than 19, a `oneOf`
/// over all countries needs 250. The worst body of 1 MiB then takes seconds, not hours.
const CHECKS_PER_VALUE_MAX: u64 = 2_000;
/// The most steps of references and combinations before a keyword looks into the value; a longer chain is refused, because the
/// validator walks it by recursion.
const STEPS_IN_PLACE_MAX: usize = 128;

/// Keywords that hold one schema for the same value.
const ONE_IN_PLACE: [&str; 4] = ["not", "if", "then", "else"];
/// Keywords that hold a list of schemas for the same value.
const LIST_IN_PLACE: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords that hold schemas for the same value by the members it has.
const MAP_IN_PLACE: [&str; 2] = ["dependencies", "dependentSchemas"];
/// Keywords that refer to a schema for the same value.
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// Why a schema would cost too much, or why nobody can tell.
#[derive(Debug, thiserror::Error)]
pub(super) enum TooCostly {
    /// One value is looked at too often.
    #[error(
        "the schema can check one value more than {CHECKS_PER_VALUE_MAX} times, because references or alternatives multiply; \
         use fewer alternatives inside one another"
    )]
    Checks,
    /// References go on for too long.
    #[error(
        "more than {STEPS_IN_PLACE_MAX} references and combinations lead from one to the next; shorten the chain"
    )]
    Steps,
    /// References come back to where they started, without a step into the data.
    #[error("references lead back to themselves without looking into the data, so nothing decides what fits")]
    Circle,
    /// A reference that the validator may find by a name that is not followed here.
    #[error(
        "`{0}` cannot be followed; name the schema by its full `$id`, or by a pointer such as `#/$defs/name`"
    )]
    Unknown(String),
}

/// Refuses a schema that costs too much.
pub(super) fn check(schema: &Value) -> Result<(), TooCostly> {
    let graph = Graph::of(schema)?;
    let order = graph.order()?;
    let mut above = vec![0; graph.nodes.len()];
    // Round n counts the checks of one value that lies n levels below the value that a schema is asked about.
    for depth in 0..=NESTING_MAX {
        let mut counts = vec![0_u64; graph.nodes.len()];
        for &node in &order {
            counts[node] = graph.nodes[node].checks(depth, &counts, &above);
        }
        if counts.first().is_some_and(|root| *root > CHECKS_PER_VALUE_MAX) {
            return Err(TooCostly::Checks);
        }
        // Once a level is like the one above, so are all below it; a schema without recursion ends in zeros.
        if depth > 0 && counts == above {
            break;
        }
        above = counts;
    }
    Ok(())
}

/// The schemas that can be reached from the root, which is the first, and how they use each other.
struct Graph {
    nodes: Vec<Node>,
}

/// One schema; the others are given by their place in the graph.
#[derive(Default)]
struct Node {
    /// Asked about the same value, each of them.
    in_place: Vec<usize>,
    /// Asked about the same value, one of each list: what a reference may mean.
    referred: Vec<Vec<usize>>,
    /// Whether the validator asks those once more, to learn which members or items they looked at.
    asks_again: bool,
    members: Parts,
    items: Parts,
    /// Asked about the members' names.
    names: Vec<usize>,
}

/// The schemas for the parts of a value.
#[derive(Default)]
struct Parts {
    /// A part is asked about by at most one of these ...
    one_of: Vec<usize>,
    /// ... and by all of these,
    every: Vec<usize>,
    /// or else by one of these.
    otherwise: Vec<usize>,
}

impl Parts {
    fn checks(&self, above: &[u64]) -> u64 {
        most(&self.one_of, above).saturating_add(sum(&self.every, above)).max(most(&self.otherwise, above))
    }
}

impl Node {
    /// The checks of one value `depth` levels below, from the counts of the schemas for the same value at this depth and from the
    /// counts of all schemas at the depth above it.
    fn checks(&self, depth: usize, counts: &[u64], above: &[u64]) -> u64 {
        let referred = self.referred.iter().map(|targets| most(targets, counts));
        let in_place = referred.fold(sum(&self.in_place, counts), u64::saturating_add);
        let in_place = in_place.saturating_mul(if self.asks_again { 2 } else { 1 });
        let own = match depth {
            0 => 1,
            _ => self.members.checks(above).max(self.items.checks(above)).max(most(&self.names, above)),
        };
        in_place.saturating_add(own)
    }
}

fn sum(nodes: &[usize], counts: &[u64]) -> u64 {
    nodes.iter().fold(0, |sum, node| sum.saturating_add(counts[*node]))
}

fn most(nodes: &[usize], counts: &[u64]) -> u64 {
    nodes.iter().map(|node| counts[*node]).max().unwrap_or(0)
}

impl Graph {
    fn of(root: &Value) -> Result<Self, TooCostly> {
        let mut places = Places { known: HashMap::new(), schemas: Vec::new() };
        places.of(root);
        let references = References::of(root);
        let mut nodes = Vec::new();
        while let Some(&schema) = places.schemas.get(nodes.len()) {
            nodes.push(match schema {
                Value::Object(keywords) => node(schema, keywords, &references, &mut places)?,
                _ => Node::default(),
            });
        }
        Ok(Self { nodes })
    }

    /// All nodes, each after those that it asks about the same value.
    fn order(&self) -> Result<Vec<usize>, TooCostly> {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut visits = vec![Visit::Before; self.nodes.len()];
        for node in 0..self.nodes.len() {
            self.visit(node, 0, &mut visits, &mut order)?;
        }
        Ok(order)
    }

    /// Visits `node` and what it needs; answers the length of the longest chain that starts here.
    fn visit(
        &self,
        node: usize,
        steps: usize,
        visits: &mut [Visit],
        order: &mut Vec<usize>,
    ) -> Result<usize, TooCostly> {
        match visits[node] {
            Visit::Done(chain) => return Ok(chain),
            Visit::Within => return Err(TooCostly::Circle),
            Visit::Before if steps > STEPS_IN_PLACE_MAX => return Err(TooCostly::Steps),
            Visit::Before => visits[node] = Visit::Within,
        }
        let Node { in_place, referred, .. } = &self.nodes[node];
        let mut chain = 0;
        for &next in in_place.iter().chain(referred.iter().flatten()) {
            chain = chain.max(1 + self.visit(next, steps + 1, visits, order)?);
        }
        if chain > STEPS_IN_PLACE_MAX {
            return Err(TooCostly::Steps);
        }
        visits[node] = Visit::Done(chain);
        order.push(node);
        Ok(chain)
    }
}

#[derive(Clone, Copy)]
enum Visit {
    Before,
    Within,
    /// With the length of the longest chain that starts there.
    Done(usize),
}

/// The places of schemas in the graph, given as they are met.
struct Places<'s> {
    known: HashMap<*const Value, usize>,
    schemas: Vec<&'s Value>,
}

impl<'s> Places<'s> {
    fn of(&mut self, schema: &'s Value) -> usize {
        *self.known.entry(ptr::from_ref(schema)).or_insert_with(|| {
            self.schemas.push(schema);
            self.schemas.len() - 1
        })
    }

    /// The schemas under `keyword`, be it one, a list or a map of them; `true`, `false` and lists of names cost nothing.
    fn under(&mut self, keywords: &'s Map<String, Value>, keyword: &str) -> Vec<usize> {
        let Some(value) = keywords.get(keyword) else { return Vec::new() };
        let is_map =
            MAP_IN_PLACE.contains(&keyword) || ["properties", "patternProperties"].contains(&keyword);
        let schemas: Vec<&'s Value> = match value {
            Value::Array(schemas) => schemas.iter().collect(),
            Value::Object(schemas) if is_map => schemas.values().collect(),
            schema => vec![schema],
        };
        schemas.into_iter().filter(|schema| schema.is_object()).map(|schema| self.of(schema)).collect()
    }
}

fn node<'s>(
    schema: &'s Value,
    keywords: &'s Map<String, Value>,
    references: &References<'s>,
    places: &mut Places<'s>,
) -> Result<Node, TooCostly> {
    let mut under = |names: &[&str]| -> Vec<usize> {
        names.iter().flat_map(|name| places.under(keywords, name)).collect()
    };
    let mut node = Node {
        in_place: [&ONE_IN_PLACE[..], &LIST_IN_PLACE, &MAP_IN_PLACE]
            .into_iter()
            .flat_map(&mut under)
            .collect(),
        referred: Vec::new(),
        asks_again: ["unevaluatedProperties", "unevaluatedItems"]
            .iter()
            .any(|name| keywords.contains_key(*name)),
        members: Parts {
            one_of: under(&["properties"]),
            every: under(&["patternProperties"]),
            otherwise: under(&["additionalProperties", "unevaluatedProperties"]),
        },
        items: Parts {
            one_of: under(&["prefixItems", "items", "additionalItems", "unevaluatedItems"]),
            every: under(&["contains"]),
            otherwise: Vec::new(),
        },
        names: under(&["propertyNames"]),
    };
    for name in REFERENCES {
        if let Some(Value::String(reference)) = keywords.get(name) {
            let targets = references.candidates(reference, schema);
            if targets.is_empty() && !is_meta_schema(reference) {
                return Err(TooCostly::Unknown(super::violation::clip(reference).to_string()));
            }
            node.referred.push(targets.into_iter().map(|target| places.of(target)).collect());
        }
    }
    Ok(node)
}

/// Whether a reference means a schema of JSON Schema itself, which the validator brings along.
fn is_meta_schema(reference: &str) -> bool {
    ["https://json-schema.org/draft", "http://json-schema.org/draft"]
        .iter()
        .any(|prefix| reference.starts_with(prefix))
}
