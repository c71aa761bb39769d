//! The schemas of a document and how they use each other on one value, and the quick count over them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ptr;

use serde_json::Value;

use super::super::references::References;
use super::build::{self, At, Look};
use super::{CHECKS_PER_VALUE_MAX, Fault, MARKS_MAX, STEPS_IN_PLACE_MAX, Why};
use crate::json::NESTING_MAX;

/// The most schemas that are looked at to find which targets of references others ask anyway; at the limit all of them count.
const NARROWING_STEPS_MAX: usize = 2_000_000;

/// The schemas that can be reached from the root, which is the first.
pub(super) struct Graph<'s> {
    pub(super) nodes: Vec<Node<'s>>,
    /// All nodes, each after those that it asks about the same value.
    pub(super) order: Vec<usize>,
}

/// One schema, asked in one way; the others are given by their place in the graph.
pub(super) struct Node<'s> {
    pub(super) schema: &'s Value,
    pub(super) look: Look,
    pub(super) at: At,
    /// Asked about the same value, each of them.
    pub(super) in_place: Vec<usize>,
    /// Asked about the same value, one of each list: what a reference may mean.
    pub(super) referred: Vec<Vec<usize>>,
    pub(super) members: Members<'s>,
    pub(super) items: Items,
    /// Asked about the members' names.
    pub(super) names: Vec<usize>,
}

/// The schemas for the members of an object.
#[derive(Default)]
pub(super) struct Members<'s> {
    /// By name; none for a name that anything goes with.
    pub(super) named: BTreeMap<&'s str, Option<usize>>,
    /// By pattern: all of them may be asked about a member, that of its name too ...
    pub(super) patterns: Vec<(Pattern<'s>, usize)>,
    /// ... or else these.
    pub(super) otherwise: Vec<usize>,
}

/// The schemas for the items of a list.
#[derive(Default)]
pub(super) struct Items {
    /// By place, each of them.
    pub(super) first: Vec<Vec<usize>>,
    /// For those behind some of them ...
    pub(super) rest: Vec<usize>,
    /// ... as many as this.
    pub(super) rest_from: usize,
    /// For all of them.
    pub(super) every: Vec<usize>,
}

/// A name of `patternProperties`, as far as it tells which members it is not about.
pub(super) struct Pattern<'s> {
    /// What every name that it matches begins with.
    prefix: &'s str,
}

impl<'s> Pattern<'s> {
    pub(super) fn of(pattern: &'s str) -> Self {
        let Some(rest) = pattern.strip_prefix('^').filter(|rest| !rest.contains('|')) else {
            return Self { prefix: "" };
        };
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/');
        let plain = rest.bytes().take_while(|byte| is_plain(byte)).count();
        // What follows may make the last of them optional.
        let sure = match rest.as_bytes().get(plain) {
            Some(b'?' | b'*' | b'{') => plain.saturating_sub(1),
            _ => plain,
        };
        Self { prefix: &rest[..sure] }
    }

    /// Whether it may match `name`; `None` for one that no schema has.
    pub(super) fn may_match(&self, name: Option<&str>) -> bool {
        name.is_none_or(|name| name.starts_with(self.prefix))
    }
}

impl Members<'_> {
    fn checks(&self, above: &[u64]) -> u64 {
        let named = most(self.named.values().flatten(), above);
        let patterns = sum(self.patterns.iter().map(|(_, node)| node), above);
        named.saturating_add(patterns).max(sum(&self.otherwise, above))
    }
}

impl Items {
    fn checks(&self, above: &[u64]) -> u64 {
        let rest = sum(&self.rest, above);
        let at = |place: usize| {
            let first = self.first.get(place).map_or(0, |first| sum(first, above));
            first.saturating_add(if place < self.rest_from { 0 } else { rest })
        };
        let most = (0..self.places()).map(at).max().unwrap_or(0);
        most.saturating_add(sum(&self.every, above))
    }

    /// How many places there are of which something else is said; the last is all that are behind them.
    pub(super) fn places(&self) -> usize {
        self.first.len().max(self.rest_from) + 1
    }

    /// The schemas for the item at `place`.
    pub(super) fn at(&self, place: usize) -> impl Iterator<Item = &usize> {
        let rest = if place < self.rest_from { &[][..] } else { &self.rest };
        self.first.get(place).into_iter().flatten().chain(rest).chain(&self.every)
    }
}

impl Node<'_> {
    /// The checks of one value `depth` levels below, from the counts of the schemas for the same value at this depth and from the
    /// counts of all schemas at the depth above it.
    fn checks(&self, depth: usize, counts: &[u64], above: &[u64]) -> u64 {
        let referred = self.referred.iter().map(|targets| most(targets, counts));
        let in_place = referred.fold(sum(&self.in_place, counts), u64::saturating_add);
        let own = match depth {
            0 => 1,
            _ => self.members.checks(above).max(self.items.checks(above)).max(most(&self.names, above)),
        };
        in_place.saturating_add(own)
    }

    pub(super) fn all_in_place(&self) -> impl Iterator<Item = usize> {
        self.in_place.iter().chain(self.referred.iter().flatten()).copied()
    }

    pub(super) fn all_of_parts(&self) -> impl Iterator<Item = usize> {
        let Members { named, patterns, otherwise } = &self.members;
        let Items { first, rest, every, .. } = &self.items;
        let members = named.values().flatten().chain(patterns.iter().map(|(_, node)| node)).chain(otherwise);
        members.chain(first.iter().flatten()).chain(rest).chain(every).chain(&self.names).copied()
    }
}

