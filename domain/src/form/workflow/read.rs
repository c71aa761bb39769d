//! The `workflow` of a form definition, read strictly: what is not understood is a problem, never ignored.
//! Called by `Workflow::compile`; whether the names in it fit together is said by `graph`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::problem::DefinitionProblem;
use super::expression::{Candidates, Guard};
use super::reminder::never_in_time;
use super::{DEFAULT_ROLE, Period, REMINDERS_MAX, Reminder, SignatureRule, State, Transition};
use crate::attachment::reverses_text;
use crate::context::role_scope;
use crate::json::pointer;

/// The most states of a workflow.
pub const STATES_MAX: usize = 200;
/// The most transitions, and the most automatic ones.
pub const TRANSITIONS_MAX: usize = 500;
/// The most names in one list: states, roles or pointers.
pub const NAMES_MAX: usize = 200;
/// The longest name of a state, transition or role, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// The longest meaning of a signature, in bytes.
pub const MEANING_BYTES_MAX: usize = 500;
/// The most approvals that a transition may ask for.
pub const APPROVALS_MAX: u32 = 100;

/// A workflow whose members have the right types; places in the lists are those of the definition.
#[derive(Debug, Default)]
pub(super) struct Definition {
    pub(super) initial: String,
    pub(super) states: BTreeMap<String, State>,
    pub(super) auto: Vec<AutomaticDefinition>,
    pub(super) transitions: Vec<TransitionDefinition>,
}

#[derive(Debug)]
pub(super) struct AutomaticDefinition {
    pub(super) from: Vec<String>,
    pub(super) to: String,
    pub(super) when: Option<String>,
}

#[derive(Debug)]
pub(super) struct TransitionDefinition {
    pub(super) name: String,
    pub(super) from: Vec<String>,
    pub(super) to: String,
    pub(super) roles: Vec<String>,
    pub(super) candidates: Option<String>,
    pub(super) when: Option<String>,
    pub(super) approvals: u32,
    pub(super) approvers_max: Option<u32>,
    pub(super) exclude_submitter: bool,
    pub(super) reason_required: bool,
    pub(super) signature: Option<SignatureRule>,
    pub(super) edit: Vec<String>,
}

impl TransitionDefinition {
    /// With its expressions compiled; one that names nobody is for the default role.
    pub(super) fn compiled(mut self, when: Option<Guard>, candidates: Option<Candidates>) -> Transition {
        if self.roles.is_empty() && self.candidates.is_none() {
            self.roles.push(DEFAULT_ROLE.to_owned());
        }
        Transition {
            name: self.name,
            from: self.from,
            to: self.to,
            roles: self.roles,
            approvals: self.approvals,
            approvers_max: self.approvers_max,
            exclude_submitter: self.exclude_submitter,
            reason_required: self.reason_required,
            signature: self.signature,
            edit: self.edit,
            candidates,
            when,
        }
    }
}

/// Reads the whole; where something is wrong a problem is added and something harmless stands in its place.
pub(super) fn read(workflow: &Value, problems: &mut Vec<DefinitionProblem>) -> Definition {
    let members = ["initial", "states", "auto", "transitions"];
    let Some(mut workflow) = Members::of(workflow, "/workflow".to_owned(), "a workflow", &members, problems)
    else {
        return Definition::default();
    };
    let initial = workflow.name("initial").unwrap_or_default();
    let states = workflow.states();
    let auto = workflow.list("auto", automatic);
    let transitions = workflow.list("transitions", transition);
    Definition { initial, states, auto, transitions }
}

fn state(value: &Value, at: String, problems: &mut Vec<DefinitionProblem>) -> State {
    let members = ["title", "final", "edit", "editors", "attach", "due", "escalate", "remind"];
    let mut state = State {
        is_final: false,
        edit: Vec::new(),
        editors: None,
        attach: None,
        due: None,
        escalate_to: None,
        remind: Vec::new(),
    };
    let Some(mut given) = Members::of(value, at, "a state", &members, problems) else { return state };
    given.title();
    state.is_final = given.flag("final");
    state.edit = given.pointers("edit");
    state.editors = given.has("editors").then(|| given.roles("editors"));
    state.attach = given.has("attach").then(|| given.flag("attach"));
    state.due = given.period("due", DUE_RULE);
    state.escalate_to = given.escalation();
    state.remind = given.reminders(state.due);
    state
}

