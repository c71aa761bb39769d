//! The tasks read model: what waits for whom, and until when. The row is the domain's own [`Work`], folded as a submission folds it.
//! Here: how events change rows. `stored` reads and writes them, `query` lists a person's tasks, `due` what is due, `open` shows the one of a submission.

mod due;
mod open;
mod query;
mod stored;

use std::collections::{HashMap, HashSet};

use cqrs_es::Aggregate;
use foldhash::fast::RandomState;
use formledger_domain::{Submission, SubmissionEvent, SubmissionId, TenantId, Work, WorkflowFact};
use formledger_store::RecordedEvent;

use crate::columns::{micros, place};
use crate::database::Connection;
use crate::position::ReadModel;
use crate::projection::{Projection, Said, Slice, Stop};
use stored::TaskEntry;

pub use due::DueTask;
pub(crate) use due::{any_due, due};
pub use open::{Approver, GivenDelegation, OpenTask, PossibleTransition};
pub(crate) use open::{JOIN, JOINED_COLUMNS};
pub(crate) use query::page;
pub use query::{TASKS_PAGE_DEFAULT, TASKS_PAGE_MAX, TaskPage, TaskQuery, TaskRow};

/// Keeps `tasks` and `task_audience`.
#[derive(Debug, Default)]
pub(crate) struct TasksProjection;

/// A submission of a tenant.
type Key<'a> = (&'a TenantId, SubmissionId);

/// The submissions that a batch touches, with their rows before and after it.
type Touched<'a> = HashMap<Key<'a>, Change, RandomState>;

/// A row before and after a batch; `None` where there is none.
#[derive(Debug, Default)]
struct Change {
    before: Option<TaskEntry>,
    after: Option<TaskEntry>,
}

impl Projection for TasksProjection {
    const READ_MODEL: ReadModel = ReadModel::Tasks;
    const VERSION: i64 = 3;
    const TABLES: &'static [&'static str] = &["tasks", "task_audience"];

    fn follows(aggregate_type: &str) -> bool {
        aggregate_type == Submission::TYPE
    }

    async fn apply(
        &mut self,
        connection: &mut Connection<'_>,
        slices: &[Slice<'_>],
    ) -> Result<Vec<Stop>, sqlx::Error> {
        let mut touched = load_touched(connection, slices).await?;
        if touched.is_empty() {
            return Ok(Vec::new());
        }
        for Slice { tenant, facts } in slices {
            for fact in *facts {
                let Said::Submission(said) = &fact.said else { continue };
                let Ok(id) = fact.event.aggregate_id.parse() else { continue };
                if let Some(change) = touched.get_mut(&(*tenant, id)) {
                    change.fold(id, said, &fact.event);
                }
            }
        }
        stored::write(connection, touched).await?;
        Ok(Vec::new())
    }

    fn forget(&mut self) {}
}

/// Reads the rows that the slices may change. Most submissions have no workflow: their events touch nothing here.
async fn load_touched<'a>(
    connection: &mut Connection<'_>,
    slices: &[Slice<'a>],
) -> Result<Touched<'a>, sqlx::Error> {
    let mut touched = Touched::default();
    if !slices
        .iter()
        .flat_map(|slice| slice.facts)
        .any(|fact| matches!(&fact.said, Said::Submission(said) if concerns(said)))
    {
        return Ok(touched);
    }
    let mut created = HashSet::with_hasher(RandomState::default());
    let mut earlier = Vec::new();
    for Slice { tenant, facts } in slices {
        for fact in *facts {
            let Said::Submission(said) = &fact.said else { continue };
            // A text that is no id belongs to no submission; the submissions read model stops there.
            let Ok(id) = fact.event.aggregate_id.parse::<SubmissionId>() else { continue };
            let key = (*tenant, id);
            if matches!(said, SubmissionEvent::Submitted { .. }) {
                // A workflow begins with it, so there is no row yet.
                created.insert(key);
            }
            if concerns(said) && !touched.contains_key(&key) {
                touched.insert(key, Change::default());
                if !created.contains(&key) {
                    earlier.push(key);
                }
            }
        }
    }
    for (key, entry) in stored::load(connection, &earlier).await? {
        if let Some(change) = touched.get_mut(&key) {
            *change = Change { before: Some(entry.clone()), after: Some(entry) };
        }
    }
    Ok(touched)
}

/// Whether an event can change a row.
fn concerns(said: &SubmissionEvent) -> bool {
    match said {
        SubmissionEvent::Worked { fact, .. } => {
            !matches!(fact, WorkflowFact::Commented { .. } | WorkflowFact::Signed(_))
        }
        SubmissionEvent::Amended { .. } => true,
        SubmissionEvent::Drafted { .. }
        | SubmissionEvent::Submitted { .. }
        | SubmissionEvent::RulesEvaluated { .. } => false,
    }
}

impl Change {
    fn fold(&mut self, id: SubmissionId, said: &SubmissionEvent, event: &RecordedEvent) {
        match said {
            SubmissionEvent::Worked { form, form_version, fact } => {
                let entry = self.after.get_or_insert_with(|| TaskEntry {
                    submission_id: id,
                    form: form.clone(),
                    form_version: *form_version,
                    work: Work::default(),
                    opened_at: micros(event.recorded_at),
                    opened_position: place(event.position.0),
                });
                if matches!(fact, WorkflowFact::TaskOpened(_)) {
                    entry.opened_at = micros(event.recorded_at);
                    entry.opened_position = place(event.position.0);
                }
                entry.work.fold(fact);
            }
            SubmissionEvent::Amended { .. } => {
                if let Some(entry) = &mut self.after {
                    entry.work.fold_amendment();
                }
            }
            SubmissionEvent::Drafted { .. }
            | SubmissionEvent::Submitted { .. }
            | SubmissionEvent::RulesEvaluated { .. } => {}
        }
        // Delegations outlast a task; nothing else does, and where nothing waits there is no row.
        self.after.take_if(|entry| entry.work == Work::default());
    }
}
