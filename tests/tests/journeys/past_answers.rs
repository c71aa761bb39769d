//! The past answers as the present did: over several workflows, for several readers, whatever people do. Every list, list of tasks, statistic and
//! submission is asked live at each head, and again at that position when all is over.

use std::collections::BTreeMap;

use formledger_tests::{Answer, Client, Stage};
use futures_util::future::join_all;
use serde_json::{Value, json};

/// Histories, each on a server of its own.
const SEEDS: [u64; 2] = [1, 2];
/// Things that are tried in one history, each until somebody may do it to something.
const STEPS: usize = 24;
/// Submissions that a thing is tried on.
const TRIED_MAX: usize = 16;
/// The fewest events of each kind over all histories: with fewer the comparison would not be about them.
const ACCEPTED_MIN: usize = 2;

const PEOPLE: [(&str, &str); 8] = [
    ("sam", "submitter"),
    ("tom", "submitter"),
    ("rita", "reviewer"),
    ("rob", "reviewer"),
    ("dora", "guest"),
    ("finn", "guest"),
    ("clara", "clerk"),
    ("hedy", "head"),
];

/// What is asked at every head, and by whom.
const QUERIES: [(&str, &str); 16] = [
    ("ada", "/v1/submissions?form=claim&sort=-/amount"),
    ("ada", "/v1/submissions?sort=updated_at&limit=5"),
    ("ada", "/v1/submissions?state=review"),
    ("ada", "/v1/submissions?q=changed"),
    ("ada", "/v1/stats?"),
    ("ada", "/v1/stats?form=claim"),
    ("ada", "/v1/forms?"),
    ("ada", "/v1/tasks?"),
    ("rita", "/v1/submissions?form=claim&where=/amount%3E=20000"),
    ("rita", "/v1/tasks?"),
    ("rob", "/v1/tasks?form=claim"),
    ("dora", "/v1/tasks?"),
    ("hedy", "/v1/tasks?"),
    ("sam", "/v1/submissions?"),
    ("sam", "/v1/tasks?"),
    ("tom", "/v1/submissions?sort=updated_at"),
];

