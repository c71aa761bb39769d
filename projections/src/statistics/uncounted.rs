//! Counts that are not in their tables yet. With many tenants each batch has a submission or two of each, and five rows of counts to change for it; what it
//! adds gathers in the tenant's checkpoint instead, a row that moves anyway (docs/adr/0014), and goes to the tables when it is too much for that row.
//! Whoever reads counts adds both up ([`counted`]).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use chrono::NaiveDate;
use formledger_domain::{FormId, TenantId};
use serde::{Deserialize, Serialize};

use super::{ValuesByRule, bind_key};
use crate::columns::{self, Damaged};
use crate::database::Kind::{Flag, Integer, Text};
use crate::database::{Connection, Dialect, Kind, ManyRows, Row, storable};

/// The most that a checkpoint holds of it, in bytes of JSON: with the rest of the row less than the 2 KB from which on Postgres keeps values elsewhere.
pub(super) const UNCOUNTED_BYTES_MAX: usize = 1_500;

/// Form, rule, matched, and the value that it is counted under.
type OutcomeKey = (FormId, String, bool, String);

/// What is to be added to a tenant's counts: rows of `state_counts`, `day_counts` and `outcome_counts` without their tenant. A count of 0 is a row, too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Uncounted {
    states: BTreeMap<(FormId, String), i64>,
    days: BTreeMap<(FormId, NaiveDate), i64>,
    outcomes: BTreeMap<OutcomeKey, i64>,
    /// What the checkpoint holds of it.
    standing: String,
}

/// The same as JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Stored<S> {
    states: Vec<(S, S, i64)>,
    days: Vec<(S, NaiveDate, i64)>,
    outcomes: Vec<(S, S, bool, S, i64)>,
}

impl Uncounted {
    pub(super) fn state(&mut self, form: &FormId, state: &str, count: i64) {
        *self.states.entry((form.clone(), storable(state).into_owned())).or_default() += count;
    }

    pub(super) fn day(&mut self, form: &FormId, day: NaiveDate, count: i64) {
        *self.days.entry((form.clone(), day)).or_default() += count;
    }

    pub(super) fn outcome(&mut self, form: &FormId, rule: &str, matched: bool, value: &str, count: i64) {
        let key = (form.clone(), storable(rule).into_owned(), matched, storable(value).into_owned());
        *self.outcomes.entry(key).or_default() += count;
    }

    /// The values of a form's rules that are counted apart.
    pub(super) fn values_apart(&self, form: &FormId) -> ValuesByRule {
        let mut values = ValuesByRule::new();
        for (of, rule, _, value) in self.outcomes.keys() {
            if of == form && !value.is_empty() {
                values.entry(rule.clone()).or_default().insert(value.clone());
            }
        }
        values
    }

    fn is_empty(&self) -> bool {
        self.states.is_empty() && self.days.is_empty() && self.outcomes.is_empty()
    }

    /// As a checkpoint holds it; empty for nothing.
    fn text(&self) -> String {
        if self.is_empty() {
            return String::new();
        }
        let stored = Stored {
            states: self
                .states
                .iter()
                .map(|((form, state), n)| (form.as_str(), state.as_str(), *n))
                .collect(),
            days: self.days.iter().map(|((form, day), n)| (form.as_str(), *day, *n)).collect(),
            outcomes: (self.outcomes.iter())
                .map(|((form, rule, matched, value), n)| {
                    (form.as_str(), rule.as_str(), *matched, value.as_str(), *n)
                })
                .collect(),
        };
        serde_json::to_string(&stored).expect("texts and numbers are JSON")
    }

    /// Brings what stands in the checkpoint to what is gathered now; answers what stood there and what does. What is more than a checkpoint takes is moved to
    /// `counts` first.
    pub(super) fn stand(&mut self, tenant: &TenantId, counts: &mut Counts) -> (String, String) {
        let mut text = self.text();
        if text.len() > UNCOUNTED_BYTES_MAX {
            counts.take(tenant, self);
            text.clear();
        }
        (std::mem::replace(&mut self.standing, text.clone()), text)
    }

    fn read(text: String) -> Result<Self, Damaged> {
        let stored: Stored<String> =
            serde_json::from_str(&text).map_err(|error| Damaged::new("uncounted", error))?;
        let mut uncounted = Self { standing: text, ..Self::default() };
        for (form, state, count) in stored.states {
            uncounted.state(&columns::form(&form)?, &state, count);
        }
        for (form, day, count) in stored.days {
            uncounted.day(&columns::form(&form)?, day, count);
        }
        for (form, rule, matched, value, count) in stored.outcomes {
            uncounted.outcome(&columns::form(&form)?, &rule, matched, &value, count);
        }
        Ok(uncounted)
    }
}

/// What is not counted of these tenants, where there is something; or what is wrong with it.
pub(super) async fn load(
    connection: &mut Connection<'_>,
    tenants: &[&TenantId],
) -> Result<Vec<(TenantId, Result<Uncounted, Damaged>)>, sqlx::Error> {
    let rows =
        LOAD.fetch(connection, tenants.to_vec(), |values, tenant: &&TenantId| values.text(tenant.as_str()));
    let found =
        |row: &Row| Ok((columns::tenant(row.get("tenant_id")?)?, Uncounted::read(row.get("uncounted")?)));
    rows.await?.iter().map(found).collect()
}

