//! Command-line tools on Postgres: who only reads needs no right to record.

use formledger_test_cluster::{Postgres, Settings};
use formledger_tests::definitions::{expense, expense_claim};
use formledger_tests::{Installation, Stage};

#[tokio::test]
async fn who_may_only_read_verifies_exports_and_replays_what_its_roles_see() {
    let server = Postgres::start_with(Settings { fsync: false, ..Settings::default() }).await;
    let url = server.create_database("ledger").await;
    let recording = Installation::fresh().with("DATABASE_URL", &url);
    let Stage { installation: recording, server: node, admin } = Stage::on(recording, &[]).await;
    admin.publish("expense", &expense_claim()).await;
    for n in 0..3 {
        admin.submit("expense", &expense(f64::from(n), "DE")).await.expect(201);
    }
    assert!(node.stop().await.success());
    server.execute("CREATE ROLE auditor LOGIN NOINHERIT IN ROLE formledger_reader").await;
    let reading = Installation::fresh().with("DATABASE_URL", server.url_as("auditor", "ledger"));
    for arguments in [&["export", "--tenant", "acme"][..], &["replay", "--tenant", "acme", "--speed", "max"]]
    {
        let read = reading.run(arguments).await.expect(0).stdout;
        assert_eq!(read, recording.run(arguments).await.expect(0).stdout, "{arguments:?}");
    }
    let verified = reading.run(&["verify", "--tenant", "acme"]).await.expect(0).stdout;
    assert!(verified.contains("events are as they were recorded"), "{verified}");
    assert!(verified.contains("was not looked for"), "what it could not see, it says: {verified}");
    let unknown = reading.run(&["verify", "--tenant", "acne"]).await.expect(2);
    assert!(unknown.stderr.contains("no tenant `acne`"), "{}", unknown.stderr);
    let all = reading.run(&["verify"]).await.expect(2);
    assert!(all.stderr.contains("`formledger_projector`"), "{}", all.stderr);

    server.execute("GRANT formledger_projector TO auditor").await;
    let verified = reading.run(&["verify"]).await.expect(0).stdout;
    assert!(!verified.contains("was not looked for"), "{verified}");
    let refused = reading.run(&["serve", "--listen", "127.0.0.1:0"]).await.expect(2);
    assert!(refused.stderr.contains("formledger_writer"), "{}", refused.stderr);
}
