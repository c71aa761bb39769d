//! Clients that submit without pause and repeat what was not answered, with the same key, until it is: a server that dies under them
//! is an error to retry, not the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use formledger_tests::Client;
use formledger_tests::definitions::expense;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What one submission was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Acknowledged {
    /// The submission's id.
    pub id: String,
    /// The position of its last event.
    pub position: u64,
}

/// A set of clients under way.
pub struct Load {
    shared: Arc<Shared>,
    server: watch::Sender<Option<Client>>,
    answered: watch::Receiver<usize>,
    tasks: JoinSet<()>,
}

struct Shared {
    stopping: AtomicBool,
    next_key: AtomicU64,
    acknowledged: Mutex<BTreeMap<String, Acknowledged>>,
    count: watch::Sender<usize>,
}

impl Load {
    /// Starts `clients` clients; they wait for a server.
    pub fn start(clients: usize) -> Self {
        let (server, _) = watch::channel(None);
        let (count, answered) = watch::channel(0);
        let shared = Arc::new(Shared {
            stopping: AtomicBool::new(false),
            next_key: AtomicU64::new(0),
            acknowledged: Mutex::default(),
            count,
        });
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            tasks.spawn(submit_without_pause(Arc::clone(&shared), server.subscribe()));
        }
        Self { shared, server, answered, tasks }
    }

    /// Sends the clients to this server.
    pub fn direct_to(&self, client: Client) {
        self.server.send_replace(Some(client));
    }

    /// Waits until `more` further submissions are acknowledged.
    pub async fn acknowledges(&mut self, more: usize) {
        let target = *self.answered.borrow() + more;
        let reached = self.answered.wait_for(|count| *count >= target);
        formledger_tests::wait::within("submissions to be acknowledged", reached)
            .await
            .expect("clients never give up");
    }

    /// Lets every client finish what it began, and answers everything acknowledged, by key.
    pub async fn finish(mut self) -> BTreeMap<String, Acknowledged> {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.expect("a client failed")
            }
        };
        formledger_tests::wait::within("every submission begun to be answered", all).await;
        std::mem::take(&mut self.shared.acknowledged.lock().expect("no client panicked"))
    }
}

async fn submit_without_pause(shared: Arc<Shared>, mut server: watch::Receiver<Option<Client>>) {
    while !shared.stopping.load(Ordering::Relaxed) {
        let number = shared.next_key.fetch_add(1, Ordering::Relaxed);
        let key = format!("key-{number}");
        let answer = submit_until_answered(&key, number, &mut server).await;
        let acknowledged = Acknowledged {
            id: answer["submission_id"].as_str().expect("an id").to_owned(),
            position: answer["position"].as_u64().expect("a position"),
        };
        let mut all = shared.acknowledged.lock().expect("no client panicked");
        all.insert(key, acknowledged);
        shared.count.send_replace(all.len());
    }
}

/// The claim submitted under a key; its amount tells which.
pub fn data(number: u64) -> Value {
    let mut data = expense(number as f64, if number.is_multiple_of(2) { "DE" } else { "IT" });
    data["lines"] = json!([{ "qty": 1, "price": format!("key-{number}") }]);
    data
}

async fn submit_until_answered(
    key: &str,
    number: u64,
    server: &mut watch::Receiver<Option<Client>>,
) -> Value {
    loop {
        let client = server.wait_for(Option::is_some).await.expect("the load outlives its clients").clone();
        let client = client.expect("waited for one");
        let answer = client.submit("expense", &data(number)).header("Idempotency-Key", key).attempt().await;
        match answer {
            Ok(answer) if answer.status == 201 => return answer.json(),
            Ok(answer) if answer.status == 503 => {}
            Ok(answer) => panic!("{key}: {} {}", answer.status, answer.text()),
            // The server is gone; the next one is announced.
            Err(_) => server.changed().await.expect("the load outlives its clients"),
        }
    }
}
