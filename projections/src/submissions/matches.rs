//! The submissions that a condition selects, as keys of `field_keys`, and the ways to ask for them: all of them, how many, or whether one is.
//! Used by `way` and `select`.

use formledger_domain::{FormId, TenantId, TextKind};

use super::fields::FieldValue;
use super::key::{FieldPrefix, KeyRange};
use super::numeral::Numeral;
use crate::condition::{Comparison, Condition, Operand};
use crate::database::Sql;

/// The submissions that a condition selects, or those that it leaves out with `!=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Matches(Vec<Keys>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Keys {
    One(Vec<u8>),
    Range(KeyRange),
}

/// Positions on one side of another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beyond {
    /// `<` or `>`.
    pub(super) side: &'static str,
    pub(super) position: i64,
}

impl Matches {
    /// Of a condition on a field whose texts are of this kind.
    pub(super) fn of(form: &FormId, condition: &Condition, kind: TextKind) -> Self {
        let field = FieldPrefix::new(form, &condition.pointer);
        let equal = matches!(condition.comparison, Comparison::Equal | Comparison::NotEqual);
        let values: Vec<FieldValue> = match &condition.operand {
            Operand::Number(written) => {
                let number = Numeral::of_json(written).map(FieldValue::Number);
                // What equals a number may also be a text that is written like it.
                let text = (equal && kind == TextKind::Plain).then(|| FieldValue::text(written));
                number.into_iter().chain(text).collect()
            }
            Operand::Text(text) => {
                vec![FieldValue::said(text, kind).unwrap_or_else(|| FieldValue::text(text))]
            }
        };
        let keys = |value: &FieldValue| match condition.comparison {
            Comparison::Equal | Comparison::NotEqual => Some(Keys::One(field.key(value))),
            comparison => field.values_that(comparison, value).map(Keys::Range),
        };
        Self(values.iter().filter_map(keys).collect())
    }

    /// Their keys, where they lie together.
    pub(super) fn range(&self) -> Option<KeyRange> {
        match &*self.0 {
            [Keys::One(key)] => Some(KeyRange::of(key.clone())),
            [Keys::Range(range)] => Some(range.clone()),
            _ => None,
        }
    }

    /// The key that all of them have, where there is one.
    pub(super) fn key(&self) -> Option<&[u8]> {
        match &*self.0 {
            [Keys::One(key)] => Some(key),
            _ => None,
        }
    }

    /// Whether the key of each is known, so that one look tells whether a submission is among them.
    pub(super) fn are_of_known_keys(&self) -> bool {
        self.0.iter().all(|keys| matches!(keys, Keys::One(_)))
    }

    /// Keeps those that `other` selects as well, if both are ranges; of one field, in which a submission has one value. Else answers `false`.
    pub(super) fn narrow(&mut self, other: &Self) -> bool {
        match (&mut *self.0, &*other.0) {
            ([Keys::Range(range)], [Keys::Range(other)]) => {
                *range = range.clone().and(other.clone());
                true
            }
            _ => false,
        }
    }

    /// A query of their positions, of all or of those on one side. No submission is in it twice: it has one value in each field.
    pub(super) fn push_positions(&self, sql: &mut Sql<'_>, tenant: &TenantId, beyond: Option<Beyond>) {
        for (place, keys) in self.0.iter().enumerate() {
            sql.push(if place > 0 { " UNION ALL " } else { "" });
            sql.push("SELECT c.created_position");
            keys.push_from(sql, tenant);
            if let Some(Beyond { side, position }) = beyond {
                sql.push(&format!(" AND c.created_position {side} ")).push_bind(position);
            }
        }
    }

    /// How many there are; of those that have one key, and of those in a range, no more than `max` are counted.
    pub(super) fn push_count(&self, sql: &mut Sql<'_>, tenant: &TenantId, max: i64) {
        for (place, keys) in self.0.iter().enumerate() {
            sql.push(if place > 0 { " + " } else { "" });
            sql.push("(SELECT count(*) FROM (SELECT 1");
            keys.push_from(sql, tenant);
            // In the order of the index, or Postgres may read the table from its beginning until it has found so many.
            sql.push(match keys {
                Keys::One(_) => " ORDER BY c.created_position",
                Keys::Range(_) => " ORDER BY c.field_key, c.created_position",
            });
            sql.push(" LIMIT ").push_bind(max).push(") AS counted)");
        }
    }

    /// Whether the submission at the position in `column` is among them, by a look at the index for each that is asked for. With `OFFSET`,
    /// Postgres does not gather them all instead.
    pub(super) fn push_contain(&self, sql: &mut Sql<'_>, tenant: &TenantId, column: &str) {
        sql.push("(");
        for (place, keys) in self.0.iter().enumerate() {
            sql.push(if place > 0 { " OR " } else { "" });
            sql.push("EXISTS (SELECT 1");
            keys.push_from(sql, tenant);
            sql.push(&format!(" AND c.created_position = {column} LIMIT 1 OFFSET 0)"));
        }
        sql.push(")");
    }
}

impl Keys {
    fn push_from(&self, sql: &mut Sql<'_>, tenant: &TenantId) {
        sql.push(" FROM field_keys AS c WHERE c.tenant_id = ").push_bind(tenant.to_string());
        match self {
            // Said as what it is: of a range Postgres would expect a fixed share of all keys.
            Self::One(key) => {
                sql.push(" AND c.field_key = ").push_bind(key.clone());
            }
            Self::Range(range) => {
                sql.push(" AND c.field_key >= ").push_bind(range.first.clone());
                sql.push(" AND c.field_key < ").push_bind(range.beyond.clone());
            }
        }
    }
}
