//! The connection loop: accepts, limits, serves HTTP/1.1 through the routes, and stops without dropping an answer.
//! Called by `app`. It exists because `warp::serve` has no header timeout, no connection cap and no TCP_NODELAY.

mod coding;
mod cors;
mod host;
mod stall;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower_service::Service;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use crate::call;
use crate::error::ApiError;
use crate::head::{Head, X_REQUEST_ID};
use crate::limits::{Limits, READ_BUFFER_BYTES_MAX};
use crate::metrics::{Raised, RouteMetrics, ServerMetrics};
pub use cors::Cors;
use stall::WriteStall;

/// How long to wait when the operating system cannot give another connection, for example when files run out.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// What a connection over the cap is told before it is closed.
const TOO_MANY_CONNECTIONS: ApiError = ApiError::ServerFull {
    code: "too-many-connections",
    detail: "as many connections to this server are open as may be at once; try again soon",
};

/// Everything that a connection needs.
pub struct Server {
    /// The routes.
    pub routes: BoxedFilter<(Response,)>,
    /// Which other origins may read answers in a browser.
    pub cors: Option<Cors>,
    /// Limits of connections.
    pub limits: Limits,
    /// What is counted.
    pub metrics: Arc<ServerMetrics>,
    /// What is counted of requests that reach no route.
    pub unmatched: Arc<RouteMetrics>,
}

impl Server {
    /// Serves connections until `stop` is ready; then lets requests in flight finish, within the drain timeout. Returns when that is over.
    pub async fn run(self, listener: TcpListener, stop: impl Future<Output = ()>) -> Instant {
        let server = Arc::new(self);
        let connections = Arc::new(Semaphore::new(server.limits.connections_max));
        let graceful = GracefulShutdown::new();
        // Held, so that those that do not end in time can be dropped: each listening for that would cost every request.
        let mut open_connections = JoinSet::new();
        let http = server.http();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_ended) = open_connections.join_next() => continue,
                () = &mut stop => break,
            };
            let (stream, _peer): (TcpStream, SocketAddr) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
                server.metrics.connections_refused.increment(1);
                tokio::spawn(refuse(stream));
                continue;
            };
            // Answers are small and written whole; waiting to fill a packet would only add latency.
            if stream.set_nodelay(true).is_err() {
                continue;
            }
            let open = Raised::new(&server.metrics.connections);
            let answering = Arc::clone(&server);
            let service = service_fn(move |request| answer(Arc::clone(&answering), request));
            let stream = WriteStall::new(stream, server.limits.write_stall_timeout);
            let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
            open_connections.spawn(async move {
                // Broken connections are the client's business; nothing was acknowledged on them that is not recorded.
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection ended early");
                }
                drop((permit, open));
            });
        }
        drop(listener);
        let drained_by = Instant::now() + server.limits.drain_timeout;
        if tokio::time::timeout_at(drained_by, graceful.shutdown()).await.is_err() {
            open_connections.shutdown().await;
            tracing::warn!("connections were dropped, because they did not end in time");
        }
        drained_by
    }

    fn http(&self) -> http1::Builder {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_read_timeout)
            .max_header_size(self.limits.header_bytes_max)
            .max_buf_size(READ_BUFFER_BYTES_MAX);
        http
    }
}

async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Result<Response, Infallible> {
    let _in_flight = Raised::new(&server.metrics.in_flight);
    let (mut parts, body) = request.into_parts();
    let headers = std::mem::take(&mut parts.headers);
    let head = Arc::new(Head::new(parts.method, parts.uri.clone(), headers));
    parts.method = head.method.clone();
    parts.extensions.insert(Arc::clone(&head));
    let mut response = match host::require(&head, parts.version).and_then(|()| coding::require(&head)) {
        Ok(()) => match server.cors.as_ref().and_then(|cors| cors.preflight(&head)) {
            Some(told) => call::answer(&head, &server.unmatched, Ok(told)),
            None => {
                let mut routes = warp::service(server.routes.clone());
                routes.call(Request::from_parts(parts, body)).await?
            }
        },
        Err(refused) => {
            let mut answer = call::answer(&head, &server.unmatched, Err(refused));
            // Where its body ends may be another question to who sent it, and so what is behind that.
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            answer
        }
    };
    if let Some(cors) = &server.cors {
        cors.open(&head, &mut response);
    }
    finish(&head, &mut response);
    Ok(response)
}

/// Counts and logs an answer, and gives it the request's id.
fn finish(head: &Head, response: &mut Response) {
    let (status, took) = (response.status().as_u16(), head.received.elapsed());
    if let Some(route) = response.extensions().get::<Arc<RouteMetrics>>() {
        route.answered(status, took);
    }
    if let Ok(id) = HeaderValue::from_str(&head.request_id) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    tracing::debug!(
        tenant = head.tenant_name(),
        request_id = &*head.request_id,
        correlation_id = &*head.correlation_id,
        method = %head.method,
        path = head.uri.path(),
        status,
        took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "answered"
    );
}

async fn refuse(mut stream: TcpStream) {
    // Best effort: the client may be gone.
    let _ = stream.write_all(too_many_connections().as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// The answer to a request that is not read: it is named all the same, so that clients read it as any other.
fn too_many_connections() -> String {
    let id = Head::new_request_id();
    let body = TOO_MANY_CONNECTIONS.problem().to_json(&id);
    let length = body.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
         x-content-type-options: nosniff\r\ncache-control: no-store\r\nx-request-id: {id}\r\n\
         retry-after: 1\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
