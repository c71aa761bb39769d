//! The lines of a body, read one by one with limits: one that is too long is passed over, and what ends the body early is said as a last line.
//! Called by `bulk`; nothing here knows what a line means.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::body::Body;
use crate::error::ApiError;
use crate::limits::{BULK_BODY_BYTES_MAX, Limits};
use crate::stopping::stopped;

/// A timeout that is noticed later than this does not count: nobody polled the body meanwhile, because the client did not take the results, and one that
/// reads slowly is not one that sends slowly.
const NOTICED_LATE: Duration = Duration::from_secs(1);

/// One line that is not blank.
#[derive(Debug)]
pub struct Line {
    /// Its number, from 1; blank lines count, so that it is the number that an editor shows.
    pub number: u64,
    /// Its text without its end, or why there is none.
    pub text: Result<Bytes, ApiError>,
}

const CREDENTIAL_ENDED: ApiError = ApiError::Unauthenticated(
    "the credential ended: this line and the following ones are not begun; send them again with another one",
);

/// A body, line by line.
pub struct Lines {
    body: Body,
    /// The first piece of the body, when it was waited for before the answer began.
    early: Option<Result<Option<Bytes>, ApiError>>,
    /// What was read and not handed out.
    held: BytesMut,
    /// Up to where `held` is known to hold no end of a line.
    searched: usize,
    /// The line that comes next.
    number: u64,
    /// Bytes of the body so far.
    read: u64,
    /// The rest of a line that is too long is not kept.
    is_passing_over: bool,
    is_over: bool,
    line_bytes_max: usize,
    lines_max: u64,
    /// How long the first piece of the next line may take.
    patience: Duration,
    /// How long all of it may take from then on.
    line_patience: Duration,
    /// When the first byte came that belongs to no line that was handed out; blank lines belong to the line behind them.
    line_began: Option<Instant>,
    /// When the caller's credential ends; `None` for never.
    credential_ends: Option<Instant>,
    stopping: watch::Receiver<bool>,
}

