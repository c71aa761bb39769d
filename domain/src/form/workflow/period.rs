//! ISO 8601 durations as people mean them: a month after 31 January is the end of February.
//! Used for due dates and reminders; the time to start from is handed in.

use chrono::{DateTime, Days, Months, TimeDelta, Utc};

/// The longest period, in years.
const YEARS_MAX: u64 = 100;
const SECONDS_MAX: u64 = YEARS_MAX * 366 * 86_400;

/// A length of time by the calendar (UTC): months and days are as long as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    months: u32,
    days: u32,
    seconds: u32,
}

impl Period {
    /// Reads `P[nY][nM][nW][nD][T[nH][nM][nS]]` (ISO 8601-1 section 5.5.2), with whole numbers; `None` for anything else, for a
    /// period of no length and for one of more than 100 years.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('P')?;
        let (date, time) = match rest.split_once('T') {
            Some((_, "")) => return None,
            Some((date, time)) => (date, time),
            None => (rest, ""),
        };
        let [years, months, weeks, days] = amounts(date, ['Y', 'M', 'W', 'D'])?;
        let [hours, minutes, seconds] = amounts(time, ['H', 'M', 'S'])?;
        let months = years.checked_mul(12)?.checked_add(months)?;
        let days = weeks.checked_mul(7)?.checked_add(days)?;
        let seconds = hours.checked_mul(60)?.checked_add(minutes)?.checked_mul(60)?.checked_add(seconds)?;
        let fits = months <= YEARS_MAX * 12 && days <= YEARS_MAX * 366 && seconds <= SECONDS_MAX;
        let some = months > 0 || days > 0 || seconds > 0;
        (fits && some).then_some(Self {
            months: u32::try_from(months).ok()?,
            days: u32::try_from(days).ok()?,
            seconds: u32::try_from(seconds).ok()?,
        })
    }

    /// The time that lies this long before `end`, in whole seconds; `None` beyond the beginning of the calendar.
    pub fn before(self, end: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let start = end
            .checked_sub_months(Months::new(self.months))?
            .checked_sub_days(Days::new(u64::from(self.days)))?
            .checked_sub_signed(TimeDelta::seconds(i64::from(self.seconds)))?;
        DateTime::from_timestamp(start.timestamp(), 0)
    }

    /// The time that lies this long after `start`, or up to a second more, in whole seconds; `None` beyond the end of the calendar.
    pub fn after(self, start: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let end = start
            .checked_add_months(Months::new(self.months))?
            .checked_add_days(Days::new(u64::from(self.days)))?
            .checked_add_signed(TimeDelta::seconds(i64::from(self.seconds)))?;
        let begun = i64::from(end.timestamp_subsec_nanos() > 0);
        DateTime::from_timestamp(end.timestamp() + begun, 0)
    }
}

/// The numbers in front of `units`, which come in this order, each at most once; 0 where one is not written.
fn amounts<const N: usize>(text: &str, units: [char; N]) -> Option<[u64; N]> {
    let mut amounts = [0; N];
    let (mut rest, mut next) = (text, 0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let unit = rest[digits..].chars().next()?;
        let place = next + units[next..].iter().position(|known| *known == unit)?;
        amounts[place] = rest[..digits].parse().ok()?;
        (rest, next) = (&rest[digits + 1..], place + 1);
    }
    Some(amounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(period: &str, start: &str) -> String {
        let start: DateTime<Utc> = start.parse().expect("a time");
        let end = Period::parse(period).expect("a period").after(start).expect("within the calendar");
        end.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    }

    #[test]
    fn a_period_follows_the_calendar() {
        for (period, start, end) in [
            ("P3D", "2026-02-27T10:00:00.75Z", "2026-03-02T10:00:01Z"),
            ("P1M", "2026-01-31T09:00:00Z", "2026-02-28T09:00:00Z"),
            ("P1M", "2028-01-31T09:00:00Z", "2028-02-29T09:00:00Z"),
            ("P1Y", "2028-02-29T00:00:00Z", "2029-02-28T00:00:00Z"),
            ("P2W", "2026-12-25T00:00:00Z", "2027-01-08T00:00:00Z"),
            ("P1M1DT1H", "2026-01-31T23:30:00Z", "2026-03-02T00:30:00Z"),
            ("PT90M", "2026-01-01T00:00:00Z", "2026-01-01T01:30:00Z"),
            ("PT1S", "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(after(period, start), end, "{start} + {period}");
        }
    }

    #[test]
    fn what_is_no_period_is_not_read_as_one() {
        for bad in [
            "",
            "P",
            "PT",
            "P0D",
            "PT0S",
            "3D",
            "P3",
            "P-3D",
            "P1.5D",
            "P1D2W",
            "P1DT",
            "PT1D",
            "P1H",
            "p1d",
            "P101Y",
            "P99999999999999999999D",
            "P1D ",
            "P١D",
            "P1é",
        ] {
            assert_eq!(Period::parse(bad), None, "{bad}");
        }
    }
}