/// What a batch writes to the tables. Ordered, so that rows are written along the tables' keys.
#[derive(Debug, Default)]
pub(super) struct Counts {
    states: Vec<(TenantId, (FormId, String), i64)>,
    days: Vec<(TenantId, (FormId, NaiveDate), i64)>,
    outcomes: Vec<(TenantId, OutcomeKey, i64)>,
}

impl Counts {
    /// Takes over what was gathered of a tenant, of one after the other in their order.
    fn take(&mut self, tenant: &TenantId, uncounted: &mut Uncounted) {
        let Uncounted { states, days, outcomes, .. } = uncounted;
        let (states, days, outcomes) =
            (std::mem::take(states), std::mem::take(days), std::mem::take(outcomes));
        self.states.extend(states.into_iter().map(|(key, count)| (tenant.clone(), key, count)));
        self.days.extend(days.into_iter().map(|(key, count)| (tenant.clone(), key, count)));
        self.outcomes.extend(outcomes.into_iter().map(|(key, count)| (tenant.clone(), key, count)));
    }

    pub(super) async fn write(self, connection: &mut Connection<'_>) -> Result<(), sqlx::Error> {
        ADD_STATES
            .execute(connection, self.states, |values, (tenant, (form, state), count)| {
                bind_key(values, tenant, form);
                values.text(state);
                values.integer(*count);
            })
            .await?;
        ADD_DAYS
            .execute(connection, self.days, |values, (tenant, (form, day), count)| {
                bind_key(values, tenant, form);
                values.text(&day.to_string());
                values.integer(*count);
            })
            .await?;
        ADD_OUTCOMES
            .execute(connection, self.outcomes, |values, (tenant, (form, rule, matched, value), count)| {
                bind_key(values, tenant, form);
                values.text(rule);
                values.flag(*matched);
                values.text(value);
                values.integer(*count);
            })
            .await?;
        Ok(())
    }
}

/// A table of counts, the member of the JSON that has what is to be added to it, and its columns between tenant and count.
pub(super) struct CountTable {
    pub(super) name: &'static str,
    member: &'static str,
    key: &'static [(&'static str, Kind)],
}

pub(super) const COUNT_TABLES: [CountTable; 3] = [
    CountTable { name: "state_counts", member: "states", key: &[("form", Text), ("state", Text)] },
    CountTable { name: "day_counts", member: "days", key: &[("form", Text), ("day", Text)] },
    CountTable {
        name: "outcome_counts",
        member: "outcomes",
        key: &[("form", Text), ("rule", Text), ("matched", Flag), ("value", Text)],
    },
];

/// A table expression with the columns of `table`: its rows, and where it is one of counts, those of `filter` with what is not counted added to them.
pub(crate) fn counted(dialect: Dialect, table: &str, filter: &str) -> String {
    let Some(CountTable { member, key, .. }) = COUNT_TABLES.iter().find(|counted| counted.name == table)
    else {
        return table.to_owned();
    };
    let columns = key.iter().map(|(column, _)| *column).collect::<Vec<_>>().join(", ");
    let count = dialect.json_at(key.len(), Integer);
    let items = dialect.json_items_of("checkpoints.uncounted", member);
    // The columns have their names before the filter asks for them.
    let named = key.iter().enumerate().map(|(index, (column, kind))| {
        let value = dialect.json_at(index, *kind);
        format!("{value} AS {column}")
    });
    let named = named.collect::<Vec<_>>().join(", ");
    format!(
        "(SELECT tenant_id, {columns}, CAST(sum(count) AS bigint) AS count FROM (SELECT tenant_id, {columns}, count FROM {table} \
         UNION ALL SELECT tenant_id, {named}, {count} FROM checkpoints, {items}) AS parts \
         WHERE {filter} GROUP BY tenant_id, {columns}) AS counted"
    )
}

static LOAD: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::over(
        "SELECT c.tenant_id, c.uncounted FROM {rows} CROSS JOIN checkpoints AS c \
         WHERE c.tenant_id = r.column1 AND c.uncounted IS NOT NULL",
        &[Text],
    )
});

static ADD_STATES: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::insert(
        "INSERT INTO state_counts (tenant_id, form, state, count)",
        &[Text, Text, Text, Integer],
        "ON CONFLICT (tenant_id, form, state) DO UPDATE SET count = state_counts.count + excluded.count",
    )
});

static ADD_DAYS: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::insert(
        "INSERT INTO day_counts (tenant_id, form, day, count)",
        &[Text, Text, Text, Integer],
        "ON CONFLICT (tenant_id, form, day) DO UPDATE SET count = day_counts.count + excluded.count",
    )
});

static ADD_OUTCOMES: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::insert(
        "INSERT INTO outcome_counts (tenant_id, form, rule, matched, value, count)",
        &[Text, Text, Text, Flag, Text, Integer],
        "ON CONFLICT (tenant_id, form, rule, matched, value) DO UPDATE SET count = outcome_counts.count + excluded.count",
    )
});
