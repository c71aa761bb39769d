//! Every statement of the hot paths (appending, loading, reading in order, projecting) costs what its batch costs, however large the tables
//! are, and a page what it shows. The real code runs at several batch sizes against a server that logs each plan it carried out (`auto_explain`), and the plans
//! are read: a sequential scan of a table, or rows compared with rows, fails and shows the statement with its plan.

mod support;

use std::collections::BTreeMap;

use formledger_domain::{
    EncodedEvent, Form, FormEvent, FormVersion, LedgerAggregate, Position, Sequence, StreamId, Submission,
    SubmissionEvent, SubmissionId,
};
use formledger_projections::{ReadModels, Runner, RunnerSettings, SubmissionQuery, TenantReader};
use formledger_store::{
    Append, AppendError, Appended, Idempotency, LedgerRange, PostgresOptions, Store, StoreSettings,
};
use formledger_test_cluster::{Postgres, Settings};
use futures_util::future::join_all;
use serde_json::{Value, json};
use support::{amended, canonical, context, evaluated, form_id, slug, submitted, task_opened, withdrawn};
use uuid::Uuid;

/// Commands, events, ranges or rows asked for at once.
const BATCHES: [usize; 4] = [1, 8, 64, 512];
const TENANTS: usize = 512;
/// Submissions of each tenant before anything is looked at: thousands of pages, so that scanning any of them shows.
const SUBMISSIONS_BEFORE: usize = 10;
/// Streams of a batch that are loaded: one statement each, and always the same.
const LOADED_MAX: usize = 8;
/// Rows that a plan may touch for each row it was given or answers: an append passes each of its rows through a good dozen nodes.
const ROWS_TOUCHED_MAX: u64 = 40;
/// And for each that it gathers: from the index, through a list or two, and a row of a table.
const GATHERED_TOUCHED_MAX: u64 = 6;
/// And whatever the batch.
const ROWS_TOUCHED_ANYWAY: u64 = 400;

/// The hot statements, by what stands in them and in none after them.
const HOT: [(&str, &str); 27] = [
    ("append", "INSERT INTO ledgers"),
    ("heads", "importing FROM ledgers WHERE tenant_id = ANY"),
    ("hold heads", "SET position = ledgers.position"),
    ("sequences of streams", "max(sequence)"),
    ("remembered keys", "JOIN idempotency USING"),
    ("events beyond heads", "max(events.position)"),
    ("load a stream", "(SELECT position FROM ledgers WHERE tenant_id = $3)) IS TRUE ORDER BY sequence"),
    ("read in order", "sum(pg_column_size(payload))"),
    ("read ranges", "range.place FROM unnest"),
    ("read models: submissions", "INSERT INTO submissions ("),
    ("read models: submissions known before", "CROSS JOIN submissions"),
    ("read models: fields", "INSERT INTO field_keys"),
    ("read models: fields that changed", "DELETE FROM field_keys"),
    // Before what finds tasks, which stands in it, too.
    ("read models: tasks that ended", "DELETE FROM tasks"),
    ("read models: audiences of tasks that ended", "DELETE FROM task_audience"),
    ("read models: stays that ended", "DELETE FROM open_stays"),
    ("read models: tasks", "INSERT INTO tasks ("),
    ("read models: tasks known before", "CROSS JOIN tasks"),
    ("read models: audiences", "INSERT INTO task_audience"),
    ("read models: states", "INSERT INTO state_counts"),
    ("read models: outcomes known before", "CROSS JOIN outcome_counts"),
    ("read models: counts that are in no table", "c.uncounted FROM"),
    ("read models: fields that versions index", "CROSS JOIN indexed_fields"),
    ("read models: outcomes", "INSERT INTO outcome_counts"),
    ("read models: checkpoints that begin", "first_hash = coalesce"),
    ("read models: checkpoints", "UPDATE checkpoints"),
    ("read models: checkpoints of new tenants", "INSERT INTO checkpoints"),
];

/// A plan that was carried out.
struct Plan {
    statement: &'static str,
    text: String,
    root: Value,
}

