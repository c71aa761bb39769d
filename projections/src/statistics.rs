//! The statistics read model: how many submissions are in which state, came on which day, what the rules said, and how long it takes.
//! Counts change by what the events themselves say; a batch adds up in memory first. Only of stays that go on a row is kept (`stays`).

mod stays;
#[cfg(test)]
mod tests;
mod uncounted;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use chrono::NaiveDate;
use cqrs_es::Aggregate;
use foldhash::fast::RandomState;
use formledger_domain::{
    CanonicalJson, FormId, Sequence, Submission, SubmissionEvent, SubmissionState, TenantId, WorkflowFact,
};
use formledger_store::RecordedEvent;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::checkpoint::Recount;
use crate::columns::{self, KEY_BYTES_MAX};
use crate::database::Kind::Text;
use crate::database::{Connection, ManyRows, Row, Values, sql};
use crate::position::ReadModel;
use crate::projection::{Projection, Said, Slice, Stop};
use stays::Stays;
use uncounted::{Counts, Uncounted};

pub(crate) use uncounted::counted;

pub use stays::{EndedStays, OpenStays, SinceDay, StateTime};

/// Different values of one rule that are counted apart, the first ones in ledger order; all others are counted together.
/// A rule that computes an amount says something else almost every time.
pub const OUTCOME_VALUES_MAX: usize = 50;
/// The longest value that is counted apart, in bytes of JSON.
pub const OUTCOME_VALUE_BYTES_MAX: usize = 512;
/// The most days per answer, newest first.
pub const DAYS_MAX: u32 = 400;
/// The state that a submission leaves when it is submitted later than it is made.
static DRAFT: SubmissionState = SubmissionState::DRAFT;
/// The sequence of the event that makes a submission.
const FIRST: Sequence = Sequence(1);
/// Forms whose known outcome values are remembered, and how many values in all, of 512 bytes at the most and some dozen as a rule; and tenants of whom it is
/// remembered what is not counted, in up to five times the bytes that a checkpoint holds of it. At a limit all are forgotten and read again, those of a batch at once.
const FORMS_REMEMBERED_MAX: usize = 100_000;
const VALUES_REMEMBERED_MAX: usize = 500_000;
const TENANTS_REMEMBERED_MAX: usize = 50_000;

/// Counts of one tenant.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// By form and state, of all submissions.
    pub states: Vec<StateCount>,
    /// By form and UTC day of creation, newest first; at most [`DAYS_MAX`].
    pub days: Vec<DayCount>,
    /// By form, rule and what it said, of all evaluations; see [`OUTCOME_VALUES_MAX`].
    pub outcomes: Vec<OutcomeCount>,
    /// By form and state that submissions were in, or are, before they go on.
    pub times: Vec<StateTime>,
}

/// Submissions of a form in a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateCount {
    /// The form.
    pub form: FormId,
    /// The state.
    pub state: String,
    /// How many.
    pub count: u64,
}

/// Submissions of a form created on a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DayCount {
    /// The form.
    pub form: FormId,
    /// The UTC day.
    pub day: NaiveDate,
    /// How many.
    pub count: u64,
}

/// How often a rule of a form said something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutcomeCount {
    /// The form.
    pub form: FormId,
    /// The rule's id.
    pub rule: String,
    /// Whether its condition held.
    pub matched: bool,
    /// What it said; absent where it said nothing, or where its values are too many to count apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<CanonicalJson>,
    /// How many evaluations.
    pub count: u64,
}

/// Keeps `state_counts`, `day_counts`, `outcome_counts` and, for times, `open_stays` with its counts and `ended_stay_counts`. What a batch adds to the first
/// three gathers in the tenant's checkpoint, a row that moves anyway (docs/adr/0014), until it is too much for that.
#[derive(Debug, Default)]
pub(crate) struct StatisticsProjection {
    /// What is not in the tables, as it stands in the checkpoints.
    uncounted: HashMap<TenantId, Uncounted, RandomState>,
    /// Of the last batch.
    recounts: Vec<Recount>,
    /// The values that are counted apart, as they stand in the table.
    apart: HashMap<(TenantId, FormId), ValuesByRule, RandomState>,
    /// How many values that are.
    values: usize,
}

type ValuesByRule = BTreeMap<String, BTreeSet<String>>;

/// What a slice adds to the counts of its tenant.
#[derive(Debug, Default)]
struct Added<'a> {
    states: BTreeMap<(&'a FormId, &'a str), i64>,
    days: BTreeMap<(&'a FormId, NaiveDate), i64>,
    evaluations: HashMap<(&'a FormId, &'a str), Evaluations<'a>, RandomState>,
}

