//! The noise floor: the same HTTP library as the server's, answering 201 without looking at what it was sent.
//!
//! Started by `compare` as a contestant and by hand for calibration. What it cannot do on a machine, nothing behind HTTP
//! can. It must stay empty: no parsing, no state but a counter.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Serves on `listen` until the process is ended.
///
/// # Errors
/// The address cannot be bound.
pub fn serve(listen: &str) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(accept(listen))
}

async fn accept(listen: &str) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        // A client that goes away is not the floor's business.
        tokio::spawn(async move { drop(connection.await) });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match request.into_body().collect().await {
        Ok(_ignored) => {
            let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
            (StatusCode::CREATED, format!(r#"{{"id":"{id}"}}"#))
        }
        Err(_) => (StatusCode::BAD_REQUEST, String::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    Ok(response)
}
