//! What is due in all tenants, the longest overdue first, and one of it by chance. For timers, which ask the ledger before they act.

use chrono::{DateTime, Utc};
use formledger_domain::{FormPin, SubmissionId, TenantId};
use uuid::Uuid;

use crate::columns::{self, micros};
use crate::database::{Connection, Row, Sql, sql};
use crate::position::ReadModel;

/// A task that time does something with: it is to be told that it waits, or its time is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueTask {
    /// Since when.
    pub due_at: DateTime<Utc>,
    /// Whose.
    pub tenant: TenantId,
    /// The submission.
    pub submission_id: SubmissionId,
    /// The form version that it is pinned to.
    pub form: FormPin,
}

impl DueTask {
    /// Where it stands among what is due: the longest overdue come first.
    pub fn place(&self) -> (DateTime<Utc>, &TenantId, SubmissionId) {
        (self.due_at, &self.tenant, self.submission_id)
    }
}

/// What is due at `$1`. Of a tenant that is parked nothing: its rows stay as they are, whatever its submissions do.
const DUE: &str = "FROM tasks AS t WHERE t.next_at IS NOT NULL AND t.next_at <= $1 AND NOT EXISTS (SELECT 1 FROM checkpoints AS c \
     WHERE c.tenant_id = t.tenant_id AND c.tasks_version = $2 AND c.tasks_error IS NOT NULL)";
const DUE_COLUMNS: &str = "t.next_at, t.tenant_id, t.submission_id, t.form, t.form_version";
const DUE_ORDER: &str = "ORDER BY t.next_at, t.tenant_id, t.submission_id";

fn due_statement(text: String, now: DateTime<Utc>) -> Sql<'static> {
    sql(text).bind(micros(now)).bind(ReadModel::Tasks.version())
}

/// What is due at `now` in all tenants behind `after`, the longest overdue first, at most `limit`.
pub(crate) async fn due(
    connection: &mut Connection<'_>,
    now: DateTime<Utc>,
    after: Option<&DueTask>,
    limit: u32,
) -> Result<Vec<DueTask>, sqlx::Error> {
    let (due_at, tenant, submission) = after.map_or((i64::MIN, "", Uuid::nil()), |task| {
        (micros(task.due_at), task.tenant.as_str(), task.submission_id.0)
    });
    let behind = "(t.next_at, t.tenant_id, t.submission_id) > ($3, $4, $5)";
    let rows = due_statement(format!("SELECT {DUE_COLUMNS} {DUE} AND {behind} {DUE_ORDER} LIMIT $6"), now)
        .bind(due_at)
        .bind(tenant.to_owned())
        .bind(submission)
        .bind(i64::from(limit))
        .rows(connection)
        .await?;
    rows.iter().map(due_task).collect()
}

/// A place among what is due.
type Place<'a> = (i64, &'a str, Uuid);

/// Behind all tenants' names.
const LAST_TENANT: &str = "\u{7f}";

/// One of the tasks that are due at `now`, by chance: `dice` says how far from the first one to the last, in time, then among those of that moment in the names of
/// tenants, then in ids. That is a few steps along the index however much is due, and nearly as good as one of all alike.
pub(crate) async fn any_due(
    connection: &mut Connection<'_>,
    now: DateTime<Utc>,
    dice: u32,
) -> Result<Option<DueTask>, sqlx::Error> {
    let between = ends(connection, now, (i64::MIN, "", Uuid::nil()), (i64::MAX, LAST_TENANT, Uuid::max()));
    let Some((first, last)) = between.await? else { return Ok(None) };
    let (first, last) = (micros(first.due_at), micros(last.due_at));
    let at = first + part(u128::from(first.abs_diff(last)), dice) as i64;
    let found = near(connection, now, (at, "", Uuid::nil()), (at, LAST_TENANT, Uuid::max()), dice);
    let Some(task) = found.await? else { return Ok(None) };

    let (at, dice) = (micros(task.due_at), dice.rotate_left(11));
    let between = ends(connection, now, (at, "", Uuid::nil()), (at, LAST_TENANT, Uuid::max()));
    let Some((first, last)) = between.await? else { return Ok(Some(task)) };
    let name = name_between(first.tenant.as_str(), last.tenant.as_str(), dice);
    let found = near(connection, now, (at, &name, Uuid::nil()), (at, &name, Uuid::max()), dice);
    let Some(task) = found.await? else { return Ok(Some(task)) };

    let (tenant, dice) = (task.tenant.as_str(), dice.rotate_left(11));
    let between = ends(connection, now, (at, tenant, Uuid::nil()), (at, tenant, Uuid::max()));
    let Some((first, last)) = between.await? else { return Ok(Some(task)) };
    let (first, last) = (first.submission_id.0.as_u128(), last.submission_id.0.as_u128());
    let id = Uuid::from_u128(first + part(last.saturating_sub(first), dice));
    let found = near(connection, now, (at, tenant, id), (at, tenant, id), dice);
    Ok(Some(found.await?.unwrap_or(task)))
}