impl Plan {
    /// Of one of `statements`; others may look at whatever they like.
    fn of(logged: &Value, statements: &[(&'static str, &str)]) -> Option<Self> {
        let text = logged["Query Text"].as_str().expect("a plan names its statement");
        let (statement, _) = statements.iter().find(|(_, mark)| text.contains(mark))?;
        Some(Self { statement, text: text.to_owned(), root: logged["Plan"].clone() })
    }

    fn nodes(&self) -> Vec<&Value> {
        let (mut nodes, mut waiting) = (Vec::new(), vec![&self.root]);
        while let Some(node) = waiting.pop() {
            nodes.push(node);
            waiting.extend(node["Plans"].as_array().into_iter().flatten());
        }
        nodes
    }

    /// The largest of the arrays that it was given, in rows; 0 where it was given none.
    fn batch(&self) -> u64 {
        let arrays = self.nodes().into_iter().filter(|node| node["Node Type"] == "Function Scan");
        arrays.map(|node| number(node, "Actual Rows")).max().unwrap_or(0)
    }

    /// Panics with the whole plan where it costs more than its batch and what it `gathered`. A table may be scanned for that.
    fn check(&self, gathered: u64, when: &str) {
        let nodes = self.nodes();
        let scanned = nodes.iter().find(|node| node["Node Type"] == "Seq Scan" && gathered == 0);
        assert!(scanned.is_none(), "`{}` scans a table {when}:\n{self}", self.statement);
        let touched: u64 = nodes.iter().map(|node| touched(node)).sum();
        let given: u64 = nodes
            .iter()
            .filter(|node| node["Node Type"] == "Function Scan")
            .map(|node| number(node, "Actual Rows"))
            .sum();
        let allowed = ROWS_TOUCHED_ANYWAY
            + ROWS_TOUCHED_MAX * (given + number(&self.root, "Actual Rows"))
            + GATHERED_TOUCHED_MAX * gathered;
        assert!(
            touched <= allowed,
            "`{}` touches {touched} rows for the {given} it was given {when}:\n{self}",
            self.statement
        );
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}\n{:#}", self.text, self.root)
    }
}

/// What a node looked at in all its loops, whether it passed it on or not.
fn touched(node: &Value) -> u64 {
    let removed = ["Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck"];
    let each: u64 = removed.iter().map(|name| number(node, name)).sum();
    number(node, "Actual Loops") * (number(node, "Actual Rows") + each)
}

fn number(node: &Value, name: &str) -> u64 {
    node[name].as_f64().unwrap_or(0.0) as u64
}

/// A server that logs every plan with what it did.
async fn server() -> Postgres {
    let parameters = [
        ("session_preload_libraries", "auto_explain"),
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_analyze", "on"),
        ("auto_explain.log_timing", "off"),
        ("auto_explain.log_format", "json"),
        // Statistics change only when the test says so.
        ("autovacuum", "off"),
    ];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Postgres::start_with(Settings { fsync: false, parameters, ..Settings::default() }).await
}

/// Plans of `statements` logged since `from`, a length of the log.
fn plans(log: &str, from: usize, statements: &[(&'static str, &str)]) -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut lines = log[from..].lines().peekable();
    while let Some(line) = lines.next() {
        if !line.ends_with("plan:") {
            continue;
        }
        let mut json = String::new();
        // What belongs to a message begins with a tab.
        while let Some(more) = lines.next_if(|line| line.starts_with('\t')) {
            json.push_str(more);
        }
        plans.extend(Plan::of(&serde_json::from_str(&json).expect("plans are logged as JSON"), statements));
    }
    plans
}

/// When a statement may be planned: before or after there are statistics of its tables, and for its values or for any.
const PLANNED: [(&str, bool, &str); 4] = [
    ("before anything was analysed, planned for its values", false, "force_custom_plan"),
    ("before anything was analysed, planned once for all", false, "force_generic_plan"),
    ("after everything was analysed, planned for its values", true, "force_custom_plan"),
    ("after everything was analysed, planned once for all", true, "force_generic_plan"),
];

/// Statements are planned like this from now on.
async fn prepare(server: &Postgres, statistics: bool, mode: &str) {
    if statistics {
        let mut connection = server.connect("plans").await;
        sqlx::query("ANALYZE").execute(&mut connection).await.expect("statistics");
    }
    server.set("plan_cache_mode", mode).await;
}

/// One who writes, and one who reads what it has not in memory.
struct Site {
    options: PostgresOptions,
    writing: Store,
    reading: Store,
    runner: Runner,
    models: ReadModels,
    /// Who was there.
    tenants: usize,
}

impl Site {
    async fn open(url: &str) -> Self {
        let options = PostgresOptions::new(url).expect("a URL");
        let (writing, reading) = (ledgers(&options).await, ledgers(&options).await);
        let models = support::open_postgres(url).await;
        let runner = Runner::new(reading.clone(), models.clone(), RunnerSettings::default());
        Self { options, writing, reading, runner, models, tenants: TENANTS }
    }

    /// `batch` of everything, over many tenants and within one.
    async fn work(&mut self, batch: usize) {
        for tenants in [TENANTS, 1] {
            let made: Vec<Append> = (0..batch).map(|n| submission(n % tenants)).collect();
            recorded(append(&self.writing, &made).await);
            // Repeated: the keys are looked up, and the streams that are there.
            for answer in append(&self.writing, &made).await {
                assert!(matches!(answer, Ok(Appended::Replayed(_))), "{answer:?}");
            }
            self.runner.run_once().await.expect("a run");
            for changed in [amendment, withdrawal] {
                let changed: Vec<Append> = made.iter().map(|made| changed(&made.stream)).collect();
                recorded(append(&self.writing, &changed).await);
                self.runner.run_once().await.expect("a run");
            }
            for append in made.iter().take(LOADED_MAX) {
                let ledger = self.reading.ledger(&context(append.stream.tenant().as_str()));
                assert_eq!(ledger.load(&append.stream).await.expect("a stream").len(), 5);
            }
            let ranges: Vec<LedgerRange> = (0..batch).map(|n| range(n % TENANTS)).collect();
            assert!(self.reading.read_ranges(&ranges).await.expect("ranges").len() >= batch);
        }
        // Tenants that begin, and go on when nothing of them is in memory.
        let begun = self.tenants..self.tenants + batch;
        for made in [publication, submission] {
            recorded(append(&self.writing, &begun.clone().map(made).collect::<Vec<_>>()).await);
            self.runner = Runner::new(self.reading.clone(), self.models.clone(), RunnerSettings::default());
            self.runner.run_once().await.expect("a run");
        }
        self.tenants = begun.end;
        // One who has no heads in memory.
        let newcomer = ledgers(&self.options).await;
        recorded(append(&newcomer, &(0..batch).map(submission).collect::<Vec<_>>()).await);
        newcomer.close().await;
        let ledger = self.reading.ledger(&context(&tenant(0)));
        assert_eq!(ledger.read_after(Position(1), batch).await.expect("a page").len(), batch);
    }
}

async fn ledgers(options: &PostgresOptions) -> Store {
    Store::open_postgres(options, StoreSettings::default()).await.expect("a ledger")
}

/// Appends of all at once: on a runtime of one thread they wait for the writer together, so they are one batch.
async fn append(store: &Store, appends: &[Append]) -> Vec<Result<Appended, AppendError>> {
    let ledgers: Vec<_> =
        appends.iter().map(|append| store.ledger(&context(append.stream.tenant().as_str()))).collect();
    join_all(ledgers.iter().zip(appends).map(|(ledger, append)| ledger.append(append.clone()))).await
}

fn recorded(answers: Vec<Result<Appended, AppendError>>) {
    for answer in answers {
        assert!(matches!(answer, Ok(Appended::Recorded { .. })), "{answer:?}");
    }
}

fn tenant(number: usize) -> String {
    format!("tenant-{number}")
}

/// Of the oldest events, which nobody has in memory.
fn range(number: usize) -> LedgerRange {
    LedgerRange { tenant: slug(&tenant(number)), after: Position(1), up_to: Position(3) }
}

fn encoded(events: &[SubmissionEvent]) -> Vec<EncodedEvent> {
    events.iter().map(Submission::encode).collect()
}

fn publication(of: usize) -> Append {
    let definition = canonical(&json!({"title": "claim", "schema": {}, "index": ["/n"]}));
    let published = FormEvent::Published { definition, form: form_id("claim"), version: FormVersion(1) };
    Append {
        stream: context(&tenant(of)).stream::<Form>("claim"),
        expected: Sequence::START,
        events: vec![Form::encode(&published)],
        topic: None,
        idempotency: None,
    }
}

/// The statements of a page: how many match, and the page by what it goes along.
const COUNT: &str = "matches of a page's conditions";
const VALUES: &str = "a page along values";
const FEW: &str = "a page of few matches";
const SUBMISSIONS: &str = "a page along submissions";
const PAGE: [(&str, &str); 4] = [
    (COUNT, " AS matches_"),
    (VALUES, "FROM field_keys AS f CROSS JOIN submissions"),
    (FEW, "AS m CROSS JOIN LATERAL"),
    (SUBMISSIONS, "FROM submissions AS s WHERE"),
];
/// Submissions of the tenant who is asked for pages, a country each in turns.
const LISTED: usize = 6_000;
/// Tenants beside it, and submissions of each: a plan for any tenant expects few.
const SMALL: usize = 200;
const LISTED_OF_SMALL: usize = 5;
const COUNTRIES: [&str; 2] = ["DE", "IT"];
const PAGE_ITEMS: u32 = 20;
const PAGES: usize = 3;

/// A list, of which the first pages are looked at.
struct Asked {
    conditions: &'static [&'static str],
    sort: &'static str,
    /// The statement that it is asked by.
    way: &'static str,
    /// How many a page may go through beside what it shows: what it counts, and the matches that it gathers.
    gathered: u64,
    /// Without statistics Postgres takes a tenant for a handful of rows that are quickly sorted; a minute later it has some.
    before_statistics: bool,
}

impl Asked {
    /// Comes out of an index from its first row to its last.
    const fn by(way: &'static str, conditions: &'static [&'static str], sort: &'static str) -> Self {
        Self { conditions, sort, way, gathered: 0, before_statistics: false }
    }

    /// Counts matches, then gathers so many of them or looks conditions up for each row.
    const fn looking(self, gathered: u64) -> Self {
        Self { gathered: COUNTED_MAX + gathered, before_statistics: true, ..self }
    }

    const fn after_statistics(self) -> Self {
        Self { before_statistics: false, ..self }
    }
}

/// More than the square root of events and rows of a page, of which a page counts matches.
const COUNTED_MAX: u64 = 400;

const ASKED: [Asked; 22] = [
    Asked::by(SUBMISSIONS, &[], "-created_at"),
    Asked::by(SUBMISSIONS, &[], "-updated_at"),
    Asked::by(VALUES, &[], "-/n"),
    Asked::by(VALUES, &["/n>=1000"], "-/n"),
    Asked::by(VALUES, &["/n>=1000"], "/n"),
    Asked::by(VALUES, &["/n<5000"], "-/n"),
    Asked::by(VALUES, &["/country=DE"], "-created_at"),
    Asked::by(VALUES, &["/country=DE"], "created_at"),
    // Few come last, so that no page is found on the way to them.
    Asked::by(FEW, &["/n>=5900"], "created_at").looking(100),
    Asked::by(FEW, &["/n>=5900"], "updated_at").looking(100),
    Asked::by(FEW, &["/n<5"], "-created_at").looking(5),
    Asked::by(FEW, &["/n=5999"], "created_at").looking(1),
    Asked::by(FEW, &["/country=DE", "/n>=5900"], "created_at").looking(100),
    Asked::by(FEW, &["/n>=5900", "/n<5920"], "created_at").looking(20),
    Asked::by(FEW, &["/n>=5900", "/n=5999"], "updated_at").looking(101),
    Asked::by(SUBMISSIONS, &["/n>=1000"], "-created_at").looking(5_000),
    Asked::by(SUBMISSIONS, &["/n>=1000"], "-updated_at").looking(5_000).after_statistics(),
    Asked::by(SUBMISSIONS, &["/country=DE"], "-updated_at").looking(0).after_statistics(),
    Asked::by(VALUES, &["/country=DE"], "-/n").looking(0),
    Asked::by(VALUES, &["/country!=DE"], "-/n").looking(0),
    Asked::by(VALUES, &["/n<100"], "/country").looking(6_100),
    Asked::by(SUBMISSIONS, &["/country!=DE", "/n!=7"], "-created_at").looking(0),
];

#[tokio::test]
async fn a_page_costs_what_it_shows() {
    let server = server().await;
    let url = server.create_database("plans").await;
    let mut site = Site::open(&url).await;
    let definition = canonical(&json!({"title": "claim", "schema": {}, "index": ["/n", "/country"]}));
    let published = FormEvent::Published { definition, form: form_id("claim"), version: FormVersion(1) };
    let publish = |of| Append { events: vec![Form::encode(&published)], ..publication(of) };
    recorded(append(&site.writing, &(0..=SMALL).map(publish).collect::<Vec<_>>()).await);
    let submit = |(of, n): (usize, usize)| {
        let event = submitted("claim", &json!({"n": n, "country": COUNTRIES[n % COUNTRIES.len()]}));
        Append { events: encoded(&[event]), ..submission(of) }
    };
    let of_small = (1..=SMALL).flat_map(|of| (0..LISTED_OF_SMALL).map(move |n| (of, n)));
    let all: Vec<Append> = (0..LISTED).map(|n| (0, n)).chain(of_small).map(submit).collect();
    for made in all.chunks(500) {
        recorded(append(&site.writing, made).await);
    }
    site.runner.run_once().await.expect("a run");
    let reader = site.models.reader(&context(&tenant(0)));
    // As little beside these matches as it usually has beside hundreds of thousands.
    server.set("work_mem", "64kB").await;
    for (when, statistics, mode) in PLANNED {
        prepare(&server, statistics, mode).await;
        for Asked { conditions, sort, way, gathered, .. } in
            ASKED.into_iter().filter(|asked| statistics || asked.before_statistics)
        {
            let from = server.log().len();
            let shown = pages(&reader, conditions, sort).await;
            let seen = plans(&server.log(), from, &PAGE);
            let asked: Vec<&str> =
                seen.iter().map(|plan| plan.statement).filter(|statement| *statement != COUNT).collect();
            assert_eq!(asked, vec![way; shown], "{conditions:?} by `{sort}`");
            let when = format!("with {conditions:?} by `{sort}`, {when}");
            seen.iter().for_each(|plan| plan.check(gathered, &when));
        }
    }
}

/// Looks at the first pages; answers how many there were.
async fn pages(reader: &TenantReader, conditions: &[&str], sort: &str) -> usize {
    let mut query = SubmissionQuery {
        form: Some(form_id("claim")),
        conditions: conditions.iter().map(|text| text.parse().expect("a condition")).collect(),
        sort: sort.parse().expect("an order"),
        limit: Some(PAGE_ITEMS),
        ..Default::default()
    };
    for page in 1..=PAGES {
        let shown = reader.submissions(&query).await.expect("a page");
        let Some(cursor) = shown.next_cursor else { return page };
        assert_eq!(shown.items.len(), PAGE_ITEMS as usize);
        query.cursor = Some(cursor.as_str().to_owned());
    }
    PAGES
}

fn submission(of: usize) -> Append {
    let (id, key) = (SubmissionId(Uuid::now_v7()), Uuid::now_v7().to_string());
    let data = json!({"n": of, "why": "because it has to be filled with something of a usual length"});
    // More than gathers in a checkpoint, so that it goes to the tables with each batch.
    let said = json!({"matched": true, "value": {"route": "auto", "why": "x".repeat(450)}});
    let outcomes = json!({"route": said, "limit": said, "country": said, "date": said});
    let events = [submitted("claim", &data), evaluated("claim", &json!({}), &outcomes), task_opened("claim")];
    Append {
        stream: context(&tenant(of)).stream::<Submission>(id),
        expected: Sequence::START,
        events: encoded(&events),
        topic: None,
        idempotency: Some((Idempotency { key, request_hash: [7; 32] }, "{}".to_owned())),
    }
}

fn amendment(stream: &StreamId) -> Append {
    let data = json!({"n": 1});
    let events = encoded(&[amended("claim", &data, &data)]);
    Append { stream: stream.clone(), expected: Sequence(3), events, topic: None, idempotency: None }
}

fn withdrawal(stream: &StreamId) -> Append {
    let events = encoded(&[withdrawn("claim")]);
    Append { stream: stream.clone(), expected: Sequence(4), events, topic: None, idempotency: None }
}

#[tokio::test]
async fn no_hot_statement_costs_more_than_its_batch() {
    let server = server().await;
    let url = server.create_database("plans").await;
    let mut site = Site::open(&url).await;
    let forms: Vec<Append> = (0..TENANTS).map(publication).collect();
    recorded(append(&site.writing, &forms).await);
    // Statements are prepared while the tables are small; what was a good plan then must not be kept too long.
    for batch in BATCHES {
        site.work(batch).await;
    }
    for _ in 0..SUBMISSIONS_BEFORE {
        let all: Vec<Append> = (0..TENANTS).map(submission).collect();
        recorded(append(&site.writing, &all).await);
    }
    site.runner.run_once().await.expect("a run");

    for (when, statistics, mode) in PLANNED {
        prepare(&server, statistics, mode).await;
        // A session hears of it with its next statement.
        site.work(1).await;
        let from = server.log().len();
        for batch in BATCHES {
            site.work(batch).await;
        }
        let mut largest: BTreeMap<&str, u64> = BTreeMap::new();
        for plan in plans(&server.log(), from, &HOT) {
            plan.check(0, when);
            let largest = largest.entry(plan.statement).or_default();
            *largest = (*largest).max(plan.batch());
        }
        let seen: Vec<&str> = largest.keys().copied().collect();
        let missing: Vec<&str> =
            HOT.iter().map(|(name, _)| *name).filter(|name| !seen.contains(name)).collect();
        assert!(
            missing.is_empty(),
            "these statements are not seen any more, or are worded otherwise: {missing:?}"
        );
        assert!(largest["append"] >= 512, "appends of a whole batch were looked at: {largest:?}");
        assert!(largest["read models: submissions"] >= 512, "new rows came by statements: {largest:?}");
        for recalled in ["read models: fields that versions index", "read models: outcomes known before"] {
            assert!(largest[recalled] >= 512, "what is not in memory is asked for at once: {largest:?}");
        }
    }
}
