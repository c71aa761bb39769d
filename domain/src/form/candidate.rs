//! Candidate rules run over data as they were recorded: what they would have said where that is something else. Pure, and apart from
//! what submissions do: nothing here is ever recorded.
//! Called by [`crate::Backtest`].

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::definition::FormDefinition;
use super::problem::DefinitionProblem;
use super::rules::{self, FormRules};
use super::violation::Violation;
use super::{compiled, validator};
use crate::json::CanonicalJson;

/// One rule that would have said something else.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutcomeDifference {
    /// The rule's id.
    pub rule: String,
    /// What was recorded; null where the rule said nothing then.
    pub before: Value,
    /// What the candidate says; null where it has no such rule. A constraint that refuses says
    /// `{"violated": true, "pointer", "message"}`.
    pub after: Value,
}

/// Rules that are compiled for one version of a form, without being part of it.
#[derive(Debug)]
pub(crate) struct Candidate {
    rules: FormRules,
}

impl Candidate {
    /// Compiles `rules`, a form definition's `rules` member, against the schema of `definition`.
    pub fn compile(definition: &FormDefinition, rules: &Value) -> Result<Self, Vec<DefinitionProblem>> {
        let checked = validator::check(&definition.schema)?;
        let layout = rules::layout(&compiled::fields_as_published(definition, &checked)?);
        let (compiled, mut remarks) = FormRules::compile(rules, &layout)?;
        remarks.retain(DefinitionProblem::is_error);
        if !remarks.is_empty() {
            // What is not published any more the version may have, and goes on with.
            let own =
                FormRules::compile(&definition.rules, &layout).map_or_else(|_| Vec::new(), |(_, own)| own);
            let own: HashSet<_> = own.iter().map(|problem| said_of(problem, &definition.rules)).collect();
            remarks.retain(|problem| !own.contains(&said_of(problem, rules)));
        }
        if remarks.is_empty() { Ok(Self { rules: compiled }) } else { Err(remarks) }
    }

    /// Where the candidate says something else than `recorded` about data that the form accepted at `at`.
    pub fn differences(
        &self,
        data: &Value,
        recorded: Option<&CanonicalJson>,
        at: DateTime<Utc>,
    ) -> Vec<OutcomeDifference> {
        match self.rules.run(data, at) {
            Err(violations) => violations.into_iter().map(violated).collect(),
            Ok(verdict) => {
                let said = verdict.map(|verdict| verdict.outcomes);
                // Both are canonical, so that equal outcomes are equal texts: nearly every submission ends here.
                if said.as_ref() == recorded { Vec::new() } else { compared(recorded, said.as_ref()) }
            }
        }
    }
}

/// What a problem says, and of what, wherever in `rules` that stands.
fn said_of<'p>(problem: &'p DefinitionProblem, rules: &'p Value) -> (&'p str, Option<&'p Value>) {
    let place = problem.pointer.strip_prefix("/rules");
    (&problem.message, place.and_then(|place| rules.pointer(place)))
}

fn violated(violation: Violation) -> OutcomeDifference {
    let Violation { pointer, keyword, message } = violation;
    let after = json!({"violated": true, "pointer": pointer, "message": message});
    OutcomeDifference { rule: keyword, before: Value::Null, after }
}

/// The rules whose outcomes are not the same.
fn compared(before: Option<&CanonicalJson>, after: Option<&CanonicalJson>) -> Vec<OutcomeDifference> {
    let outcomes = |said: Option<&CanonicalJson>| match said.map(CanonicalJson::to_value) {
        Some(Value::Object(outcomes)) => outcomes,
        _ => Map::new(),
    };
    let (before, after) = (outcomes(before), outcomes(after));
    let mut rules: BTreeMap<&String, (&Value, &Value)> =
        before.iter().map(|(rule, said)| (rule, (said, &Value::Null))).collect();
    for (rule, said) in &after {
        rules.entry(rule).or_insert((&Value::Null, &Value::Null)).1 = said;
    }
    let differ = rules.into_iter().filter(|(_, (before, after))| !same(before, after));
    differ
        .map(|(rule, (before, after))| OutcomeDifference {
            rule: rule.clone(),
            before: before.clone(),
            after: after.clone(),
        })
        .collect()
}

/// Whether two outcomes decide the same. Another wording of why a field is missing decides nothing.
fn same(before: &Value, after: &Value) -> bool {
    ["matched", "value"].iter().all(|member| before.get(member) == after.get(member))
        && before.get("error").is_some() == after.get("error").is_some()
}
