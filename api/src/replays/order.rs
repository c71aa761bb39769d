//! The body of `POST /v1/replays`, read strictly: what is missing, out of range or not known is told with its place, all at once.
//! Called by the handler, which checks roles by the kind before anything is compiled.

use formledger_domain::{DefinitionProblem, FormId, Position};
use formledger_projections::ReadModel;
use serde_json::{Map, Value, json};

use super::pace::Speed;
use super::replay::KindName;
use crate::access::REPLAYERS;
use crate::error::ApiError;
use crate::limits::{REPLAY_SPEED_MAX, REPLAY_SPEED_MIN};
use crate::members::parse;

/// What is asked for, before a candidate is compiled.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// What to do.
    pub what: What,
    /// The first position.
    pub from: Position,
    /// The last one.
    pub to: Position,
}

/// The kinds, with what each needs.
#[derive(Debug, PartialEq)]
pub enum What {
    /// Events, at a speed.
    Feed(Speed),
    /// Candidate rules of a form.
    Rules(Candidate),
    /// Read models, built again beside the live ones.
    Shadow(Vec<ReadModel>),
}

/// Candidate rules, as they came.
#[derive(Debug, PartialEq)]
pub struct Candidate {
    /// The form.
    pub form: FormId,
    /// A list of rules.
    pub rules: Value,
    /// Where in the body the list stands.
    pointer: &'static str,
}

/// The body, of which the kind was looked at: enough to say who may.
pub struct Body {
    /// `None` when it names none that there is.
    kind: Option<KindName>,
    members: Map<String, Value>,
}

/// The range, in a replay of any kind.
const RANGE: [&str; 2] = ["from", "to"];
/// Members that mean something in a replay of some kind, beside the range.
const OF_SOME_KIND: [&str; 4] = ["speed", "form", "rules", "projection"];

impl Body {
    /// Reads the kind.
    ///
    /// # Errors
    /// 400 when the body is no JSON, 422 when it is no object.
    pub fn read(body: &[u8]) -> Result<Self, ApiError> {
        let Value::Object(mut members) = parse(body)? else {
            return Err(refused(vec![problem("", "write an object with a `kind`")]));
        };
        // As everywhere, null is as good as missing.
        members.retain(|name, value| {
            !(value.is_null() && RANGE.iter().chain(&OF_SOME_KIND).any(|optional| name == optional))
        });
        let kind = members.remove("kind").and_then(|kind| serde_json::from_value(kind).ok());
        Ok(Self { kind, members })
    }

    /// The roles that may begin such a replay; of no kind that there is, those that may begin some.
    pub fn roles(&self) -> &'static [&'static str] {
        self.kind.map_or(REPLAYERS, KindName::roles)
    }

    /// Reads the rest, for a ledger that ends at `head`.
    ///
    /// # Errors
    /// 422 with everything that is wrong.
    pub fn request(self, head: Position) -> Result<Request, ApiError> {
        let mut members = Members { left: self.members, problems: Vec::new() };
        if self.kind.is_none() {
            members.wrong("/kind", "is `feed`, `rules` or `shadow`");
        }
        let (from, to) = members.range(head);
        let what = match self.kind {
            Some(KindName::Feed) => Some(What::Feed(members.speed())),
            Some(KindName::Rules) => members.candidate().map(What::Rules),
            Some(KindName::Shadow) => members.read_models(from).map(What::Shadow),
            None => {
                // Whether these are right only their kind would say.
                members.left.retain(|name, _| !OF_SOME_KIND.contains(&name.as_str()));
                None
            }
        };
        members.finish();
        match what {
            Some(what) if members.problems.is_empty() => Ok(Request { what, from, to }),
            _ => Err(refused(members.problems)),
        }
    }
}

impl Candidate {
    /// The refusal of a candidate that fits no version of the form, with places in the request's body.
    pub fn refused(&self, problems: &[DefinitionProblem]) -> ApiError {
        let placed = |problem: &DefinitionProblem| {
            let mut told = json!(problem);
            let below = problem.pointer.strip_prefix("/rules").unwrap_or_default();
            told["pointer"] = json!(format!("{}{below}", self.pointer));
            told
        };
        ApiError::Refused {
            code: "rules-invalid",
            detail: "the candidate fits no published version of the form".to_owned(),
            errors: problems.iter().map(placed).collect(),
        }
    }

    /// The refusal of a form that is not there.
    pub fn form_missing(&self) -> ApiError {
        refused(vec![problem("/form", &format!("there is no published form `{}`", self.form))])
    }
}

/// Members that were not taken yet, and what is wrong with those that were.
struct Members {
    left: Map<String, Value>,
    problems: Vec<Value>,
}

impl Members {
    fn wrong(&mut self, pointer: &str, message: &str) {
        self.problems.push(problem(pointer, message));
    }

    fn range(&mut self, head: Position) -> (Position, Position) {
        let from = self.position("from", Position(1), head);
        let to = self.position("to", head, head);
        match (from, to) {
            (Some(from), Some(to)) if from > to => self.wrong("/from", "lies behind `to`"),
            _ => {}
        }
        (from.unwrap_or_default(), to.unwrap_or_default())
    }

    fn position(&mut self, name: &str, missing: Position, head: Position) -> Option<Position> {
        let Some(given) = self.left.remove(name) else { return Some(missing) };
        let position = given.as_u64().filter(|position| (1..=head.0).contains(position)).map(Position);
        if position.is_none() {
            self.wrong(&format!("/{name}"), &format!("is a position of the ledger, 1 to {head}"));
        }
        position
    }

