//! In which order rules run: every rule after those whose results it reads, else as written.
//!
//! Called by [`super::compile`]. Goes by the names in the expressions; types and slots are not known yet. Drafts are checked on the
//! way to an answer, so the work grows with the text of the rules and with who waits for whom, never with rules times names.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::OUTCOMES;
use super::definition::{Definition, Kind, Problems};
use super::table;
use crate::check;
use crate::limits::{PROBLEMS_MAX, TREE_KEPT_BYTES_MAX};
use crate::syntax::{Parsed, parse};

/// The definitions in an order in which every rule comes after those whose results it reads, else as written, each with its
/// expression as it was parsed for that, unless it is longer than [`TREE_KEPT_BYTES_MAX`]. What has no tree is parsed again,
/// tables cell by cell.
pub(super) fn ordered<'d>(
    definitions: &'d [Definition],
    problems: &mut Problems,
) -> Vec<(&'d Definition, Option<Parsed<'d>>)> {
    let written: Vec<Option<String>> = definitions.iter().map(name_written).collect();
    let mut waits = Waits::new(&written);
    let mut trees: Vec<Option<Parsed<'d>>> = Vec::with_capacity(definitions.len());
    for (rule, definition) in definitions.iter().enumerate() {
        let tree = tree(definition);
        if waits.possible() {
            waits.add(rule, names_read(definition, tree.as_ref().map(|(_, tree)| tree)));
        }
        // All trees at once would take a multiple of the definition's size.
        trees.push(tree.filter(|(source, _)| source.len() <= TREE_KEPT_BYTES_MAX).map(|(_, tree)| tree));
    }
    let (order, circles) = waits.resolve();
    for (rule, makers) in circles.into_iter().take(PROBLEMS_MAX) {
        let circle: Vec<String> =
            makers.into_iter().map(|maker| format!("`{}`", definitions[maker].id)).collect();
        let message =
            format!("the rule waits for its own result: it reads what {} gives", circle.join(" and "));
        problems.error(format!("/rules/{}", definitions[rule].place), Some(&definitions[rule].id), message);
    }
    order.into_iter().map(|rule| (&definitions[rule], trees[rule].take())).collect()
}

/// Which rules wait for which, by their places in the definition.
struct Waits<'w> {
    /// Who makes each dotted name.
    makers: BTreeMap<&'w str, Vec<usize>>,
    /// How long those names are, in bytes: the only places where a read name is cut. Cutting it at every dot would let names of
    /// thousands of dots cost their square.
    lengths: BTreeSet<usize>,
    /// By maker, who waits for it.
    readers: Vec<Vec<u32>>,
    /// By reader, how many makers it still waits for.
    missing: Vec<usize>,
}

