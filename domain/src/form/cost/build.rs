//! From a document to the nodes of the graph: which schemas each one asks, about the same value and about its parts.

use std::collections::HashMap;
use std::ptr;
use std::sync::Arc;

use jsonschema::{Draft, Uri};
use serde_json::{Map, Value};

use super::super::references::{LOOKS_MAX, Place, REFERENCES, References};
use super::super::violation::clip;
use super::graph::{Items, Members, Node, Pattern};
use super::{Fault, Why};

/// Keywords that hold one schema for the same value.
const ONE_IN_PLACE: [&str; 4] = ["not", "if", "then", "else"];
/// Keywords that hold a list of schemas for the same value.
const LIST_IN_PLACE: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords that hold schemas for the same value by the members it has.
const MAP_IN_PLACE: [&str; 2] = ["dependencies", "dependentSchemas"];
/// The most schemas that are counted, each once for each base and draft that it is read by and each way of looking at it; about 500 MiB. A schema of 1 MiB
/// has some 100,000.
pub(super) const NODES_MAX: usize = 1_000_000;
/// The bytes of a reference, and of the URI that it is resolved by, that are decoded and compared in about the time of one look at a schema.
const BYTES_PER_LOOK: usize = 128;

/// How a schema is asked about a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Look {
    /// Whether it fits.
    Check,
    /// Which members or items it knows, for `unevaluatedProperties` and `unevaluatedItems`.
    Mark,
    /// Whether it fits, once more, to mark.
    Again,
    /// The same on a circle of references, where the validator remembers what a schema said of a value, unless that took little: the
    /// parts of the value are not asked about again.
    Remembered,
}

/// Where a schema is read: by which URI, as a place among all bases, and by the rules of which draft. The same schema may be read in
/// several ways, and its references then mean different ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct At {
    base: usize,
    draft: Draft,
}

/// All schemas that can be reached from `root`, which is the first.
pub(super) fn nodes<'s>(root: &'s Value, references: &References<'s>) -> Result<Vec<Node<'s>>, Fault<'s>> {
    let mut builder = Builder {
        references,
        known: HashMap::new(),
        waiting: Vec::new(),
        bases: Vec::new(),
        bases_by_uri: HashMap::new(),
        circles: Vec::new(),
        looks: 0,
    };
    let at = builder.at(&references.start());
    builder.place(root, Look::Check, at);
    let mut nodes = Vec::new();
    builder.build(&mut nodes)?;
    builder.circles = circles(&nodes);
    for node in nodes.iter_mut().filter(|node| asks_again(node.schema)) {
        node.in_place.push(builder.place(node.schema, Look::Mark, node.at));
    }
    builder.build(&mut nodes)?;
    Ok(nodes)
}

/// Whether it asks about parts that no other keyword asked about, and so marks those that did.
pub(super) fn asks_again(schema: &Value) -> bool {
    ["unevaluatedProperties", "unevaluatedItems"].iter().any(|name| schema.get(*name).is_some())
}

/// Gives schemas their places in the graph as they are met.
struct Builder<'r, 's> {
    references: &'r References<'s>,
    known: HashMap<(*const Value, Look, At), usize>,
    waiting: Vec<(&'s Value, Look, At)>,
    /// By [`At::base`].
    bases: Vec<Place<'s>>,
    bases_by_uri: HashMap<Arc<Uri<String>>, usize>,
    /// By the place of a schema that is checked; known once all these are.
    circles: Vec<usize>,
    /// Schemas looked at for references so far.
    looks: usize,
}

impl<'s> Builder<'_, 's> {
    fn place(&mut self, schema: &'s Value, look: Look, at: At) -> usize {
        *self.known.entry((ptr::from_ref(schema), look, at)).or_insert_with(|| {
            self.waiting.push((schema, look, at));
            self.waiting.len() - 1
        })
    }

    fn at(&mut self, place: &Place<'s>) -> At {
        let base = *self.bases_by_uri.entry(place.resolver.base_uri()).or_insert_with(|| {
            self.bases.push(self.references.afresh(place));
            self.bases.len() - 1
        });
        At { base, draft: place.draft }
    }

    /// Where `schema` is read, which is in one that is read at `outer`.
    fn within(&mut self, outer: At, schema: &Value) -> At {
        let draft = outer.draft.detect(schema);
        match draft.create_resource_ref(schema).id() {
            None => At { draft, ..outer },
            Some(_) => self.at(&self.references.within(&self.read(outer), schema)),
        }
    }

