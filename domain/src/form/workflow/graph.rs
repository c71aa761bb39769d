//! Whether a workflow holds together: names that exist, states that are reached and lead to an end, no circle that turns by itself.
//! Called by `Workflow::compile` once the members have the right types.

use std::collections::{BTreeMap, BTreeSet};

use super::super::ast::{Field, FieldKind};
use super::super::problem::DefinitionProblem;
use super::read::Definition;
use super::{SUBMITTER_ROLE, State};
use crate::json::pointer;

/// The state of a draft: every form has it, so no workflow may give the name another meaning.
const DRAFT: &str = "draft";
/// The state that a submitter's withdrawal leads to; a workflow that names it must mean an end as well.
const WITHDRAWN: &str = "withdrawn";
/// Built-in roles whose holders take no part in workflows.
const BYSTANDERS: [&str; 2] = ["auditor", "operator"];
/// Built-in roles that a workflow may name.
const BUILT_IN: [&str; 4] = ["admin", "designer", "reviewer", SUBMITTER_ROLE];

/// Adds what is wrong with the workflow.
pub(super) fn check(definition: &Definition, fields: &Field, problems: &mut Vec<DefinitionProblem>) {
    names(definition, problems);
    if !problems.iter().any(DefinitionProblem::is_error) {
        // With parts of it missing, a graph would only tell the same mistakes in other words.
        reach(definition, problems);
        circles(definition, problems);
    }
    states(definition, fields, problems);
    transitions(definition, fields, problems);
}

fn names(definition: &Definition, problems: &mut Vec<DefinitionProblem>) {
    let mut exists = |name: &str, at: String| {
        // An empty name stands for one that was told already.
        if !name.is_empty() && !definition.states.contains_key(name) {
            let message = format!("there is no state `{name}`");
            problems.push(DefinitionProblem::error(at, message));
        }
    };
    exists(&definition.initial, "/workflow/initial".to_owned());
    for (name, state) in &definition.states {
        if let Some(to) = &state.escalate_to {
            exists(to, format!("{}/escalate/to", at_state(name)));
        }
    }
    for (place, auto) in definition.auto.iter().enumerate() {
        let at = format!("/workflow/auto/{place}");
        auto.from.iter().for_each(|from| exists(from, format!("{at}/from")));
        exists(&auto.to, format!("{at}/to"));
    }
    for (place, transition) in definition.transitions.iter().enumerate() {
        let at = format!("/workflow/transitions/{place}");
        transition.from.iter().for_each(|from| exists(from, format!("{at}/from")));
        exists(&transition.to, format!("{at}/to"));
    }
}

/// Every way from a state to another.
fn ways(definition: &Definition) -> impl Iterator<Item = (&str, &str)> {
    let manual = definition
        .transitions
        .iter()
        .flat_map(|transition| transition.from.iter().map(|from| (from.as_str(), transition.to.as_str())));
    by_itself(definition).chain(manual)
}

/// The ways that nobody needs to take.
fn by_itself(definition: &Definition) -> impl Iterator<Item = (&str, &str)> {
    let auto = definition.auto.iter().flat_map(|auto| auto.from.iter().map(|from| (from, &auto.to)));
    let late = definition.states.iter().filter_map(|(from, state)| Some((from, state.escalate_to.as_ref()?)));
    auto.chain(late).map(|(from, to)| (from.as_str(), to.as_str()))
}

fn reach(definition: &Definition, problems: &mut Vec<DefinitionProblem>) {
    let (mut forward, mut backward) = (BTreeMap::new(), BTreeMap::new());
    for (from, to) in ways(definition) {
        forward.entry(from).or_insert_with(Vec::new).push(to);
        backward.entry(to).or_insert_with(Vec::new).push(from);
    }
    let ends = definition.states.iter().filter(|(_, state)| state.is_final).map(|(name, _)| name.as_str());
    let reached = closure([definition.initial.as_str()], &forward);
    let ending = closure(ends, &backward);
    for name in definition.states.keys() {
        let message = if !reached.contains(name.as_str()) {
            "no submission ever reaches this state; lead a transition to it or leave it out"
        } else if !ending.contains(name.as_str()) {
            "a dead end: from here no way leads to a state with `\"final\": true`"
        } else {
            continue;
        };
        problems.push(DefinitionProblem::error(at_state(name), message));
    }
}

fn closure<'a>(
    from: impl IntoIterator<Item = &'a str>,
    ways: &BTreeMap<&'a str, Vec<&'a str>>,
) -> BTreeSet<&'a str> {
    let mut reached: BTreeSet<&str> = from.into_iter().collect();
    let mut waiting: Vec<&str> = reached.iter().copied().collect();
    while let Some(state) = waiting.pop() {
        let next = ways.get(state).into_iter().flatten();
        waiting.extend(next.filter(|to| reached.insert(to)));
    }
    reached
}

/// A circle of automatic transitions would turn for ever: its guards see the same facts each time.
fn circles(definition: &Definition, problems: &mut Vec<DefinitionProblem>) {
    let mut ways: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for auto in &definition.auto {
        for from in &auto.from {
            ways.entry(from).or_default().push(&auto.to);
        }
    }
    for (place, auto) in definition.auto.iter().enumerate() {
        let after = closure([auto.to.as_str()], &ways);
        if auto.from.iter().any(|from| after.contains(from.as_str())) {
            let message = "automatic transitions lead back here, so a submission would go round for ever";
            problems.push(DefinitionProblem::error(format!("/workflow/auto/{place}"), message));
        }
    }
}

