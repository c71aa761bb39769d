//! An S3-compatible bucket in this process, as far as keeping files needs one: put, whole or in parts, head and get, of which a part may be asked for, over HTTP.
//! It wants requests signed by the right key id, keeps everything in memory, and can be away. Signatures are not checked: the client's are
//! checked by those who write it, and by hand against other servers (docs/attachments.md).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::installation::Installation;

/// The bucket's name.
const NAME: &str = "files";
const KEY_ID: &str = "tests";

/// A running bucket; ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct Bucket {
    address: String,
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: Mutex<BTreeMap<String, Bytes>>,
    /// Parts by upload and number.
    parts: Mutex<BTreeMap<(String, usize), Bytes>>,
    uploads: AtomicUsize,
    is_away: AtomicBool,
}

impl Bucket {
    /// An empty bucket.
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let inner = Arc::new(Inner::default());
        let serving = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inner = Arc::clone(&serving);
                let service = service_fn(move |request| answer(Arc::clone(&inner), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, inner }
    }

    /// An installation that keeps its attachments here, under `prefix`.
    pub fn of(&self, installation: Installation, prefix: &str) -> Installation {
        installation
            .with("ATTACHMENTS_URL", format!("s3://{NAME}/{prefix}"))
            .with_variable("AWS_ENDPOINT", format!("http://{}", self.address))
            .with_variable("AWS_ALLOW_HTTP", "true")
            .with_variable("AWS_REGION", "eu-central-1")
            .with_variable("AWS_ACCESS_KEY_ID", KEY_ID)
            .with_variable("AWS_SECRET_ACCESS_KEY", "a secret of the tests")
    }

    /// The keys of everything in it.
    pub fn keys(&self) -> Vec<String> {
        lock(&self.inner.objects).keys().cloned().collect()
    }

    /// Parts of objects that are not whole yet.
    pub fn parts_count(&self) -> usize {
        lock(&self.inner.parts).len()
    }

    /// How many objects came in parts.
    pub fn uploads_count(&self) -> usize {
        self.inner.uploads.load(Ordering::SeqCst)
    }

    /// Lets it answer nothing but 503, or again.
    pub fn be_away(&self, is_away: bool) {
        self.inner.is_away.store(is_away, Ordering::SeqCst);
    }

    /// Puts other bytes in an object's place.
    pub fn damage(&self, key: &str) {
        let replaced = lock(&self.inner.objects).insert(key.to_owned(), Bytes::from_static(b"damaged"));
        assert!(replaced.is_some(), "there is no `{key}`");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panicked with it")
}

async fn answer(inner: Arc<Inner>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(status(StatusCode::BAD_REQUEST)) };
    let credential = format!("AWS4-HMAC-SHA256 Credential={KEY_ID}/");
    let signed = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
    if inner.is_away.load(Ordering::SeqCst) {
        return Ok(status(StatusCode::SERVICE_UNAVAILABLE));
    }
    if !signed.is_some_and(|value| value.starts_with(&credential)) {
        return Ok(status(StatusCode::FORBIDDEN));
    }
    let query: BTreeMap<&str, &str> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    let Some(key) = parts.uri.path().strip_prefix(&format!("/{NAME}/")) else {
        return Ok(status(StatusCode::NOT_FOUND));
    };
    let answer = inner.act(&parts.method, key, &query, body.to_bytes());
    let range = parts.headers.get("range").and_then(|value| value.to_str().ok());
    Ok(match range.filter(|_| answer.status() == StatusCode::OK) {
        Some(range) => part_of(answer, range).await,
        None => answer,
    })
}

impl Inner {
    fn act(
        &self,
        method: &Method,
        key: &str,
        query: &BTreeMap<&str, &str>,
        body: Bytes,
    ) -> Response<Full<Bytes>> {
        let upload = query.get("uploadId").map(|id| (*id).to_owned());
        match (method.as_str(), upload) {
            ("PUT", None) => {
                lock(&self.objects).insert(key.to_owned(), body);
                with_tag(Bytes::new())
            }
            ("PUT", Some(upload)) => {
                let number = query["partNumber"].parse().expect("parts have numbers");
                lock(&self.parts).insert((upload, number), body);
                with_tag(Bytes::new())
            }
            ("POST", None) => {
                let id = self.uploads.fetch_add(1, Ordering::SeqCst);
                with_tag(Bytes::from(format!(
                    "<InitiateMultipartUploadResult><UploadId>u{id}</UploadId></InitiateMultipartUploadResult>"
                )))
            }
            ("POST", Some(upload)) => {
                let mut parts = lock(&self.parts);
                let whole: Vec<u8> = parts
                    .extract_if(.., |(of, _), _| *of == upload)
                    .flat_map(|(_, part)| part.to_vec())
                    .collect();
                lock(&self.objects).insert(key.to_owned(), whole.into());
                with_tag(Bytes::from(
                    "<CompleteMultipartUploadResult><ETag>\"t\"</ETag></CompleteMultipartUploadResult>",
                ))
            }
            ("GET" | "HEAD", _) => match lock(&self.objects).get(key) {
                Some(object) => with_tag(object.clone()),
                None => status(StatusCode::NOT_FOUND),
            },
            ("DELETE", Some(upload)) => {
                lock(&self.parts).retain(|(of, _), _| *of != upload);
                status(StatusCode::NO_CONTENT)
            }
            _ => status(StatusCode::METHOD_NOT_ALLOWED),
        }
    }
}

/// The part of an object that `bytes=<first>-<last>` names.
async fn part_of(answer: Response<Full<Bytes>>, range: &str) -> Response<Full<Bytes>> {
    let (mut head, body) = answer.into_parts();
    let whole = body.collect().await.expect("it is there").to_bytes();
    let (first, last) = range.strip_prefix("bytes=").and_then(|set| set.split_once('-')).expect("a range");
    let [first, last] = [first, last].map(|text| text.parse::<usize>().expect("a number"));
    let place = format!("bytes {first}-{last}/{}", whole.len());
    head.status = StatusCode::PARTIAL_CONTENT;
    head.headers.insert("content-range", place.parse().expect("a header value"));
    Response::from_parts(head, Full::new(whole.slice(first..=last)))
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn with_tag(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert("etag", "\"t\"".parse().expect("a header value"));
    let modified = "Sat, 01 Jan 2022 00:00:00 GMT".parse().expect("a header value");
    response.headers_mut().insert("last-modified", modified);
    response
}