    fn read(&self, at: At) -> Place<'s> {
        Place { draft: at.draft, ..self.bases[at.base].clone() }
    }

    /// Makes the nodes that have a place and are not there yet, and those that they use.
    fn build(&mut self, nodes: &mut Vec<Node<'s>>) -> Result<(), Fault<'s>> {
        while let Some(&(schema, look, at)) = self.waiting.get(nodes.len()) {
            // One schema counts once for each base that it is read by.
            if self.waiting.len() > NODES_MAX {
                return Err(Fault { schema, keyword: None, why: Why::Readings });
            }
            let mut node = Node {
                schema,
                look,
                at,
                in_place: Vec::new(),
                referred: Vec::new(),
                members: Members::default(),
                items: Items::default(),
                names: Vec::new(),
            };
            if let Value::Object(keywords) = schema {
                match look {
                    _ if self.references.stands_alone(schema) => {}
                    Look::Mark => self.mark(&mut node, keywords),
                    Look::Remembered => self.in_place(&mut node, keywords),
                    Look::Check | Look::Again => {
                        self.in_place(&mut node, keywords);
                        self.parts(&mut node, keywords);
                    }
                }
                self.refer(&mut node, keywords)?;
            }
            nodes.push(node);
        }
        Ok(())
    }

    fn in_place(&mut self, node: &mut Node<'s>, keywords: &'s Map<String, Value>) {
        for keyword in ONE_IN_PLACE.iter().chain(&LIST_IN_PLACE).chain(&MAP_IN_PLACE) {
            node.in_place.extend(self.under(keywords, keyword, (node.look, node.at)));
        }
        if node.look == Look::Again && asks_again(node.schema) {
            node.in_place.push(self.place(node.schema, Look::Mark, node.at));
        }
    }

    fn parts(&mut self, node: &mut Node<'s>, keywords: &'s Map<String, Value>) {
        let look = (node.look, node.at);
        let members = |name: &str| keywords.get(name).and_then(Value::as_object).into_iter().flatten();
        let named = members("properties").map(|(name, schema)| (name.as_str(), self.one(schema, look)));
        node.members.named = named.collect();
        let patterns = members("patternProperties")
            .filter_map(|(pattern, schema)| Some((Pattern::of(pattern), self.one(schema, look)?)));
        node.members.patterns = patterns.collect();
        let otherwise: &[&str] = match keywords.contains_key("additionalProperties") {
            _ if self.references.are_mixed() => &["additionalProperties", "unevaluatedProperties"],
            true => &["additionalProperties"],
            false => &["unevaluatedProperties"],
        };
        node.members.otherwise = self.under_all(keywords, otherwise, look);
        self.items(node, keywords);
        node.names = self.under(keywords, "propertyNames", look);
    }

    fn items(&mut self, node: &mut Node<'s>, keywords: &'s Map<String, Value>) {
        let look = (node.look, node.at);
        // A list under `items` counts in the drafts before 2020-12 and `prefixItems` since then, but both may stand there.
        let list = |name: &str| keywords.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let (prefix, tuple) = (list("prefixItems"), list("items"));
        node.items.first = (0..prefix.len().max(tuple.len()))
            .map(|place| {
                [prefix, tuple].into_iter().filter_map(|list| self.one(list.get(place)?, look)).collect()
            })
            .collect();
        let prefix = if self.references.know_prefixes() { prefix.len() } else { 0 };
        let (rest, from): (&[&str], _) = match keywords.get("items") {
            Some(Value::Array(_)) if self.references.are_mixed() => {
                (&["additionalItems", "unevaluatedItems"], 0)
            }
            _ if self.references.are_mixed() => (&["items", "additionalItems", "unevaluatedItems"], 0),
            // `additionalItems` means something only beside a list, and then leaves nothing unevaluated.
            Some(Value::Array(_)) if keywords.contains_key("additionalItems") => {
                (&["additionalItems"], tuple.len())
            }
            Some(Value::Array(_)) => (&["unevaluatedItems"], tuple.len()),
            Some(Value::Object(_) | Value::Bool(_)) => (&["items"], prefix),
            _ => (&["unevaluatedItems"], prefix),
        };
        (node.items.rest, node.items.rest_from) = (self.under_all(keywords, rest, look), from);
        node.items.every = self.under(keywords, "contains", look);
    }

    /// What marking asks: alternatives whether they fit, and what those that do know.
    fn mark(&mut self, node: &mut Node<'s>, keywords: &'s Map<String, Value>) {
        for keyword in LIST_IN_PLACE.iter().chain(&["if"]) {
            node.in_place.extend(self.under(keywords, keyword, (Look::Again, node.at)));
        }
        for keyword in LIST_IN_PLACE.iter().chain(&["if", "then", "else", "dependentSchemas"]) {
            node.in_place.extend(self.under(keywords, keyword, (Look::Mark, node.at)));
        }
        let members = keywords.get("properties").and_then(Value::as_object).into_iter().flatten();
        node.members.named = members.map(|(name, _)| (name.as_str(), None)).collect();
        node.members.otherwise = self.under(keywords, "unevaluatedProperties", (Look::Again, node.at));
        node.items.rest = self.under(keywords, "unevaluatedItems", (Look::Again, node.at));
        node.items.every = self.under(keywords, "contains", (Look::Again, node.at));
    }

    fn refer(&mut self, node: &mut Node<'s>, keywords: &'s Map<String, Value>) -> Result<(), Fault<'s>> {
        for name in REFERENCES {
            let Some(Value::String(reference)) = keywords.get(name) else { continue };
            let fault = |why| Err(Fault { schema: node.schema, keyword: Some(name), why });
            let mut targets = Vec::new();
            let (references, place) = (self.references, self.read(node.at));
            for target in references.candidates(name, reference, &place) {
                let base_bytes = target.place.resolver.base_uri().as_str().len();
                self.looks += 1 + (reference.len() + base_bytes) / BYTES_PER_LOOK;
                if self.looks > LOOKS_MAX {
                    return fault(Why::Names);
                }
                let at = self.at(&target.place);
                let look = match node.look {
                    Look::Again if self.is_on_a_circle((node.schema, node.at), (target.schema, at)) => {
                        Look::Remembered
                    }
                    look => look,
                };
                targets.push(self.place(target.schema, look, at));
            }
            if targets.is_empty() {
                // What the validator does not read may lead nowhere.
                if references.are_read(name, &place) {
                    return fault(Why::Unknown(clip(reference)));
                }
                continue;
            }
            node.referred.push(targets);
        }
        Ok(())
    }

    /// Whether `target`, which `schema` refers to, comes back to `schema`.
    fn is_on_a_circle(&self, schema: (&Value, At), target: (&Value, At)) -> bool {
        let circle = |(schema, at): (&Value, At)| {
            let place = self.known.get(&(ptr::from_ref(schema), Look::Check, at))?;
            self.circles.get(*place)
        };
        circle(schema).is_some() && circle(schema) == circle(target)
    }

    /// The place of a schema; `true` and `false` have none, they cost nothing.
    fn one(&mut self, schema: &'s Value, (look, outer): (Look, At)) -> Option<usize> {
        schema.is_object().then(|| {
            let at = self.within(outer, schema);
            self.place(schema, look, at)
        })
    }

    fn under_all(
        &mut self,
        keywords: &'s Map<String, Value>,
        names: &[&str],
        look: (Look, At),
    ) -> Vec<usize> {
        names.iter().flat_map(|name| self.under(keywords, name, look)).collect()
    }

    /// The schemas under `keyword`, be it one, a list or a map of them; `true`, `false` and lists of names cost nothing.
    fn under(&mut self, keywords: &'s Map<String, Value>, keyword: &str, look: (Look, At)) -> Vec<usize> {
        let Some(value) = keywords.get(keyword) else { return Vec::new() };
        let schemas: Vec<&'s Value> = match value {
            Value::Array(schemas) => schemas.iter().collect(),
            Value::Object(schemas) if MAP_IN_PLACE.contains(&keyword) => schemas.values().collect(),
            schema => vec![schema],
        };
        schemas.into_iter().filter_map(|schema| self.one(schema, look)).collect()
    }
}

