//! A TCP connection that can be hurt: between a client and a server on 127.0.0.1 it can cut, refuse, delay and hold back what is sent.
//! Used by standbys (their upstream) and by tests, between the product and its databases or between a client and the product.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks on their way in one direction; whoever sends more waits, as with any full network.
const CHUNKS_MAX: usize = 64;

/// What happens to connections.
#[derive(Debug, Clone)]
struct Mode {
    target: u16,
    refuses: bool,
    holds: bool,
    delay: Duration,
    /// Connections of earlier generations are cut.
    generation: u64,
}

/// Listens on a port of its own and forwards to another; everything ends with the value.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    mode: watch::Sender<Mode>,
    /// Of its own, so that a test which blocks its thread does not block the network.
    runtime: Option<Runtime>,
}

impl Proxy {
    /// Forwards to 127.0.0.1:`target`, for now without harm.
    pub fn to(target: u16) -> Self {
        let mode = Mode { target, refuses: false, holds: false, delay: Duration::ZERO, generation: 0 };
        let (mode, watched) = watch::channel(mode);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread can be started");
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("there are free ports");
        let port = listener.local_addr().expect("it is bound").port();
        listener.set_nonblocking(true).expect("sockets can be set not to block");
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("the socket does not block");
            while let Ok((client, _)) = listener.accept().await {
                if !watched.borrow().refuses {
                    tokio::spawn(carry(client, watched.clone()));
                }
            }
        });
        Self { port, mode, runtime: Some(runtime) }
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends every connection there is now; new ones are taken.
    pub fn cut(&self) {
        self.mode.send_modify(|mode| mode.generation += 1);
    }

    /// Ends every connection there is, and closes new ones at once, until [`Proxy::heal`].
    pub fn refuse(&self) {
        self.mode.send_modify(|mode| {
            mode.refuses = true;
            mode.generation += 1;
        });
    }

    /// Carries nothing further in either direction, and tells nobody, until [`Proxy::heal`]: a network that lost its way.
    pub fn hold(&self) {
        self.mode.send_modify(|mode| mode.holds = true);
    }

    /// Everything arrives this much later, in each direction; as much can be on its way as before.
    pub fn delay(&self, delay: Duration) {
        self.mode.send_modify(|mode| mode.delay = delay);
    }

    /// Takes back every harm. What was held back arrives now.
    pub fn heal(&self) {
        self.mode.send_modify(|mode| {
            mode.refuses = false;
            mode.holds = false;
            mode.delay = Duration::ZERO;
        });
    }

    /// Leads to another server from now on, and ends the connections to the one before: what a moved address does.
    pub fn lead_to(&self, target: u16) {
        self.mode.send_modify(|mode| {
            mode.target = target;
            mode.generation += 1;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Carries one connection until it ends or is cut.
async fn carry(client: TcpStream, mode: watch::Receiver<Mode>) {
    let (target, generation) = {
        let mode = mode.borrow();
        (SocketAddr::from(([127, 0, 0, 1], mode.target)), mode.generation)
    };
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let both = async {
        tokio::join!(
            one_way(from_client, to_server, mode.clone()),
            one_way(from_server, to_client, mode.clone())
        )
    };
    let mut watched = mode.clone();
    tokio::select! {
        _ = both => {}
        // Dropping the sockets closes them.
        _ = watched.wait_for(|mode| mode.generation != generation) => {}
    }
}

async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mode: watch::Receiver<Mode>) {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let receive = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if sender.send((Instant::now(), buffer[..read].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let send = async move {
        let mut watched = mode.clone();
        while let Some((arrived, bytes)) = chunks.recv().await {
            let delay = mode.borrow().delay;
            sleep_until(arrived + delay).await;
            if watched.wait_for(|mode| !mode.holds).await.is_err() || to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(receive, send);
}
