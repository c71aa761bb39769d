//! A form's workflow, compiled: states, who may move a submission between them, and what moves by itself.
//! Made when a form version is compiled; asked by the submission aggregate. Here: what it is made of; checked in `graph`, read in `read`.

mod expression;
mod graph;
mod period;
mod read;
mod reminder;

use std::cell::OnceCell;
use std::collections::BTreeMap;

use formledger_rules::RuleSet;
use serde_json::Value;

use super::ast::Field;
use super::problem::DefinitionProblem;
use crate::json::pointer;
use expression::{Candidates, Documents, Found, Guard, Scope};

pub use expression::{Facts, GuardFailed};
pub use period::Period;
pub use reminder::{REMINDERS_MAX, Reminder, moments};

/// The role of transitions that name neither roles nor candidates.
pub const DEFAULT_ROLE: &str = "reviewer";
/// The role that means, in a workflow, the person who made the submission.
pub const SUBMITTER_ROLE: &str = "submitter";

/// A workflow that was found sound: every name in it exists, every state is reached and leads to a final one.
#[derive(Debug)]
pub struct Workflow {
    initial: String,
    states: BTreeMap<String, State>,
    auto: Vec<Automatic>,
    transitions: Vec<Transition>,
    /// What expressions see when a submission moves by itself, and when a person moves it.
    alone: Scope,
    personal: Scope,
}

/// A place in which a submission can be.
#[derive(Debug)]
pub struct State {
    /// Whether nothing happens after it.
    pub is_final: bool,
    /// JSON Pointers of what may be edited here, with everything below; empty when nothing may.
    pub edit: Vec<String>,
    /// The roles that may edit; `None`: the submitter, and whoever may take a transition from here.
    pub editors: Option<Vec<String>>,
    /// Whether files may be attached and detached here, where the definition says; see [`State::takes_attachments`].
    pub attach: Option<bool>,
    /// How long a submission may wait here.
    pub due: Option<Period>,
    /// Where it goes when it waited longer.
    pub escalate_to: Option<String>,
    /// When it is told that it still waits.
    pub remind: Vec<Reminder>,
}

impl State {
    /// Whether files may be attached and detached here: where the definition says so, else where something may be edited.
    pub fn takes_attachments(&self) -> bool {
        self.attach.unwrap_or(!self.edit.is_empty())
    }
}

/// The signature that a transition asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureRule {
    /// What it means to sign, word for word.
    pub meaning: String,
    /// How long ago the signer may have shown their credentials; `None`: as long as their token lasts.
    pub age_max: Option<Period>,
}

/// A way that people take.
#[derive(Debug)]
pub struct Transition {
    /// Its name, unique in the workflow.
    pub name: String,
    /// The states it leads from.
    pub from: Vec<String>,
    /// The state it leads to.
    pub to: String,
    /// The roles that may take it.
    pub roles: Vec<String>,
    /// How many different people must take it before it leads on.
    pub approvals: u32,
    /// How many of the candidates count, the first ones; `None`: all.
    pub approvers_max: Option<u32>,
    /// Whether the person who made the submission may not take it.
    pub exclude_submitter: bool,
    /// Whether a reason must be given.
    pub reason_required: bool,
    /// The signature that must be given.
    pub signature: Option<SignatureRule>,
    /// What may be edited by taking it, beside what its state lets be edited.
    pub edit: Vec<String>,
    candidates: Option<Candidates>,
    when: Option<Guard>,
}

impl Transition {
    /// Whether it can be taken only where a condition holds.
    pub fn has_guard(&self) -> bool {
        self.when.is_some()
    }
}

/// A way that a submission takes by itself.
#[derive(Debug)]
struct Automatic {
    from: Vec<String>,
    to: String,
    when: Option<Guard>,
}

impl Workflow {
    /// Compiles the `workflow` of a definition against its fields and rules; `None` when something stands in its way. Without sound rules
    /// only what does not read them is checked. The problems are errors and remarks, with pointers into the definition.
    pub(super) fn compile(
        workflow: &Value,
        fields: &Field,
        rules: Option<&RuleSet>,
    ) -> (Option<Self>, Vec<DefinitionProblem>) {
        let mut found = Found::default();
        let definition = read::read(workflow, &mut found.problems);
        graph::check(&definition, fields, &mut found.problems);
        let restless = graph::restless(&definition);
        let compiled = rules.map(|rules| Self::of(definition, rules, &mut found));
        let too_few = compiled.as_ref().zip(rules).map(|(workflow, rules)| workflow.too_few(rules));
        found.problems.extend(too_few.into_iter().flatten());
        let Found { mut problems, tolerated } = found;
        let sound = !problems.iter().any(DefinitionProblem::is_error);
        problems.extend(tolerated);
        problems.extend(restless);
        (compiled.filter(|_| sound), problems)
    }

    fn of(definition: read::Definition, rules: &RuleSet, found: &mut Found) -> Self {
        let (alone, personal) = (Scope::alone(rules), Scope::personal(rules));
        let auto = definition.auto.into_iter().enumerate().map(|(place, auto)| Automatic {
            when: auto.when.and_then(|text| {
                Guard::compile(&text, &alone, &format!("/workflow/auto/{place}/when"), found)
            }),
            from: auto.from,
            to: auto.to,
        });
        let auto = auto.collect();
        let transitions = definition.transitions.into_iter().enumerate().map(|(place, transition)| {
            let at = |member: &str| format!("/workflow/transitions/{place}/{member}");
            let read::TransitionDefinition { when, candidates, .. } = &transition;
            let when = when.as_ref().and_then(|text| Guard::compile(text, &personal, &at("when"), found));
            let candidates = candidates
                .as_ref()
                .and_then(|text| Candidates::compile(text, &alone, &at("candidates"), found));
            transition.compiled(when, candidates)
        });
        let transitions = transitions.collect();
        Self { initial: definition.initial, states: definition.states, auto, transitions, alone, personal }
    }