/// By node, the number of the circle that it is on: nodes with the same number reach each other. Tarjan's strongly connected
/// components, with a stack of its own.
fn circles(nodes: &[Node<'_>]) -> Vec<usize> {
    const NONE: usize = usize::MAX;
    let next: Vec<Vec<usize>> =
        nodes.iter().map(|node| node.all_in_place().chain(node.all_of_parts()).collect()).collect();
    let (mut met, mut low, mut circle) =
        (vec![NONE; nodes.len()], vec![0; nodes.len()], vec![NONE; nodes.len()]);
    let (mut clock, mut open, mut way) = (0, Vec::new(), Vec::new());
    for start in 0..nodes.len() {
        if met[start] == NONE {
            way.push((start, 0));
        }
        while let Some((node, edge)) = way.pop() {
            if edge == 0 {
                (met[node], low[node]) = (clock, clock);
                clock += 1;
                open.push(node);
            }
            match next[node].get(edge) {
                Some(&to) => {
                    way.push((node, edge + 1));
                    if met[to] == NONE {
                        way.push((to, 0));
                    } else if circle[to] == NONE {
                        low[node] = low[node].min(met[to]);
                    }
                }
                None => {
                    if low[node] == met[node] {
                        while let Some(member) = open.pop() {
                            circle[member] = node;
                            if member == node {
                                break;
                            }
                        }
                    }
                    if let Some(&(parent, _)) = way.last() {
                        low[parent] = low[parent].min(low[node]);
                    }
                }
            }
        }
    }
    circle
}