/// The first and the last that are due from there to there.
async fn ends(
    connection: &mut Connection<'_>,
    now: DateTime<Utc>,
    low: Place<'_>,
    high: Place<'_>,
) -> Result<Option<(DueTask, DueTask)>, sqlx::Error> {
    let Some(first) = from(connection, now, low).await? else { return Ok(None) };
    Ok(up_to(connection, now, high).await?.map(|last| (first, last)))
}

/// The next one from `low` on, or the last one up to `high`: where there are two, the one as often as the other.
async fn near(
    connection: &mut Connection<'_>,
    now: DateTime<Utc>,
    low: Place<'_>,
    high: Place<'_>,
    dice: u32,
) -> Result<Option<DueTask>, sqlx::Error> {
    if dice & 1 == 0 { from(connection, now, low).await } else { up_to(connection, now, high).await }
}

/// That part of `whole` which `dice` is of all its values.
fn part(whole: u128, dice: u32) -> u128 {
    (whole >> 32) * u128::from(dice) + (((whole & u128::from(u32::MAX)) * u128::from(dice)) >> 32)
}

/// A text from `low` to `high`, which are ASCII: by the four characters behind what both begin with.
fn name_between(low: &str, high: &str, dice: u32) -> String {
    let same = low.bytes().zip(high.bytes()).take_while(|(low, high)| low == high).count();
    let number = |name: &str| {
        let digits = name.bytes().skip(same).chain(std::iter::repeat(0)).take(4);
        digits.fold(0u32, |number, digit| number << 7 | u32::from(digit & 0x7f))
    };
    let (from, to) = (number(low), number(high));
    let between = from + part(u128::from(to.saturating_sub(from)), dice) as u32;
    let digits = [21, 14, 7, 0].map(|shift| (between >> shift & 0x7f) as u8);
    let digits = digits.into_iter().take_while(|digit| *digit != 0).map(char::from);
    low.chars().take(same).chain(digits).collect()
}

/// The first that is due from there on.
async fn from(
    connection: &mut Connection<'_>,
    now: DateTime<Utc>,
    place: Place<'_>,
) -> Result<Option<DueTask>, sqlx::Error> {
    one(connection, now, place, ">= ($3, $4, $5) ORDER BY t.next_at, t.tenant_id, t.submission_id").await
}

/// The last that is due up to there.
async fn up_to(
    connection: &mut Connection<'_>,
    now: DateTime<Utc>,
    place: Place<'_>,
) -> Result<Option<DueTask>, sqlx::Error> {
    let order = "<= ($3, $4, $5) ORDER BY t.next_at DESC, t.tenant_id DESC, t.submission_id DESC";
    one(connection, now, place, order).await
}

async fn one(
    connection: &mut Connection<'_>,
    now: DateTime<Utc>,
    (at, tenant, id): Place<'_>,
    order: &str,
) -> Result<Option<DueTask>, sqlx::Error> {
    let place = "(t.next_at, t.tenant_id, t.submission_id)";
    let row = due_statement(format!("SELECT {DUE_COLUMNS} {DUE} AND {place} {order} LIMIT 1"), now)
        .bind(at)
        .bind(tenant.to_owned())
        .bind(id)
        .optional(connection)
        .await?;
    row.as_ref().map(due_task).transpose()
}

fn due_task(row: &Row) -> Result<DueTask, sqlx::Error> {
    let version = columns::version(row.get("form_version")?)?;
    Ok(DueTask {
        due_at: columns::time(row.get("next_at")?)?,
        tenant: columns::tenant(row.get("tenant_id")?)?,
        submission_id: SubmissionId(row.get("submission_id")?),
        form: FormPin { form: columns::form(row.get("form")?)?, version },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_by_chance_lies_between_both_and_not_always_at_the_same_place() {
        for (low, high) in [("acme", "globex"), ("tenant-1", "tenant-999"), ("a", "a"), ("a", "ab")] {
            let names: Vec<String> = (0..64).map(|n: u32| name_between(low, high, n << 26)).collect();
            assert!(names.iter().all(|name| low <= name.as_str() && name.as_str() <= high), "{names:?}");
            assert!(names.is_sorted());
        }
        assert_ne!(name_between("acme", "globex", 0), name_between("acme", "globex", u32::MAX / 2));
    }
}
