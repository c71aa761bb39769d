//! Lists what waits for one person, most urgent first.
//! A page is one walk along the audience index for each role of the person; time and four eyes are asked of the domain's `Work`.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use formledger_domain::{
    Actor, FormId, FormVersion, Position, SubmissionId, SubmissionState, TenantId, Waiting, role_scope,
};
use serde::{Deserialize, Serialize};

use super::stored::{COLUMNS, TaskEntry, for_person, for_role};
use crate::columns;
use crate::cursor::{self, Cursor, Fingerprint};
use crate::database::{Connection, Row, sql};
use crate::reader::QueryError;

/// Tasks of a page when the query does not say.
pub const TASKS_PAGE_DEFAULT: u32 = 50;
/// The most tasks of a page.
pub const TASKS_PAGE_MAX: u32 = 200;
/// Audiences that are looked for at once: statements have one length, so that databases know them again.
const AUDIENCES_AT_ONCE: usize = 64;
/// Rows read at once along one role, where some turned out not to be the person's.
const WALK_ROWS: usize = 256;
/// The most rows that one page looks at along one role; a page that meets them ends there, and its cursor goes on behind them.
const WALK_ROWS_MAX: usize = 2_048;

/// Whose tasks, and which page.
#[derive(Debug, Clone)]
pub struct TaskQuery {
    /// Who asks.
    pub actor: Actor,
    /// When: delegations hold for a time.
    pub now: DateTime<Utc>,
    /// Only of this form.
    pub form: Option<FormId>,
    /// Tasks of the page, 1 to [`TASKS_PAGE_MAX`]; [`TASKS_PAGE_DEFAULT`] when missing.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// What waits for somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskRow {
    /// The submission.
    pub submission_id: SubmissionId,
    /// Its form.
    pub form: FormId,
    /// The version it is pinned to.
    pub form_version: FormVersion,
    /// The state it waits in.
    pub state: SubmissionState,
    /// Who made it.
    pub submitter: String,
    /// Who took it on, or was asked to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignee: Option<String>,
    /// Since when it waits.
    pub opened_at: DateTime<Utc>,
    /// Until when it should be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
    /// The state it goes to when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalate_to: Option<SubmissionState>,
    /// Why it waits for them, and what they may do.
    #[serde(flatten)]
    pub waiting: Waiting,
}

/// A page of tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskPage {
    /// Most urgent first: by due date, then by how long they have been waiting.
    pub items: Vec<TaskRow>,
    /// Where the next page begins; absent when this is the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Cursor>,
    /// How far the data reaches.
    pub position: Position,
}

impl TaskPage {
    /// The same page with a cursor that stays at `moment`, of queries for `time` where that was asked for; unchanged where the moment is the present.
    pub fn at(mut self, moment: Option<Position>, time: Option<DateTime<Utc>>) -> Self {
        if let Some(moment) = moment {
            self.next_cursor = self.next_cursor.map(|cursor| cursor.at(moment, time));
        }
        self
    }
}

/// A place in a person's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place {
    due_order: i64,
    opened_position: i64,
}

/// Before everything.
const START: Place = Place { due_order: i64::MIN, opened_position: i64::MIN };

/// One page of what waits for somebody.
pub(crate) async fn page(
    snapshot: &mut Connection<'_>,
    tenant: &TenantId,
    query: &TaskQuery,
    position: Position,
) -> Result<TaskPage, QueryError> {
    let limit = query.limit.unwrap_or(TASKS_PAGE_DEFAULT);
    if !(1..=TASKS_PAGE_MAX).contains(&limit) {
        return Err(QueryError::Limit { given: limit, max: TASKS_PAGE_MAX });
    }
    let form = query.form.as_ref().map_or("", FormId::as_str);
    let fingerprint = Fingerprint::of(["tasks", tenant.as_str(), &query.actor.subject, form]);
    let after = match &query.cursor {
        Some(cursor) => cursor::read(fingerprint, cursor)?,
        None => START,
    };
    let mut walks = Vec::new();
    for audience in inhabited(snapshot, tenant, audiences(&query.actor)).await? {
        walks.push(walk(snapshot, tenant, &audience, query, after, limit as usize).await?);
    }
    // Beyond the first place where a walk broke off, the merged order has gaps: the page ends there.
    let known_to = walks.iter().filter_map(|walk| walk.broke_off).min();
    let mut met = HashSet::new();
    let mut found: BTreeMap<(Place, SubmissionId), TaskRow> = BTreeMap::new();
    for (place, row) in walks.into_iter().flat_map(|walk| walk.found) {
        if known_to.is_none_or(|known| place <= known) && met.insert(row.submission_id) {
            found.insert((place, row.submission_id), row);
        }
    }
    let more = found.len() > limit as usize;
    let kept: Vec<_> = found.into_iter().take(limit as usize).collect();
    let end = if more { kept.last().map(|((place, _), _)| *place) } else { known_to };
    Ok(TaskPage {
        items: kept.into_iter().map(|(_, row)| row).collect(),
        next_cursor: end.map(|end| cursor::write(fingerprint, &end)),
        position,
    })
}