/// Evaluations that said the same, down to the text; most submissions of a form share a few texts, and each is read once.
#[derive(Debug)]
struct Evaluations<'a> {
    /// What each rule said: rule, matched, the value it is counted under.
    said: Vec<(String, bool, &'a str)>,
    count: i64,
}

/// What one rule said, as `rules-evaluated` records it.
#[derive(Debug, Deserialize)]
struct Outcome<'a> {
    matched: bool,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

impl Projection for StatisticsProjection {
    const READ_MODEL: ReadModel = ReadModel::Statistics;
    const VERSION: i64 = 2;
    const TABLES: &'static [&'static str] = &[
        "state_counts",
        "day_counts",
        "outcome_counts",
        "open_stays",
        "open_stay_counts",
        "ended_stay_counts",
    ];

    fn follows(aggregate_type: &str) -> bool {
        aggregate_type == Submission::TYPE
    }

    async fn apply(
        &mut self,
        connection: &mut Connection<'_>,
        slices: &[Slice<'_>],
    ) -> Result<Vec<Stop>, sqlx::Error> {
        let mut stops = self.recall_uncounted(connection, slices).await?;
        let readable = |slice: &&Slice<'_>| stops.iter().all(|stop| stop.tenant != *slice.tenant);
        let slices: &[Slice<'_>] = &slices.iter().filter(readable).copied().collect::<Vec<_>>();
        self.recall_apart(connection, slices).await?;
        let mut stays = Stays::load(connection, slices).await?;
        let mut counts = Counts::default();
        self.recounts.clear();
        for slice in slices {
            let mut added = Added::default();
            stops.extend(self.count(slice, &mut added, &mut stays).err());
            self.gather(slice.tenant, added, &mut counts);
        }
        counts.write(connection).await?;
        stays.write(connection).await?;
        Ok(stops)
    }

    fn take_recounts(&mut self) -> Vec<Recount> {
        std::mem::take(&mut self.recounts)
    }

    fn forget(&mut self) {
        *self = Self::default();
    }
}

impl StatisticsProjection {
    /// Reads what is not counted of those tenants of the slices that memory does not hold; stops where that cannot be understood.
    async fn recall_uncounted(
        &mut self,
        connection: &mut Connection<'_>,
        slices: &[Slice<'_>],
    ) -> Result<Vec<Stop>, sqlx::Error> {
        let is_full = self.uncounted.len() >= TENANTS_REMEMBERED_MAX
            || self.apart.len() >= FORMS_REMEMBERED_MAX
            || self.values >= VALUES_REMEMBERED_MAX;
        if is_full {
            self.forget();
        }
        let unknown = |slice: &&Slice<'_>| !self.uncounted.contains_key(slice.tenant);
        let unknown: Vec<&TenantId> = slices.iter().filter(unknown).map(|slice| slice.tenant).collect();
        let found = uncounted::load(connection, &unknown).await?;
        self.uncounted.extend(unknown.into_iter().map(|tenant| (tenant.clone(), Uncounted::default())));
        let mut stops = Vec::new();
        for (tenant, uncounted) in found {
            match uncounted {
                Ok(uncounted) => drop(self.uncounted.insert(tenant, uncounted)),
                Err(damaged) => {
                    self.uncounted.remove(&tenant);
                    let slice = slices.iter().find(|slice| *slice.tenant == tenant);
                    let Some(fact) = slice.and_then(|slice| slice.facts.first()) else { continue };
                    let (position, error) =
                        (fact.event.position, format!("its counts cannot be read: {damaged}"));
                    stops.push(Stop { tenant, position, error });
                }
            }
        }
        Ok(stops)
    }

    /// Adds what a slice counted to what is not in the tables; what is more than a checkpoint takes goes to `counts`.
    fn gather(&mut self, tenant: &TenantId, added: Added<'_>, counts: &mut Counts) {
        if added.states.is_empty() && added.days.is_empty() && added.evaluations.is_empty() {
            return;
        }
        let uncounted = self.uncounted.entry(tenant.clone()).or_default();
        for ((form, state), count) in added.states {
            uncounted.state(form, state, count);
        }
        for ((form, day), count) in added.days {
            uncounted.day(form, day, count);
        }
        for ((form, _), Evaluations { said, count }) in added.evaluations {
            for (rule, matched, value) in said {
                uncounted.outcome(form, &rule, matched, value, count);
            }
        }
        let (from, to) = uncounted.stand(tenant, counts);
        self.recounts.push(Recount { tenant: tenant.clone(), from, to });
    }

    /// Reads which values are counted apart for those forms of the slices that memory does not hold.
    async fn recall_apart(
        &mut self,
        connection: &mut Connection<'_>,
        slices: &[Slice<'_>],
    ) -> Result<(), sqlx::Error> {
        let mut unknown = BTreeSet::new();
        for Slice { tenant, facts } in slices {
            for fact in *facts {
                let Said::Submission(SubmissionEvent::RulesEvaluated { form, .. }) = &fact.said else {
                    continue;
                };
                let form = ((*tenant).clone(), form.clone());
                if !self.apart.contains_key(&form) {
                    unknown.insert(form);
                }
            }
        }
        // All at once: of thousands of tenants, one by one would cost more than what they submit.
        let asked = unknown.iter().cloned().collect();
        let rows = LOAD_APART
            .fetch(connection, asked, |values, (tenant, form)| bind_key(values, tenant, form))
            .await?;
        for (tenant, form) in unknown {
            let uncounted = self.uncounted.get(&tenant);
            let values = uncounted.map(|uncounted| uncounted.values_apart(&form)).unwrap_or_default();
            self.values += count_values(&values);
            self.apart.insert((tenant, form), values);
        }
        for row in rows {
            let form = (columns::tenant(row.get("tenant_id")?)?, columns::form(row.get("form")?)?);
            let values = self.apart.entry(form).or_default();
            self.values += usize::from(values.entry(row.get("rule")?).or_default().insert(row.get("value")?));
        }
        Ok(())
    }

    fn count<'a>(
        &mut self,
        slice: &Slice<'a>,
        added: &mut Added<'a>,
        stays: &mut Stays<'a>,
    ) -> Result<(), Stop> {
        for fact in slice.facts {
            let Said::Submission(said) = &fact.said else { continue };
            stays.fold(slice.tenant, said, &fact.event);
            self.count_one(slice.tenant, said, &fact.event, added).map_err(|error| Stop {
                tenant: slice.tenant.clone(),
                position: fact.event.position,
                error,
            })?;
        }
        Ok(())
    }

    fn count_one<'a>(
        &mut self,
        tenant: &TenantId,
        said: &'a SubmissionEvent,
        event: &RecordedEvent,
        added: &mut Added<'a>,
    ) -> Result<(), String> {
        match said {
            SubmissionEvent::Drafted { form, .. } => {
                added.created(form, event);
                added.state(form, DRAFT.as_str(), 1);
            }
            SubmissionEvent::Submitted { form, state, .. } => {
                if event.sequence == FIRST {
                    added.created(form, event);
                } else {
                    // Only a draft is submitted later than it is made.
                    added.state(form, DRAFT.as_str(), -1);
                }
                added.state(form, state.as_str(), 1);
            }
            SubmissionEvent::RulesEvaluated { form, outcomes, .. } => {
                let evaluations = match added.evaluations.entry((form, outcomes.as_str())) {
                    Entry::Occupied(same) => same.into_mut(),
                    Entry::Vacant(new) => {
                        let apart = self.apart.entry((tenant.clone(), form.clone())).or_default();
                        let known = count_values(apart);
                        let said = read_outcomes(outcomes.as_str(), apart);
                        self.values += count_values(apart) - known;
                        new.insert(Evaluations { said: said?, count: 0 })
                    }
                };
                evaluations.count += 1;
            }
            SubmissionEvent::Amended { .. } => {}
            SubmissionEvent::Worked { form, fact, .. } => added.moved(form, fact),
        }
        Ok(())
    }
}

/// What each rule said, with the value it is counted under.
fn read_outcomes<'a>(
    outcomes: &'a str,
    apart: &mut ValuesByRule,
) -> Result<Vec<(String, bool, &'a str)>, String> {
    let outcomes: BTreeMap<String, Outcome<'a>> =
        serde_json::from_str(outcomes).map_err(|error| format!("the outcomes cannot be read: {error}"))?;
    let counted = |(rule, outcome): (String, Outcome<'a>)| {
        let value = counted_as(apart, &rule, outcome.value);
        (rule, outcome.matched, value)
    };
    // A rule whose id is too long for a key is not counted.
    let countable = |(rule, _): &(String, Outcome<'a>)| rule.len() <= KEY_BYTES_MAX;
    Ok(outcomes.into_iter().filter(countable).map(counted).collect())
}

/// The value under which an outcome is counted: its own while the rule's values are few, else none.
fn counted_as<'v>(apart: &mut ValuesByRule, rule: &str, value: Option<&'v RawValue>) -> &'v str {
    let Some(value) = value.map(RawValue::get).filter(|value| value.len() <= OUTCOME_VALUE_BYTES_MAX) else {
        return "";
    };
    let known = get_or_insert(apart, rule);
    if known.contains(value) {
        value
    } else if known.len() < OUTCOME_VALUES_MAX {
        known.insert(value.to_owned());
        value
    } else {
        ""
    }
}

