//! The exact count: for each way into the data, member by member and item by item, which schemas are asked about the value there, and how
//! often. A value under `elements` is looked at by the alternatives that look into `elements` only, and none is both object and list.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::graph::{Graph, Members, Node};
use super::{CHECKS_PER_VALUE_MAX, Fault, Why};
use crate::json::NESTING_MAX;

/// The most entries that are written and compared while ways are followed, well under a second; a schema that needs more and that the quick count finds
/// too costly is refused.
pub(super) const ENTRIES_MAX: usize = 2_000_000;

/// How many patterns are compared with a name in about the time of an entry: of each, only what it begins with.
const PATTERNS_PER_ENTRY: usize = 8;

/// How often each schema is asked about one value, by its place in the graph.
type Asked = BTreeMap<usize, u64>;

/// Refuses a schema that can check one value too often.
pub(super) fn check<'s>(graph: &Graph<'s>) -> Result<(), Fault<'s>> {
    let mut walk = Walk { graph, rank: ranks(graph), seen: HashMap::new(), entries: 0 };
    let mut level = vec![Asked::from([(0, 1)])];
    for _ in 0..=NESTING_MAX {
        let mut below = Vec::new();
        for asked in level {
            let all = walk.in_place(&asked)?;
            walk.parts(&all, &mut below)?;
        }
        if below.is_empty() {
            break;
        }
        level = below;
    }
    Ok(())
}

/// By node, its place among all when each comes before those that it asks about the same value.
fn ranks(graph: &Graph<'_>) -> Vec<usize> {
    let mut ranks = vec![0; graph.nodes.len()];
    graph.order.iter().rev().enumerate().for_each(|(rank, node)| ranks[*node] = rank);
    ranks
}

struct Walk<'g, 's> {
    graph: &'g Graph<'s>,
    rank: Vec<usize>,
    /// The numbers of the ways followed already, by the schemas that are asked.
    seen: HashMap<Vec<usize>, Vec<Vec<u64>>>,
    /// Entries written so far.
    entries: usize,
}

impl<'g, 's> Walk<'g, 's> {
    /// All schemas that are asked about a value because `asked` are, in the order in which they ask.
    fn in_place(&mut self, asked: &Asked) -> Result<Vec<(&'g Node<'s>, u64)>, Fault<'s>> {
        let at = |node: usize| (self.rank[node], node);
        let mut waiting: BTreeMap<(usize, usize), u64> =
            asked.iter().map(|(node, times)| (at(*node), *times)).collect();
        let mut all = Vec::new();
        let mut checks = 0_u64;
        while let Some(((_, node), times)) = waiting.pop_first() {
            let node = &self.graph.nodes[node];
            checks = checks.saturating_add(times);
            all.push((node, times));
            for next in node.all_in_place() {
                self.entries += 1;
                add(waiting.entry(at(next)).or_default(), times);
            }
            if self.entries > ENTRIES_MAX {
                return Err(most_asked(&all, Why::GivenUp));
            }
        }
        if checks > CHECKS_PER_VALUE_MAX {
            return Err(most_asked(&all, Why::Checks));
        }
        self.entries += all.len();
        Ok(all)
    }

    /// Adds to `below` what is asked about each kind of part of a value, unless it was followed already.
    fn parts(&mut self, all: &[(&'g Node<'s>, u64)], below: &mut Vec<Asked>) -> Result<(), Fault<'s>> {
        self.count(all.iter().map(|(node, _)| node.members.named.len()).sum(), all)?;
        let names: BTreeSet<&str> =
            all.iter().flat_map(|(node, _)| node.members.named.keys().copied()).collect();
        let open: Vec<_> = all.iter().filter(|(node, _)| node.members.are_open()).collect();
        let mut by_name: HashMap<&str, Asked> = HashMap::new();
        for (node, times) in all {
            for (name, member) in &node.members.named {
                let Some(member) = member else { continue };
                add(by_name.entry(name).or_default().entry(*member).or_default(), *times);
            }
        }
        for name in names.into_iter().map(Some).chain([None]) {
            let mut asked = name.and_then(|name| by_name.remove(name)).unwrap_or_default();
            for (node, times) in &open {
                self.count(1 + node.members.patterns.len().div_ceil(PATTERNS_PER_ENTRY), all)?;
                let added = node.members.add_unnamed(name, *times, &mut asked);
                self.count(added, all)?;
            }
            self.follow(asked, all, below)?;
        }
        let places = all.iter().map(|(node, _)| node.items.places()).max().unwrap_or_default();
        for place in 0..places {
            self.count(all.len(), all)?;
            let mut asked = Asked::new();
            for (node, times) in all {
                node.items.at(place).for_each(|item| add(asked.entry(*item).or_default(), *times));
            }
            self.follow(asked, all, below)?;
        }
        let mut asked = Asked::new();
        for (node, times) in all {
            node.names.iter().for_each(|name| add(asked.entry(*name).or_default(), *times));
        }
        self.follow(asked, all, below)
    }

    /// Counts entries, or what takes as long; gives up at the limit.
    fn count(&mut self, entries: usize, all: &[(&'g Node<'s>, u64)]) -> Result<(), Fault<'s>> {
        self.entries += entries;
        if self.entries > ENTRIES_MAX { Err(most_asked(all, Why::GivenUp)) } else { Ok(()) }
    }

    fn follow(
        &mut self,
        asked: Asked,
        all: &[(&'g Node<'s>, u64)],
        below: &mut Vec<Asked>,
    ) -> Result<(), Fault<'s>> {
        if asked.is_empty() {
            return Ok(());
        }
        self.count(asked.len(), all)?;
        let (nodes, times): (Vec<usize>, Vec<u64>) =
            asked.iter().map(|(node, times)| (*node, *times)).unzip();
        let seen = self.seen.entry(nodes).or_default();
        self.entries += seen.len() * times.len();
        // What asks the same schemas no more often comes to no more below, either.
        let known = |seen: &Vec<u64>| seen.iter().zip(&times).all(|(seen, times)| seen >= times);
        if !seen.iter().any(known) {
            seen.push(times);
            below.push(asked);
        }
        Ok(())
    }
}

impl Members<'_> {
    fn are_open(&self) -> bool {
        !self.patterns.is_empty() || !self.otherwise.is_empty()
    }

    /// Adds what is asked about a member by its pattern or for want of a name; `None` for a name that no schema has. Answers how many
    /// schemas these are.
    fn add_unnamed(&self, name: Option<&str>, times: u64, asked: &mut Asked) -> usize {
        let by_pattern = self.patterns.iter().filter(|(pattern, _)| pattern.may_match(name));
        let mut unnamed: BTreeSet<usize> = by_pattern.map(|(_, node)| *node).collect();
        if name.is_none_or(|name| !self.named.contains_key(name)) {
            unnamed.extend(&self.otherwise);
        }
        let added = unnamed.len();
        unnamed.into_iter().for_each(|node| add(asked.entry(node).or_default(), times));
        added
    }
}

fn add(count: &mut u64, times: u64) {
    *count = count.saturating_add(times);
}

/// The schema that is asked most often, the first of several.
fn most_asked<'s>(all: &[(&Node<'s>, u64)], why: Why) -> Fault<'s> {
    let most = all.iter().map(|(_, times)| *times).max();
    let (node, _) = all.iter().find(|(_, times)| Some(*times) == most).expect("a value is asked about");
    Fault { schema: node.schema, keyword: None, why }
}
