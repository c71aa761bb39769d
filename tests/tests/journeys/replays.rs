//! Replays, seen from outside: history again at a pace, through candidate rules, and into a shadow; on files and on Postgres.

use std::time::Duration;

use formledger_test_cluster::{Postgres, Settings, Shutdown};
use formledger_tests::definitions::{EXPENSE, expense, expense_claim};
use formledger_tests::feed::positions;
use formledger_tests::tampering::{tamper, tamper_rows};
use formledger_tests::wait::within;
use formledger_tests::{Client, Installation, Server, Stage};
use serde_json::{Value, json};
use tokio::time::sleep;

/// Submissions of the journeys, with amounts 0 to 19; two events each behind the form's two and the tenant's one.
const SUBMISSIONS: u64 = 20;

async fn stage() -> Stage {
    let stage = Stage::with_form(EXPENSE, &expense_claim()).await;
    for amount in 0..SUBMISSIONS {
        stage.admin.submit(EXPENSE, &expense(amount as f64, "DE")).await.expect(201);
    }
    stage
}

/// Begins a replay and waits until it has ended; its path and how it ended.
async fn replayed(client: &Client, body: &Value) -> (String, Value) {
    let path = begin(client, body).await;
    let ended = within("the replay to end", async {
        loop {
            let replay = client.get(&path).await.expect(200).json();
            if replay["ended_at"].is_string() {
                return replay;
            }
        }
    })
    .await;
    (path, ended)
}

async fn begin(client: &Client, body: &Value) -> String {
    let begun = client.post("/v1/replays").json(body).await.expect(201);
    begun.header("location").expect("a location").to_owned()
}

#[tokio::test]
async fn history_goes_by_again_for_whoever_follows_and_for_who_comes_back() {
    let stage = stage().await;
    let head = stage.head().await;
    let path = begin(&stage.admin, &json!({ "kind": "feed", "speed": 1000 })).await;
    let mut feed = stage.admin.feed(&format!("{path}/feed"), None).await;
    let again = feed.up_to(head).await;
    let mut live = stage.admin.feed("/v1/feed?after=0", None).await;
    assert_eq!(again, live.up_to(head).await, "the same messages, each once");
    let summary = feed.next().await.expect("a summary");
    assert_eq!((summary.kind.as_str(), summary.position), ("formledger.replay.summary.v1", head + 1));
    assert_eq!(summary.data["data"]["status"], "done");
    assert!(feed.next().await.is_none(), "the feed ends by itself");

    let mut resumed = stage.admin.feed(&format!("{path}/feed"), Some(head - 2)).await;
    assert_eq!(positions(&resumed.up_to(head + 1).await), [head - 1, head, head + 1]);
    stage.admin.get(&format!("{path}/feed")).header("Last-Event-ID", head + 1).await.expect(204);
    assert_eq!(stage.head().await, head, "nothing was recorded");
}

/// The ledger lacks an event, in the middle or at its end, that was there when the replay went by, or was gone before.
#[tokio::test]
async fn a_replays_feed_ends_where_its_ledger_lacks_an_event() {
    let body = json!({ "kind": "feed", "speed": "max" });
    for from_end in [SUBMISSIONS, 0] {
        let stage = Stage::on_files_with_form(EXPENSE, &expense_claim()).await;
        for amount in 0..SUBMISSIONS {
            stage.admin.submit(EXPENSE, &expense(amount as f64, "DE")).await.expect(201);
        }
        let missing = stage.head().await - from_end;
        let Stage { installation, server, .. } = stage;
        assert!(server.stop().await.success());
        // Nothing of the ledger is in this server's memory.
        let server = installation.serve().await;
        let admin = server.client(&installation.token("acme", "ada", "admin").await);
        let (before, ended) = replayed(&admin, &body).await;
        assert_eq!(ended["status"], "done", "{ended}");
        tamper(&installation, &format!("delete from events where position = {missing}")).await;
        let (after, ended) = replayed(&admin, &body).await;
        assert_eq!(
            (&ended["status"], &ended["error"]["code"]),
            (&json!("failed"), &json!("internal")),
            "{ended}"
        );
        assert_eq!(ended["position"], missing - 1, "{ended}");

        // One that failed says so in the end; of one that was through before, there is nothing true to say.
        for (path, last) in [(before, None), (after, Some("failed"))] {
            let mut feed = admin.feed(&format!("{path}/feed"), None).await;
            let mut told = Vec::new();
            within("the feed to end", async {
                while let Some(message) = feed.next().await {
                    told.push(message);
                }
            })
            .await;
            let summary = told.pop_if(|message| message.kind == "formledger.replay.summary.v1");
            assert_eq!(summary.map(|summary| summary.data["data"]["status"].clone()), last.map(Value::from));
            assert_eq!(positions(&told), (1..missing).collect::<Vec<_>>(), "all that is there");
        }
        let said = format!("position {missing} is missing");
        assert!(server.stderr().contains(&said), "{}", server.stderr());
    }
}

