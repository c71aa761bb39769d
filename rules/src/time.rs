//! Timestamps, durations and dates: reading, printing, ranges and zone arithmetic. No clock: `now` is an input.
//!
//! Used by JSON binding and by the time overloads. The zone database is compiled in, so that a rule means the same on
//! every machine.

use std::str::FromStr;

use chrono::{
    DateTime, Datelike, FixedOffset, NaiveDate, NaiveDateTime, SecondsFormat, TimeDelta, TimeZone, Utc,
};
use chrono_tz::Tz;

/// Nanoseconds in a second.
pub(crate) const NANOS: i64 = 1_000_000_000;

/// A timestamp when its year is 1 to 9999, the range that the CEL specification allows.
pub(crate) fn in_range(at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    (1..=9999).contains(&at.year()).then_some(at)
}

/// An RFC 3339 timestamp.
pub(crate) fn parse_timestamp(text: &str) -> Option<DateTime<Utc>> {
    in_range(DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc))
}

/// Seconds since 1970 as a timestamp.
pub(crate) fn from_unix_seconds(seconds: i64) -> Option<DateTime<Utc>> {
    in_range(DateTime::from_timestamp(seconds, 0)?)
}

/// RFC 3339 in UTC, with 0, 3, 6 or 9 fraction digits as needed.
pub(crate) fn format_timestamp(at: &DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// RFC 3339 in UTC with as many fraction digits as needed: what `string(timestamp)` gives.
pub(crate) fn timestamp_text(at: &DateTime<Utc>) -> String {
    let text = at.to_rfc3339_opts(SecondsFormat::Nanos, true);
    format!("{}Z", text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.'))
}

/// A calendar date `YYYY-MM-DD`, strictly.
pub(crate) fn parse_date(text: &str) -> Option<NaiveDate> {
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| -> Option<u32> {
        bytes
            .get(range)?
            .iter()
            .try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
    };
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let year = i32::try_from(number(0..4)?).ok().filter(|year| *year > 0)?;
    NaiveDate::from_ymd_opt(year, number(5..7)?, number(8..10)?)
}

/// `YYYY-MM-DD`.
pub(crate) fn format_date(date: NaiveDate) -> String {
    format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day())
}

/// `date` moved by whole days, within years 1 to 9999.
pub(crate) fn add_days(date: NaiveDate, days: i64) -> Option<NaiveDate> {
    let moved = date.checked_add_signed(TimeDelta::try_days(days)?)?;
    (1..=9999).contains(&moved.year()).then_some(moved)
}

/// `date` moved by whole months; a day that the month lacks becomes its last day.
pub(crate) fn add_months(date: NaiveDate, months: i64) -> Option<NaiveDate> {
    let distance = chrono::Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    let moved =
        if months < 0 { date.checked_sub_months(distance) } else { date.checked_add_months(distance) }?;
    (1..=9999).contains(&moved.year()).then_some(moved)
}

/// Whole years from `from` to `to`, as in an age; negative when `to` is earlier.
pub(crate) fn years_between(from: NaiveDate, to: NaiveDate) -> i64 {
    if to < from {
        return -years_between(to, from);
    }
    let before = (to.month(), to.day()) < (from.month(), from.day());
    i64::from(to.year() - from.year()) - i64::from(before)
}

/// A duration as Go and CEL write it: signed decimal numbers with units `h`, `m`, `s`, `ms`, `us`, `ns`; in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        total = total.checked_add(scaled(number, unit_nanos(unit)?)?)?;
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// A duration as JSON Schema's format has it (ISO 8601: `P1DT2H`, `P2W`, `PT0.5S`), or as [`parse_duration`] reads it. A day has 24 hours; years and months
/// have no length of their own. A computed one may be negative, which the format does not know.
pub(crate) fn parse_duration_field(text: &str) -> Option<i64> {
    let (negative, written) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let Some(rest) = written.strip_prefix('P') else { return parse_duration(text) };
    let (days, times) = rest.split_once('T').map_or((rest, None), |(days, times)| (days, Some(times)));
    if days.is_empty() && times.is_none() || times == Some("") {
        return None;
    }
    let units = [(days, "WD"), (times.unwrap_or(""), "HMS")];
    let mut total: i128 = 0;
    for (mut rest, mut units) in units {
        while !rest.is_empty() {
            let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let unit = rest[unit_at..].chars().next()?;
            // Each at most once, and in this order.
            units = &units[units.find(unit)? + 1..];
            let nanos = match unit {
                'W' => 7 * 24 * unit_nanos("h")?,
                'D' => 24 * unit_nanos("h")?,
                'H' => unit_nanos("h")?,
                'M' => unit_nanos("m")?,
                _ => unit_nanos("s")?,
            };
            total = total.checked_add(scaled(&rest[..unit_at], nanos)?)?;
            rest = &rest[unit_at + 1..];
        }
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// As JSON Schema's format has it, in seconds.
pub(crate) fn format_duration_field(nanos: i64) -> String {
    let text = format_duration(nanos);
    let (sign, seconds) = text.strip_prefix('-').map_or(("", &*text), |seconds| ("-", seconds));
    format!("{sign}PT{}S", seconds.trim_end_matches('s'))
}

/// Nanoseconds in a unit.
fn unit_nanos(unit: &str) -> Option<i128> {
    Some(match unit {
        "h" => 3_600_000_000_000,
        "m" => 60_000_000_000,
        "s" => 1_000_000_000,
        "ms" => 1_000_000,
        "us" | "µs" | "μs" => 1_000,
        "ns" => 1,
        _ => return None,
    })
}

/// `number` (digits with at most one point) times `unit`; fractions below a nanosecond are cut.
fn scaled(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.into() };
    let mut nanos = whole.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        nanos += place * i128::from(digit - b'0');
    }
    Some(nanos)
}

/// Seconds with as many fraction digits as needed, then `s`.
pub(crate) fn format_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (seconds, fraction) = (nanos.unsigned_abs() / NANOS as u64, nanos.unsigned_abs() % NANOS as u64);
    if fraction == 0 {
        return format!("{sign}{seconds}s");
    }
    let digits = format!("{fraction:09}");
    format!("{sign}{seconds}.{}s", digits.trim_end_matches('0'))
}