fn audiences(actor: &Actor) -> Vec<String> {
    // A role for one form is looked for like any other; whether a task is of that form is seen when it is read.
    let name = |role: &'_ String| role_scope(role).map_or(role.as_str(), |(name, _)| name).to_owned();
    let mut roles: Vec<String> = actor.roles.iter().map(name).collect();
    roles.sort();
    roles.dedup();
    roles.iter().map(|role| for_role(role)).chain([for_person(&actor.subject)]).collect()
}

/// Those of the audiences for which something waits. Somebody may hold many hundred roles, of which workflows name few, and each costs a walk.
async fn inhabited(
    snapshot: &mut Connection<'_>,
    tenant: &TenantId,
    audiences: Vec<String>,
) -> Result<Vec<String>, sqlx::Error> {
    // As cheap to walk as to ask.
    if audiences.len() <= AUDIENCES_AT_ONCE / 8 {
        return Ok(audiences);
    }
    let named: Vec<String> = (0..AUDIENCES_AT_ONCE).map(|place| format!("(${})", place + 2)).collect();
    let text = format!(
        "SELECT r.column1 AS audience FROM (VALUES {}) AS r WHERE EXISTS \
         (SELECT 1 FROM task_audience AS a WHERE a.tenant_id = $1 AND a.audience = r.column1)",
        named.join(",")
    );
    let mut found = HashSet::new();
    for chunk in audiences.chunks(AUDIENCES_AT_ONCE) {
        // The last ones are filled up with one of them.
        let whole = chunk.iter().chain(std::iter::repeat(&chunk[0])).take(AUDIENCES_AT_ONCE);
        let bound = whole
            .fold(sql(text.clone()).bind(tenant.as_str()), |bound, audience| bound.bind(audience.as_str()));
        for row in &bound.rows(snapshot).await? {
            let audience: &str = row.get("audience")?;
            found.insert(audience.to_owned());
        }
    }
    Ok(audiences.into_iter().filter(|audience| found.contains(audience)).collect())
}

/// What a walk along one audience found.
struct Walk {
    found: Vec<(Place, TaskRow)>,
    /// The last place it looked at, when there is more behind it.
    broke_off: Option<Place>,
}

/// Walks along one audience until it has one task more than a page, or the end, or looked at enough.
async fn walk(
    snapshot: &mut Connection<'_>,
    tenant: &TenantId,
    audience: &str,
    query: &TaskQuery,
    mut after: Place,
    limit: usize,
) -> Result<Walk, QueryError> {
    let (mut found, mut looked_at) = (Vec::new(), 0);
    // Nearly always all of them are the person's, and one more than a page tells whether there is a next one.
    let mut wanted = limit + 1;
    loop {
        let rows = along(snapshot, tenant, audience, after, wanted).await?;
        let read = rows.len();
        for (place, entry) in rows {
            after = place;
            found.extend(row(entry, query)?.map(|row| (place, row)));
        }
        looked_at += read;
        if read < wanted {
            return Ok(Walk { found, broke_off: None });
        }
        if found.len() > limit || looked_at >= WALK_ROWS_MAX {
            return Ok(Walk { found, broke_off: Some(after) });
        }
        wanted = WALK_ROWS;
    }
}

async fn along(
    snapshot: &mut Connection<'_>,
    tenant: &TenantId,
    audience: &str,
    after: Place,
    rows: usize,
) -> Result<Vec<(Place, TaskEntry)>, sqlx::Error> {
    let select = format!(
        "SELECT a.due_order, {COLUMNS} FROM task_audience AS a \
         JOIN tasks AS t ON t.tenant_id = a.tenant_id AND t.submission_id = a.submission_id \
         WHERE a.tenant_id = $1 AND a.audience = $2 AND (a.due_order, a.opened_position) > ($3, $4) \
         ORDER BY a.due_order, a.opened_position LIMIT $5"
    );
    let found = sql(select)
        .bind(tenant.as_str())
        .bind(audience)
        .bind(after.due_order)
        .bind(after.opened_position)
        .bind(rows as i64)
        .rows(snapshot)
        .await?;
    let place = |row: &Row| -> Result<(Place, TaskEntry), sqlx::Error> {
        let entry = TaskEntry::from_row(row)?;
        let due_order = row.get("due_order")?;
        Ok((Place { due_order, opened_position: entry.opened_position }, entry))
    };
    found.iter().map(place).collect()
}

/// The task as the person sees it; `None` when it does not wait for them after all.
fn row(entry: TaskEntry, query: &TaskQuery) -> Result<Option<TaskRow>, sqlx::Error> {
    if query.form.as_ref().is_some_and(|form| *form != entry.form) {
        return Ok(None);
    }
    let actor = query.actor.on(&entry.form);
    let (Some(waiting), Some(task)) = (entry.work.waits_for(&actor, query.now), entry.work.task()) else {
        return Ok(None);
    };
    Ok(Some(TaskRow {
        submission_id: entry.submission_id,
        form: entry.form.clone(),
        form_version: entry.form_version,
        state: task.state.clone(),
        submitter: task.submitter.to_string(),
        assignee: entry.work.holder(query.now).map(ToString::to_string),
        opened_at: columns::time(entry.opened_at)?,
        due_at: task.due_at,
        escalate_to: task.escalate_to.clone(),
        waiting,
    }))
}