impl Lines {
    /// Nothing is read yet. A line may be as long as the body of a request of its own.
    /// Nobody is listened to any longer than their credential `lasts` from now on.
    pub fn new(
        body: Body,
        limits: &Limits,
        lines_max: u64,
        lasts: Duration,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            body,
            early: None,
            held: BytesMut::new(),
            searched: 0,
            number: 1,
            read: 0,
            is_passing_over: false,
            is_over: false,
            line_bytes_max: limits.body_bytes_max,
            lines_max,
            patience: limits.body_read_timeout,
            line_patience: limits.line_read_timeout,
            line_began: None,
            credential_ends: Instant::now().checked_add(lasts),
            stopping,
        }
    }

    /// Waits for the first piece of the body, as long as for that of any line. A client that asked before it sends (`Expect: 100-continue`, RFC 9110
    /// section 10.1.1) is told to go on only while its body is waited for and no answer has begun: hyper sends nothing in between after that.
    pub async fn wait_for_first(&mut self) {
        self.early = Some(self.chunk().await);
    }

    /// The next line that is not blank; `None` at the end. A line that says why the body ends early is the last.
    ///
    /// A part of a line before the end of a body that broke off is not handed out: nobody knows how it would go on.
    pub async fn next(&mut self) -> Option<Line> {
        while !self.is_over {
            if *self.stopping.borrow() {
                return self.last(ApiError::closing());
            }
            if self.credential_has_ended() {
                return self.last(CREDENTIAL_ENDED);
            }
            if let Some(end) = self.held[self.searched..].iter().position(|byte| *byte == b'\n') {
                let text = self.held.split_to(self.searched + end).freeze();
                self.held.advance(1);
                if let Some(line) = self.ended(text) {
                    return Some(line);
                }
                continue;
            }
            self.searched = self.held.len();
            if self.searched > self.line_bytes_max {
                self.is_passing_over = true;
            }
            if self.is_passing_over {
                self.held.clear();
                self.searched = 0;
            }
            match self.more().await {
                Ok(true) => {}
                Ok(false) => {
                    self.is_over = true;
                    let text = self.held.split().freeze();
                    return self.ended(text);
                }
                Err(error) => return self.last(error),
            }
        }
        None
    }

    /// A line that has ended with `text`; `None` for a blank one.
    fn ended(&mut self, text: Bytes) -> Option<Line> {
        let number = self.number;
        (self.number, self.searched) = (number + 1, 0);
        if std::mem::take(&mut self.is_passing_over) || text.len() > self.line_bytes_max {
            self.line_began = None;
            let text = Err(ApiError::BodyTooLarge { limit_bytes: self.line_bytes_max });
            return Some(Line { number, text });
        }
        if text.trim_ascii().is_empty() {
            return None;
        }
        self.line_began = None;
        if number > self.lines_max {
            self.number = number;
            return self.last(ApiError::TooManyLines { lines_max: self.lines_max });
        }
        Some(Line { number, text: Ok(text) })
    }

    /// Says why nothing follows.
    fn last(&mut self, error: ApiError) -> Option<Line> {
        self.is_over = true;
        Some(Line { number: self.number, text: Err(error) })
    }

    /// Reads on; `false` at the end of the body.
    async fn more(&mut self) -> Result<bool, ApiError> {
        let chunk = match self.early.take() {
            Some(early) => early,
            None => self.chunk().await,
        };
        let Some(chunk) = chunk? else { return Ok(false) };
        self.read += chunk.len() as u64;
        if self.read > BULK_BODY_BYTES_MAX {
            return Err(ApiError::BodyTooLarge { limit_bytes: BULK_BODY_BYTES_MAX as usize });
        }
        self.held.extend_from_slice(&chunk);
        self.line_began.get_or_insert_with(Instant::now);
        Ok(true)
    }

    /// The next piece of the body, as long as there is patience for the line, the credential lasts and the server does not stop.
    async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            let now = Instant::now();
            // What came with the end of the line before has waited for nobody but us until now.
            if !self.held.is_empty() {
                self.line_began.get_or_insert(now);
            }
            let patience = self.line_began.map_or(now + self.patience, |began| began + self.line_patience);
            let until = self.credential_ends.map_or(patience, |ends| patience.min(ends));
            let arrived = tokio::select! {
                biased;
                () = stopped(&mut self.stopping) => return Err(ApiError::closing()),
                arrived = timeout_at(until, self.body.chunk()) => arrived,
            };
            if let Ok(chunk) = arrived {
                return chunk;
            }
            if self.credential_has_ended() {
                return Err(CREDENTIAL_ENDED);
            }
            if until.elapsed() < NOTICED_LATE {
                return Err(ApiError::BodyTimeout);
            }
            self.line_began = self.line_began.map(|_| Instant::now());
        }
    }

    fn credential_has_ended(&self) -> bool {
        self.credential_ends.is_some_and(|ends| ends <= Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use futures_util::stream::iter;

    const AN_HOUR: Duration = Duration::from_secs(3_600);

    /// The lines of a body that arrives in these pieces: numbers with texts or codes.
    async fn lines(pieces: &[&'static str], line_bytes_max: usize, lines_max: u64) -> Vec<(u64, String)> {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from(*piece))).collect();
        let limits = Limits { body_bytes_max: line_bytes_max, ..Limits::default() };
        let (_open, stopping) = watch::channel(false);
        let mut lines = Lines::new(Body::new(iter(pieces)), &limits, lines_max, AN_HOUR, stopping);
        lines.wait_for_first().await;
        let mut all = Vec::new();
        while let Some(Line { number, text }) = lines.next().await {
            let text = match text {
                Ok(text) => String::from_utf8(text.to_vec()).expect("text"),
                Err(error) => error.problem().code.to_owned(),
            };
            all.push((number, text));
        }
        all
    }

    fn expected(lines: &[(u64, &str)]) -> Vec<(u64, String)> {
        lines.iter().map(|(number, text)| (*number, (*text).to_owned())).collect()
    }

    #[tokio::test]
    async fn lines_are_the_same_however_the_body_is_cut() {
        let whole = "{}\n\n[1]\r\n  \nlast";
        let want = expected(&[(1, "{}"), (3, "[1]\r"), (5, "last")]);
        assert_eq!(lines(&[whole], 10, 10).await, want);
        for cut in 0..=whole.len() {
            let (head, tail) = whole.split_at(cut);
            assert_eq!(lines(&[head, tail], 10, 10).await, want, "{cut}");
        }
        assert_eq!(lines(&[], 10, 10).await, expected(&[]));
        assert_eq!(lines(&["a\n"], 10, 10).await, expected(&[(1, "a")]));
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_fails_alone_and_its_rest_is_no_line() {
        let want = expected(&[(1, "1234"), (2, "body-too-large"), (3, "ok")]);
        assert_eq!(lines(&["1234\n12345\nok\n"], 4, 10).await, want);
        assert_eq!(lines(&["1234\n12345", "6789", "0\nok"], 4, 10).await, want);
        assert_eq!(lines(&["12345678", "9"], 4, 10).await, expected(&[(1, "body-too-large")]));
    }

    #[tokio::test]
    async fn what_is_over_the_number_of_lines_is_said_once_and_the_rest_passed_over() {
        let want = expected(&[(1, "a"), (2, "b"), (3, "too-many-lines")]);
        assert_eq!(lines(&["a\nb\nc\nd\n"], 10, 2).await, want);
        assert_eq!(lines(&["a\nb\n\n \n"], 10, 2).await, expected(&[(1, "a"), (2, "b")]));
    }

    #[tokio::test(start_paused = true)]
    async fn part_of_a_line_is_not_a_line_when_the_body_breaks_off() {
        let pieces = futures_util::stream::iter([Ok(Bytes::from("a\n{\"form\""))])
            .chain(futures_util::stream::pending::<Result<Bytes, warp::Error>>());
        let (_open, stopping) = watch::channel(false);
        let mut lines = Lines::new(Body::new(pieces), &Limits::default(), 10, AN_HOUR, stopping);
        assert!(lines.next().await.expect("a line").text.is_ok());
        let last = lines.next().await.expect("why it ends");
        assert_eq!((last.number, last.text.expect_err("broken").problem().code), (2, "body-timeout"));
        assert!(lines.next().await.is_none());
    }

    #[tokio::test]
    async fn nothing_is_begun_when_the_server_stops() {
        let (stop, stopping) = watch::channel(false);
        let body = Body::new(iter([Ok(Bytes::from("a\nb\n"))]));
        let mut lines = Lines::new(body, &Limits::default(), 10, AN_HOUR, stopping);
        assert!(lines.next().await.expect("a line").text.is_ok());
        stop.send_replace(true);
        let last = lines.next().await.expect("why it ends");
        assert_eq!((last.number, last.text.expect_err("closing").problem().code), (2, "closing"));
        assert!(lines.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_is_waited_for_is_not_waited_for_any_longer_when_the_server_stops() {
        let (stop, stopping) = watch::channel(false);
        let mut lines = Lines::new(dripping("x", 1), &Limits::default(), 10, AN_HOUR, stopping);
        let began = Instant::now();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            stop.send_replace(true);
        });
        let last = lines.next().await.expect("why it ends");
        assert_eq!((last.number, last.text.expect_err("closing").problem().code), (1, "closing"));
        assert_eq!(began.elapsed().as_secs(), 5);
        assert!(lines.next().await.is_none());
    }

    /// A body of which a piece comes every `seconds`, for ever.
    fn drops(
        piece: &'static str,
        seconds: u64,
    ) -> impl futures_util::Stream<Item = Result<Bytes, warp::Error>> + Send + 'static {
        futures_util::stream::unfold((), move |()| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Some((Ok(Bytes::from(piece)), ()))
        })
    }

    fn dripping(piece: &'static str, seconds: u64) -> Body {
        Body::new(drops(piece, seconds))
    }

    /// The number and code of the line that ends a body, how many lines came before it, and after how many seconds it came.
    async fn the_end(body: Body, credential_lasts: Duration) -> (u64, &'static str, usize, u64) {
        let (_open, stopping) = watch::channel(false);
        let began = Instant::now();
        let mut lines = Lines::new(body, &Limits::default(), 1_000_000, credential_lasts, stopping);
        let mut count = 0;
        while let Some(Line { number, text }) = lines.next().await {
            match text {
                Ok(_) => count += 1,
                Err(error) => {
                    assert!(lines.next().await.is_none(), "nothing follows");
                    return (number, error.problem().code, count, began.elapsed().as_secs());
                }
            }
        }
        panic!("the body ended by itself after {count} lines");
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_drips_in_ends_30_seconds_after_its_first_byte() {
        assert_eq!(the_end(dripping(" ", 29), AN_HOUR).await, (1, "body-timeout", 0, 29 + 30));
        assert_eq!(the_end(dripping("x", 29), AN_HOUR).await, (1, "body-timeout", 0, 29 + 30));
        // The rest of a line that came together with the end of the one before.
        let body = iter([Ok(Bytes::from("a\nb"))]).chain(drops("b", 29));
        assert_eq!(the_end(Body::new(body), AN_HOUR).await, (2, "body-timeout", 1, 30));
    }

    #[tokio::test(start_paused = true)]
    async fn blank_lines_keep_nobody_there_and_lines_do() {
        let (number, code, count, seconds) = the_end(dripping("\n", 29), AN_HOUR).await;
        assert_eq!((number, code, count, seconds), (3, "body-timeout", 0, 29 + 30));
        let (number, code, count, seconds) = the_end(dripping("{}\n", 29), AN_HOUR).await;
        assert_eq!(
            (number, code, count, seconds),
            (125, "unauthenticated", 124, 3_600),
            "as long as it lasts"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_listened_to_when_their_credential_has_ended() {
        let minute = Duration::from_secs(60);
        assert_eq!(the_end(dripping("{}\n", 25), minute).await, (3, "unauthenticated", 2, 60));
        // Also not to what came before and was not begun.
        let (_open, stopping) = watch::channel(false);
        let body = Body::new(iter([Ok(Bytes::from("a\nb\n"))]));
        let mut lines = Lines::new(body, &Limits::default(), 10, minute, stopping);
        assert!(lines.next().await.expect("a line").text.is_ok());
        tokio::time::advance(minute).await;
        let last = lines.next().await.expect("why it ends");
        assert_eq!((last.number, last.text.expect_err("ended").problem().code), (2, "unauthenticated"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_results_slowly_has_all_the_time_for_a_line_afterwards() {
        use futures_util::FutureExt;
        let (_open, stopping) = watch::channel(false);
        let mut lines = Lines::new(dripping("b", 10), &Limits::default(), 10, AN_HOUR, stopping);
        let mut next = Box::pin(lines.next());
        assert!((&mut next).now_or_never().is_none());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!((&mut next).now_or_never().is_none(), "the line has begun");
        // Nobody asks for more, because no result is taken.
        tokio::time::advance(Duration::from_secs(300)).await;
        let again = Instant::now();
        let last = next.await.expect("why it ends");
        assert_eq!(last.text.expect_err("too slow").problem().code, "body-timeout");
        assert!(again.elapsed() >= Duration::from_secs(25), "{:?}", again.elapsed());
    }
}
