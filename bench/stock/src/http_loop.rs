//! The connection loop of the stock path: warp's routes under hyper's HTTP/1.1 with the same settings as Formledger's own server.
//! Called by `main`.

use std::net::SocketAddr;

use anyhow::Result;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tower_service::Service;
use warp::Reply;
use warp::filters::BoxedFilter;

/// As Formledger's (`api/src/limits.rs`).
const READ_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Serves until the process is ended.
///
/// # Errors
/// The address cannot be bound, or connections cannot be accepted.
pub async fn serve<R: Reply + 'static>(listen: SocketAddr, routes: BoxedFilter<(R,)>) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).max_buf_size(READ_BUFFER_BYTES_MAX);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let routes = routes.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut routes = warp::service(routes.clone());
            async move { routes.call(request).await }
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        // A client that goes away ends its own connection and nothing else.
        tokio::spawn(async move { drop(connection.await) });
    }
}
