//! A feed replay: the range goes by again, at recorded spacing divided by the speed. What moves is the replay's position; its feeds read the
//! ledger up to there as live feeds do up to the head, so nothing is kept for a slow one, and any number may follow.

use std::time::Duration;

use chrono::{DateTime, Utc};
use formledger_domain::Position;
use tokio::time::{Instant, sleep_until};

use super::pace::{Pace, Speed};
use super::replay::{Order, Replay, Status};
use crate::error::ApiError;
use crate::limits::{FEED_PAGE_BYTES_MAX, FEED_PAGE_EVENTS};
use crate::standbys::LedgerSource;

/// A shorter wait than this is no pause but the time that looking takes.
const HELD_MIN: Duration = Duration::from_millis(1);

/// Lets the range go by.
pub async fn run(replay: &Replay, ledger: &LedgerSource, speed: Speed) -> Result<(), ApiError> {
    let Order { from, to, .. } = replay.order;
    let mut clock = match speed {
        Speed::Times(times) => {
            let pace = Pace::new(times, recorded_at(ledger, from).await?);
            Some(Clock { pace, last: recorded_at(ledger, to).await? })
        }
        Speed::Max => None,
    };
    if let Some(clock) = &clock {
        replay.expect_end(clock.end());
    }
    let mut after = Position(from.0 - 1);
    while after < to {
        let page = ledger.read_next(after, FEED_PAGE_EVENTS, FEED_PAGE_BYTES_MAX).await?;
        let times = page.iter().map(|event| (event.position, event.recorded_at));
        let times: Vec<_> = times.filter(|(position, _)| *position <= to).collect();
        let Some((newest, _)) = times.last() else {
            return Err(ApiError::internal(format!("the ledger ends at position {after}, before the range")));
        };
        after = *newest;
        if !release(replay, &mut clock, &times).await {
            return Ok(());
        }
    }
    Ok(())
}

async fn recorded_at(ledger: &LedgerSource, position: Position) -> Result<DateTime<Utc>, ApiError> {
    let event = ledger.read_next(Position(position.0 - 1), 1, FEED_PAGE_BYTES_MAX).await?.pop();
    let event = event.filter(|event| event.position == position);
    event
        .map(|event| event.recorded_at)
        .ok_or_else(|| ApiError::internal(format!("position {position} is missing in the ledger")))
}

/// When what is due.
struct Clock {
    pace: Pace,
    /// When the range's last event was recorded.
    last: DateTime<Utc>,
}

impl Clock {
    fn end(&self) -> Instant {
        self.pace.due(self.last)
    }
}

/// Moves the replay over consecutive events, each when it is due; answers whether the replay goes on.
async fn release(replay: &Replay, clock: &mut Option<Clock>, events: &[(Position, DateTime<Utc>)]) -> bool {
    let mut left = events;
    let mut followed = replay.follow();
    loop {
        let held_since = Instant::now();
        if !replay.goes_on().await {
            return false;
        }
        let Some((_, next)) = left.first() else { return true };
        let Some(clock) = clock else {
            replay.advance(left[left.len() - 1].0, None);
            return true;
        };
        if held_since.elapsed() > HELD_MIN {
            clock.pace.delay(held_since.elapsed());
            replay.expect_end(clock.end());
        }
        let now = Instant::now();
        let due = left.partition_point(|(_, at)| clock.pace.due(*at) <= now);
        if due > 0 {
            replay.advance(left[due - 1].0, None);
            left = &left[due..];
            continue;
        }
        tokio::select! {
            () = sleep_until(clock.pace.due(*next)) => {}
            // Paused or cancelled meanwhile; the sender lives as long as the replay.
            _ = followed.wait_for(|progress| progress.status != Status::Running) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::TimeDelta;

    use super::super::replay::Kind;
    use super::*;

    /// Three events, the second right after the first and the third after a minute.
    fn events() -> [(Position, DateTime<Utc>); 3] {
        let first = DateTime::UNIX_EPOCH;
        [(Position(1), first), (Position(2), first), (Position(3), first + TimeDelta::minutes(1))]
    }

    fn replay(times: f64) -> (Arc<Replay>, Option<Clock>) {
        let order = Order { kind: Kind::Feed(Speed::Times(times)), from: Position(1), to: Position(3) };
        let replay = Replay::new("acme".parse().expect("a slug"), "ada".into(), order, None);
        let [(_, first), _, (_, last)] = events();
        (Arc::new(replay), Some(Clock { pace: Pace::new(times, first), last }))
    }

    /// Runs it and tells when each position was reached, in milliseconds since it began.
    async fn reached(replay: Arc<Replay>, mut clock: Option<Clock>) -> Vec<(u64, u128)> {
        let began = Instant::now();
        let mut followed = replay.follow();
        let running = tokio::spawn(async move { release(&replay, &mut clock, &events()).await });
        let mut reached = Vec::new();
        while followed.changed().await.is_ok() {
            let position = followed.borrow_and_update().position.0;
            if reached.last().is_none_or(|(last, _)| *last != position) && position > 0 {
                reached.push((position, began.elapsed().as_millis()));
            }
        }
        assert!(running.await.expect("ends well"));
        reached
    }

    #[tokio::test(start_paused = true)]
    async fn gaps_are_as_they_were_recorded_at_1_and_a_tenth_at_10() {
        let (replay, clock) = replay(1.0);
        assert_eq!(reached(replay, clock).await, [(2, 0), (3, 60_000)]);
        let (replay, clock) = self::replay(10.0);
        assert_eq!(reached(replay, clock).await, [(2, 0), (3, 6_000)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_moves_what_is_to_come() {
        let (replay, clock) = replay(1.0);
        let directed = Arc::clone(&replay);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(20)).await;
            directed.pause().expect("runs");
            tokio::time::sleep(Duration::from_secs(100)).await;
            directed.resume().expect("is paused");
        });
        assert_eq!(reached(replay, clock).await, [(2, 0), (3, 160_000)]);
    }

    #[tokio::test(start_paused = true)]
    async fn as_fast_as_possible_waits_for_nothing_and_cancelling_ends_any_wait() {
        let (replay, _) = replay(1.0);
        assert_eq!(reached(replay, None).await, [(3, 0)]);
        let (replay, mut clock) = self::replay(1.0);
        let directed = Arc::clone(&replay);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            directed.cancel().expect("runs");
        });
        let began = Instant::now();
        assert!(!release(&replay, &mut clock, &events()).await);
        assert_eq!(began.elapsed(), Duration::from_secs(1));
    }
}