#[tokio::test]
async fn a_candidate_is_judged_on_what_was_submitted_before_it_is_published() {
    let stage = stage().await;
    let designer = stage.somebody("acme", "dora", "designer").await;
    let root = stage.admin.get("/v1/ledger").await.expect(200).json()["root_hash"].clone();
    let candidate = json!([{ "id": "route", "kind": "decision", "when": "amount > 14.5",
        "then": { "route": "committee" }, "otherwise": { "route": "auto" } }]);
    let (path, ended) =
        replayed(&designer, &json!({ "kind": "rules", "form": EXPENSE, "rules": candidate })).await;
    assert_eq!(ended["status"], "done", "{ended}");
    assert_eq!(
        (&ended["summary"]["evaluated"], &ended["summary"]["changed"]),
        (&json!(SUBMISSIONS), &json!(5))
    );
    let mut feed = designer.feed(&format!("{path}/feed"), None).await;
    let mut changed = Vec::new();
    while let Some(message) = feed.next().await {
        changed.push(message);
    }
    let summary = changed.pop().expect("a summary");
    assert_eq!(summary.data["data"]["summary"], ended["summary"]);
    assert!(positions(&changed).is_sorted());
    for message in &changed {
        assert_eq!(message.kind, "formledger.replay.outcomes-changed.v1");
        assert_eq!(message.data["data"]["changes"][0]["after"]["value"], json!({ "route": "committee" }));
    }
    assert_eq!(changed.len(), 5);
    assert_eq!(stage.admin.get("/v1/ledger").await.expect(200).json()["root_hash"], root);
}

#[tokio::test]
async fn read_models_built_again_equal_the_live_ones_until_somebody_touches_these() {
    let stage = stage().await;
    let auditor = stage.somebody("acme", "otto", "auditor").await;
    let head = stage.head().await;
    let (path, ended) = replayed(&auditor, &json!({ "kind": "shadow" })).await;
    assert_eq!(
        (&ended["status"], &ended["progress"]),
        (&json!("done"), &json!({ "done": head, "total": head }))
    );
    assert_eq!((&ended["summary"]["differences"], &ended["summary"]["unavailable"]), (&json!(0), &json!([])));
    let read_models = &ended["summary"]["compared"][0]["read_models"];
    let submissions = read_models
        .as_array()
        .expect("a list")
        .iter()
        .find(|read_model| read_model["read_model"] == "submissions");
    // Each submission with its two indexed fields, and the list of these.
    assert_eq!(submissions.expect("submissions")["rows"], json!(3 * SUBMISSIONS + 1), "{ended}");
    let mut feed = auditor.feed(&format!("{path}/feed"), None).await;
    assert_eq!(feed.next().await.expect("a summary").kind, "formledger.replay.summary.v1");
    let left = std::fs::read_dir(stage.installation.data()).expect("a folder");
    let shadows =
        left.filter(|file| file.as_ref().expect("a file").file_name().to_string_lossy().contains("shadow"));
    assert_eq!(shadows.count(), 0, "the shadow's file is gone");

    tamper_rows(&stage.installation, "update submissions set state = 'approved' where created_position = 4")
        .await;
    let (path, ended) = replayed(&auditor, &json!({ "kind": "shadow", "projection": "submissions" })).await;
    assert_eq!(ended["summary"]["differences"], 1, "{ended}");
    let mut feed = auditor.feed(&format!("{path}/feed"), None).await;
    let found = feed.next().await.expect("a difference");
    assert_eq!((found.kind.as_str(), found.position), ("formledger.replay.difference.v1", 1));
    let difference = &found.data["data"];
    assert_eq!((&difference["table"], &difference["field"]), (&json!("submissions"), &json!("state")));
    assert_eq!((&difference["live"], &difference["shadow"]), (&json!("approved"), &json!("submitted")));
    assert!(difference["key"]["submission_id"].is_string(), "{difference}");
    assert_eq!(stage.head().await, head, "nothing was recorded");
}

/// A server whose queries are answered by a standby of the ledger's database, with a form and its submissions.
struct BesideStandby {
    _primary: Postgres,
    standby: Postgres,
    _installation: Installation,
    server: Server,
    admin: Client,
}

impl BesideStandby {
    async fn open() -> Self {
        let primary = Postgres::start_with(Settings { fsync: false, ..Settings::default() }).await;
        let url = primary.create_database("ledger").await;
        Installation::fresh().with("DATABASE_URL", &url).run(&["migrate"]).await.expect(0);
        let standby = primary.standby().await;
        let installation =
            Installation::fresh().with("DATABASE_URL", &url).with("REPLICA_URL", standby.url("ledger"));
        let server = installation.serve().await;
        let admin = server.client(&installation.token("acme", "ada", "admin").await);
        admin.publish(EXPENSE, &expense_claim()).await;
        Self { _primary: primary, standby, _installation: installation, server, admin }
    }

