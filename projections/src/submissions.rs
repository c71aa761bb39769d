//! The submissions read model: each submission as it is now, found by form, state, submitter, text and indexed fields.
//! Here: the row and how events make it. `fields` takes indexed values out of the data, `query` asks through `select`.

mod fields;
mod key;
mod matches;
mod numeral;
mod query;
mod select;
mod stored;
mod way;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use foldhash::fast::RandomState;
use formledger_domain::{
    CanonicalJson, Form, FormEvent, FormId, FormVersion, Position, Sequence, Submission, SubmissionEvent,
    SubmissionId, TenantId,
};
use formledger_store::RecordedEvent;
use serde::Serialize;

use crate::database::Connection;
use crate::position::ReadModel;
use crate::projection::{Projection, Said, Slice, Stop};
use fields::{FieldValue, IndexedFields};
use stored::StoredSubmission;

pub(crate) use fields::{FIELD_TEXT_BYTES_MAX, is_number};
pub(crate) use key::described as described_field_key;
pub use query::{InvalidSort, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, Page, Sort, SortKey, SubmissionQuery};
pub(crate) use query::{Part, find, find_all, ids, page, part};
pub(crate) use select::PageKey;

/// The sequence of the event that makes a submission.
const FIRST: Sequence = Sequence(1);
/// Forms whose indexed fields are remembered from batch to batch; at the limit all are forgotten and read again.
const INDEXED_FIELDS_REMEMBERED_MAX: usize = 100_000;

/// A submission as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubmissionRow {
    /// Its id.
    pub submission_id: SubmissionId,
    /// The form it was made with.
    pub form: FormId,
    /// The version it is pinned to.
    pub form_version: FormVersion,
    /// Its workflow state; `draft` before it is submitted.
    pub state: Arc<str>,
    /// What was filled in, with computed values merged in.
    pub data: CanonicalJson,
    /// What each rule said; `{}` before the first evaluation.
    pub outcomes: CanonicalJson,
    /// Who created it.
    pub submitter: Arc<str>,
    /// When its first event was recorded.
    pub created_at: DateTime<Utc>,
    /// When its last event was recorded.
    pub updated_at: DateTime<Utc>,
    /// Its place in its stream.
    pub sequence: Sequence,
    /// The position of its last event.
    pub position: Position,
}

impl SubmissionRow {
    /// Bytes of its documents, which are nearly all of it.
    pub(crate) fn document_bytes(&self) -> usize {
        self.data.as_str().len() + self.outcomes.as_str().len()
    }
}

/// Keeps `submissions`, `field_keys` and, for itself, `indexed_fields`. `submission_fields` is where an earlier version kept what is in
/// `field_keys` now; it is only ever emptied.
///
/// All submissions of a form are found by what its newest version indexes, whatever version they were made under: where a version indexes other fields
/// than the one before, the keys of all of them are made again.
#[derive(Debug, Default)]
pub(crate) struct SubmissionsProjection {
    newest: HashMap<OwnedForm, Newest, RandomState>,
}

/// The newest version of a form.
#[derive(Debug, Clone)]
struct Newest {
    version: FormVersion,
    indexed: Arc<IndexedFields>,
}

/// A form of a tenant.
type OwnedForm = (TenantId, FormId);
/// A submission of a tenant.
type Key<'a> = (&'a TenantId, SubmissionId);

/// A submission that a batch touches: several events of it become one write.
#[derive(Debug)]
struct Touched {
    row: StoredSubmission,
    /// The indexed values that stand in the table; `None` for a submission that the batch creates.
    standing: Option<Vec<FieldValue>>,
}

/// A form version that a batch publishes.
#[derive(Debug)]
struct Published<'a> {
    tenant: &'a TenantId,
    form: &'a FormId,
    version: FormVersion,
    indexed: Arc<IndexedFields>,
    /// Whether submissions that are there have to be found by other fields now.
    changes_keys: bool,
}

/// The submissions that a batch touches, in the order they were met, so that rows are written in ledger order; and the versions it
/// publishes. Nothing that lies behind a stop is in it.
#[derive(Debug, Default)]
struct Touching<'a> {
    order: HashMap<Key<'a>, usize, RandomState>,
    met: Vec<(&'a TenantId, Touched)>,
    published: Vec<Published<'a>>,
}

