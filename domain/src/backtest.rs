//! What candidate rules would have decided over a tenant's history: the core of `formledger backtest`. Pure: it is handed recorded events
//! and answers differences; whoever reads the ledger decides where they go, and how many threads do it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::form::{Candidate, DefinitionProblem, FormDefinition, OutcomeDifference};
use crate::ids::{FormId, FormVersion, Position};
use crate::json::CanonicalJson;
use crate::submission::SubmissionEvent;

/// Candidate rules, compiled for every published version of one form. Shared by the threads of a back-test.
#[derive(Debug)]
pub struct Backtest {
    form: FormId,
    candidates: BTreeMap<FormVersion, Result<Candidate, Vec<DefinitionProblem>>>,
}

/// Data that a form accepted, with what its rules said then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastSubmission {
    /// The submission's id.
    pub submission: String,
    /// Where the data were recorded.
    pub position: Position,
    /// What a back-test gives to rules as `now`: what rules read as `now` then, where that was recorded beside their outcomes, else when the
    /// data were recorded, a little later.
    pub at: DateTime<Utc>,
    /// The version whose rules ran.
    pub form_version: FormVersion,
    data: CanonicalJson,
    outcomes: Option<CanonicalJson>,
    /// Whether it counts without outcomes: a form whose rules are all constraints records none.
    accepted: bool,
}

/// Pairs the data in a ledger with the outcomes that were recorded in the same append, right after them.
#[derive(Debug)]
pub struct History<'f> {
    form: &'f FormId,
    waiting: Option<PastSubmission>,
}

impl<'f> History<'f> {
    /// The history of one form.
    pub fn of(form: &'f FormId) -> Self {
        Self { form, waiting: None }
    }

    /// Takes the next event of the ledger and answers a submission that is complete with it. Events of other aggregates are `None`.
    pub fn next(
        &mut self,
        submission: &str,
        (position, at): (Position, DateTime<Utc>),
        event: Option<SubmissionEvent>,
    ) -> Option<PastSubmission> {
        let (data, accepted, form, form_version) = match event {
            Some(SubmissionEvent::RulesEvaluated { outcomes, now, .. }) => {
                let waiting = self.waiting.take()?;
                return if waiting.submission == submission {
                    let at = now.unwrap_or(waiting.at);
                    Some(PastSubmission { outcomes: Some(outcomes), at, ..waiting })
                } else {
                    Some(waiting).filter(|waiting| waiting.accepted)
                };
            }
            Some(SubmissionEvent::Submitted { data, form, form_version, .. }) => {
                (data, true, form, form_version)
            }
            Some(SubmissionEvent::Amended { data, form, form_version, .. }) => {
                (data, false, form, form_version)
            }
            _ => return self.finish(),
        };
        let complete = self.finish();
        self.waiting = (form == *self.form).then(|| PastSubmission {
            submission: submission.to_owned(),
            position,
            at,
            form_version,
            data,
            outcomes: None,
            accepted,
        });
        complete
    }

    /// Answers what was waiting for outcomes when the ledger ends.
    pub fn finish(&mut self) -> Option<PastSubmission> {
        self.waiting.take().filter(|waiting| waiting.accepted)
    }
}

impl Backtest {
    /// Compiles `rules` (the `rules` member of a form definition) for every version in `versions`.
    pub fn new<'v>(
        form: FormId,
        versions: impl IntoIterator<Item = (FormVersion, &'v Value)>,
        rules: &Value,
    ) -> Self {
        let compile = |definition: &Value| Candidate::compile(&FormDefinition::parse(definition)?, rules);
        let candidates = versions.into_iter().map(|(version, definition)| (version, compile(definition)));
        Self { form, candidates: candidates.collect() }
    }

    /// The form.
    pub fn form(&self) -> &FormId {
        &self.form
    }

    /// Versions that the candidate does not fit, and why. Their submissions cannot be compared.
    pub fn misfits(&self) -> impl Iterator<Item = (FormVersion, &[DefinitionProblem])> {
        self.candidates
            .iter()
            .filter_map(|(version, candidate)| Some((*version, &**candidate.as_ref().err()?)))
    }

    /// Whether the candidate fits no version at all.
    pub fn fits_none(&self) -> bool {
        self.candidates.values().all(Result::is_err)
    }

    /// Where the candidate says something else, in order of rule id; `None` when it does not fit the submission's version.
    pub fn differences(&self, past: &PastSubmission) -> Option<Vec<OutcomeDifference>> {
        let candidate = self.candidates.get(&past.form_version)?.as_ref().ok()?;
        Some(candidate.differences(&past.data.to_value(), past.outcomes.as_ref(), past.at))
    }
}

/// What a back-test found, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BacktestSummary {
    /// Submissions that were compared.
    pub submissions: u64,
    /// Those with at least one changed outcome.
    pub changed: u64,
    /// Those that the candidate's constraints would have refused.
    pub refused: u64,
    /// Submissions under versions that the candidate does not fit.
    pub not_compared: u64,
    /// Changed outcomes by rule; a rule that changed nothing is not named.
    pub rules: BTreeMap<String, u64>,
}

impl BacktestSummary {
    /// Counts what [`Backtest::differences`] said of one submission.
    pub fn count(&mut self, differences: Option<&[OutcomeDifference]>) {
        let Some(differences) = differences else {
            self.not_compared += 1;
            return;
        };
        self.submissions += 1;
        self.changed += u64::from(!differences.is_empty());
        self.refused += u64::from(differences.iter().any(|changed| changed.after["violated"] == true));
        for changed in differences {
            *self.rules.entry(changed.rule.clone()).or_default() += 1;
        }
    }

    /// Adds what another part of the history gave.
    pub fn add(&mut self, other: Self) {
        self.submissions += other.submissions;
        self.changed += other.changed;
        self.refused += other.refused;
        self.not_compared += other.not_compared;
        for (rule, count) in other.rules {
            *self.rules.entry(rule).or_default() += count;
        }
    }
}
