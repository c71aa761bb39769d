//! Rule definitions as they are written, read strictly: an unknown member, a wrong type or a repeated id is a problem.
//!
//! Called by [`super::compile`]. Reads JSON by hand instead of deriving, because every problem needs its own pointer and
//! all of them are wanted at once.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::outcome::RuleProblem;
use crate::error::Severity;
use crate::limits::{PROBLEMS_MAX, RULES_MAX, TABLE_ROWS_MAX};

/// One rule as written.
pub(crate) struct Definition {
    pub id: Arc<str>,
    pub place: usize,
    pub kind: Kind,
}

pub(crate) enum Kind {
    Constraint { assert: String, at: String, message: Option<String> },
    Compute { value: String, into: String },
    Decision { when: String, then: Json, otherwise: Option<Json> },
    Table(TableDefinition),
}

pub(crate) struct TableDefinition {
    pub hit: Hit,
    pub inputs: Vec<String>,
    pub rows: Vec<Row>,
    pub otherwise: Option<Json>,
}

pub(crate) struct Row {
    pub when: Vec<String>,
    pub then: Json,
    /// Higher wins under [`Hit::Priority`].
    pub priority: f64,
    /// What its author says about it.
    pub description: Option<String>,
}

/// Which matching rows give a table's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hit {
    /// The first that matches.
    First,
    /// The only one that matches; two are an error.
    Unique,
    /// The one with the highest priority, of equal ones the first.
    Priority,
    /// All that match, put together key by key.
    Collect(Collect),
}

/// How `collect` puts the values of one key together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collect {
    List,
    Sum,
    Min,
    Max,
    Count,
}

/// Problems as they are found, bounded.
#[derive(Default)]
pub(crate) struct Problems {
    pub found: Vec<RuleProblem>,
    /// Whether something found keeps the rules from running at all.
    pub broken: bool,
}

impl Problems {
    pub fn error(&mut self, pointer: String, rule: Option<&Arc<str>>, message: impl Into<String>) {
        let (message, rule) = (message.into(), rule.cloned());
        self.push(RuleProblem { pointer, rule, message, span: None, severity: Severity::Error });
    }

    /// A problem; an error keeps the rules from running.
    pub fn push(&mut self, problem: RuleProblem) {
        self.broken |= problem.severity == Severity::Error;
        self.remark(problem);
    }

    /// A problem that leaves the rules able to run, whatever its severity. Where there is no room, an error takes the place of the
    /// last warning: whoever asks whether there is an error must not be answered by how many warnings there are.
    pub fn remark(&mut self, problem: RuleProblem) {
        if self.found.len() >= PROBLEMS_MAX {
            let is_warning = |known: &RuleProblem| known.severity == Severity::Warning;
            let last = self.found.iter().rposition(is_warning).filter(|_| !is_warning(&problem));
            let Some(last) = last else { return };
            self.found.remove(last);
        }
        self.found.push(problem);
    }
}

/// Reads the `rules` member of a form definition.
pub(crate) fn read(rules: &Json, problems: &mut Problems) -> Vec<Definition> {
    let items = match rules {
        Json::Null => return Vec::new(),
        Json::Array(items) => items,
        _ => {
            problems.error("/rules".to_owned(), None, "`rules` must be an array of rules");
            return Vec::new();
        }
    };
    if items.len() > RULES_MAX {
        problems.error(
            "/rules".to_owned(),
            None,
            format!("{} rules; at most {RULES_MAX} are allowed", items.len()),
        );
        return Vec::new();
    }
    let mut ids = HashSet::new();
    let mut definitions = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        let Some(definition) = read_rule(item, place, problems) else { continue };
        if ids.insert(definition.id.clone()) {
            definitions.push(definition);
        } else {
            let message = format!("the id `{}` is taken by an earlier rule", definition.id);
            problems.error(format!("/rules/{place}/id"), Some(&definition.id), message);
        }
    }
    definitions
}

/// One rule under the reader's eye.
struct Reader<'r, 'p> {
    members: &'r Map<String, Json>,
    place: usize,
    id: Arc<str>,
    problems: &'p mut Problems,
}

