//! What publishing says about a table as a whole: rows that overlap, combinations that no row matches, rows that never match.
//! Every remark comes with an example.
//!
//! Part of [`super::Table`]. Sound rather than complete: cells that compare with anything but constants make no claim, and a
//! table over the bounds below is not analysed.

use std::collections::HashSet;

use super::super::compile::Compiler;
use super::super::definition::{Definition, Hit, TableDefinition};
use super::Column;
use super::axis::{Admitted, Axis, Set};
use super::cell::Admits;

/// Rows of the largest table that is analysed. Comparing all pairs of more takes longer than publishing may.
const ROWS_MAX: usize = 1_000;
/// Overlaps that are told of one table; more say nothing new.
const OVERLAPS_SHOWN: usize = 5;
/// Regions that one search for an uncovered combination may look at. A search that needs more says nothing.
const STEPS_MAX: u32 = 20_000;
/// The same for all searches of one table.
const STEPS_OF_TABLE_MAX: u32 = 400_000;

/// Tells what is wrong with a table whose cells are all right by themselves, and answers whether one of its rows is certain to give the result, as
/// long as nothing in it fails.
pub(super) fn analyse(
    compiler: &mut Compiler,
    definition: &Definition,
    source: &TableDefinition,
    columns: &[Column],
    cells: &[Vec<Admits>],
) -> bool {
    let catch_all = cells.iter().any(|row| row.iter().all(|cell| matches!(cell, Admits::Anything)));
    // Two rows that match are no result.
    let covered = catch_all && (source.hit != Hit::Unique || source.rows.len() == 1);
    if source.rows.len() > ROWS_MAX || source.rows.is_empty() || columns.is_empty() {
        return covered;
    }
    let Some(grid) = Grid::new(compiler, columns, cells) else { return covered };
    let covered = covered || !columns.iter().any(Column::may_be_nan) && grid.is_certain(source.hit);
    let never = grid.never(compiler, definition);
    match source.hit {
        Hit::Unique => grid.overlaps(compiler, definition, source),
        Hit::First => {
            let order: Vec<usize> = (0..source.rows.len()).collect();
            grid.shadowed(compiler, definition, &order, &never);
        }
        Hit::Priority => {
            let mut order: Vec<usize> = (0..source.rows.len()).collect();
            order.sort_by(|a, b| source.rows[*b].priority.total_cmp(&source.rows[*a].priority));
            grid.shadowed(compiler, definition, &order, &never);
        }
        Hit::Collect(_) => return covered,
    }
    grid.gap(compiler, definition, source);
    covered
}

/// A table as boxes of regions, one box a row.
struct Grid {
    axes: Vec<Axis>,
    names: Vec<String>,
    rows: Vec<Vec<Admitted>>,
}

/// The result of a search for a combination that no box covers.
enum Search {
    Covered,
    Found(Vec<usize>),
    GaveUp,
}

impl Grid {
    fn new(compiler: &Compiler, columns: &[Column], cells: &[Vec<Admits>]) -> Option<Grid> {
        let axis = |(at, column): (usize, &Column)| {
            let values = compiler.layout.info(column.slot).values.as_deref();
            Axis::new(column, values, cells.iter().map(|row| &row[at]))
        };
        let axes: Vec<Axis> = columns.iter().enumerate().map(axis).collect::<Option<_>>()?;
        let rows =
            cells.iter().map(|row| axes.iter().zip(row).map(|(axis, cell)| axis.admitted(cell)).collect());
        let names = columns.iter().map(|column| compiler.layout.info(column.slot).path.join("."));
        Some(Grid { rows: rows.collect(), names: names.collect(), axes })
    }

    /// An example of a combination: `amount` = 150, `country` = 'DE'.
    fn example(&self, regions: &[usize]) -> String {
        let parts = regions.iter().zip(&self.axes).zip(&self.names);
        let told = parts.filter(|((_, axis), _)| axis.is_cut());
        let parts = told.map(|((region, axis), name)| format!("`{name}` = {}", axis.example(*region)));
        let parts: Vec<String> = parts.collect();
        if parts.is_empty() { "everything".to_owned() } else { parts.join(", ") }
    }

    /// Tells of rows that nothing can match, and returns them.
    fn never(&self, compiler: &mut Compiler, definition: &Definition) -> HashSet<usize> {
        let empty = |row: &Vec<Admitted>| {
            row.iter()
                .zip(&self.axes)
                .position(|(cell, axis)| cell.possibly.first_common(axis.present()).is_none())
        };
        let never: Vec<(usize, usize)> =
            self.rows.iter().enumerate().filter_map(|(at, row)| Some((at, empty(row)?))).collect();
        for (row, column) in &never {
            let message =
                format!("no value of `{}` is in here, so row {} never matches", self.names[*column], row + 1);
            compiler.warn(definition, &format!("rows/{row}/when/{column}"), &message);
        }
        never.into_iter().map(|(row, _)| row).collect()
    }