fn count_values(apart: &ValuesByRule) -> usize {
    apart.values().map(BTreeSet::len).sum()
}

/// What `entry(key.to_owned()).or_default()` gives, without copying a key that is there already.
fn get_or_insert<'m, V: Default>(map: &'m mut BTreeMap<String, V>, key: &str) -> &'m mut V {
    if !map.contains_key(key) {
        map.insert(key.to_owned(), V::default());
    }
    map.get_mut(key).expect("inserted just now when it was missing")
}

impl<'a> Added<'a> {
    fn created(&mut self, form: &'a FormId, event: &RecordedEvent) {
        *self.days.entry((form, event.recorded_at.date_naive())).or_default() += 1;
    }

    fn moved(&mut self, form: &'a FormId, fact: &'a WorkflowFact) {
        if let (Some(from), Some(to)) = (fact.state_before(), fact.state_after()) {
            self.state(form, from.as_str(), -1);
            self.state(form, to.as_str(), 1);
        }
    }

    // A state that a submission passed through within one batch adds 0: the row is there then whatever the batches were.
    fn state(&mut self, form: &'a FormId, state: &'a str, count: i64) {
        *self.states.entry((form, state)).or_default() += count;
    }
}

fn bind_key(values: &mut dyn Values, tenant: &TenantId, form: &FormId) {
    values.text(tenant.as_str());
    values.text(form.as_str());
}