fn read_rule(json: &Json, place: usize, problems: &mut Problems) -> Option<Definition> {
    let pointer = format!("/rules/{place}");
    let Json::Object(members) = json else {
        problems.error(pointer, None, "a rule must be an object with `id` and `kind`");
        return None;
    };
    let id = match members.get("id") {
        Some(Json::String(id)) if !id.is_empty() => Arc::<str>::from(id.as_str()),
        _ => {
            problems.error(format!("{pointer}/id"), None, "a rule needs an `id`, a string that is not empty");
            return None;
        }
    };
    let mut reader = Reader { members, place, id: id.clone(), problems };
    let kind = reader.kind()?;
    Some(Definition { id, place, kind })
}

impl Reader<'_, '_> {
    fn kind(&mut self) -> Option<Kind> {
        match self.members.get("kind").and_then(Json::as_str) {
            Some("constraint") => self.constraint(),
            Some("compute") => self.compute(),
            Some("decision") => self.decision(),
            Some("table") => self.table().map(Kind::Table),
            _ => {
                self.error("kind", "`kind` must be `constraint`, `compute`, `decision` or `table`");
                None
            }
        }
    }

    fn error(&mut self, member: &str, message: impl Into<String>) {
        let pointer = format!("/rules/{}/{member}", self.place);
        self.problems.error(pointer, Some(&self.id), message);
    }