/// What people try: at which path of a submission, who, with which body. A path of `=` is an edit.
const ACTS: [(&str, &[&str], &str); 17] = [
    ("/submit", &["sam", "tom"], ""),
    ("=", &["sam", "tom", "clara"], r#"{"amount": 25000}"#),
    ("=", &["sam", "tom", "rita"], r#"{"note": "changed"}"#),
    ("=", &["clara", "sam", "tom"], r#"{"plan": "two storeys"}"#),
    ("/transitions/approve", &["rita", "rob", "dora"], "{}"),
    ("/transitions/approve", &["dora", "rob", "rita"], "{}"),
    ("/transitions/reject", &["rita", "dora"], r#"{"reason": "too dear"}"#),
    ("/transitions/ask", &["rob", "rita"], r#"{"reason": "what for"}"#),
    ("/transitions/resubmit", &["sam", "tom"], r#"{"data": {"note": "changed as asked"}}"#),
    ("/transitions/complete", &["clara"], "{}"),
    ("/transitions/grant", &["hedy"], GRANT),
    ("/claim", &["rita", "rob", "hedy"], ""),
    ("/release", &["rita", "rob", "hedy"], ""),
    ("/assign", &["ada", "rita"], r#"{"to": "rob"}"#),
    ("/delegate", &["rita"], r#"{"to": "dora"}"#),
    ("/comments", &["sam", "rita", "clara"], r#"{"text": "a word"}"#),
    ("/withdraw", &["tom"], ""),
];

/// Who does it, at which path of a submission, with which body.
type Act<'a> = (&'a str, &'a str, &'a str);

/// What happens in every history before people do as they like: of a form, by whom, and then who does what. Memos are drafts at first.
const PLAYED: &[(&str, &str, &[Act])] = &[
    ("parcel", "tom", &[]),
    ("claim", "sam", &[("rita", "/claim", ""), ("rita", "/release", "")]),
    ("claim", "sam", &[("ada", "/assign", r#"{"to": "rob"}"#)]),
    ("claim", "sam", &[("rita", "/delegate", r#"{"to": "dora"}"#)]),
    ("claim", "sam", &[("rita", "/transitions/approve", "{}"), ("rob", "/transitions/approve", "{}")]),
    (
        "claim",
        "tom",
        &[
            ("rob", "/transitions/ask", r#"{"reason": "what for"}"#),
            ("tom", "/transitions/resubmit", r#"{"data": {"note": "changed as asked"}}"#),
            ("rita", "/transitions/reject", r#"{"reason": "too dear"}"#),
        ],
    ),
    (
        "permit",
        "tom",
        &[
            ("clara", "=", r#"{"plan": "two storeys"}"#),
            ("clara", "/transitions/complete", "{}"),
            ("hedy", "/transitions/grant", GRANT),
        ],
    ),
    ("memo", "sam", &[("sam", "/submit", ""), ("sam", "/comments", r#"{"text": "a word"}"#)]),
    ("claim", "tom", &[("tom", "/withdraw", "")]),
];

const GRANT: &str = r#"{"signature": {"name": "Hedy H.", "meaning": "I grant this permit"}}"#;

/// What must have happened in all histories together.
const KINDS: [&str; 15] = [
    "drafted",
    "submitted",
    "rules-evaluated",
    "amended",
    "task-opened",
    "approved",
    "transitioned",
    "signed",
    "claimed",
    "released",
    "assigned",
    "delegated",
    "commented",
    "withdrawn",
    "escalated",
];

fn form(title: &str, workflow: Option<Value>) -> Value {
    let mut definition = json!({
        "title": title,
        "schema": {"type": "object", "required": ["amount"], "properties": {
            "amount": {"type": "number", "minimum": 0}, "note": {"type": "string"}, "plan": {"type": "string"}}},
        "index": ["/amount"],
        "rules": [{"id": "route", "kind": "decision", "when": "amount > 10000.0",
                   "then": {"route": "committee"}, "otherwise": {"route": "auto"}}],
    });
    if let Some(workflow) = workflow {
        definition["workflow"] = workflow;
    }
    definition
}

/// Four eyes, a way back to the submitter, and edits that make approvals void.
fn claim() -> Value {
    form(
        "Claim",
        Some(json!({
            "initial": "submitted",
            "states": {"submitted": {}, "review": {"edit": ["/note"]}, "changes": {"edit": ["/amount", "/note"]},
                       "approved": {"final": true}, "rejected": {"final": true}},
            "auto": [{"from": "submitted", "to": "approved", "when": "outcomes.route.route == 'auto'"},
                     {"from": "submitted", "to": "review"}],
            "transitions": [
                {"name": "approve", "from": "review", "to": "approved", "roles": ["reviewer"], "approvals": 2, "exclude_submitter": true},
                {"name": "reject", "from": ["review", "changes"], "to": "rejected", "roles": ["reviewer"], "reason": "required"},
                {"name": "ask", "from": "review", "to": "changes", "roles": ["reviewer"], "reason": "required"},
                {"name": "resubmit", "from": "changes", "to": "submitted", "roles": ["submitter"], "edit": ["/note"]}],
        })),
    )
}

/// A guard, candidates by name and a signature.
fn permit() -> Value {
    form(
        "Permit",
        Some(json!({
            "initial": "intake",
            "states": {"intake": {"edit": ["/plan"], "editors": ["submitter", "clerk"]}, "decision": {},
                       "granted": {"final": true}, "refused": {"final": true}},
            "transitions": [
                {"name": "complete", "from": "intake", "to": "decision", "roles": ["clerk"], "when": "has(plan)"},
                {"name": "grant", "from": "decision", "to": "granted", "roles": ["head"],
                 "signature": {"meaning": "I grant this permit"}},
                {"name": "refuse", "from": ["intake", "decision"], "to": "refused", "candidates": "['finn']", "reason": "required"}],
        })),
    )
}

/// Nobody is in time.
fn parcel() -> Value {
    form(
        "Parcel",
        Some(json!({
            "initial": "waiting",
            "states": {"waiting": {"due": "PT1S", "escalate": {"to": "late"}}, "late": {}, "closed": {"final": true}},
            "transitions": [{"name": "close", "from": ["waiting", "late"], "to": "closed", "roles": ["reviewer"]}],
        })),
    )
}

fn forms() -> [(&'static str, Value); 4] {
    [("claim", claim()), ("permit", permit()), ("parcel", parcel()), ("memo", form("Memo", None))]
}

/// A reproducible sequence of throws (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// Everybody, and what there is.
struct Town {
    stage: Stage,
    people: BTreeMap<&'static str, Client>,
    dice: Dice,
    ids: Vec<String>,
}

/// What one reader was answered live.
struct Asked {
    reader: &'static str,
    path: String,
    live: Answer,
}

impl Town {
    async fn open(seed: u64) -> Self {
        let stage = Stage::set().await;
        for (name, definition) in forms() {
            stage.admin.publish(name, &definition).await;
        }
        let mut people = BTreeMap::from([("ada", stage.admin.clone())]);
        for (name, roles) in PEOPLE {
            people.insert(name, stage.somebody("acme", name, roles).await);
        }
        Self { stage, people, dice: Dice(seed), ids: Vec::new() }
    }

    /// Somebody does something; answers which submission it was about.
    async fn step(&mut self) -> Option<String> {
        let what = self.dice.throw(ACTS.len() + 6);
        let Some((path, people, body)) = ACTS.get(what) else { return Some(self.make().await) };
        let first = self.dice.throw(self.ids.len().max(1));
        let ids = self.ids.iter().cycle().skip(first).take(self.ids.len().min(TRIED_MAX));
        for (id, person) in ids.flat_map(|id| people.iter().map(move |person| (id, person))) {
            let answer = self.act(id, (*person, *path, *body)).await;
            assert!(answer.status.as_u16() < 500, "{}", answer.text());
            if answer.status.is_success() {
                return Some(id.clone());
            }
        }
        None
    }

    /// A person tries something; a path of `=` is an edit.
    async fn act(&self, id: &str, (person, path, body): Act<'_>) -> Answer {
        let (client, submission) = (&self.people[person], format!("/v1/submissions/{id}"));
        match path {
            "=" => {
                client
                    .call(http::Method::PATCH, &submission)
                    .body("application/merge-patch+json", body.to_owned())
                    .await
            }
            path if body.is_empty() => client.post(&format!("{submission}{path}")).await,
            path => {
                client.post(&format!("{submission}{path}")).body("application/json", body.to_owned()).await
            }
        }
    }

    /// Somebody makes a submission at random.
    async fn make(&mut self) -> String {
        let form =
            ["claim", "claim", "claim", "permit", "permit", "permit", "parcel", "memo"][self.dice.throw(8)];
        let by = ["sam", "tom"][self.dice.throw(2)];
        let amount = [10, 20_000, 30_000][self.dice.throw(3)];
        let is_draft = self.dice.throw(4) == 0;
        self.submit(form, by, amount, is_draft).await
    }

    async fn submit(&mut self, form: &str, by: &str, amount: u32, is_draft: bool) -> String {
        let body = json!({"data": {"amount": amount, "note": by}, "draft": is_draft});
        let made =
            self.people[by].post(&format!("/v1/forms/{form}/submissions")).json(&body).await.expect(201);
        let id = made.json()["submission_id"].as_str().expect("an id").to_owned();
        self.ids.push(id.clone());
        id
    }

    /// What everybody is answered at one head; asked again when the timer moved it meanwhile.
    async fn record(&self, touched: Option<&String>) -> (u64, Vec<Asked>) {
        for _ in 0..20 {
            let head = self.stage.head().await;
            let lists = QUERIES.iter().map(|(reader, path)| (*reader, (*path).to_owned()));
            let of_one = touched.into_iter().flat_map(|id| {
                ["ada", "sam", "dora"].map(|reader| (reader, format!("/v1/submissions/{id}?")))
            });
            let asked = join_all(lists.chain(of_one).map(async |(reader, path)| {
                let live = self.people[reader].get_at(&path, head).await;
                Asked { reader, path, live }
            }))
            .await;
            if self.stage.head().await == head {
                return (head, asked);
            }
        }
        panic!("the ledger does not come to rest");
    }

    /// The past shows what was, to those who may see it now: a delegate of today reads what was there before they were one.
    async fn compare(&self, seed: u64, head: u64, asked: &[Asked]) {
        let seen_by_ada: BTreeMap<&str, &Answer> = asked
            .iter()
            .filter(|asked| asked.reader == "ada")
            .map(|asked| (&*asked.path, &asked.live))
            .collect();
        join_all(asked.iter().map(async |Asked { reader, path, live }| {
            let now = self.people[reader].get(path).await.status;
            let path_then = format!("{path}&at_position={head}");
            let then = self.people[reader].get(&path_then).header("Prefer", "wait=30").await;
            let about = format!("seed {seed}, {reader}: {path_then}");
            assert_eq!(then.status, now, "{about}: {}", then.text());
            if now != 200 {
                return;
            }
            assert_eq!(then.position(), head, "{about}");
            if live.status == 200 {
                assert_eq!(live.position(), head, "{about}");
                assert_eq!(then.json(), with_cursor_of(&live.json(), &then.json()), "{about}");
            } else {
                let (then, ada) = (then.json(), seen_by_ada[&**path].json());
                assert!(ada["data"].is_object() && ada["sequence"].is_u64(), "{ada}");
                for member in
                    ["submission_id", "form", "data", "state", "sequence", "outcomes", "submitted_by"]
                {
                    assert_eq!(then[member], ada[member], "{about}: {member}");
                }
            }
        }))
        .await;
    }

    async fn events(&self) -> Vec<String> {
        let page = self.stage.admin.get("/v1/events?limit=1000").await.expect(200).json();
        let events = page["events"].as_array().expect("events").iter();
        events.map(|event| event["type"].as_str().expect("a type").to_owned()).collect()
    }
}

/// The live answer with the cursor of the past one, which stays at its moment, in the place of its own.
fn with_cursor_of(live: &Value, then: &Value) -> Value {
    let mut live = live.clone();
    assert_eq!(live.get("next_cursor").is_some(), then.get("next_cursor").is_some());
    if let Some(cursor) = live.get_mut("next_cursor") {
        *cursor = then["next_cursor"].clone();
    }
    live
}

#[tokio::test]
async fn everybody_is_answered_again_as_they_were_at_every_head_over_several_workflows() {
    let mut happened: BTreeMap<String, usize> = BTreeMap::new();
    for seed in SEEDS {
        let mut town = Town::open(seed).await;
        let mut recorded = vec![town.record(None).await];
        for (form, by, acts) in PLAYED {
            let id = town.submit(form, by, 20_000, *form == "memo").await;
            recorded.push(town.record(Some(&id)).await);
            for (person, path, body) in *acts {
                let answer = town.act(&id, (person, path, body)).await;
                assert!(answer.status.is_success(), "{person} {path}: {}", answer.text());
                recorded.push(town.record(Some(&id)).await);
            }
        }
        for _ in 0..STEPS {
            if let Some(touched) = town.step().await {
                recorded.push(town.record(Some(&touched)).await);
            }
        }
        // From the end, so that every moment is folded from the beginning; or onwards, each from the one before.
        if seed % 2 == 0 {
            recorded.reverse();
        }
        for (head, asked) in &recorded {
            town.compare(seed, *head, asked).await;
        }
        for kind in town.events().await {
            *happened.entry(kind).or_default() += 1;
        }
    }
    for kind in KINDS {
        let count = happened.get(&format!("formledger.submission.{kind}.v1")).copied().unwrap_or_default();
        assert!(count >= ACCEPTED_MIN, "`{kind}` happened {count} times only: {happened:?}");
    }
}