impl<'a> Touching<'a> {
    fn insert(&mut self, key: Key<'a>, touched: Touched) {
        self.order.insert(key, self.met.len());
        self.met.push((key.0, touched));
    }

    fn get_mut(&mut self, key: &Key<'a>) -> Option<&mut Touched> {
        self.order.get(key).map(|place| &mut self.met[*place].1)
    }
}

impl Projection for SubmissionsProjection {
    const READ_MODEL: ReadModel = ReadModel::Submissions;
    const VERSION: i64 = 4;
    const TABLES: &'static [&'static str] =
        &["submissions", "field_keys", "indexed_fields", "submission_fields"];

    fn follows(aggregate_type: &str) -> bool {
        aggregate_type == Submission::TYPE || aggregate_type == Form::TYPE
    }

    async fn apply(
        &mut self,
        connection: &mut Connection<'_>,
        slices: &[Slice<'_>],
    ) -> Result<Vec<Stop>, sqlx::Error> {
        // Here and nowhere later: the batch needs all that it recalls.
        if self.newest.len() >= INDEXED_FIELDS_REMEMBERED_MAX {
            self.newest.clear();
        }
        self.recall_forms(connection, slices).await?;
        let mut touching = self.load_touched(connection, slices).await?;
        let stops = slices.iter().filter_map(|slice| self.fold(slice, &mut touching).err()).collect();
        self.write(connection, touching).await?;
        Ok(stops)
    }

    fn forget(&mut self) {
        self.newest.clear();
    }
}

impl SubmissionsProjection {
    /// Reads what the newest versions of those forms index that the slices name and memory does not hold; versions that the slices publish are not
    /// there yet.
    async fn recall_forms(
        &mut self,
        connection: &mut Connection<'_>,
        slices: &[Slice<'_>],
    ) -> Result<(), sqlx::Error> {
        let mut asked = HashSet::with_hasher(RandomState::default());
        let mut unknown = Vec::new();
        for Slice { tenant, facts } in slices {
            for fact in *facts {
                let form = match &fact.said {
                    Said::Submission(said) => said.form(),
                    Said::Form(FormEvent::Published { form, .. }) => form,
                    _ => continue,
                };
                if !asked.insert((*tenant, form)) {
                    continue;
                }
                let form = ((*tenant).clone(), form.clone());
                if !self.newest.contains_key(&form) {
                    unknown.push(form);
                }
            }
        }
        // All at once: of thousands of tenants, one by one would cost more than what they submit.
        for (form, version, indexed) in stored::load_indexed(connection, unknown).await? {
            self.newest.insert(form, Newest { version, indexed: Arc::new(indexed) });
        }
        Ok(())
    }

    /// The newest version of a form, if `version` was published.
    fn newest(&self, tenant: &TenantId, form: &FormId, version: FormVersion) -> Option<&Newest> {
        self.newest.get(&(tenant.clone(), form.clone())).filter(|newest| version <= newest.version)
    }

    /// Reads the submissions that the slices touch and did not create.
    async fn load_touched<'a>(
        &self,
        connection: &mut Connection<'_>,
        slices: &[Slice<'a>],
    ) -> Result<Touching<'a>, sqlx::Error> {
        let mut created = HashSet::with_hasher(RandomState::default());
        let mut earlier = HashSet::with_hasher(RandomState::default());
        for Slice { tenant, facts } in slices {
            for fact in *facts {
                let Said::Submission(_) = &fact.said else { continue };
                // An id that is none stops the fold, with its position.
                let Ok(id) = fact.event.aggregate_id.parse::<SubmissionId>() else { continue };
                if fact.event.sequence == FIRST {
                    created.insert((*tenant, id));
                } else if !created.contains(&(*tenant, id)) {
                    earlier.insert((*tenant, id));
                }
            }
        }
        let mut touching = Touching::default();
        for (key, row) in stored::load(connection, earlier.iter().copied()).await? {
            // Left out, the fold stops at it: its form version was never published.
            let Some(newest) = self.newest(key.0, &row.form, row.form_version) else { continue };
            let standing = Some(newest.indexed.values(&row.data, row.computed.as_ref()));
            touching.insert(key, Touched { row, standing });
        }
        Ok(touching)
    }

