//! Clients that submit without pause and repeat what was not answered, with the same key, until it is: a server that dies under them
//! is an error to retry, not the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use formledger_tests::Client;
use formledger_tests::definitions::expense;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How long a client waits before it tries again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// How long a client waits for an answer before it takes the server for lost; it does not know then what became of the request.
const ANSWER_MAX: Duration = Duration::from_secs(10);

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
    servers: watch::Sender<Vec<Client>>,
    answered: watch::Receiver<usize>,
    tasks: JoinSet<()>,
}

struct Shared {
    /// What this load's keys begin with.
    name: String,
    stopping: AtomicBool,
    next_key: AtomicU64,
    acknowledged: Mutex<BTreeMap<String, Acknowledged>>,
    /// When each answer came, by key.
    answers: Mutex<BTreeMap<String, Instant>>,
    count: watch::Sender<usize>,
}

impl Load {
    /// Starts `clients` clients; they wait for a server.
    pub fn start(clients: usize) -> Self {
        Self::named("key", clients)
    }

    /// The same with keys that begin with `name`, so that two loads tell their submissions apart.
    pub fn named(name: &str, clients: usize) -> Self {
        let (servers, _) = watch::channel(Vec::new());
        let (count, answered) = watch::channel(0);
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            stopping: AtomicBool::new(false),
            next_key: AtomicU64::new(0),
            acknowledged: Mutex::default(),
            answers: Mutex::default(),
            count,
        });
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            tasks.spawn(submit_without_pause(Arc::clone(&shared), servers.subscribe()));
        }
        Self { shared, servers, answered, tasks }
    }

    /// Sends the clients to this server.
    pub fn direct_to(&self, client: Client) {
        self.direct_to_any(vec![client]);
    }

    /// Sends the clients to any of these servers, each attempt to another by chance; with none they wait.
    pub fn direct_to_any(&self, servers: Vec<Client>) {
        self.servers.send_replace(servers);
    }

    /// Everything acknowledged so far, by key.
    pub fn acknowledged(&self) -> BTreeMap<String, Acknowledged> {
        self.shared.acknowledged.lock().expect("no client panicked").clone()
    }

    /// When a key's answer came.
    pub fn answered_at(&self, key: &str) -> Option<Instant> {
        self.shared.answers.lock().expect("no client panicked").get(key).copied()
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

async fn submit_without_pause(shared: Arc<Shared>, mut servers: watch::Receiver<Vec<Client>>) {
    while !shared.stopping.load(Ordering::Relaxed) {
        let number = shared.next_key.fetch_add(1, Ordering::Relaxed);
        let key = format!("{}-{number}", shared.name);
        let answer = submit_until_answered(&key, number, &mut servers).await;
        let acknowledged = Acknowledged {
            id: answer["submission_id"].as_str().expect("an id").to_owned(),
            position: answer["position"].as_u64().expect("a position"),
        };
        let mut all = shared.acknowledged.lock().expect("no client panicked");
        shared.answers.lock().expect("no client panicked").insert(key.clone(), Instant::now());
        all.insert(key, acknowledged);
        shared.count.send_replace(all.len());
    }
}

/// The claim submitted under a key: it holds the key, and its amount tells the number.
fn data(key: &str, number: u64) -> Value {
    let mut data = expense(number as f64, if number.is_multiple_of(2) { "DE" } else { "IT" });
    data["lines"] = json!([{ "qty": 1, "price": key }]);
    data
}

async fn submit_until_answered(key: &str, number: u64, servers: &mut watch::Receiver<Vec<Client>>) -> Value {
    loop {
        let known =
            servers.wait_for(|known| !known.is_empty()).await.expect("the load outlives its clients").clone();
        let client = &known[fastrand::usize(..known.len())];
        let call = client.submit("expense", &data(key, number)).header("Idempotency-Key", key);
        match timeout(ANSWER_MAX, call.attempt()).await {
            Ok(Ok(answer)) if answer.status == 201 => return answer.json(),
            Ok(Ok(answer)) if answer.status == 503 => sleep(RETRY_PAUSE).await,
            Ok(Ok(answer)) => panic!("{key}: {} {}", answer.status, answer.text()),
            // The server is gone, or does not answer; another one may, or the next one is announced soon.
            Ok(Err(_)) | Err(_) => {
                let _unchanged = timeout(RETRY_PAUSE, servers.changed()).await;
            }
        }
    }
}