    /// Refuses members that this kind does not have.
    fn allow(&mut self, known: &[&str]) {
        let common = ["id", "kind", "description"];
        let members = self.members;
        for name in
            members.keys().filter(|name| !common.contains(&name.as_str()) && !known.contains(&name.as_str()))
        {
            let names = common.iter().chain(known);
            let advice = match crate::check::nearest(name, names.copied()) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => format!("; this kind of rule has `{}`", known.join("`, `")),
            };
            self.error(&escape(name), format!("there is no member `{name}`{advice}"));
        }
        if !matches!(members.get("description"), None | Some(Json::String(_))) {
            self.error("description", "`description` must be a string");
        }
    }

    fn text(&mut self, member: &str) -> Option<String> {
        match self.members.get(member) {
            Some(Json::String(text)) => Some(text.clone()),
            Some(_) => {
                self.error(member, format!("`{member}` must be a string"));
                None
            }
            None => {
                self.error(member, format!("`{member}` is missing"));
                None
            }
        }
    }

    fn optional_text(&mut self, member: &str) -> Option<String> {
        if self.members.contains_key(member) { self.text(member) } else { None }
    }

    /// A JSON Pointer into the submission's data.
    fn pointer(&mut self, member: &str) -> Option<String> {
        let text = self.text(member)?;
        if text.is_empty() || text.starts_with('/') {
            return Some(text);
        }
        self.error(member, format!("`{text}` is not a JSON Pointer; the member `{text}` is `/{text}`"));
        None
    }

    fn constraint(&mut self) -> Option<Kind> {
        self.allow(&["assert", "at", "message"]);
        let at = if self.members.contains_key("at") { self.pointer("at") } else { Some(String::new()) };
        let message = self.optional_text("message");
        Some(Kind::Constraint { assert: self.text("assert")?, at: at?, message })
    }

    fn compute(&mut self) -> Option<Kind> {
        self.allow(&["value", "into"]);
        let (value, into) = (self.text("value"), self.pointer("into"));
        if into.as_deref() == Some("") {
            self.error("into", "`into` must name a field, such as `/total`");
        }
        Some(Kind::Compute { value: value?, into: into? })
    }

    fn decision(&mut self) -> Option<Kind> {
        self.allow(&["when", "then", "otherwise"]);
        let when = self.text("when");
        let then = self.members.get("then").cloned();
        if then.is_none() {
            self.error("then", "`then` is missing: what the rule says when its condition holds");
        }
        Some(Kind::Decision { when: when?, then: then?, otherwise: self.members.get("otherwise").cloned() })
    }

    fn table(&mut self) -> Option<TableDefinition> {
        self.allow(&["hit", "aggregate", "inputs", "rows", "otherwise"]);
        let hit = self.hit();
        let inputs = self.texts("inputs", self.members.get("inputs"));
        let rows = match self.members.get("rows") {
            Some(Json::Array(rows)) if rows.len() <= TABLE_ROWS_MAX => rows.as_slice(),
            Some(Json::Array(rows)) => {
                self.error("rows", format!("{} rows; at most {TABLE_ROWS_MAX} are allowed", rows.len()));
                return None;
            }
            _ => {
                self.error("rows", "`rows` must be an array of rows with `when` and `then`");
                return None;
            }
        };
        let inputs = inputs?;
        let rows: Vec<Option<Row>> =
            rows.iter().zip(0..).map(|(row, at)| self.row(row, at, inputs.len())).collect();
        let rows = rows.into_iter().collect::<Option<_>>()?;
        Some(TableDefinition { hit: hit?, inputs, rows, otherwise: self.members.get("otherwise").cloned() })
    }

    /// `first`, `unique`, `priority`, or `collect` with an aggregate: its own member, or after a space.
    fn hit(&mut self) -> Option<Hit> {
        let Some(text) = self.members.get("hit").map_or(Some("unique"), Json::as_str) else {
            self.error("hit", "`hit` must be a string");
            return None;
        };
        let (policy, inline) = text.split_once(' ').unwrap_or((text, ""));
        // Where the aggregate stands, for what is said of it.
        let (place, aggregate) = match self.members.get("aggregate") {
            Some(json) => ("aggregate", json.as_str()),
            None if inline.is_empty() => ("hit", Some("list")),
            None => ("hit", Some(inline)),
        };
        let collect = match aggregate {
            Some("list") => Some(Collect::List),
            Some("sum") => Some(Collect::Sum),
            Some("min") => Some(Collect::Min),
            Some("max") => Some(Collect::Max),
            Some("count") => Some(Collect::Count),
            _ => None,
        };
        let hit = match policy {
            "first" => Hit::First,
            "unique" => Hit::Unique,
            "priority" => Hit::Priority,
            "collect" => Hit::Collect(collect.unwrap_or(Collect::List)),
            _ => {
                self.error("hit", "`hit` must be `first`, `unique`, `priority` or `collect`");
                return None;
            }
        };
        if collect.is_none() {
            let words = "`list`, `sum`, `min`, `max` or `count`";
            self.error(
                place,
                format!("`aggregate` must be one word, for all keys of the result alike: {words}"),
            );
            return None;
        }
        if policy != "collect" && collect != Some(Collect::List) {
            let message = format!(
                "only `collect` puts rows together by an `aggregate`; under `{policy}` one row counts"
            );
            self.error(place, message);
            return None;
        }
        Some(hit)
    }

    fn texts(&mut self, member: &str, json: Option<&Json>) -> Option<Vec<String>> {
        let texts = json.and_then(Json::as_array).and_then(|items| {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>()
        });
        if texts.is_none() {
            let last = member.rsplit('/').next().unwrap_or(member);
            self.error(member, format!("`{last}` must be an array of strings"));
        }
        texts
    }

    fn row(&mut self, json: &Json, at: usize, width: usize) -> Option<Row> {
        let Json::Object(members) = json else {
            self.error(&format!("rows/{at}"), "a row must be an object with `when` and `then`");
            return None;
        };
        for name in members
            .keys()
            .filter(|name| !["when", "then", "priority", "description"].contains(&name.as_str()))
        {
            let member = format!("rows/{at}/{}", escape(name));
            self.error(
                &member,
                format!("there is no member `{name}`; a row has `when`, `then` and `priority`"),
            );
        }
        let when = self.texts(&format!("rows/{at}/when"), members.get("when"))?;
        if when.len() != width {
            let message = format!(
                "the row has {} conditions for {width} inputs; `-` is one that always holds",
                when.len()
            );
            self.error(&format!("rows/{at}/when"), message);
            return None;
        }
        let Some(then) = members.get("then") else {
            self.error(&format!("rows/{at}/then"), "`then` is missing: what the row says when it matches");
            return None;
        };
        let priority = members.get("priority").map_or(Some(0.0), Json::as_f64);
        if priority.is_none() {
            self.error(&format!("rows/{at}/priority"), "`priority` must be a number");
        }
        let description = members.get("description").and_then(Json::as_str).map(str::to_owned);
        Some(Row { when, then: then.clone(), priority: priority?, description })
    }
}

/// A member name as a JSON Pointer token.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
