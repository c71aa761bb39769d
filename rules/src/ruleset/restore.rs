//! What rules made, read back as they saw it: see [`crate::value::with_numbers`].
//!
//! For expressions outside the set, which have only what was recorded.

use std::borrow::Cow;

use serde_json::Value as Json;

use super::{Action, MATCHED, OUTCOMES, RuleSet, VALUE};
use crate::slots::Slots;
use crate::types::{ObjectType, Type};
use crate::value::with_numbers;

impl RuleSet {
    /// `data` with its computed fields as rules saw them: a number that canonical JSON holds only as text is a number again, where a rule computes
    /// one. Nothing else is looked at: a text that somebody filled in stays one.
    pub fn restore_computed<'d>(&self, data: &'d Json) -> Cow<'d, Json> {
        let mut restored = Cow::Borrowed(data);
        for rule in &self.rules {
            let Action::Compute { into, ty, .. } = &rule.action else { continue };
            if let Some(number) = data.pointer(into).and_then(|json| with_numbers(json, ty))
                && let Some(place) = restored.to_mut().pointer_mut(into)
            {
                *place = number;
            }
        }
        restored
    }

    /// Where the set computes something, as JSON Pointers into the data.
    pub fn computed(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter_map(|rule| match &rule.action {
            Action::Compute { into, .. } => Some(&**into),
            _ => None,
        })
    }

    /// Binds the computed fields of `data`, each to its own slot and to no object around it. The null that stands where a rule made nothing of what
    /// was filled in is a missing value, as it was to other rules. `outcomes`, in their recorded form, tell it from a null that the rule made.
    pub fn bind_computed<'a>(&'a self, slots: &mut Slots<'a>, data: &'a Json, outcomes: &Json) {
        for rule in &self.rules {
            let Action::Compute { into, slot, ty, .. } = &rule.action else { continue };
            let made_null = || {
                let said = outcomes.get(&*rule.id).and_then(|said| said.get(MATCHED));
                matches!(ty, Type::Dyn | Type::Optional(_)) && said != Some(&Json::Bool(false))
            };
            let nothing = |json: &Json| json.is_null() && !made_null();
            match data.pointer(into).filter(|json| !nothing(json)) {
                Some(json) => slots.bind_slot(*slot, json, ty),
                None => slots.clear(*slot),
            }
        }
    }

    /// Recorded outcomes (the form of [`super::RuleOutcome::outcomes_json`]) as rules saw them: only the sums of tables may be numbers that canonical
    /// JSON holds as text.
    pub fn restore_outcomes<'d>(&self, outcomes: &'d Json) -> Cow<'d, Json> {
        let mut restored = Cow::Borrowed(outcomes);
        for rule in &self.rules {
            if !matches!(&rule.action, Action::Table(table) if table.collects()) {
                continue;
            }
            let Some(said) = outcomes.get(&*rule.id).and_then(|said| said.get("value")) else { continue };
            let numbers = self.outcome_type(&rule.id).and_then(|ty| match said {
                Json::Object(_) => with_numbers(said, &Type::Object(ty.clone())),
                said => with_numbers(said, &ty.field(VALUE)?.ty),
            });
            if let Some(numbers) = numbers {
                restored.to_mut()[&*rule.id]["value"] = numbers;
            }
        }
        restored
    }

    /// The type of `outcomes.<rule>`.
    fn outcome_type(&self, rule: &str) -> Option<&std::sync::Arc<ObjectType>> {
        let outcome = self.layout.variables().member(OUTCOMES)?.branch.as_ref()?.member(rule)?;
        match outcome.ty.non_null() {
            Type::Object(object) => Some(object),
            _ => None,
        }
    }
}