    /// The state of a new submission, before anything moves by itself.
    pub fn initial(&self) -> &str {
        &self.initial
    }

    /// The state called `name`.
    pub fn state(&self, name: &str) -> Option<&State> {
        self.states.get(name)
    }

    /// How many states there are: a submission moves by itself less often than that, because ways by itself make no circle.
    pub fn states_count(&self) -> usize {
        self.states.len()
    }

    /// The states in which something may be edited.
    pub fn editable_states(&self) -> impl Iterator<Item = &str> {
        self.states.iter().filter(|(_, state)| !state.edit.is_empty()).map(|(name, _)| name.as_str())
    }

    /// Whether some transition asks for a signature.
    pub fn asks_for_signatures(&self) -> bool {
        self.transitions.iter().any(|transition| transition.signature.is_some())
    }

    /// The states in which files may be attached.
    pub fn attaching_states(&self) -> impl Iterator<Item = &str> {
        self.states.iter().filter(|(_, state)| state.takes_attachments()).map(|(name, _)| name.as_str())
    }

    /// The states that say `attach` in a form that takes no files.
    pub(super) fn attaching_in_vain(&self) -> impl Iterator<Item = DefinitionProblem> {
        let named = self.states.iter().filter(|(_, state)| state.attach == Some(true));
        named.map(|(name, _)| {
            let message = "the form takes no attachments; say with `attachments` beside `workflow` which, for example `{}`";
            DefinitionProblem::error(pointer::child(&pointer::child("/workflow/states", name), "attach"), message)
        })
    }

    /// The transition called `name`.
    pub fn transition(&self, name: &str) -> Option<&Transition> {
        self.transitions.iter().find(|transition| transition.name == name)
    }

    /// The names of all transitions, as written.
    pub fn transition_names(&self) -> impl Iterator<Item = &str> {
        self.transitions.iter().map(|transition| transition.name.as_str())
    }

    /// The transitions that lead from `state`, as written.
    pub fn transitions_from(&self, state: &str) -> impl Iterator<Item = &Transition> {
        self.transitions.iter().filter(move |transition| transition.from.iter().any(|from| from == state))
    }

    /// Whether some transition or list of editors names `role`.
    pub fn names_role(&self, role: &str) -> bool {
        let editors = self.states.values().filter_map(|state| state.editors.as_deref());
        let named = self.transitions.iter().map(|transition| transition.roles.as_slice());
        editors.chain(named).flatten().any(|named| named == role)
    }

    /// Where a submission in `state` goes by itself; `None` when it stays. A guard that cannot be evaluated does not hold.
    pub(super) fn moves_to(&self, state: &str, rules: &RuleSet, facts: &Facts<'_>) -> Option<&str> {
        let documents = OnceCell::new();
        let holds = |auto: &&Automatic| {
            let guarded = |when: &Guard| {
                let documents = documents.get_or_init(|| Documents::of(facts, rules));
                when.holds(&self.alone, rules, facts, documents).is_ok()
            };
            auto.from.iter().any(|from| from == state) && auto.when.as_ref().is_none_or(guarded)
        };
        self.auto.iter().find(holds).map(|auto| auto.to.as_str())
    }

    /// Whether the guard of `transition` lets the facts through.
    ///
    /// # Errors
    /// Why it does not.
    pub(super) fn lets_through(
        &self,
        transition: &Transition,
        rules: &RuleSet,
        facts: &Facts<'_>,
    ) -> Result<(), GuardFailed> {
        let Some(when) = &transition.when else { return Ok(()) };
        when.holds(&self.personal, rules, facts, &Documents::of(facts, rules))
    }

    /// The people who may take `transition` whatever their roles, in the expression's order and each once.
    pub(super) fn candidates(
        &self,
        transition: &Transition,
        excluded: impl Fn(&str) -> bool,
        rules: &RuleSet,
        facts: &Facts<'_>,
    ) -> Vec<String> {
        let Some(candidates) = &transition.candidates else { return Vec::new() };
        let mut people = candidates.people(&self.alone, rules, facts);
        let mut seats = transition.approvers_max.unwrap_or(u32::MAX);
        // Who may not take it would keep a seat empty, and fewer might be left than it needs.
        people.retain(|person| {
            let seated = seats > 0;
            seats = seats.saturating_sub(u32::from(!excluded(person)));
            seated
        });
        people
    }

    /// Whether some guard asks for the roles of who acts.
    pub(crate) fn asks_for_roles(&self) -> bool {
        let Some((_, roles)) = self.personal.person() else { return false };
        self.transitions
            .iter()
            .filter_map(|transition| transition.when.as_ref())
            .any(|when| when.reads(roles))
    }

    /// Remarks on transitions that nobody names roles for, and whose candidates are always the same and too few.
    fn too_few(&self, rules: &RuleSet) -> Vec<DefinitionProblem> {
        let named = self.transitions.iter().enumerate().filter(|(_, transition)| transition.roles.is_empty());
        let told = |(place, transition): (usize, &Transition)| {
            let people = transition.candidates.as_ref()?.constant(&self.alone, rules)?;
            let (named, needed) = (people.len(), transition.approvals as usize);
            (named < needed).then(|| {
                let message = format!(
                    "nobody could complete this: it takes {needed} people, and these are always {named}; name more, or give it `roles`"
                );
                DefinitionProblem::warning(format!("/workflow/transitions/{place}/candidates"), message)
            })
        };
        named.filter_map(told).collect()
    }
}

#[cfg(test)]
mod tests;
