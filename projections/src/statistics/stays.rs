//! How long submissions are in their states. A stay begins when a task opens for people there, or with a draft, and ends when the submission
//! leaves that state; it ends within the second where it goes on by itself, for which no row is written. Final states are not left.
//! Durations come from recorded times and are counted in classes an eighth of their size wide, so that quantiles need no single durations.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use chrono::NaiveDate;
use formledger_domain::{FormId, SubmissionEvent, SubmissionId, SubmissionState, TenantId, WorkflowFact};
use formledger_store::RecordedEvent;
use serde::Serialize;

use super::{DAYS_MAX, DRAFT, FIRST, bind_key};
use crate::columns::{self, micros};
use crate::database::Kind::{Integer, Text, Uuid};
use crate::database::{Connection, ManyRows, sql};
use crate::projection::{Fact, Said, Slice};

/// Steps into which each doubling of a duration is divided.
const STEPS: u64 = 8;
const MICROS: i64 = 1_000_000;
const MICROS_PER_MILLI: i64 = 1_000;

/// How long submissions of a form are in one state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateTime {
    /// The form.
    pub form: FormId,
    /// The state.
    pub state: String,
    /// Stays that ended; absent when none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndedStays>,
    /// Stays that go on.
    pub open: OpenStays,
}

/// Stays that ended. Quantiles are the ends of classes: what is told is up to an eighth, or a second, more than the exact duration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EndedStays {
    /// How many.
    pub count: u64,
    /// Their mean, exact to the millisecond.
    pub mean_seconds: f64,
    /// Half of them took at most this long.
    pub p50_seconds: u64,
    /// Nine of ten.
    pub p90_seconds: u64,
    /// Ninety-nine of a hundred.
    pub p99_seconds: u64,
}

/// Stays that go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OpenStays {
    /// How many.
    pub count: u64,
    /// By the UTC day on which they began, oldest first; at most [`DAYS_MAX`] days, of which the last one holds all later ones.
    pub since: Vec<SinceDay>,
}

/// Stays that go on since a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SinceDay {
    /// The UTC day.
    pub day: NaiveDate,
    /// How many.
    pub count: u64,
}

/// The class of a duration: exact seconds below [`STEPS`], then [`STEPS`] classes for each doubling.
fn class(micros: i64) -> i64 {
    let seconds = (micros.max(0) / MICROS).unsigned_abs();
    if seconds < STEPS {
        return seconds as i64;
    }
    let doublings = u64::from(seconds.ilog2() - STEPS.ilog2());
    (STEPS * doublings + (seconds >> doublings)) as i64
}

/// The first duration beyond a class, in seconds.
fn class_end(class: i64) -> u64 {
    let next = class.max(0).unsigned_abs() + 1;
    if next < 2 * STEPS {
        return next;
    }
    (STEPS + next % STEPS) << (next / STEPS - 1)
}

/// A stay that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stay {
    state: String,
    /// Microseconds.
    since: i64,
}

/// A submission of a tenant.
type Key<'a> = (&'a TenantId, SubmissionId);

/// What a batch does to one submission's stay.
#[derive(Debug, Default)]
struct Change {
    before: Option<Stay>,
    after: Option<Stay>,
}

/// What a batch does to stays. Ordered, so that rows are written along the tables' keys.
#[derive(Debug, Default)]
pub(super) struct Stays<'a> {
    changes: HashMap<Key<'a>, Change>,
    /// By class: how many, and how long they took together, in milliseconds.
    ended: BTreeMap<(&'a TenantId, &'a FormId, String, i64), (i64, i64)>,
    open: BTreeMap<(&'a TenantId, &'a FormId, String, NaiveDate), i64>,
}

/// The submission of an event that may begin or end a stay.
fn concerned(said: &SubmissionEvent, event: &RecordedEvent) -> Option<SubmissionId> {
    let concerns = match said {
        SubmissionEvent::Drafted { .. } => true,
        SubmissionEvent::Submitted { .. } => event.sequence != FIRST,
        SubmissionEvent::Worked { fact, .. } => {
            matches!(fact, WorkflowFact::TaskOpened(_)) || fact.state_before().is_some()
        }
        SubmissionEvent::RulesEvaluated { .. } | SubmissionEvent::Amended { .. } => false,
    };
    // A text that is no id belongs to no submission; the submissions read model stops there.
    if concerns { event.aggregate_id.parse().ok() } else { None }
}