/// Seconds with 0, 3, 6 or 9 fraction digits, then `s`: protobuf's JSON form.
pub(crate) fn duration_json(nanos: i64) -> String {
    let text = format_duration(nanos);
    let Some((seconds, fraction)) = text.trim_end_matches('s').split_once('.') else { return text };
    let digits = fraction.len().next_multiple_of(3);
    format!("{seconds}.{fraction:0<digits$}s")
}

/// `at` moved by `nanos`, within years 1 to 9999.
pub(crate) fn add_nanos(at: DateTime<Utc>, nanos: i64) -> Option<DateTime<Utc>> {
    in_range(at.checked_add_signed(TimeDelta::nanoseconds(nanos))?)
}

/// Nanoseconds from `b` to `a`, `None` when 64 bits do not hold them.
pub(crate) fn difference(a: DateTime<Utc>, b: DateTime<Utc>) -> Option<i64> {
    (a - b).num_nanoseconds()
}

/// The wall-clock time of `at` in `zone`: a name of the zone database or an offset such as `+01:00`, `-02:30`, `02:00`.
pub(crate) fn in_zone(at: DateTime<Utc>, zone: &str) -> Option<NaiveDateTime> {
    if let Some(offset) = parse_offset(zone) {
        return Some(offset.from_utc_datetime(&at.naive_utc()).naive_local());
    }
    let zone = Tz::from_str(zone).ok()?;
    Some(zone.from_utc_datetime(&at.naive_utc()).naive_local())
}