    fn overlaps(&self, compiler: &mut Compiler, definition: &Definition, source: &TableDefinition) {
        let mut shown = 0;
        for (second, row) in self.rows.iter().enumerate() {
            for (first, earlier) in self.rows[..second].iter().enumerate() {
                let common = row.iter().zip(earlier).map(|(a, b)| a.surely.first_common(&b.surely));
                let Some(regions) = common.collect::<Option<Vec<usize>>>() else { continue };
                let same = if source.rows[first].then == source.rows[second].then {
                    " (and say the same)"
                } else {
                    ""
                };
                let message = format!(
                    "rows {} and {} both match {}{same}, but `hit` is `unique`; narrow one of them, or let the `first` match count",
                    first + 1,
                    second + 1,
                    self.example(&regions)
                );
                compiler.refuse(definition, &format!("rows/{second}"), message);
                shown += 1;
                if shown == OVERLAPS_SHOWN {
                    return;
                }
            }
        }
    }

    /// Tells of rows that are never used, because a row that wins over them matches wherever they do.
    fn shadowed(
        &self,
        compiler: &mut Compiler,
        definition: &Definition,
        order: &[usize],
        never: &HashSet<usize>,
    ) {
        let mut left = STEPS_OF_TABLE_MAX;
        for (rank, row) in order.iter().enumerate() {
            if rank == 0 || never.contains(row) || left == 0 {
                continue;
            }
            let within: Vec<Set> = self.rows[*row].iter().map(|cell| cell.possibly.clone()).collect();
            let cover: Vec<Vec<&Set>> = order[..rank]
                .iter()
                .map(|at| self.rows[*at].iter().map(|cell| &cell.surely).collect())
                .collect();
            let mut steps = STEPS_MAX.min(left);
            left -= steps;
            let found = uncovered(&within, &cover, &mut steps);
            left += steps;
            if matches!(found, Search::Covered) {
                let message =
                    format!("row {} is never used: rows that win over it match wherever it does", row + 1);
                compiler.warn(definition, &format!("rows/{row}"), &message);
            }
        }
    }

    /// Whether some row matches every combination, missing inputs included.
    fn always_matches(&self) -> bool {
        let surely: Vec<Vec<&Set>> =
            self.rows.iter().map(|row| row.iter().map(|cell| &cell.surely).collect()).collect();
        let all: Vec<Set> = self.axes.iter().map(|axis| axis.present().clone()).collect();
        matches!(uncovered(&all, &surely, &mut { STEPS_MAX }), Search::Covered)
    }

    /// Whether the table has a result for every combination.
    fn is_certain(&self, hit: Hit) -> bool {
        let both_match = |a: &[Admitted], b: &[Admitted]| {
            a.iter().zip(b).all(|(a, b)| a.possibly.first_common(&b.possibly).is_some())
        };
        let conflict = || {
            let rows = self.rows.iter().enumerate();
            rows.clone().any(|(at, row)| self.rows[..at].iter().any(|earlier| both_match(row, earlier)))
        };
        self.always_matches() && (hit != Hit::Unique || !conflict())
    }

    /// Tells of a combination that no row matches, or of an `otherwise` that is never used.
    fn gap(&self, compiler: &mut Compiler, definition: &Definition, source: &TableDefinition) {
        let cover: Vec<Vec<&Set>> =
            self.rows.iter().map(|row| row.iter().map(|cell| &cell.possibly).collect()).collect();
        // What missing inputs do was said where the input is compiled.
        let given: Vec<Set> = self.axes.iter().map(Axis::given).collect();
        match (&source.otherwise, uncovered(&given, &cover, &mut { STEPS_MAX })) {
            (None, Search::Found(regions)) => {
                let message = format!(
                    "no row matches {}; a row of `-` or `otherwise` decides the rest",
                    self.example(&regions)
                );
                compiler.warn(definition, "rows", &message);
            }
            (Some(_), _) if self.always_matches() => {
                compiler.warn(
                    definition,
                    "otherwise",
                    "some row always matches, so `otherwise` is never used",
                );
            }
            _ => {}
        }
    }
}

/// Looks for a combination of regions in the box `within` that none of the boxes in `cover` holds.
fn uncovered(within: &[Set], cover: &[Vec<&Set>], steps: &mut u32) -> Search {
    let Some((regions, rest)) = within.split_first() else {
        return if cover.is_empty() { Search::Found(Vec::new()) } else { Search::Covered };
    };
    if cover.is_empty() {
        let first = within.iter().map(|set| set.first_common(set)).collect::<Option<Vec<usize>>>();
        return first.map_or(Search::Covered, Search::Found);
    }
    if cover.iter().any(|sets| sets.iter().zip(within).all(|(set, within)| set.covers(within))) {
        return Search::Covered;
    }
    // Regions that the same boxes hold lead to the same answer.
    let mut seen: HashSet<Vec<usize>> = HashSet::new();
    for region in regions.iter() {
        let Some(left) = steps.checked_sub(1) else { return Search::GaveUp };
        *steps = left;
        let holding: Vec<usize> = (0..cover.len()).filter(|at| cover[*at][0].contains(region)).collect();
        let narrowed: Vec<Vec<&Set>> = holding.iter().map(|at| cover[*at][1..].to_vec()).collect();
        if !seen.insert(holding) {
            continue;
        }
        match uncovered(rest, &narrowed, steps) {
            Search::Covered => {}
            Search::Found(mut regions) => {
                regions.insert(0, region);
                return Search::Found(regions);
            }
            Search::GaveUp => return Search::GaveUp,
        }
    }
    Search::Covered
}