impl<'a> Stays<'a> {
    /// Reads the stays that the slices may end.
    pub(super) async fn load(
        connection: &mut Connection<'_>,
        slices: &[Slice<'a>],
    ) -> Result<Self, sqlx::Error> {
        let mut stays = Self::default();
        // Most submissions have no workflow, and are only ever submitted.
        let concerns = |fact: &Fact| match &fact.said {
            Said::Submission(said) => concerned(said, &fact.event).is_some(),
            _ => false,
        };
        if !slices.iter().flat_map(|slice| slice.facts).any(concerns) {
            return Ok(stays);
        }
        let mut created = BTreeSet::new();
        let mut earlier = Vec::new();
        for Slice { tenant, facts } in slices {
            for fact in *facts {
                let Said::Submission(said) = &fact.said else { continue };
                if fact.event.sequence == FIRST {
                    created.extend(fact.event.aggregate_id.parse::<SubmissionId>().map(|id| (*tenant, id)));
                }
                let Some(id) = concerned(said, &fact.event) else { continue };
                if let Entry::Vacant(vacant) = stays.changes.entry((*tenant, id)) {
                    vacant.insert(Change::default());
                    if !created.contains(&(*tenant, id)) {
                        earlier.push((*tenant, id));
                    }
                }
            }
        }
        let rows = LOAD
            .fetch(connection, earlier.clone(), |values, (tenant, id): &Key<'_>| {
                values.text(tenant.as_str());
                values.uuid(id.0);
            })
            .await?;
        let wanted: HashMap<_, _> = earlier.iter().map(|key| ((key.0.as_str(), key.1), *key)).collect();
        for row in &rows {
            let key: (&str, _) = (row.get("tenant_id")?, SubmissionId(row.get("submission_id")?));
            let stay = Stay { state: row.get("state")?, since: row.get("since")? };
            if let Some(key) = wanted.get(&key) {
                stays.changes.insert(*key, Change { before: Some(stay.clone()), after: Some(stay) });
            }
        }
        Ok(stays)
    }

    /// Folds one event.
    pub(super) fn fold(&mut self, tenant: &'a TenantId, said: &'a SubmissionEvent, event: &RecordedEvent) {
        let Some(id) = concerned(said, event) else { return };
        let now = micros(event.recorded_at);
        match said {
            SubmissionEvent::Drafted { form, .. } => self.begin(tenant, form, id, &DRAFT, now),
            SubmissionEvent::Submitted { form, .. } => self.end(tenant, form, id, &DRAFT, now),
            SubmissionEvent::Worked { form, fact: WorkflowFact::TaskOpened(task), .. } => {
                self.begin(tenant, form, id, &task.state, now);
            }
            SubmissionEvent::Worked { form, fact, .. } => {
                if let Some(from) = fact.state_before() {
                    self.end(tenant, form, id, from, now);
                }
            }
            SubmissionEvent::RulesEvaluated { .. } | SubmissionEvent::Amended { .. } => {}
        }
    }

    /// A stay begins, unless the submission was there already.
    fn begin(
        &mut self,
        tenant: &'a TenantId,
        form: &'a FormId,
        id: SubmissionId,
        state: &SubmissionState,
        now: i64,
    ) {
        let change = self.changes.entry((tenant, id)).or_default();
        if change.after.is_none() {
            change.after = Some(Stay { state: state.as_str().to_owned(), since: now });
            self.count_open(tenant, form, state.as_str(), now, 1);
        }
    }

    /// A stay ends. Where none was begun, the submission came and went in one append.
    fn end(
        &mut self,
        tenant: &'a TenantId,
        form: &'a FormId,
        id: SubmissionId,
        state: &SubmissionState,
        now: i64,
    ) {
        let stay = self.changes.entry((tenant, id)).or_default().after.take();
        let stayed = match stay {
            Some(stay) => {
                self.count_open(tenant, form, &stay.state, stay.since, -1);
                (now - stay.since).max(0)
            }
            None => 0,
        };
        let ended = self.ended.entry((tenant, form, state.as_str().to_owned(), class(stayed))).or_default();
        *ended = (ended.0 + 1, ended.1 + stayed / MICROS_PER_MILLI);
    }

