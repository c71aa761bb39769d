//! Which way a page goes through the rows, and what is looked at on the way. Every order comes out of an index as it is, but that of few rows.
//! Chosen by `query`, written down by `select`.

use std::collections::HashMap;

use formledger_domain::{FormId, Position, TenantId, TextKind};

use super::key::{FieldPrefix, KeyRange};
use super::matches::Matches;
use super::query::{SortKey, SubmissionQuery};
use super::select::PageKey;
use crate::condition::{Comparison, Condition};
use crate::database::{Connection, sql};

/// What a page goes along, row by row in its order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Along {
    /// An index of `submissions`.
    Submissions,
    /// The values of a field in their order, from where the page before ended and as far as the conditions on this field go.
    Values(KeyRange),
    /// The submissions that have the value of this key, in the order of their creation.
    Value(Vec<u8>),
    /// The few matches of a condition, which are put in order afterwards.
    Few(Matches),
}

/// A condition that is looked at on the way, or several ranges of one field.
#[derive(Debug)]
pub(super) struct Look<'q> {
    pub(super) pointer: &'q str,
    pub(super) matches: Matches,
    /// Whether they are left out.
    pub(super) negated: bool,
    /// Whether so few match that all of them are gathered first.
    pub(super) few: bool,
}

/// How a page goes. Conditions that it does not look at hold for every row that comes along.
#[derive(Debug)]
pub(super) struct Way<'q> {
    pub(super) along: Along,
    pub(super) looks: Vec<Look<'q>>,
}

/// What the texts of fields say, by pointer.
pub(super) type Kinds = HashMap<String, TextKind>;

impl<'q> Way<'q> {
    /// The way of a page after the one that ended at `after`, as long as nothing is counted; `kinds` are those of the fields with conditions.
    pub(super) fn of(query: &'q SubmissionQuery, kinds: &Kinds, after: Option<&PageKey>) -> Self {
        // Conditions without a form are refused before.
        let Some(form) = &query.form else { return Self { along: Along::Submissions, looks: Vec::new() } };
        let mut looks = looks(form, &query.conditions, kinds);
        let along = match (&query.sort.key, &*looks) {
            (SortKey::Field(pointer), _) => {
                let field = FieldPrefix::new(form, pointer);
                let mut range = field.values();
                looks.retain(|look| match look.matches.range() {
                    Some(values) if look.pointer == pointer && !look.negated => {
                        range = range.clone().and(values);
                        false
                    }
                    _ => true,
                });
                // A bound of its own: of several on one column, SQLite may begin with the one that is farther away.
                Along::Values(match after {
                    Some(PageKey::Field(rest, _)) if query.sort.descending => range.up_to(field.with(rest)),
                    Some(PageKey::Field(rest, _)) => range.from(field.with(rest)),
                    Some(PageKey::Position(_)) | None => range,
                })
            }
            // Somebody's submissions, or those in a state, may be few among all that have the value.
            (SortKey::CreatedAt, [look])
                if !look.negated && query.submitter.is_none() && query.state.is_none() =>
            {
                look.matches.key().map_or(Along::Submissions, |key| Along::Value(key.to_owned()))
            }
            _ => Along::Submissions,
        };
        if let Along::Value(_) = along {
            looks.clear();
        }
        Self { along, looks }
    }

    /// Counts the matches of conditions. Along `submissions`, goes along those of a condition instead where they are few; does not gather those that
    /// are many where it can do without. From a position to its values there is no index, so an order by a field stays as it is.
    ///
    /// Among the submissions of `events` events, `rows` that are among m matches are found after some `events * rows / m` in their order, or after
    /// all m: m is few where that is less.
    pub(super) async fn choose(
        &mut self,
        snapshot: &mut Connection<'_>,
        tenant: &TenantId,
        events: Position,
        rows: u32,
    ) -> Result<(), sqlx::Error> {
        let max = events.0.saturating_mul(rows.into()).isqrt();
        let max = i64::try_from(max).expect("a root of 64 bits has 32");
        let mut count = sql("SELECT ");
        let mut counted = Vec::new();
        // Whom `!=` leaves out is looked up for each row.
        for (place, look) in self.looks.iter().enumerate().filter(|(_, look)| !look.negated) {
            count.push(if counted.is_empty() { "" } else { ", " });
            look.matches.push_count(&mut count, tenant, max + 1);
            count.push(&format!(" AS matches_{place}"));
            counted.push(place);
        }
        if counted.is_empty() {
            return Ok(());
        }
        let row = count.one(snapshot).await?;
        let mut few = Vec::new();
        for place in counted {
            let matches: i64 = row.get(&format!("matches_{place}"))?;
            if matches <= max {
                self.looks[place].few = true;
                few.push((matches, place));
            }
        }
        if let (Along::Submissions, Some((_, fewest))) = (&self.along, few.into_iter().min()) {
            self.along = Along::Few(self.looks.remove(fewest).matches);
        }
        Ok(())
    }