    /// Folds one tenant's events into what they touch, up to one that contradicts what came before.
    fn fold<'a>(&mut self, slice: &Slice<'a>, touching: &mut Touching<'a>) -> Result<(), Stop> {
        for fact in slice.facts {
            let event = &fact.event;
            match &fact.said {
                Said::Form(FormEvent::Published { definition, form, version }) => {
                    let indexed = Arc::new(IndexedFields::of_definition(definition, form, *version));
                    let newest = Newest { version: *version, indexed: indexed.clone() };
                    let before = self.newest.insert((slice.tenant.clone(), form.clone()), newest);
                    let changes_keys = before.is_some_and(|before| !before.indexed.is_like(&indexed));
                    let published =
                        Published { tenant: slice.tenant, form, version: *version, indexed, changes_keys };
                    touching.published.push(published);
                }
                Said::Submission(said) => {
                    self.fold_one(slice.tenant, said, event, touching).map_err(|error| Stop {
                        tenant: slice.tenant.clone(),
                        position: event.position,
                        error,
                    })?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn fold_one<'a>(
        &self,
        tenant: &'a TenantId,
        said: &SubmissionEvent,
        event: &RecordedEvent,
        touching: &mut Touching<'a>,
    ) -> Result<(), String> {
        let id: SubmissionId = event
            .aggregate_id
            .parse()
            .map_err(|_| format!("`{}` is not a submission id", event.aggregate_id))?;
        let key = (tenant, id);
        if event.sequence == FIRST {
            let (form, version) = (said.form(), said.form_version());
            if self.newest(tenant, form, version).is_none() {
                return Err(format!("form `{form}` version {version} was not published before"));
            }
            let row = StoredSubmission::created(id, said, event)
                .ok_or_else(|| format!("submission {id} does not begin with its creation"))?;
            touching.insert(key, Touched { row, standing: None });
            return Ok(());
        }
        let touched =
            touching.get_mut(&key).ok_or_else(|| format!("submission {id} goes on without a beginning"))?;
        touched.row.fold(said, event);
        Ok(())
    }

    /// Writes what became of the touched submissions: rows, and the difference in indexed values; and what new versions index.
    async fn write(
        &self,
        connection: &mut Connection<'_>,
        touching: Touching<'_>,
    ) -> Result<(), sqlx::Error> {
        let mut changing = HashSet::with_hasher(RandomState::default());
        for Published { tenant, form, version, indexed, changes_keys } in touching.published {
            stored::put_indexed(connection, tenant, form, version, &indexed).await?;
            if changes_keys {
                changing.insert((tenant.clone(), form.clone()));
            }
        }
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        let (mut made, mut changed) = (Vec::with_capacity(touching.met.len()), Vec::new());
        for (tenant, Touched { row, standing }) in touching.met {
            let form = (tenant.clone(), row.form.clone());
            let rows = if standing.is_none() { &mut made } else { &mut changed };
            if let Some(newest) = self.newest.get(&form).filter(|_| !changing.contains(&form)) {
                let values = newest.indexed.values(&row.data, row.computed.as_ref());
                let mut standing = standing.map(Vec::into_iter);
                for (pointer, value) in newest.indexed.pointers().zip(values) {
                    let entry = |value: &FieldValue| {
                        stored::FieldEntry::new(tenant, &row.form, pointer, value, row.created_position)
                    };
                    match standing.as_mut().and_then(Iterator::next) {
                        Some(same) if same == value => {}
                        before => {
                            gone.extend(before.as_ref().map(entry));
                            new.push(entry(&value));
                        }
                    }
                }
            }
            rows.push((tenant.clone(), row));
        }
        stored::put(connection, made, changed).await?;
        stored::delete_fields(connection, gone).await?;
        stored::insert_fields(connection, new).await?;
        for form in &changing {
            if let Some(newest) = self.newest.get(form) {
                stored::make_fields_again(connection, form, &newest.indexed).await?;
            }
        }
        Ok(())
    }
}
