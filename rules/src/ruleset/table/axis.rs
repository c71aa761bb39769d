//! One input of a table as its cells cut it up: regions of values between which no cell can tell a difference.
//!
//! Part of [`super::analysis`]. The constants that the cells of a column compare with are points on a line; every point is a
//! region, and so is every gap between two of them that holds a value at all. A last region stands for a missing input.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use serde_json::Value as Json;

use super::Column;
use super::cell::{Admits, Bound};
use crate::number::double_to_decimal;
use crate::time;
use crate::types::Type;
use crate::value::{Value, decimal_from_text};

/// Values listed in the example of a text that is none of them.
const TEXTS_SHOWN: usize = 3;

/// The regions that a cell admits. Where a cell cannot be understood before it runs, `surely` is less than `possibly`.
#[derive(Clone, Debug)]
pub(super) struct Admitted {
    pub surely: Set,
    pub possibly: Set,
}

/// A set of regions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Set(Vec<u64>);

impl Set {
    fn empty(regions: usize) -> Set {
        Set(vec![0; regions.div_ceil(64)])
    }

    fn insert(&mut self, region: usize) {
        self.0[region / 64] |= 1 << (region % 64);
    }

    pub fn contains(&self, region: usize) -> bool {
        self.0[region / 64] >> (region % 64) & 1 == 1
    }

    /// The first region in both sets.
    pub fn first_common(&self, other: &Set) -> Option<usize> {
        let words = self.0.iter().zip(&other.0).map(|(a, b)| a & b).enumerate();
        words.filter(|(_, word)| *word != 0).map(|(at, word)| at * 64 + word.trailing_zeros() as usize).next()
    }

    /// Whether every region of `other` is in this set.
    pub fn covers(&self, other: &Set) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| b & !a == 0)
    }

    pub fn iter(&self) -> impl Iterator<Item = usize> {
        (0..self.0.len() * 64).filter(|region| self.contains(*region))
    }
}

/// A point on a column's line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    Number(Decimal),
    Text(String),
}

/// One input of a table.
pub(super) struct Axis {
    ty: Type,
    points: Vec<Point>,
    /// Regions that some value lies in: gap 0, point 0, gap 1, point 1, …, the last gap, then the missing input.
    present: Set,
}

