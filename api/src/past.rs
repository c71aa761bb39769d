//! Which moment a query asks about: the present, a position of the ledger, or a time. Used by every query that can answer as of then.
//! A submission is folded from its own stream; lists and statistics come from read models that are folded again for the moment.

use std::time::Duration;

use chrono::{DateTime, Utc};
use formledger_domain::Position;
use formledger_projections::{Cursor, MomentError, ReadModel};

use crate::error::ApiError;
use crate::limits::MOMENT_RETRY_MAX;
use crate::params::{Params, invalid};
use crate::query::QueryCall;

/// The moment that a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// None: the present.
    Now,
    /// When the ledger ended here.
    Position(Position),
    /// When this time was.
    Time(DateTime<Utc>),
}

impl Asked {
    /// Takes `at_position` and `at_time`.
    ///
    /// # Errors
    /// 400 for both, and for what is no position or time.
    pub fn take(params: &mut Params) -> Result<Self, ApiError> {
        Self::take_named(params, "at_position", "at_time")
    }

    /// Takes a position or a time by the names of their parameters.
    ///
    /// # Errors
    /// 400 for both, and for what is no position or time.
    pub fn take_named(
        params: &mut Params,
        position: &'static str,
        time: &'static str,
    ) -> Result<Self, ApiError> {
        match (params.position(position)?, params.time(time)?) {
            (None, None) => Ok(Self::Now),
            (Some(position), None) => Ok(Self::Position(position)),
            (None, Some(time)) => Ok(Self::Time(time)),
            (Some(_), Some(_)) => Err(invalid(format!("give `{position}` or `{time}`, not both"))),
        }
    }
}

impl Asked {
    /// The time that was asked for, if any.
    pub fn time(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Time(time) => Some(time),
            Self::Now | Self::Position(_) => None,
        }
    }
}

impl QueryCall {
    /// The position at which the ledger ended at a moment; `None` for the present.
    ///
    /// # Errors
    /// 400 `cursor-ahead` for a position at which nothing is recorded yet, 503 when `min_position` takes too long.
    pub async fn position_then(&self, asked: Asked) -> Result<Option<Position>, ApiError> {
        if asked == Asked::Now {
            return Ok(None);
        }
        let head = self.reach_ledger().await?;
        match asked {
            Asked::Position(after) if after > head => Err(ApiError::CursorAhead { after, head }),
            Asked::Position(position) => Ok(Some(position)),
            Asked::Time(time) => Ok(Some(self.ledger.position_at(time).await?)),
            Asked::Now => Ok(None),
        }
    }

    /// Lets the reader answer as of a moment; of the present, it waits until `read_model` has reached what the request asks for. Answers the
    /// moment, and the cursor without it.
    ///
    /// # Errors
    /// 400 for a moment that is still to come or a cursor of another one, 503 while its rows are being folded.
    pub async fn go_to(
        &mut self,
        asked: Asked,
        read_model: ReadModel,
        cursor: Option<String>,
    ) -> Result<(Option<Position>, Option<String>), ApiError> {
        let Some(mut position) = self.position_then(asked).await? else {
            self.reach(read_model).await?;
            return Ok((None, cursor));
        };
        let cursor = match cursor {
            None => None,
            Some(cursor) => {
                // Pages of a time stay where the first one was, also when that time was not over yet.
                let (moment, rest) = Cursor::moment(&cursor, asked.time()).ok_or_else(of_another_moment)?;
                let fits = match asked {
                    Asked::Time(_) => moment <= position,
                    Asked::Now | Asked::Position(_) => moment == position,
                };
                if !fits {
                    return Err(of_another_moment());
                }
                position = moment;
                Some(rest.to_owned())
            }
        };
        self.reader = self.reader_at(position).await?;
        Ok((Some(position), cursor))
    }

    /// The time of a moment: as asked for, else when the event at its position was recorded.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn time_then(
        &self,
        asked: Asked,
        position: Option<Position>,
    ) -> Result<DateTime<Utc>, ApiError> {
        let now = self.caller.context.now;
        match (asked, position) {
            (Asked::Time(time), _) => Ok(time.min(now)),
            (_, Some(Position(position))) if position > 0 => {
                let event = self.ledger.read_after(Position(position - 1), 1).await?.pop();
                Ok(event.map_or(now, |event| event.recorded_at))
            }
            _ => Ok(now),
        }
    }
}

fn of_another_moment() -> ApiError {
    let detail =
        "the cursor belongs to a page of another moment: repeat the query without `cursor` to start over";
    ApiError::Malformed { code: "cursor-invalid", detail: detail.to_owned() }
}

impl From<MomentError> for ApiError {
    fn from(error: MomentError) -> Self {
        match error {
            MomentError::Building { position, wanted, left } => {
                let least = Duration::from_secs(1);
                Self::MomentBuilding { position, wanted, retry_after: left.clamp(least, MOMENT_RETRY_MAX) }
            }
            MomentError::Busy => Self::Overloaded {
                code: "moments-busy",
                detail: "too many past moments are asked for at once",
            },
            MomentError::TooLarge { .. } => Self::Refused {
                code: "moment-too-large",
                detail: format!("{error}; ask for single submissions at that position, or replay the range"),
                errors: serde_json::Value::Null,
            },
            MomentError::Off => Self::Refused {
                code: "past-lists-off",
                detail: "this server makes no lists of the past; ask for single submissions at that moment, or for the present"
                    .to_owned(),
                errors: serde_json::Value::Null,
            },
            MomentError::DiskFull => Self::Overloaded {
                code: "moments-disk-full",
                detail: "there is no room on the server's disk for the rows of a past moment; the present and single submissions are answered",
            },
            MomentError::Closed => Self::closing(),
            MomentError::Failed(_) => Self::internal(error),
        }
    }
}