    fn count_open(&mut self, tenant: &'a TenantId, form: &'a FormId, state: &str, since: i64, count: i64) {
        // A recorded time is one of chrono's.
        let Ok(day) = columns::time(since).map(|time| time.date_naive()) else { return };
        *self.open.entry((tenant, form, state.to_owned(), day)).or_default() += count;
    }

    pub(super) async fn write(self, connection: &mut Connection<'_>) -> Result<(), sqlx::Error> {
        let changes: BTreeMap<Key<'a>, Change> = self.changes.into_iter().collect();
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        for (key, Change { before, after }) in changes {
            match (before == after, after) {
                (true, _) => {}
                (false, Some(stay)) => new.push((key, stay)),
                (false, None) => gone.push(key),
            }
        }
        DELETE
            .execute(connection, gone, |values, (tenant, id): &Key<'_>| {
                values.text(tenant.as_str());
                values.uuid(id.0);
            })
            .await?;
        PUT.execute(connection, new, |values, ((tenant, id), stay)| {
            values.text(tenant.as_str());
            values.uuid(id.0);
            values.text(&stay.state);
            values.integer(stay.since);
        })
        .await?;
        let ended: Vec<_> = self.ended.into_iter().collect();
        ADD_ENDED
            .execute(connection, ended, |values, ((tenant, form, state, class), (count, millis))| {
                bind_key(values, tenant, form);
                values.text(state);
                values.integer(*class);
                values.integer(*count);
                values.integer(*millis);
            })
            .await?;
        // A stay that began and ended within one batch adds 0: the row is there then whatever the batches were.
        let open: Vec<_> = self.open.into_iter().collect();
        ADD_OPEN
            .execute(connection, open, |values, ((tenant, form, state, day), count)| {
                bind_key(values, tenant, form);
                values.text(state);
                values.text(&day.to_string());
                values.integer(*count);
            })
            .await?;
        Ok(())
    }
}

// A cross join, because SQLite would otherwise be free to walk all stays and look each up among the keys.
static LOAD: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::over(
        "SELECT s.tenant_id, s.submission_id, s.state, s.since FROM {rows} CROSS JOIN open_stays AS s \
         WHERE s.tenant_id = r.column1 AND s.submission_id = r.column2",
        &[Text, Uuid],
    )
});

// By way of the table's own columns: SQLite looks along the whole key only for values of the columns' own kinds.
static DELETE: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::over(
        "DELETE FROM open_stays WHERE (tenant_id, submission_id) IN (SELECT s.tenant_id, s.submission_id \
         FROM {rows} CROSS JOIN open_stays AS s WHERE s.tenant_id = r.column1 AND s.submission_id = r.column2)",
        &[Text, Uuid],
    )
});

static PUT: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::insert(
        "INSERT INTO open_stays (tenant_id, submission_id, state, since)",
        &[Text, Uuid, Text, Integer],
        "ON CONFLICT (tenant_id, submission_id) DO UPDATE SET state = excluded.state, since = excluded.since",
    )
});

static ADD_ENDED: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::insert(
        "INSERT INTO ended_stay_counts (tenant_id, form, state, class, count, millis)",
        &[Text, Text, Text, Integer, Integer, Integer],
        "ON CONFLICT (tenant_id, form, state, class) DO UPDATE SET count = ended_stay_counts.count + excluded.count, \
         millis = ended_stay_counts.millis + excluded.millis",
    )
});

static ADD_OPEN: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::insert(
        "INSERT INTO open_stay_counts (tenant_id, form, state, day, count)",
        &[Text, Text, Text, Text, Integer],
        "ON CONFLICT (tenant_id, form, state, day) DO UPDATE SET count = open_stay_counts.count + excluded.count",
    )
});

/// The classes of one state: by class, how many, and their milliseconds.
type Classes = Vec<(i64, u64, i64)>;