impl Axis {
    /// The line of an input under these cells; `None` when its values have no order that is known here.
    pub fn new<'c>(
        column: &Column,
        values: Option<&[Json]>,
        cells: impl Iterator<Item = &'c Admits>,
    ) -> Option<Axis> {
        let ty = &column.ty;
        let line = matches!(
            ty,
            Type::Bool
                | Type::Int
                | Type::Uint
                | Type::Double
                | Type::Decimal
                | Type::Date
                | Type::Timestamp
                | Type::Duration
                | Type::String
        );
        if !line {
            return None;
        }
        let bounds: Vec<&Bound> = cells.flat_map(Admits::bounds).collect();
        let mut points: BTreeSet<Point> = bounds.iter().filter_map(|bound| point(&bound.value)).collect();
        let listed: Option<Vec<Point>> = match (values, ty) {
            (Some(values), _) => values.iter().map(|json| point_of_json(json, ty)).collect(),
            (None, Type::Bool) => {
                Some([false, true].iter().filter_map(|truth| point(&Value::Bool(*truth))).collect())
            }
            (None, _) => None,
        };
        points.extend(listed.iter().flatten().cloned());
        let limits = column.limits.each_ref().map(|limit| decimal_from_text(&limit.as_ref()?.to_string()));
        let limits =
            if *ty == Type::Uint && limits[0].is_none() { [Some(Decimal::ZERO), limits[1]] } else { limits };
        points.extend(limits.iter().flatten().map(|limit| Point::Number(*limit)));
        let mut axis =
            Axis { ty: ty.clone(), points: points.into_iter().collect(), present: Set(Vec::new()) };
        let ordered = bounds.iter().any(|bound| !matches!(bound.operator, "==" | "!="));
        axis.present = axis.presence(listed.as_deref(), &limits, ordered, column.optional);
        Some(axis)
    }

    /// All regions, present or not.
    fn regions(&self) -> usize {
        2 * self.points.len() + 2
    }

    /// The region of a missing input.
    fn missing(&self) -> usize {
        self.regions() - 1
    }

    fn presence(
        &self,
        listed: Option<&[Point]>,
        limits: &[Option<Decimal>; 2],
        ordered: bool,
        optional: bool,
    ) -> Set {
        let mut present = Set::empty(self.regions());
        for region in 0..self.missing() {
            let there = match (listed, region % 2) {
                (Some(listed), 1) => listed.contains(&self.points[region / 2]),
                (Some(_), _) => false,
                (None, 1) => self.is_value(&self.points[region / 2]),
                // Texts that are only compared for equality differ in nothing but being none of the points.
                (None, _) if self.ty == Type::String && !ordered => region == self.missing() - 1,
                (None, _) => self.inside(region).is_some(),
            };
            let inside = |low: &Decimal| matches!(&self.points.get(region.saturating_sub(1) / 2), Some(Point::Number(at)) if at >= low && region > 0);
            let below = |high: &Decimal| matches!(&self.points.get(region / 2), Some(Point::Number(at)) if at <= high);
            let within = limits[0].as_ref().is_none_or(inside) && limits[1].as_ref().is_none_or(below);
            if there && within {
                present.insert(region);
            }
        }
        if optional {
            present.insert(self.missing());
        }
        present
    }

    /// Whether an input of this type can be at a point: no whole number is 2.5.
    fn is_value(&self, point: &Point) -> bool {
        !matches!(point, Point::Number(at) if self.is_whole() && !at.is_integer())
    }

    fn is_whole(&self) -> bool {
        matches!(self.ty, Type::Bool | Type::Int | Type::Uint | Type::Date | Type::Timestamp | Type::Duration)
    }

    /// Some value in a gap, when there is one. Texts have one between any two but neighbours, which nobody writes down.
    fn inside(&self, gap: usize) -> Option<Point> {
        let number = |at: usize| match self.points.get(at) {
            Some(Point::Number(number)) => Some(*number),
            _ => None,
        };
        if self.ty == Type::String {
            return Some(Point::Text(String::new()));
        }
        let (low, high) =
            (gap.checked_div(2).filter(|_| gap > 0).and_then(|at| number(at - 1)), number(gap / 2));
        let found = match (low, high) {
            (None, None) => Decimal::ZERO,
            (None, Some(high)) => high.ceil().checked_sub(Decimal::ONE)?,
            (Some(low), None) => low.floor().checked_add(Decimal::ONE)?,
            (Some(low), Some(high)) => {
                let whole = low.floor().checked_add(Decimal::ONE)?;
                if whole < high {
                    whole
                } else if self.is_whole() {
                    return None;
                } else {
                    low.checked_add(high)?.checked_div(Decimal::TWO)?
                }
            }
        };
        (low.is_none_or(|low| low < found) && high.is_none_or(|high| found < high))
            .then_some(Point::Number(found))
    }

    /// The regions that can occur when the input is there.
    pub fn given(&self) -> Set {
        let mut given = self.present.clone();
        given.0[self.missing() / 64] &= !(1 << (self.missing() % 64));
        given
    }

    /// Whether any cell tells one value from another.
    pub fn is_cut(&self) -> bool {
        !self.points.is_empty()
    }

    /// The regions that can occur.
    pub fn present(&self) -> &Set {
        &self.present
    }

    /// The regions that a cell admits.
    pub fn admitted(&self, cell: &Admits) -> Admitted {
        let given = self.given();
        match cell {
            Admits::Anything => Admitted { surely: self.present.clone(), possibly: self.present.clone() },
            Admits::Tests { negated, alternatives } => {
                let placed: Vec<Option<Vec<Placed>>> =
                    alternatives.iter().map(|bounds| self.place(bounds.as_deref()?)).collect();
                let (mut surely, mut possibly) = (Set::empty(self.regions()), Set::empty(self.regions()));
                for region in given.iter() {
                    let held =
                        placed.iter().map(|bounds| bounds.as_ref().map(|bounds| all_hold(bounds, region)));
                    // `None` is a test that only a submission can decide.
                    let (sure, possible) = held.fold((false, false), |(sure, possible), holds| {
                        (sure || holds == Some(true), possible || holds != Some(false))
                    });
                    let (sure, possible) = if *negated { (!possible, !sure) } else { (sure, possible) };
                    if sure {
                        surely.insert(region);
                    }
                    if possible {
                        possibly.insert(region);
                    }
                }
                Admitted { surely, possibly }
            }
        }
    }

    /// The places of a conjunction's constants on the line; `None` when one has none.
    fn place(&self, bounds: &[Bound]) -> Option<Vec<Placed>> {
        let place = |bound: &Bound| {
            let at = self.points.binary_search(&point(&bound.value)?).ok()?;
            Some((bound.operator, at * 2 + 1))
        };
        bounds.iter().map(place).collect()
    }

    /// A value in a region, as a rule would write it.
    pub fn example(&self, region: usize) -> String {
        if region == self.missing() {
            return "nothing".to_owned();
        }
        if region % 2 == 1 {
            return self.shown(&self.points[region / 2]);
        }
        if self.ty == Type::String {
            let texts: Vec<String> =
                self.points.iter().take(TEXTS_SHOWN).map(|point| self.shown(point)).collect();
            return match (region.checked_sub(1).map(|at| &self.points[at / 2]), self.points.get(region / 2)) {
                (Some(low), Some(high)) => {
                    format!("a text between {} and {}", self.shown(low), self.shown(high))
                }
                _ if texts.is_empty() => "any text".to_owned(),
                _ => format!("a text other than {}", texts.join(", ")),
            };
        }
        self.inside(region).map_or_else(|| "something else".to_owned(), |point| self.shown(&point))
    }

    fn shown(&self, point: &Point) -> String {
        let number = match point {
            Point::Text(text) => return format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
            Point::Number(number) => *number,
        };
        let whole = i128::try_from(number).unwrap_or_default();
        let shown = match &self.ty {
            Type::Bool => Some((whole != 0).to_string()),
            Type::Date => date_at(whole).map(|date| format!("date('{}')", time::format_date(date))),
            Type::Timestamp => {
                timestamp_at(whole).map(|at| format!("timestamp('{}')", time::timestamp_text(&at)))
            }
            Type::Duration => {
                i64::try_from(whole).ok().map(|nanos| format!("duration('{}')", time::format_duration(nanos)))
            }
            _ => None,
        };
        shown.unwrap_or_else(|| number.normalize().to_string())
    }
}