fn automatic(
    value: &Value,
    at: String,
    problems: &mut Vec<DefinitionProblem>,
) -> Option<AutomaticDefinition> {
    let members = ["from", "to", "when"];
    let mut given = Members::of(value, at, "an automatic transition", &members, problems)?;
    Some(AutomaticDefinition {
        from: given.states_named("from"),
        to: given.name("to").unwrap_or_default(),
        when: given.expression("when"),
    })
}

fn transition(
    value: &Value,
    at: String,
    problems: &mut Vec<DefinitionProblem>,
) -> Option<TransitionDefinition> {
    let members = [
        "name",
        "title",
        "from",
        "to",
        "roles",
        "candidates",
        "when",
        "approvals",
        "exclude_submitter",
        "reason",
        "signature",
        "edit",
    ];
    let mut given = Members::of(value, at, "a transition", &members, problems)?;
    given.title();
    let (approvals, approvers_max) = given.approvals();
    Some(TransitionDefinition {
        name: given.name("name").unwrap_or_default(),
        from: given.states_named("from"),
        to: given.name("to").unwrap_or_default(),
        roles: given.roles("roles"),
        candidates: given.expression("candidates"),
        when: given.expression("when"),
        approvals,
        approvers_max,
        exclude_submitter: given.flag("exclude_submitter"),
        reason_required: given.reason(),
        signature: given.signature(),
        edit: given.pointers("edit"),
    })
}

/// The members of one object, and where problems with them are told.
struct Members<'a> {
    members: &'a Map<String, Value>,
    at: String,
    problems: &'a mut Vec<DefinitionProblem>,
}

impl<'a> Members<'a> {
    /// The members of an object that has none but `known` ones.
    fn of(
        value: &'a Value,
        at: String,
        what: &str,
        known: &[&str],
        problems: &'a mut Vec<DefinitionProblem>,
    ) -> Option<Self> {
        let Value::Object(members) = value else {
            let message = format!("{what} is an object; it may have `{}`", known.join("`, `"));
            problems.push(DefinitionProblem::error(at, message));
            return None;
        };
        let unknown = members.keys().filter(|name| !known.contains(&name.as_str()));
        for name in unknown.take(NAMES_MAX) {
            let message = format!("{what} has no such member; it has `{}`", known.join("`, `"));
            problems.push(DefinitionProblem::error(pointer::child(&at, name), message));
        }
        Some(Self { members, at, problems })
    }

    fn has(&self, member: &str) -> bool {
        self.members.contains_key(member)
    }

    fn problem(&mut self, member: &str, message: impl Into<String>) {
        self.problems.push(DefinitionProblem::error(pointer::child(&self.at, member), message));
    }

    /// A name that must be there.
    fn name(&mut self, member: &str) -> Option<String> {
        match self.members.get(member) {
            Some(Value::String(name)) if is_name(name) => return Some(name.clone()),
            Some(_) => self.problem(member, NAME_RULE),
            None => self.problem(member, format!("`{member}` is missing")),
        }
        None
    }

    /// A list of names; empty when it is missing.
    fn names(&mut self, member: &str) -> Vec<String> {
        self.texts(member, is_name, |_| NAME_RULE.to_owned())
    }

    /// A list of roles; empty when it is missing.
    fn roles(&mut self, member: &str) -> Vec<String> {
        self.texts(member, is_name, |given| match given.and_then(|role| Some((role, role_scope(role)?))) {
            Some((role, (name, form))) if is_name(name) => format!(
                "`{role}` is how a credential says `{name}` for the form `{form}` alone; a workflow is of one form and says `{name}`"
            ),
            _ => NAME_RULE.to_owned(),
        })
    }

    /// One state or several; at least one.
    fn states_named(&mut self, member: &str) -> Vec<String> {
        if let Some(Value::String(_)) | None = self.members.get(member) {
            return self.name(member).into_iter().collect();
        }
        let before = self.problems.len();
        let names = self.names(member);
        if names.is_empty() && self.problems.len() == before {
            self.problem(member, "name at least one state");
        }
        names
    }

