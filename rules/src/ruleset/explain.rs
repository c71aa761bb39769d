//! Outcomes explained: which conditions held on which values, which row matched. Made when somebody asks, from what was
//! recorded and the version that it was recorded under.
//!
//! Called by [`super::RuleSet::explain`]. Evaluates nothing: what is shown is what was recorded.

use serde_json::{Map, Value as Json, json};

use super::definition::{self, Definition, Kind, Problems, TableDefinition};
use super::{Action, OUTCOMES, Rule, RuleSet};
use crate::check::names_read;
use crate::eval::trace;
use crate::syntax::{Expr, parse};

/// Longest text value that an explanation repeats, in characters; a longer one is cut.
const TEXT_SHOWN: usize = 200;

/// What recorded outcomes are explained with.
struct Facts<'f> {
    set: &'f RuleSet,
    data: &'f Json,
    outcomes: &'f Json,
}

/// Explains every rule in `outcomes` that the set knows.
pub(super) fn explain(set: &RuleSet, outcomes: &Json, why: &Json, data: &Json) -> Json {
    let facts = Facts { set, data, outcomes };
    let definitions = definition::read(&set.source, &mut Problems::default());
    let mut explained = Map::new();
    for definition in &definitions {
        let rule = set.rules.iter().find(|rule| rule.id == definition.id);
        if let (Some(rule), Some(outcome)) = (rule, outcomes.get(&*definition.id)) {
            let why = why.get(&*definition.id).unwrap_or(&Json::Null);
            explained.extend(
                facts.rule(rule, definition, outcome, why).map(|said| (definition.id.to_string(), said)),
            );
        }
    }
    Json::Object(explained)
}

impl Facts<'_> {
    fn rule(&self, rule: &Rule, definition: &Definition, outcome: &Json, why: &Json) -> Option<Json> {
        match (&definition.kind, &rule.action) {
            (Kind::Decision { when, .. }, Action::Decision { when: program, .. }) => {
                let tree = parse(when).ok()?;
                let single = if outcome.get("matched") == Some(&Json::Bool(true)) { "t" } else { "f" };
                // A rule of one condition records nothing: its outcome says it.
                let single = if outcome.get("reason").is_some() { "?" } else { single };
                let single = if outcome.get("error").is_some() { "!" } else { single };
                let marks = why.as_str().unwrap_or(single).chars();
                let conditions = program.conditions(&tree).into_iter().zip(marks);
                let conditions: Vec<Json> =
                    conditions.map(|(condition, mark)| self.condition(when, condition, mark)).collect();
                Some(json!({"conditions": conditions}))
            }
            (Kind::Table(table), Action::Table(_)) => Some(self.table(table, why)),
            (Kind::Compute { value, .. }, _) => {
                let tree = parse(value).ok()?;
                Some(json!({"text": value, "values": self.values(&tree)}))
            }
            _ => None,
        }
    }

    fn condition(&self, source: &str, condition: &Expr<'_>, mark: char) -> Json {
        let mut said = json!({"text": &source[condition.span.range()], "values": self.values(condition)});
        said["held"] = match mark {
            trace::HELD => Json::Bool(true),
            trace::NOT_HELD => Json::Bool(false),
            _ => Json::Null,
        };
        let because = match mark {
            trace::NOT_ASKED => "not asked",
            trace::MISSING => "missing",
            trace::FAILED => "failed",
            _ => return said,
        };
        said["because"] = because.into();
        said
    }

    fn table(&self, table: &TableDefinition, why: &Json) -> Json {
        let input = |text: &String| {
            let values = parse(text).map_or_else(|_| Json::Null, |tree| self.values(&tree));
            json!({"text": text, "values": values})
        };
        let row = |at: &Json| {
            let at = usize::try_from(at.as_u64()?).ok()?;
            Some(json!({"row": at, "when": table.rows.get(at)?.when}))
        };
        let rows: Vec<Json> = why.as_array().into_iter().flatten().filter_map(row).collect();
        json!({"inputs": table.inputs.iter().map(input).collect::<Vec<_>>(), "rows": rows})
    }

    /// The fields and outcomes that an expression names, with their values.
    fn values(&self, tree: &Expr<'_>) -> Json {
        let mut names = Vec::new();
        names_read(tree, &mut names);
        Json::Object(names.iter().filter_map(|name| self.value(name)).collect())
    }

    fn value(&self, name: &str) -> Option<(String, Json)> {
        let mut parts = name.split('.');
        let first = parts.next()?;
        if first == OUTCOMES && self.set.layout.root().member(OUTCOMES).is_none() {
            let outcome = self.outcomes.get(parts.next()?)?;
            let value = match parts.next() {
                Some(key) => outcome.get("value").and_then(|value| value.get(key)).or(outcome.get(key)),
                None => outcome.get("value"),
            };
            return Some((name.to_owned(), value.map_or(Json::Null, shown)));
        }
        self.set.layout.root().member(first)?;
        let (mut path, mut value) = (first.to_owned(), self.data.get(first));
        for part in parts {
            let Some(Json::Object(members)) = value else { break };
            value = members.get(part);
            path = format!("{path}.{part}");
        }
        Some((path, value.map_or(Json::Null, shown)))
    }
}

/// A value for people: scalars as they are, long texts cut, lists and objects by their size.
fn shown(value: &Json) -> Json {
    match value {
        Json::String(text) if text.chars().count() > TEXT_SHOWN => {
            Json::String(text.chars().take(TEXT_SHOWN).chain(['…']).collect())
        }
        Json::Array(items) => format!("a list of {}", items.len()).into(),
        Json::Object(members) => format!("an object of {}", members.len()).into(),
        scalar => scalar.clone(),
    }
}