/// Why `zone` is none that [`in_zone`] knows; `None` when it is one.
pub(crate) fn zone_refusal(zone: &str) -> Option<String> {
    if parse_offset(zone).is_some() || Tz::from_str(zone).is_ok() {
        return None;
    }
    let advice = match crate::check::nearest(zone, chrono_tz::TZ_VARIANTS.iter().map(|known| known.name())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "one is a name such as `Europe/Berlin`, or an offset such as `+01:00`".to_owned(),
    };
    Some(format!("`{zone}` is not a time zone; {advice}"))
}

/// `[+-]HH:MM`.
fn parse_offset(text: &str) -> Option<FixedOffset> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let two_digits = |part: &str| (part.len() == 2).then(|| part.parse::<i32>().ok()).flatten();
    FixedOffset::east_opt(sign * (two_digits(hours)? * 3600 + two_digits(minutes)? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_fields_are_those_of_the_schemas_format() {
        let seconds = |text: &str| parse_duration_field(text).map(format_duration);
        for (text, said) in [
            ("PT2H", "7200s"),
            ("P1D", "86400s"),
            ("P2W", "1209600s"),
            ("P1DT2H3M4S", "93784s"),
            ("PT0.5S", "0.5s"),
            ("1h30m", "5400s"),
        ] {
            assert_eq!(seconds(text).as_deref(), Some(said), "{text}");
        }
        for text in [
            "P", "PT", "P1M", "P1Y", "P1DT", "PT1M1H", "PT1H1H", "P1H", "PT1D", "PT.S", "P1", "PT1",
            "P1.2.3D",
        ] {
            assert_eq!(parse_duration_field(text), None, "{text}");
        }
        for nanos in [0, 7_200_000_000_000, 1_500_000_000, -5_000_000_000, -250_000_000] {
            assert_eq!(parse_duration_field(&format_duration_field(nanos)), Some(nanos));
        }
        assert_eq!(format_duration_field(7_200_000_000_000), "PT7200S");
    }

    #[test]
    fn durations_read_every_unit_and_print_as_seconds() {
        assert_eq!(parse_duration("1h45m47s").map(format_duration).as_deref(), Some("6347s"));
        assert_eq!(parse_duration("-1.5s").map(format_duration).as_deref(), Some("-1.5s"));
        assert_eq!(duration_json(-1_500_000_000), "-1.500s");
        let at = parse_timestamp("2009-02-13T23:31:30.120Z").expect("a timestamp");
        assert_eq!(
            (timestamp_text(&at), format_timestamp(&at)),
            ("2009-02-13T23:31:30.12Z".to_owned(), "2009-02-13T23:31:30.120Z".to_owned())
        );
        assert_eq!(parse_duration("1"), None);
        assert_eq!(parse_duration("."), None);
        assert_eq!(parse_duration("320000000000s"), None);
    }

    #[test]
    fn a_date_is_exactly_ten_characters() {
        assert_eq!(parse_date("2024-02-29").map(format_date).as_deref(), Some("2024-02-29"));
        for wrong in ["2023-02-29", "2024-2-9", "0000-01-01", "2024-02-29T00:00:00Z", "+024-02-09"] {
            assert_eq!(parse_date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_age_counts_birthdays() {
        let day = |text| parse_date(text).expect("a date");
        assert_eq!(years_between(day("2000-03-01"), day("2018-02-28")), 17);
        assert_eq!(years_between(day("2000-03-01"), day("2018-03-01")), 18);
    }

    #[test]
    fn zones_are_names_or_offsets() {
        let at = parse_timestamp("2009-02-13T23:31:30Z").expect("a timestamp");
        assert_eq!(in_zone(at, "US/Central").expect("a zone").day(), 13);
        assert_eq!(in_zone(at, "+02:00").expect("a zone").day(), 14);
        assert_eq!(in_zone(at, "Mars/Olympus"), None);
    }
}