    fn pointers(&mut self, member: &str) -> Vec<String> {
        let rule = "a field is named by a JSON Pointer into the data, for example `/lines`; the empty one is all data";
        self.texts(member, |text| text.is_empty() || text.starts_with('/'), |_| rule.to_owned())
    }

    /// A list of texts, each once; `rule` says what would be right where `accepts` does not take one, or where it is no text.
    fn texts(
        &mut self,
        member: &str,
        accepts: impl Fn(&str) -> bool,
        rule: impl Fn(Option<&str>) -> String,
    ) -> Vec<String> {
        let items = match self.members.get(member) {
            None => return Vec::new(),
            Some(Value::Array(items)) if items.len() <= NAMES_MAX => items,
            Some(_) => {
                self.problem(member, format!("`{member}` is a list of at most {NAMES_MAX} strings"));
                return Vec::new();
            }
        };
        let mut texts: Vec<String> = Vec::with_capacity(items.len());
        for (place, item) in items.iter().enumerate() {
            let message = match item.as_str() {
                Some(text) if texts.iter().any(|known| known == text) => format!("`{text}` is named twice"),
                Some(text) if accepts(text) => {
                    texts.push(text.to_owned());
                    continue;
                }
                other => rule(other),
            };
            let at = format!("{}/{member}/{place}", self.at);
            self.problems.push(DefinitionProblem::error(at, message));
        }
        texts
    }