fn sum<'n>(nodes: impl IntoIterator<Item = &'n usize>, counts: &[u64]) -> u64 {
    nodes.into_iter().fold(0, |sum, node| sum.saturating_add(counts[*node]))
}

fn most<'n>(nodes: impl IntoIterator<Item = &'n usize>, counts: &[u64]) -> u64 {
    nodes.into_iter().map(|node| counts[*node]).max().unwrap_or(0)
}

impl<'s> Graph<'s> {
    pub(super) fn of(root: &'s Value, references: &References<'s>) -> Result<Self, Fault<'s>> {
        let mut graph = Self { nodes: build::nodes(root, references)?, order: Vec::new() };
        graph.order = graph.ordered()?;
        graph.drop_narrower_targets();
        Ok(graph)
    }

    /// Whether no value is checked too often even if all schemas looked into the members that cost them most.
    pub(super) fn is_cheap(&self) -> bool {
        let mut above = vec![0; self.nodes.len()];
        // Round n counts the checks of one value that lies n levels below the value that a schema is asked about.
        for depth in 0..=NESTING_MAX {
            let mut counts = vec![0_u64; self.nodes.len()];
            for &node in &self.order {
                counts[node] = self.nodes[node].checks(depth, &counts, &above);
            }
            if counts.first().is_some_and(|root| *root > CHECKS_PER_VALUE_MAX) {
                return false;
            }
            // Once a level is like the one above, so are all below it; a schema without recursion ends in zeros.
            if depth > 0 && counts == above {
                break;
            }
            above = counts;
        }
        true
    }

    /// Refuses what marks too much; of schemas that cost little, each marks few.
    pub(super) fn marks_little(&self) -> Result<(), Fault<'s>> {
        let nothing = vec![0; self.nodes.len()];
        let mut counts = vec![0_u64; self.nodes.len()];
        let mut marks = 0_u64;
        for &place in &self.order {
            let node = &self.nodes[place];
            counts[place] = node.checks(0, &counts, &nothing);
            if node.look == Look::Mark && build::asks_again(node.schema) {
                marks = marks.saturating_add(counts[place]);
                if marks > MARKS_MAX {
                    return Err(Fault { schema: node.schema, keyword: None, why: Why::Marks });
                }
            }
        }
        Ok(())
    }

    fn ordered(&self) -> Result<Vec<usize>, Fault<'s>> {
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
    ) -> Result<usize, Fault<'s>> {
        let fault = |why| Err(Fault { schema: self.nodes[node].schema, keyword: None, why });
        match visits[node] {
            Visit::Done(chain) => return Ok(chain),
            Visit::Within => return fault(Why::Circle),
            Visit::Before if steps > STEPS_IN_PLACE_MAX => return fault(Why::Steps),
            Visit::Before => visits[node] = Visit::Within,
        }
        let mut chain = 0;
        for next in self.nodes[node].all_in_place() {
            // Marking begins at the schema that asks for it: no step.
            let step = usize::from(!ptr::eq(self.nodes[node].schema, self.nodes[next].schema));
            chain = chain.max(step + self.visit(next, steps + step, visits, order)?);
        }
        if chain > STEPS_IN_PLACE_MAX {
            return fault(Why::Steps);
        }
        visits[node] = Visit::Done(chain);
        order.push(node);
        Ok(chain)
    }

    /// Of the schemas that a reference may mean, leaves out those that another of them asks about the same value anyway.
    fn drop_narrower_targets(&mut self) {
        let mut known: HashMap<Vec<usize>, Vec<usize>> = HashMap::new();
        let mut steps = 0;
        for node in 0..self.nodes.len() {
            for list in 0..self.nodes[node].referred.len() {
                let targets = std::mem::take(&mut self.nodes[node].referred[list]);
                let kept = match targets.len() {
                    0 | 1 => targets,
                    _ => known
                        .entry(targets)
                        .or_insert_with_key(|targets| self.widest(targets, &mut steps))
                        .clone(),
                };
                self.nodes[node].referred[list] = kept;
            }
        }
    }

    fn widest(&self, targets: &[usize], steps: &mut usize) -> Vec<usize> {
        let mut narrower = HashSet::new();
        let mut waiting: Vec<usize> =
            targets.iter().flat_map(|target| self.nodes[*target].all_in_place()).collect();
        while let Some(node) = waiting.pop() {
            *steps += 1;
            if *steps > NARROWING_STEPS_MAX {
                return targets.to_vec();
            }
            if narrower.insert(node) {
                waiting.extend(self.nodes[node].all_in_place());
            }
        }
        let mut widest: Vec<usize> =
            targets.iter().copied().filter(|target| !narrower.contains(target)).collect();
        widest.sort_unstable();
        widest.dedup();
        widest
    }
}

#[derive(Clone, Copy)]
enum Visit {
    Before,
    Within,
    /// With the length of the longest chain that starts there.
    Done(usize),
}