    /// How many submissions a candidate judges, and how many of them otherwise.
    async fn judged(&self) -> (Value, Value) {
        let mut rules = expense_claim()["rules"].clone();
        rules[1]["when"] = json!("amount > 2.5");
        let candidate = json!({"kind": "rules", "form": EXPENSE, "rules": rules});
        let (_, ended) = replayed(&self.admin, &candidate).await;
        (ended["summary"]["evaluated"].clone(), ended["summary"]["changed"].clone())
    }

    async fn submit(&self, amount: u32) {
        self.admin.submit(EXPENSE, &expense(f64::from(amount), "DE")).await.expect(201);
    }
}

/// What goes by again is read where it costs the primary nothing.
#[tokio::test]
async fn replays_read_a_standby_of_the_ledger() {
    let site = BesideStandby::open().await;
    for amount in 0..5 {
        site.submit(amount).await;
    }
    assert_eq!(site.judged().await, (json!(5), json!(2)));
    // Queries of this node never read events, and nothing else reads the standby.
    let mut connection = site.standby.connect("ledger").await;
    let read = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_user_tables \
                WHERE relname = 'events'";
    within("the standby to count that its events were read", async {
        while sqlx::query_scalar::<_, i64>(read).fetch_one(&mut connection).await.expect("what was read") < 10
        {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(site.server.stop().await.success());
}

/// Both what runs and what follows it.
#[tokio::test]
async fn a_replay_goes_on_at_the_primary_when_the_standby_goes_away_meanwhile() {
    let mut site = BesideStandby::open().await;
    for amount in 0..6 {
        site.submit(amount).await;
        sleep(Duration::from_millis(100)).await;
    }
    let head = site.admin.get("/v1/ledger").await.expect(200).position();
    // A few seconds, and pages that are read while it runs.
    let path = begin(&site.admin, &json!({"kind": "feed", "speed": 0.1})).await;
    let mut feed = site.admin.feed(&format!("{path}/feed"), None).await;
    feed.up_to(3).await;
    site.standby.stop(Shutdown::Immediate).await;
    assert_eq!(positions(&feed.up_to(head).await), (4..=head).collect::<Vec<_>>());
    let summary = feed.next().await.expect("a summary");
    assert_eq!(summary.data["data"]["status"], "done");
    assert!(site.server.stop().await.success());
}

#[tokio::test]
async fn a_replay_reads_the_primary_when_the_standby_was_read_before_and_is_gone() {
    let mut site = BesideStandby::open().await;
    site.submit(4).await;
    assert_eq!(site.judged().await, (json!(1), json!(1)));
    site.standby.stop(Shutdown::Immediate).await;
    site.submit(5).await;
    assert_eq!(site.judged().await, (json!(2), json!(2)));
    assert!(site.server.stop().await.success());
}

#[tokio::test]
async fn a_replay_reads_the_primary_when_the_standby_does_not_come_as_far() {
    let site = BesideStandby::open().await;
    site.submit(1).await;
    assert_eq!(site.judged().await, (json!(1), json!(0)));
    site.standby.execute("SELECT pg_wal_replay_pause()").await;
    site.submit(5).await;
    assert_eq!(site.judged().await, (json!(2), json!(1)), "the standby has the first one");
    assert!(site.server.stop().await.success());
}

/// A standby that lags does not know of the revocation.
#[tokio::test]
async fn a_replays_feed_ends_with_its_key_although_a_standby_still_takes_it_for_good() {
    let site = BesideStandby::open().await;
    for amount in 0..6 {
        site.submit(amount).await;
        sleep(Duration::from_millis(100)).await;
    }
    let key = json!({"name": "follower", "roles": ["auditor"]});
    let made = site.admin.post("/v1/api-keys").json(&key).await.expect(201).json();
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    // Half a minute and more.
    let path = begin(&site.admin, &json!({"kind": "feed", "speed": 0.02})).await;
    let feed = tokio::spawn({
        let (follower, path) = (site.server.anonymous(), format!("{path}/feed"));
        let secret = secret.clone();
        async move { follower.get(&path).header("X-Api-Key", secret).await.expect(200).text() }
    });
    let status =
        async || site.server.anonymous().get("/v1/ledger").header("X-Api-Key", &secret).await.status.as_u16();
    assert_eq!(status().await, 200);
    // By then the feed has chosen what it reads.
    within("the replay to go on", async {
        while site.admin.get(&path).await.expect(200).json()["position"].as_u64() < Some(3) {}
    })
    .await;
    site.standby.execute("SELECT pg_wal_replay_pause()").await;
    let key = format!("/v1/api-keys/{}", made["id"].as_str().expect("an id"));
    site.admin.call(http::Method::DELETE, &key).await.expect(200);
    let told = within("the feed to end", feed).await.expect("no panic");
    assert!(!told.contains("formledger.replay.summary"), "{told}");
    assert_eq!(site.admin.get(&path).await.expect(200).json()["status"], "running");
    assert_eq!(status().await, 401);
    assert!(site.server.stop().await.success());
}