    fn flag(&mut self, member: &str) -> bool {
        match self.members.get(member) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.problem(member, format!("`{member}` is `true` or `false`"));
                false
            }
        }
    }

    fn title(&mut self) {
        if self.members.get("title").is_some_and(|title| !title.is_string()) {
            self.problem("title", "`title` is a string");
        }
    }

    fn expression(&mut self, member: &str) -> Option<String> {
        match self.members.get(member) {
            None => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => {
                self.problem(member, format!("`{member}` is an expression, a string"));
                None
            }
        }
    }

    fn period(&mut self, member: &str, rule: &str) -> Option<Period> {
        let given = self.members.get(member)?;
        let period = given.as_str().and_then(Period::parse);
        if period.is_none() {
            self.problem(member, rule);
        }
        period
    }

    /// A list of periods, with `-` in front of those before the due date.
    fn reminders(&mut self, due: Option<Period>) -> Vec<Reminder> {
        let rule = "a reminder is an ISO 8601 duration such as `P2D`, counted from when it begins to wait, or with `-` in front (`-P1D`) back \
                    from when it is due";
        let before = self.problems.len();
        let reminders: Vec<Reminder> = self
            .texts("remind", |text| Reminder::parse(text).is_some(), |_| rule.to_owned())
            .iter()
            .filter_map(|text| Reminder::parse(text))
            .collect();
        if reminders.len() > REMINDERS_MAX {
            self.problem("remind", format!("at most {REMINDERS_MAX} reminders"));
        }
        // With some of them missing, the places would be those of others.
        if self.problems.len() == before {
            for (place, message) in never_in_time(&reminders, due) {
                let at = format!("{}/remind/{place}", self.at);
                self.problems.push(DefinitionProblem::error(at, message));
            }
        }
        reminders
    }

    /// `{"to": "<state>"}`.
    fn escalation(&mut self) -> Option<String> {
        let given = self.members.get("escalate")?;
        if !self.has("due") {
            self.problem("escalate", "nothing escalates without a `due`");
        }
        let at = pointer::child(&self.at, "escalate");
        Members::of(given, at, "an escalation", &["to"], self.problems)?.name("to")
    }

    /// `n`, or `{"need": n, "of": m}`.
    fn approvals(&mut self) -> (u32, Option<u32>) {
        let rule = format!(
            "`approvals` is a whole number from 1 to {APPROVALS_MAX}, or `{{\"need\": n, \"of\": m}}` with n at most m"
        );
        let count = |value: &Value| {
            value
                .as_u64()
                .and_then(|count| u32::try_from(count).ok())
                .filter(|n| (1..=APPROVALS_MAX).contains(n))
        };
        let read = match self.members.get("approvals") {
            None => return (1, None),
            Some(Value::Object(given)) if given.len() == 2 => {
                let (need, of) = (given.get("need").and_then(count), given.get("of").and_then(count));
                need.zip(of).filter(|(need, of)| need <= of).map(|(need, of)| (need, Some(of)))
            }
            Some(given) => count(given).map(|need| (need, None)),
        };
        if read.is_none() {
            self.problem("approvals", rule);
        }
        if let Some((_, Some(_))) = read
            && !self.has("candidates")
        {
            self.problem("approvals", "`of` counts candidates; say with `candidates` who they are");
        }
        read.unwrap_or((1, None))
    }

    fn reason(&mut self) -> bool {
        match self.members.get("reason").map(Value::as_str) {
            None | Some(Some("optional")) => false,
            Some(Some("required")) => true,
            Some(_) => {
                self.problem("reason", "`reason` is `required` or `optional`");
                false
            }
        }
    }

    /// `{"meaning": "<text>", "max_age"?: "<duration>"}`.
    fn signature(&mut self) -> Option<SignatureRule> {
        let given = self.members.get("signature")?;
        let at = pointer::child(&self.at, "signature");
        let mut given = Members::of(given, at, "a signature", &["meaning", "max_age"], self.problems)?;
        let age_max = given.period("max_age", AGE_RULE);
        match given.members.get("meaning").and_then(Value::as_str) {
            Some(meaning) if is_meaning(meaning) => {
                Some(SignatureRule { meaning: meaning.to_owned(), age_max })
            }
            _ => {
                let message = format!(
                    "`meaning` says what it means to sign, for example `I approve this claim`: 1 to {MEANING_BYTES_MAX} bytes in one line, without marks that reverse text"
                );
                given.problem("meaning", message);
                None
            }
        }
    }

    fn states(&mut self) -> BTreeMap<String, State> {
        let given = match self.members.get("states") {
            Some(Value::Object(states)) if (1..=STATES_MAX).contains(&states.len()) => states,
            Some(_) => {
                self.problem("states", format!("`states` is an object of 1 to {STATES_MAX} states by name"));
                return BTreeMap::new();
            }
            None => {
                self.problem("states", "`states` is missing");
                return BTreeMap::new();
            }
        };
        let at = pointer::child(&self.at, "states");
        let mut states = BTreeMap::new();
        for (name, value) in given {
            let at = pointer::child(&at, name);
            if !is_name(name) {
                self.problems.push(DefinitionProblem::error(&*at, NAME_RULE));
            }
            states.insert(name.clone(), state(value, at, self.problems));
        }
        states
    }

    /// Answers nothing when one item is none at all: the places of the others would no longer be those of the definition.
    fn list<T>(
        &mut self,
        member: &str,
        read: impl Fn(&Value, String, &mut Vec<DefinitionProblem>) -> Option<T>,
    ) -> Vec<T> {
        let items = match self.members.get(member) {
            None => return Vec::new(),
            Some(Value::Array(items)) if items.len() <= TRANSITIONS_MAX => items,
            Some(_) => {
                self.problem(member, format!("`{member}` is a list of at most {TRANSITIONS_MAX}"));
                return Vec::new();
            }
        };
        let at = pointer::child(&self.at, member);
        let read: Vec<Option<T>> = items
            .iter()
            .enumerate()
            .map(|(place, item)| read(item, format!("{at}/{place}"), self.problems))
            .collect();
        read.into_iter().collect::<Option<_>>().unwrap_or_default()
    }
}

const DUE_RULE: &str =
    "a due date is an ISO 8601 duration such as `P3D`, `P1M` or `PT12H`, at most 100 years";
const AGE_RULE: &str = "`max_age` is how long ago the signer may have shown their credentials, an ISO 8601 duration such as `PT5M`";

fn is_meaning(text: &str) -> bool {
    (1..=MEANING_BYTES_MAX).contains(&text.len())
        && text.trim() == text
        && !text.chars().any(|c| c.is_control() || reverses_text(c))
}

const NAME_RULE: &str =
    "a name is 1 to 128 of letters, digits, `.`, `_`, `:` and `-`, starting with a letter or a digit";

fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | ':' | '-'))
        && text.chars().next().is_some_and(char::is_alphanumeric)
}