    /// Whether all matches of a condition are gathered to look rows up in them.
    pub(super) fn gathers(&self) -> bool {
        self.looks.iter().any(Look::gathers)
    }
}

impl Look<'_> {
    /// Whether all that match are gathered first, once for a page, instead of looking for each row that comes along.
    pub(super) fn gathers(&self) -> bool {
        self.few || !self.matches.are_of_known_keys()
    }
}

fn looks<'q>(form: &FormId, conditions: &'q [Condition], kinds: &Kinds) -> Vec<Look<'q>> {
    let mut looks: Vec<Look<'q>> = Vec::new();
    for condition in conditions {
        let pointer = &*condition.pointer;
        let matches = Matches::of(form, condition, kinds.get(pointer).copied().unwrap_or(TextKind::Plain));
        if !looks.iter_mut().any(|look| look.pointer == pointer && look.matches.narrow(&matches)) {
            let negated = condition.comparison == Comparison::NotEqual;
            looks.push(Look { pointer, matches, negated, few: false });
        }
    }
    looks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::submissions::fields::FieldValue;

    #[test]
    fn a_page_begins_where_the_one_before_ended() {
        let form: FormId = "claim".parse().expect("a form id");
        let field = FieldPrefix::new(&form, "/n");
        let key = |number| field.key(&FieldValue::Number(f64::into(number)));
        let rest = |number| field.rest(&key(number)).expect("a key of this field").to_vec();
        let range = |text: &str, sort: &str, after: Option<f64>| {
            let query = SubmissionQuery {
                form: Some(form.clone()),
                conditions: vec![text.parse().expect("a condition")],
                sort: sort.parse().expect("an order"),
                ..Default::default()
            };
            match Way::of(&query, &Kinds::new(), after.map(|number| PageKey::Field(rest(number), 7)).as_ref())
            {
                Way { along: Along::Values(range), looks } if looks.is_empty() => range,
                _ => panic!("an order by field goes along its values"),
            }
        };
        let all = range("/n>=2", "/n", None);
        assert_eq!(all.first, key(2.0));
        assert_eq!(range("/n>=2", "/n", Some(5.0)), KeyRange { first: key(5.0), ..all.clone() });
        assert_eq!(range("/n>=2", "/n", Some(1.0)), all, "a cursor of before the condition changes nothing");
        let beyond = [key(5.0), vec![0]].concat();
        assert_eq!(range("/n>=2", "-/n", Some(5.0)), KeyRange { beyond, ..all });
    }

    #[test]
    fn only_conditions_that_the_way_keeps_are_not_looked_at() {
        for (conditions, sort, submitter, left) in [
            (vec!["/n>=2", "/c=DE"], "/n", None, vec!["/c"]),
            (vec!["/c=DE", "/n>=2", "/n!=7"], "-/n", None, vec!["/c", "/n"]),
            (vec!["/n=2"], "/n", None, vec!["/n"]),
            (vec!["/c=DE"], "-created_at", None, vec![]),
            (vec!["/c=DE"], "-created_at", Some("ann"), vec!["/c"]),
            (vec!["/c=DE", "/d=x"], "created_at", None, vec!["/c", "/d"]),
            (vec!["/c!=DE"], "created_at", None, vec!["/c"]),
            (vec!["/c=7"], "created_at", None, vec!["/c"]),
            (vec!["/c=DE"], "updated_at", None, vec!["/c"]),
            (vec!["/n>=2", "/c>A", "/n<7", "/n!=3"], "created_at", None, vec!["/n", "/c", "/n"]),
        ] {
            let query = SubmissionQuery {
                form: Some("claim".parse().expect("a form id")),
                conditions: conditions.iter().map(|text| text.parse().expect("a condition")).collect(),
                submitter: submitter.map(str::to_owned),
                sort: sort.parse().expect("an order"),
                ..Default::default()
            };
            let way = Way::of(&query, &Kinds::new(), None);
            let looked_at: Vec<&str> = way.looks.iter().map(|look| look.pointer).collect();
            assert_eq!(looked_at, left, "{conditions:?} by {sort}");
        }
    }
}