/// A bound's operator and the region of its constant.
type Placed = (&'static str, usize);

/// Whether a conjunction of bounds holds all over a region.
fn all_hold(bounds: &[Placed], region: usize) -> bool {
    bounds.iter().all(|(operator, at)| match *operator {
        "<" => region < *at,
        "<=" => region <= *at,
        ">" => region > *at,
        ">=" => region >= *at,
        "!=" => region != *at,
        _ => region == *at,
    })
}

/// Where a value lies on its line. Numbers that no decimal holds have no place.
fn point(value: &Value<'_>) -> Option<Point> {
    Some(match value {
        Value::String(text) => Point::Text(text.to_string()),
        Value::Bool(truth) => Point::Number(u8::from(*truth).into()),
        Value::Int(int) => Point::Number((*int).into()),
        Value::Uint(uint) => Point::Number((*uint).into()),
        Value::Double(double) => Point::Number(double_to_decimal(*double)?),
        Value::Decimal(decimal) => Point::Number(*decimal),
        Value::Duration(nanos) => Point::Number((*nanos).into()),
        Value::Date(date) => Point::Number((*date - chrono::NaiveDate::default()).num_days().into()),
        Value::Timestamp(at) => Point::Number(
            Decimal::from(at.timestamp()) * Decimal::from(time::NANOS)
                + Decimal::from(at.timestamp_subsec_nanos()),
        ),
        _ => return None,
    })
}

fn point_of_json(json: &Json, ty: &Type) -> Option<Point> {
    point(&crate::value::from_json(json, ty).ok()?)
}

fn date_at(days: i128) -> Option<chrono::NaiveDate> {
    time::add_days(chrono::NaiveDate::default(), i64::try_from(days).ok()?)
}

fn timestamp_at(nanos: i128) -> Option<chrono::DateTime<chrono::Utc>> {
    let (seconds, rest) = (nanos.div_euclid(time::NANOS.into()), nanos.rem_euclid(time::NANOS.into()));
    chrono::DateTime::from_timestamp(i64::try_from(seconds).ok()?, u32::try_from(rest).ok()?)
}
