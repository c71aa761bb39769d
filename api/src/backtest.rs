//! Candidate rules over a form's recorded submissions, read from the ledger part by part: what `formledger backtest` and replays share.
//! It only reads; which parts are judged when, by how many threads, and where the differences go is the caller's.

use formledger_domain::{
    Backtest, DefinitionProblem, Form, FormEvent, FormId, FormVersion, History, LedgerAggregate,
    OutcomeDifference, PastSubmission, Position, Submission, TenantContext, UndecodableEvent,
};
use formledger_store::{Part, RecordedEvent, StoreError, TenantLedger};
use serde::Serialize;
use serde_json::Value;

use crate::error::ApiError;
use crate::limits::STREAM_PAGE_BYTES_MAX;
use crate::standbys::LedgerSource;

/// Events that are read at once.
const PAGE_EVENTS: u64 = 1_024;

/// Why a candidate cannot be judged with.
#[derive(Debug, thiserror::Error)]
pub enum CandidateError {
    /// There is no such form, or only drafts of it.
    #[error("there is no published form `{0}`")]
    FormMissing(FormId),
    /// It fits no published version of the form; the newest one's problems.
    #[error("the candidate fits no published version of the form")]
    FitsNone(Vec<DefinitionProblem>),
    /// The form's history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// Why a history cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This binary does not understand an event.
    #[error("the event at position {position} cannot be read")]
    Event {
        /// Which.
        position: Position,
        /// Why.
        source: UndecodableEvent,
    },
}

impl From<HistoryError> for ApiError {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Store(error) => error.into(),
            HistoryError::Event { .. } => Self::internal(error),
        }
    }
}

/// Compiles `rules` (a list, as a form definition's `rules`) for every published version of a form.
///
/// # Errors
/// [`CandidateError`] when nothing could be compared.
pub async fn compile(
    ledger: &TenantLedger,
    context: &TenantContext,
    form: &FormId,
    rules: &Value,
) -> Result<Backtest, CandidateError> {
    let mut versions: Vec<(FormVersion, Value)> = Vec::new();
    // Not the drafts, of which there may be any number.
    let published = Part::Newest { event_type: FormEvent::PUBLISHED, limit: u32::MAX };
    for event in
        ledger.load_part(&context.stream::<Form>(form), published).await.map_err(HistoryError::from)?
    {
        let said = Form::decode(&event.event_type, &event.event_version, &event.payload)
            .map_err(|source| HistoryError::Event { position: event.position, source })?;
        if let FormEvent::Published { version, definition, .. } = said {
            versions.push((version, definition.to_value()));
        }
    }
    if versions.is_empty() {
        return Err(CandidateError::FormMissing(form.clone()));
    }
    let definitions = versions.iter().map(|(version, definition)| (*version, definition));
    let backtest = Backtest::new(form.clone(), definitions, rules);
    if backtest.fits_none() {
        let newest = backtest.misfits().last();
        return Err(CandidateError::FitsNone(
            newest.map_or_else(Vec::new, |(_, problems)| problems.to_vec()),
        ));
    }
    Ok(backtest)
}

/// A published version that the candidate does not fit: its submissions are not compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Misfit {
    /// Which.
    pub form_version: FormVersion,
    /// Why.
    pub problems: Vec<DefinitionProblem>,
}

impl Misfit {
    /// All of them.
    pub fn all(backtest: &Backtest) -> Vec<Self> {
        let misfits = backtest.misfits();
        misfits.map(|(form_version, problems)| Self { form_version, problems: problems.to_vec() }).collect()
    }
}

/// Judges the data recorded at `first` to `last`, in order; tells `judged` each one with its differences, which are `None` where the candidate does not fit.
/// Reads one event more: the outcomes of the last data stand right behind them.
///
/// # Errors
/// [`HistoryError`]; what was told before stands.
pub async fn judge(
    ledger: &LedgerSource,
    backtest: &Backtest,
    first: Position,
    last: Position,
    mut judged: impl FnMut(&PastSubmission, Option<Vec<OutcomeDifference>>),
) -> Result<(), HistoryError> {
    let form = backtest.form().clone();
    let mut history = History::of(&form);
    // What begins behind the part belongs to the next one.
    let mut tell = |past: PastSubmission| {
        if past.position <= last {
            judged(&past, backtest.differences(&past));
        }
    };
    let mut after = Position(first.0 - 1);
    while after <= last {
        let wanted = PAGE_EVENTS.min(last.0 + 1 - after.0);
        let page = ledger.read_page(after, wanted as usize, STREAM_PAGE_BYTES_MAX).await?;
        let Some(newest) = page.last() else {
            // One event more than the part is only looked for.
            if after < last {
                return Err(StoreError::missing(after.next()).into());
            }
            break;
        };
        after = newest.position;
        for event in page {
            if let Some(past) = advance(&mut history, &event)? {
                tell(past);
            }
        }
    }
    if let Some(past) = history.finish() {
        tell(past);
    }
    Ok(())
}

fn advance(history: &mut History<'_>, event: &RecordedEvent) -> Result<Option<PastSubmission>, HistoryError> {
    let said = if event.aggregate_type == <Submission as cqrs_es::Aggregate>::TYPE {
        let said = Submission::decode(&event.event_type, &event.event_version, &event.payload);
        Some(said.map_err(|source| HistoryError::Event { position: event.position, source })?)
    } else {
        None
    };
    Ok(history.next(&event.aggregate_id, (event.position, event.recorded_at), said))
}