/// The values of each rule that are counted apart.
static LOAD_APART: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::over(
        "SELECT DISTINCT o.tenant_id, o.form, o.rule, o.value FROM {rows} CROSS JOIN outcome_counts AS o \
         WHERE o.tenant_id = r.column1 AND o.form = r.column2 AND o.value <> ''",
        &[Text, Text],
    )
});

/// The counts of a tenant, of one form or of all.
pub(crate) async fn read(
    snapshot: &mut Connection<'_>,
    tenant: &TenantId,
    form: Option<&FormId>,
) -> Result<Statistics, sqlx::Error> {
    let dialect = snapshot.dialect();
    let ask = |table: &str, select: &str| {
        let rows = counted(dialect, table, "tenant_id = $1 AND ($2 IS NULL OR form = $2)");
        sql(format!("WITH counted AS (SELECT * FROM {rows}) {select}"))
            .bind(tenant.as_str())
            .bind(form.map(FormId::as_str))
    };
    let states =
        ask("state_counts", "SELECT form, state, count FROM counted WHERE count <> 0 ORDER BY form, state");
    let states = states.rows(snapshot).await?;
    let days = ask(
        "day_counts",
        "SELECT form, day, count FROM counted WHERE day IN (SELECT DISTINCT day FROM counted ORDER BY day DESC LIMIT $3) \
         ORDER BY day DESC, form",
    );
    let days = days.bind(i64::from(DAYS_MAX)).rows(snapshot).await?;
    let outcomes = ask(
        "outcome_counts",
        "SELECT form, rule, matched, value, count FROM counted ORDER BY form, rule, matched DESC, count DESC, value",
    );
    let outcomes = outcomes.rows(snapshot).await?;
    Ok(Statistics {
        states: states.iter().map(StateCount::from_row).collect::<Result<_, _>>()?,
        days: days.iter().map(DayCount::from_row).collect::<Result<_, _>>()?,
        outcomes: outcomes.iter().map(OutcomeCount::from_row).collect::<Result<_, _>>()?,
        times: stays::read(snapshot, tenant, form).await?,
    })
}

impl StateCount {
    fn from_row(row: &Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            form: columns::form(row.get("form")?)?,
            state: row.get("state")?,
            count: columns::count(row.get("count")?)?,
        })
    }
}

impl DayCount {
    fn from_row(row: &Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            form: columns::form(row.get("form")?)?,
            day: columns::day(row.get("day")?)?,
            count: columns::count(row.get("count")?)?,
        })
    }
}

impl OutcomeCount {
    fn from_row(row: &Row) -> Result<Self, sqlx::Error> {
        let value: String = row.get("value")?;
        Ok(Self {
            form: columns::form(row.get("form")?)?,
            rule: row.get("rule")?,
            matched: row.get("matched")?,
            value: (!value.is_empty()).then(|| columns::json(&value)).transpose()?,
            count: columns::count(row.get("count")?)?,
        })
    }
}