/// Where time and automatic transitions alone lead back to the same state: a submission that nobody touches would move for ever.
pub(super) fn restless(definition: &Definition) -> Vec<DefinitionProblem> {
    let mut ways: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in by_itself(definition) {
        ways.entry(from).or_default().push(to);
    }
    let turns = |(name, state): &(&String, &State)| {
        let to = state.escalate_to.as_deref();
        to.is_some_and(|to| closure([to], &ways).contains(name.as_str()))
    };
    let told = |(name, _): (&String, &State)| {
        let message = "from here escalations and automatic transitions lead back here, so a submission that nobody touches would go \
                       round for ever; let one of these states wait without `escalate`";
        DefinitionProblem::error(pointer::child(&at_state(name), "escalate"), message)
    };
    definition.states.iter().filter(turns).map(told).collect()
}

fn states(definition: &Definition, fields: &Field, problems: &mut Vec<DefinitionProblem>) {
    for (name, state) in &definition.states {
        let at = at_state(name);
        let mut problem = |message: &str| problems.push(DefinitionProblem::error(&*at, message));
        let State { is_final, edit, attach, due, remind, .. } = state;
        if name == DRAFT {
            problem("`draft` is the state of what is not submitted yet; give this state another name");
        }
        if name == WITHDRAWN && !is_final {
            problem("`withdrawn` is where a withdrawal by the submitter ends; it must be `\"final\": true`");
        }
        if *is_final && (due.is_some() || !edit.is_empty() || *attach == Some(true)) {
            problem("nothing is edited, attached or due in a final state");
        }
        if *is_final && !remind.is_empty() {
            problem("nobody is reminded of a final state");
        }
        if *is_final && ways(definition).any(|(from, _)| from == name) {
            problem("a final state is the end; no transition leads from it");
        }
        if state.editors.is_some() && !state.takes_attachments() && edit.is_empty() {
            problem(
                "`editors` may edit what `edit` names, and attach where `attach` is true; say what that is",
            );
        }
        edits(&format!("{at}/edit"), edit, fields, problems);
        roles(&format!("{at}/editors"), state.editors.as_deref().unwrap_or_default(), problems);
    }
}

fn transitions(definition: &Definition, fields: &Field, problems: &mut Vec<DefinitionProblem>) {
    let mut names = BTreeSet::new();
    for (place, transition) in definition.transitions.iter().enumerate() {
        let at = format!("/workflow/transitions/{place}");
        if !transition.name.is_empty() && !names.insert(transition.name.as_str()) {
            let message = format!("there are several transitions called `{}`", transition.name);
            problems.push(DefinitionProblem::error(format!("{at}/name"), message));
        }
        let only_submitter = transition.candidates.is_none() && transition.roles == [SUBMITTER_ROLE];
        if only_submitter && (transition.exclude_submitter || transition.approvals > 1) {
            let message = "nobody could take this: `submitter` is the one person who made the submission";
            problems.push(DefinitionProblem::error(format!("{at}/roles"), message));
        }
        edits(&format!("{at}/edit"), &transition.edit, fields, problems);
        roles(&format!("{at}/roles"), &transition.roles, problems);
    }
    for (place, auto) in definition.auto.iter().enumerate() {
        let earlier = &definition.auto[..place];
        let always =
            |from: &&String| earlier.iter().any(|auto| auto.when.is_none() && auto.from.contains(from));
        if let Some(from) = auto.from.iter().find(always) {
            let message = format!("never taken: an earlier automatic transition always leaves `{from}`");
            problems.push(DefinitionProblem::warning(format!("/workflow/auto/{place}"), message));
        }
    }
}

fn edits(at: &str, edit: &[String], fields: &Field, problems: &mut Vec<DefinitionProblem>) {
    for (place, named) in edit.iter().enumerate() {
        let message = match editable(named, fields) {
            Editable::Yes => continue,
            Editable::InsideList => "a list is edited as a whole; name the list",
            Editable::Unknown => "the schema has no field here; name one that it describes",
        };
        problems.push(DefinitionProblem::error(format!("{at}/{place}"), message));
    }
}

enum Editable {
    Yes,
    InsideList,
    Unknown,
}

fn editable(named: &str, fields: &Field) -> Editable {
    let mut field = fields;
    for token in pointer::tokens(named) {
        match (field.kind, field.child(&token)) {
            (FieldKind::List, _) => return Editable::InsideList,
            // What stands below a field of any kind, the schema does not say.
            (FieldKind::Any, _) => return Editable::Yes,
            (_, Some(child)) => field = child,
            (_, None) => return Editable::Unknown,
        }
    }
    Editable::Yes
}

/// Remarks on roles that nobody can hold, or that look like a slip of the pen.
fn roles(at: &str, roles: &[String], problems: &mut Vec<DefinitionProblem>) {
    for (place, role) in roles.iter().enumerate() {
        let meant = BUILT_IN.iter().find(|known| {
            **known != role.as_str()
                && role.to_lowercase().trim_end_matches('s') == known.trim_end_matches('s')
        });
        let message = match meant {
            _ if BYSTANDERS.contains(&role.as_str()) => {
                format!("`{role}` takes no part in workflows, so nobody could act in this role")
            }
            Some(meant) => format!("nobody is granted `{role}` by the product; `{meant}` is built in"),
            None => continue,
        };
        problems.push(DefinitionProblem::warning(format!("{at}/{place}"), message));
    }
}

fn at_state(name: &str) -> String {
    pointer::child("/workflow/states", name)
}
