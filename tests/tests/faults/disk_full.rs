//! No space left: commands are answered 503, nothing acknowledged is lost, and recording goes on when there is space again.

use formledger_tests::definitions::{expense, expense_claim};
use formledger_tests::disk::{IGNORING_FILE_SIZE_SIGNALS, SmallDisk, lift_file_size, limit_file_size};
use formledger_tests::wait::within;
use formledger_tests::{Client, Installation, Server};

/// Size of the small disk: enough to start and record on, small enough to fill at once.
const DISK_BYTES: usize = 16 << 20;

/// Takes the space away, tries, gives it back, and checks what is there before and after a restart.
async fn assert_nothing_is_lost(
    installation: &Installation,
    server: Server,
    take: impl Fn(&Server),
    free: impl Fn(&Server),
) {
    let token = installation.token("acme", "ada", "admin").await;
    let client = server.client(&token);
    client.publish("expense", &expense_claim()).await;
    let mut acknowledged = Vec::new();
    for n in 0..20 {
        acknowledged.push(submit(&client, n).await);
    }

    take(&server);
    // What fits into space that is already reserved may still be recorded: refused is what counts.
    let mut refused = Vec::new();
    let mut n = 20;
    within("the shortage to be noticed", async {
        while refused.len() < 10 {
            let answer =
                client.submit("expense", &expense(f64::from(n), "DE")).header("Idempotency-Key", n).await;
            if answer.status == 201 {
                acknowledged.push(answer.json()["submission_id"].as_str().expect("an id").to_owned());
            } else {
                assert!(answer.header("retry-after").is_some(), "{}", answer.text());
                answer.expect_any_problem(503);
                refused.push(n);
            }
            n += 1;
        }
    })
    .await;
    client.get("/healthz").await.expect(200);
    client.get("/readyz").await.expect_any_problem(503);
    client.get("/v1/submissions").await.expect(200);

    free(&server);
    for n in refused {
        acknowledged.push(submit(&client, n).await);
    }
    assert_all_there_once(&client, &acknowledged).await;
    client.get("/readyz").await.expect(200);
    server.kill_9().await;
    let server = installation.serve().await;
    assert_all_there_once(&server.client(&token), &acknowledged).await;
    assert!(server.stop().await.success());
    installation.run(&["verify"]).await.expect(0);
}

/// Submits under the key `n` until it is recorded.
async fn submit(client: &Client, n: i32) -> String {
    within("a submission to be recorded", async {
        loop {
            let answer =
                client.submit("expense", &expense(f64::from(n), "DE")).header("Idempotency-Key", n).await;
            if answer.status == 201 {
                return answer.json()["submission_id"].as_str().expect("an id").to_owned();
            }
            answer.expect_any_problem(503);
        }
    })
    .await
}

async fn assert_all_there_once(client: &Client, acknowledged: &[String]) {
    let head = client.get("/v1/ledger").await.expect(200).json()["position"].as_u64().expect("a position");
    let mut stored = client.get_at("/v1/submissions?limit=500", head).await.expect(200).submission_ids();
    let mut expected = acknowledged.to_vec();
    stored.sort();
    expected.sort();
    assert_eq!(stored, expected);
}

#[tokio::test]
async fn a_full_disk_is_503_and_nothing_acknowledged_is_lost() {
    // Where this user may not mount a disk, a file that may not grow stands in for a disk that is full.
    let Some(disk) = SmallDisk::mount(DISK_BYTES) else { return with_a_file_that_may_not_grow().await };
    let installation = Installation::fresh().on(&disk.path().join("data"));
    let server = installation.serve().await;
    assert_nothing_is_lost(&installation, server, |_| disk.fill(), |_| disk.free()).await;
}

#[tokio::test]
async fn a_file_that_may_not_grow_is_503_and_nothing_acknowledged_is_lost() {
    with_a_file_that_may_not_grow().await;
}

async fn with_a_file_that_may_not_grow() {
    let installation = Installation::fresh();
    let command =
        installation.command_under(&IGNORING_FILE_SIZE_SIGNALS, &["serve", "--listen", "127.0.0.1:0"]);
    let server = Server::start(command, installation.scratch()).await;
    let (take, free) =
        (|server: &Server| limit_file_size(server.pid()), |server: &Server| lift_file_size(server.pid()));
    assert_nothing_is_lost(&installation, server, take, free).await;
}