    fn speed(&mut self) -> Speed {
        let speed = match self.left.remove("speed") {
            None => Some(Speed::Times(1.0)),
            Some(Value::String(text)) if text == "max" => Some(Speed::Max),
            Some(given) => given
                .as_f64()
                .filter(|times| (REPLAY_SPEED_MIN..=REPLAY_SPEED_MAX).contains(times))
                .map(Speed::Times),
        };
        speed.unwrap_or_else(|| {
            let range = format!("is `\"max\"` or a number, {REPLAY_SPEED_MIN} to {REPLAY_SPEED_MAX}");
            self.wrong("/speed", &range);
            Speed::Max
        })
    }

    fn candidate(&mut self) -> Option<Candidate> {
        let form = match self.left.remove("form") {
            Some(Value::String(form)) => form.parse::<FormId>().map_err(|error| error.to_string()),
            _ => Err("is the id of a form".to_owned()),
        };
        let form = form.map_err(|message| self.wrong("/form", &message)).ok();
        let (rules, pointer) = match self.left.remove("rules") {
            // As a whole form definition has them, so that one can be sent as it is.
            Some(Value::Object(mut definition)) => (definition.remove("rules"), "/rules/rules"),
            given => (given, "/rules"),
        };
        match (form, rules.filter(Value::is_array)) {
            (Some(form), Some(rules)) => Some(Candidate { form, rules, pointer }),
            (_, None) => {
                self.wrong(pointer, "is the candidate: a list of rules, or an object with a list `rules`");
                None
            }
            (None, _) => None,
        }
    }

    /// The read models of a shadow. They reflect everything from the beginning, so that is where one begins.
    fn read_models(&mut self, from: Position) -> Option<Vec<ReadModel>> {
        if from > Position(1) {
            self.wrong("/from", "is 1 for a shadow: read models reflect the ledger from its beginning");
        }
        let named = match self.left.remove("projection") {
            None => return Some(ReadModel::ALL.to_vec()),
            Some(Value::String(name)) => name.parse::<ReadModel>().map_err(|error| error.to_string()),
            Some(_) => Err("is the name of a projection".to_owned()),
        };
        named.map(|read_model| vec![read_model]).map_err(|message| self.wrong("/projection", &message)).ok()
    }

    fn finish(&mut self) {
        for name in std::mem::take(&mut self.left).keys() {
            let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            self.wrong(&pointer, "is not known in a replay of this kind");
        }
    }
}

fn problem(pointer: &str, message: &str) -> Value {
    json!({"pointer": pointer, "message": message})
}

fn refused(errors: Vec<Value>) -> ApiError {
    ApiError::Refused {
        code: "replay-invalid",
        detail: "this replay cannot be made: see `errors`".to_owned(),
        errors: Value::Array(errors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &Value) -> Result<Request, ApiError> {
        Body::read(body.to_string().as_bytes())?.request(Position(40))
    }

    #[test]
    fn what_is_missing_is_the_whole_ledger_as_recorded() {
        let request = read(&json!({"kind": "feed"})).expect("complete");
        assert_eq!(
            request,
            Request { what: What::Feed(Speed::Times(1.0)), from: Position(1), to: Position(40) }
        );
        let nulls = json!({"kind": "feed", "from": null, "to": null, "speed": null, "form": null,
                           "rules": null, "projection": null});
        assert_eq!(read(&nulls).expect("complete"), request);
        let request = read(&json!({"kind": "feed", "from": 7, "to": 7, "speed": "max"})).expect("complete");
        assert_eq!(request, Request { what: What::Feed(Speed::Max), from: Position(7), to: Position(7) });
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_place() {
        for (body, pointers) in [
            (json!([]), vec![""]),
            (json!({}), vec!["/kind"]),
            (json!({"kind": "slow", "speed": 2, "form": "expense"}), vec!["/kind"]),
            (json!({"kind": "fed", "from": 9, "to": 8, "sped": 2}), vec!["/kind", "/from", "/sped"]),
            (
                json!({"kind": "feed", "from": 0, "to": 41, "speed": 0, "a/b": 1}),
                vec!["/from", "/to", "/speed", "/a~1b"],
            ),
            (json!({"kind": "feed", "from": 9, "to": 8}), vec!["/from"]),
            (json!({"kind": "feed", "from": 1.5}), vec!["/from"]),
            (json!({"kind": null, "from": null}), vec!["/kind"]),
            (json!({"kind": "feed", "sped": null}), vec!["/sped"]),
            (json!({"kind": "feed", "speed": "fast"}), vec!["/speed"]),
            (json!({"kind": "feed", "rules": []}), vec!["/rules"]),
            (json!({"kind": "rules"}), vec!["/form", "/rules"]),
            (
                json!({"kind": "rules", "form": "No Form", "rules": {"rules": 1}}),
                vec!["/form", "/rules/rules"],
            ),
            (json!({"kind": "rules", "form": "expense", "rules": [], "speed": 1}), vec!["/speed"]),
            (json!({"kind": "shadow", "from": 2, "projection": "task"}), vec!["/from", "/projection"]),
            (json!({"kind": "shadow", "projection": 1, "form": "expense"}), vec!["/projection", "/form"]),
        ] {
            let ApiError::Refused { code, errors, .. } = read(&body).expect_err("wrong") else {
                panic!("{body}");
            };
            let told: Vec<&str> = errors
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(|error| error["pointer"].as_str())
                .collect();
            assert_eq!((code, told), ("replay-invalid", pointers), "{body}");
        }
    }
}