/// Times of a tenant, of one form or of all, by form and state.
pub(super) async fn read(
    snapshot: &mut Connection<'_>,
    tenant: &TenantId,
    form: Option<&FormId>,
) -> Result<Vec<StateTime>, sqlx::Error> {
    let mut states: BTreeMap<(String, String), (Classes, OpenStays)> = BTreeMap::new();
    let ended = "SELECT form, state, class, count, millis FROM ended_stay_counts \
         WHERE tenant_id = $1 AND ($2 IS NULL OR form = $2) ORDER BY form, state, class";
    for row in sql(ended).bind(tenant.as_str()).bind(form.map(FormId::as_str)).rows(snapshot).await? {
        let class = (row.get("class")?, columns::count(row.get("count")?)?, row.get("millis")?);
        states.entry((row.get("form")?, row.get("state")?)).or_default().0.push(class);
    }
    let open = "SELECT form, state, day, count FROM open_stay_counts \
         WHERE tenant_id = $1 AND ($2 IS NULL OR form = $2) AND count <> 0 ORDER BY form, state, day";
    for row in sql(open).bind(tenant.as_str()).bind(form.map(FormId::as_str)).rows(snapshot).await? {
        let since =
            SinceDay { day: columns::day(row.get("day")?)?, count: columns::count(row.get("count")?)? };
        states.entry((row.get("form")?, row.get("state")?)).or_default().1.add(since);
    }
    let told = states.into_iter().map(|((form, state), (classes, open))| {
        Ok(StateTime { form: columns::form(&form)?, state, ended: EndedStays::of(&classes), open })
    });
    told.collect()
}

impl OpenStays {
    fn add(&mut self, since: SinceDay) {
        self.count += since.count;
        let is_full = self.since.len() >= DAYS_MAX as usize;
        match self.since.last_mut() {
            Some(last) if is_full => last.count += since.count,
            _ => self.since.push(since),
        }
    }
}

impl EndedStays {
    fn of(classes: &[(i64, u64, i64)]) -> Option<Self> {
        let count: u64 = classes.iter().map(|(_, count, _)| count).sum();
        if count == 0 {
            return None;
        }
        // Each class fits, all together need not.
        let millis: i128 = classes.iter().map(|(.., millis)| i128::from(*millis)).sum();
        let quantile = |hundredths: u64| {
            let wanted = (count * hundredths).div_ceil(100);
            let mut so_far = 0;
            let reaches = |(_, count, _): &&(i64, u64, i64)| {
                so_far += count;
                so_far >= wanted
            };
            classes.iter().find(reaches).map_or(0, |(class, ..)| class_end(*class))
        };
        Some(Self {
            count,
            mean_seconds: millis as f64 / count as f64 / 1_000.0,
            p50_seconds: quantile(50),
            p90_seconds: quantile(90),
            p99_seconds: quantile(99),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_duration_lies_in_its_class_whose_end_is_at_most_an_eighth_or_a_second_later(seconds in 0..4_000_000_000i64) {
            let class = class(seconds * MICROS);
            let end = class_end(class);
            let seconds = seconds as u64;
            prop_assert!(seconds < end && end <= seconds + 1 + seconds / STEPS, "{} in class {} to {}", seconds, class, end);
            if class > 0 {
                prop_assert!(class_end(class - 1) <= seconds);
            }
        }
    }

    #[test]
    fn the_page_tells_ends_of_classes_as_they_are() {
        let page = include_str!("../../../docs/statistics.md");
        let end = |millis: i64| class_end(class(millis * MICROS_PER_MILLI));
        let told = format!(
            "Stays of 0.4 seconds are told as {}, one of 4.015 seconds as {}, one of a minute as {}.",
            end(400),
            end(4_015),
            end(60_000)
        );
        assert!(page.contains(&told), "docs/statistics.md: {told}");
        for (up_to, width) in [(16, 1), (32, 2), (64, 4), (128, 8)] {
            assert_eq!(end(up_to * 1_000 - 1), up_to as u64, "a class ends there");
            assert_eq!(end(up_to * 1_000 - 1) - end(up_to * 1_000 - 1 - width * 1_000), width as u64);
        }
        let told = format!("`since` tells up to {DAYS_MAX} days");
        assert!(page.contains(&told), "docs/statistics.md: {told}");
    }

    #[test]
    fn quantiles_are_the_ends_of_the_classes_that_reach_them() {
        let classes = [
            (class(0), 50, 0),
            (class(60 * MICROS), 49, 49 * 60 * 1_000),
            (class(86_400 * MICROS), 1, 86_400 * 1_000),
        ];
        let ended = EndedStays::of(&classes).expect("stays");
        assert_eq!((ended.count, ended.p50_seconds, ended.p90_seconds), (100, 1, 64));
        assert_eq!(ended.p99_seconds, 64);
        assert!((ended.mean_seconds - (49.0 * 60.0 + 86_400.0) / 100.0).abs() < 1e-6);
        assert_eq!(EndedStays::of(&[]), None);
    }
}
