//! What a submission's answer says, made where cqrs-es hands out what was committed: its framework itself answers nothing.
//! Asked by `main` after each command; holds an entry only between the commit and that question.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cqrs_es::{Aggregate, EventEnvelope, Query};
use formledger_domain::{CanonicalJson, Submission};
use serde_json::value::RawValue;

/// Answers that are ready, by aggregate id: at most one for each request in flight.
#[derive(Clone, Default)]
pub struct Answers(Arc<Mutex<HashMap<String, String>>>);

impl Answers {
    /// The answer to a command that was committed.
    pub fn take(&self, id: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }
}

#[async_trait::async_trait]
impl Query<Submission> for Answers {
    async fn dispatch(&self, id: &str, events: &[EventEnvelope<Submission>]) {
        let mut state = Submission::default();
        for event in events {
            state.apply(event.payload.clone());
        }
        let sequence = events.last().map_or(0, |event| event.sequence);
        let answer = text(id, &state, sequence);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), answer);
    }
}

/// The members of Formledger's own answer, but for `position`, which this path has none of.
fn text(id: &str, state: &Submission, sequence: usize) -> String {
    let pin = state.pin();
    let outcomes = state.outcomes().map_or("{}", CanonicalJson::as_str);
    let outcomes = RawValue::from_string(outcomes.to_owned()).expect("canonical JSON is JSON");
    let form = pin.map_or("", |pin| pin.form.as_str());
    let state_name = state.state().map_or("", |state| state.as_str());
    let version = pin.map_or(0, |pin| pin.version.0);
    format!(
        r#"{{"submission_id":"{id}","form":"{form}","form_version":{version},"state":"{state_name}","outcomes":{outcomes},"sequence":{sequence}}}"#
    )
}