impl<'w> Waits<'w> {
    /// Nobody waits yet; `written` is what each rule makes.
    fn new(written: &'w [Option<String>]) -> Waits<'w> {
        let mut makers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (maker, name) in written.iter().enumerate() {
            if let Some(name) = name {
                makers.entry(name).or_default().push(maker);
            }
        }
        let lengths = makers.keys().map(|name| name.len()).collect();
        Waits { makers, lengths, readers: vec![Vec::new(); written.len()], missing: vec![0; written.len()] }
    }

    /// Whether anything is made that somebody could wait for.
    fn possible(&self) -> bool {
        !self.makers.is_empty()
    }

    /// Adds what one rule reads.
    fn add(&mut self, rule: usize, names: Vec<String>) {
        let mut awaited = Vec::new();
        outermost(names).iter().for_each(|name| self.find_makers(name, &mut awaited));
        awaited.sort_unstable();
        awaited.dedup();
        self.missing[rule] = awaited.len();
        let reader = u32::try_from(rule).expect("there are at most `RULES_MAX` rules");
        awaited.into_iter().for_each(|maker| self.readers[maker].push(reader));
    }

    /// Who makes a name, something around it, or something inside it.
    fn find_makers(&self, name: &str, found: &mut Vec<usize>) {
        let ends = |at: usize| name.as_bytes().get(at).is_none_or(|next| *next == b'.');
        let around = self.lengths.range(..=name.len()).filter(|at| ends(**at));
        found.extend(around.filter_map(|at| self.makers.get(&name[..*at])).flatten());
        let below = format!("{name}.");
        let inside = self.makers.range(below.as_str()..).take_while(|(made, _)| made.starts_with(&below));
        found.extend(inside.flat_map(|(_, makers)| makers));
    }

    /// The rules in order, always the first one next that waits for nobody; then those of circles, each with whom it waits for.
    fn resolve(mut self) -> (Vec<usize>, BTreeMap<usize, Vec<usize>>) {
        let free = |(rule, missing): (usize, &usize)| (*missing == 0).then_some(Reverse(rule));
        let mut ready: BinaryHeap<Reverse<usize>> =
            self.missing.iter().enumerate().filter_map(free).collect();
        let mut order = Vec::with_capacity(self.missing.len());
        while let Some(Reverse(rule)) = ready.pop() {
            order.push(rule);
            for reader in std::mem::take(&mut self.readers[rule]) {
                let reader = reader as usize;
                self.missing[reader] -= 1;
                if self.missing[reader] == 0 {
                    ready.push(Reverse(reader));
                }
            }
        }
        let mut circles: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (maker, readers) in self.readers.into_iter().enumerate() {
            for reader in readers {
                circles.entry(reader as usize).or_default().push(maker);
            }
        }
        (order, circles)
    }
}

/// Names without those that lie inside others: whoever makes something of the inner one makes something of the outer one.
fn outermost(mut names: Vec<String>) -> Vec<String> {
    // The dot before everything else, so that what lies inside a name follows right after it.
    let rank = |byte: u8| if byte == b'.' { 0 } else { u16::from(byte) + 1 };
    names.sort_unstable_by(|a, b| a.bytes().map(rank).cmp(b.bytes().map(rank)));
    names.dedup_by(|name, outer| {
        name.strip_prefix(outer.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    names
}

/// The expression of a rule that has one, and its text.
fn tree(definition: &Definition) -> Option<(&str, Parsed<'_>)> {
    match &definition.kind {
        Kind::Constraint { assert: source, .. }
        | Kind::Compute { value: source, .. }
        | Kind::Decision { when: source, .. } => Some((source, parse(source))),
        Kind::Table(_) => None,
    }
}

/// The dotted names in a rule's expressions. What does not parse reads nothing; it is reported when it is compiled.
fn names_read(definition: &Definition, tree: Option<&Parsed<'_>>) -> Vec<String> {
    let mut names = Vec::new();
    if let Some(Ok(tree)) = tree {
        check::names_read(tree, &mut names);
    }
    if let Kind::Table(table) = &definition.kind {
        let cells = table.rows.iter().flat_map(|row| &row.when).flat_map(|cell| table::expressions(cell));
        for source in table.inputs.iter().map(String::as_str).chain(cells) {
            if let Ok(tree) = parse(source) {
                check::names_read(&tree, &mut names);
            }
        }
    }
    names
}

/// The dotted name of what a rule makes.
fn name_written(definition: &Definition) -> Option<String> {
    match &definition.kind {
        Kind::Constraint { .. } => None,
        Kind::Compute { into, .. } => Some(path(into).join(".")),
        Kind::Decision { .. } | Kind::Table(_) => Some(format!("{OUTCOMES}.{}", definition.id)),
    }
}

/// The member names of a JSON Pointer.
pub(super) fn path(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether one dotted name is the other or lies inside it.
    fn overlap(a: &str, b: &str) -> bool {
        let inside = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        inside(a, b) || inside(b, a)
    }

    /// The order as its promise reads, step by step: what rules were ordered by before there was a graph.
    fn by_the_promise(
        reads: &[Vec<String>],
        written: &[Option<String>],
    ) -> (Vec<usize>, BTreeMap<usize, Vec<usize>>) {
        let mut making: Vec<(usize, &String)> =
            written.iter().enumerate().filter_map(|(rule, name)| Some((rule, name.as_ref()?))).collect();
        let depends = |rule: usize, made: &str| reads[rule].iter().any(|read| overlap(read, made));
        let mut waiting: Vec<usize> = (0..reads.len()).collect();
        let mut order = Vec::new();
        while let Some(at) =
            waiting.iter().position(|&rule| !making.iter().any(|(_, made)| depends(rule, made)))
        {
            let rule = waiting.remove(at);
            making.retain(|(maker, _)| *maker != rule);
            order.push(rule);
        }
        let awaited = |rule: usize| {
            let makers = making.iter().filter(|(_, made)| depends(rule, made));
            makers.map(|(maker, _)| *maker).collect()
        };
        (order, waiting.into_iter().map(|rule| (rule, awaited(rule))).collect())
    }

    /// Names that are, contain, or only begin like one another; `-` and U+0000 sort before the dot.
    fn name() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec!["a", "b", "a-b", "a\0", "ä", "", "ab", "c", "d", "e"]);
        prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("."))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

        #[test]
        fn the_graph_gives_the_order_that_is_promised(
            rules in prop::collection::vec((prop::collection::vec(name(), 0..3), prop::option::of(name())), 0..14),
        ) {
            let (reads, written): (Vec<_>, Vec<_>) = rules.into_iter().unzip();
            let mut waits = Waits::new(&written);
            for (rule, names) in reads.iter().enumerate() {
                waits.add(rule, names.clone());
            }
            prop_assert_eq!(waits.resolve(), by_the_promise(&reads, &written));
        }
    }
}
