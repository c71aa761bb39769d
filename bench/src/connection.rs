//! One HTTP/1.1 keep-alive connection: write a rendered request, read exactly one response.
//!
//! Used by `load` for every request and by `contestant` for set-up. It is this small because the generator shares the
//! cores with the server: one `write` and one `read` a request, no allocation, no header map. It must not pipeline: a
//! latency would then hold other requests' time.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Responses of servers under test carry about ten headers; one with more than this is refused.
const RESPONSE_HEADERS_MAX: usize = 64;
/// First size of the read buffer: a submission's answer fits, so that one `read` takes all of it.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// A response larger than this is refused instead of being buffered.
const RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a response said, without its bytes (those are in [`Connection::body`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// Head and body together, as they came over the wire.
    pub bytes: usize,
    /// The server will close the connection: the next request needs a new one.
    pub close: bool,
}

/// An open connection with its read buffer.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    head_bytes: usize,
}

impl Connection {
    /// Connects, with `TCP_NODELAY`.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; READ_BUFFER_BYTES], filled: 0, head_bytes: 0 })
    }

    /// Sends one request and waits for the whole of its response. After an error the connection is not usable.
    ///
    /// # Errors
    /// Connection lost, or a response that is not HTTP/1.1 with a stated length.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).await?;
        self.filled = 0;
        loop {
            if self.filled == self.buffer.len() {
                self.grow()?;
            }
            let read = self.stream.read(&mut self.buffer[self.filled..]).await?;
            if read == 0 {
                return Err(Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            self.filled += read;
            if let Some(answer) = self.complete()? {
                return Ok(answer);
            }
        }
    }

    /// The last response's body, still in its transfer coding when that was chunked.
    pub fn body(&self) -> &[u8] {
        &self.buffer[self.head_bytes..self.filled]
    }

    fn grow(&mut self) -> Result<()> {
        if self.buffer.len() >= RESPONSE_BYTES_MAX {
            return Err(invalid("the response is too large"));
        }
        self.buffer.resize(self.buffer.len() * 2, 0);
        Ok(())
    }

    /// The answer, once the buffer holds all of it.
    fn complete(&mut self) -> Result<Option<Answer>> {
        let received = &self.buffer[..self.filled];
        let Some(head) = parse_head(received)? else { return Ok(None) };
        self.head_bytes = head.bytes;
        let body = &received[head.bytes..];
        let body_bytes = match head.framing {
            Framing::Length(bytes) => (body.len() >= bytes).then_some(bytes),
            Framing::Chunked => chunked_bytes(body)?,
        };
        let Some(body_bytes) = body_bytes else { return Ok(None) };
        if body.len() > body_bytes {
            return Err(invalid("bytes follow the response"));
        }
        Ok(Some(Answer { status: head.status, bytes: self.filled, close: head.close }))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
}

#[derive(Debug)]
struct Head {
    status: u16,
    bytes: usize,
    framing: Framing,
    close: bool,
}

fn parse_head(received: &[u8]) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; RESPONSE_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let bytes = match response.parse(received).map_err(invalid)? {
        httparse::Status::Complete(bytes) => bytes,
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.ok_or_else(|| invalid("a response without a status"))?;
    let mut framing = matches!(status, 204 | 304).then_some(Framing::Length(0));
    let mut close = response.version == Some(0);
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = std::str::from_utf8(header.value).ok().and_then(|text| text.trim().parse().ok());
            framing =
                Some(Framing::Length(length.ok_or_else(|| invalid("a content-length that is no number"))?));
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Some(Framing::Chunked);
        } else if header.name.eq_ignore_ascii_case("connection") {
            close |= header.value.eq_ignore_ascii_case(b"close");
        }
    }
    let framing = framing.ok_or_else(|| invalid("a response without content-length or chunks"))?;
    Ok(Some(Head { status, bytes, framing, close }))
}

/// How many bytes a chunked body takes in all (RFC 9112 §7.1, without trailers), once its last chunk is there.
fn chunked_bytes(body: &[u8]) -> Result<Option<usize>> {
    const LINE_END_BYTES: usize = 2;
    let mut at = 0;
    while at < body.len() {
        let size_line =
            httparse::parse_chunk_size(&body[at..]).map_err(|_| invalid("a chunk without a size"))?;
        let httparse::Status::Complete((line_bytes, chunk_bytes)) = size_line else { return Ok(None) };
        let chunk_bytes = usize::try_from(chunk_bytes).map_err(invalid)?;
        at = at.saturating_add(line_bytes).saturating_add(chunk_bytes).saturating_add(LINE_END_BYTES);
        if chunk_bytes == 0 {
            return Ok((at <= body.len()).then_some(at));
        }
    }
    Ok(None)
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_gives_status_length_and_whether_the_server_closes() {
        let head = parse_head(b"HTTP/1.1 201 Created\r\nContent-Length: 12\r\nConnection: close\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!((head.status, head.framing, head.close), (201, Framing::Length(12), true));
    }

    #[test]
    fn half_a_head_waits_for_more() {
        assert!(parse_head(b"HTTP/1.1 201 Created\r\nContent-Le").unwrap().is_none());
    }

    #[test]
    fn a_response_without_a_length_is_refused_unless_it_has_no_body() {
        assert!(parse_head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert_eq!(
            parse_head(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap().framing,
            Framing::Length(0)
        );
    }

    #[test]
    fn a_chunked_body_ends_with_its_empty_chunk_however_it_is_cut() {
        let body = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
        assert_eq!(chunked_bytes(body).unwrap(), Some(body.len()));
        for cut in 0..body.len() {
            assert_eq!(chunked_bytes(&body[..cut]).unwrap(), None, "cut at {cut}");
        }
        assert!(chunked_bytes(b"nonsense\r\n").is_err());
    }
}
