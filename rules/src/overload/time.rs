//! Timestamps, durations and dates: arithmetic and parts. Zones are UTC unless named.

use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};

use super::Param::{Date, Duration, Int, String as Str, Timestamp};
use super::{Overload, Ran, Run, ZONE, invalid, no_overload, overflow};
use crate::error::EvalError;
use crate::time::{self, NANOS};
use crate::value::Value;

/// The rows of one part: of a timestamp, with and without a zone.
macro_rules! parts {
    ($($name:literal => $plain:ident, $part:expr;)*) => {
        $(fn $plain<'a>(args: &[Value<'a>]) -> Ran<'a> { part($name, args, $part) })*
        const PARTS: [Overload; 20] = [
            $(
                Overload::method($name, &[Timestamp], Int, Run::Many($plain)),
                Overload::method($name, &[Timestamp, Str], Int, Run::Many($plain)).failing(ZONE),
            )*
        ];
    };
}

parts! {
    "getFullYear" => full_year, |at| i64::from(at.year());
    "getMonth" => month, |at| i64::from(at.month0());
    "getDate" => date_of_month, |at| i64::from(at.day());
    "getDayOfMonth" => day_of_month, |at| i64::from(at.day0());
    "getDayOfWeek" => day_of_week, |at| i64::from(at.weekday().num_days_from_sunday());
    "getDayOfYear" => day_of_year, |at| i64::from(at.ordinal0());
    "getHours" => hours, |at| i64::from(at.hour());
    "getMinutes" => minutes, |at| i64::from(at.minute());
    "getSeconds" => seconds, |at| i64::from(at.second());
    "getMilliseconds" => milliseconds, |at| i64::from(at.nanosecond() / 1_000_000);
}

pub(super) const OVERLOADS: &[Overload] = &{
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = PARTS;
    [
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
        i,
        j,
        k,
        l,
        m,
        n,
        o,
        p,
        q,
        r,
        s,
        t,
        Overload::method("getHours", &[Duration], Int, Run::One(total_hours)),
        Overload::method("getMinutes", &[Duration], Int, Run::One(total_minutes)),
        Overload::method("getSeconds", &[Duration], Int, Run::One(total_seconds)),
        Overload::method("getMilliseconds", &[Duration], Int, Run::One(rest_milliseconds)),
        Overload::method("getFullYear", &[Date], Int, Run::Many(full_year)),
        Overload::method("getMonth", &[Date], Int, Run::Many(month)),
        Overload::method("getDate", &[Date], Int, Run::Many(date_of_month)),
        Overload::method("getDayOfMonth", &[Date], Int, Run::Many(day_of_month)),
        Overload::method("getDayOfWeek", &[Date], Int, Run::Many(day_of_week)),
        Overload::method("getDayOfYear", &[Date], Int, Run::Many(day_of_year)),
        Overload::method("addDays", &[Date, Int], Date, Run::Two(add_days)),
        Overload::method("addMonths", &[Date, Int], Date, Run::Two(add_months)),
        Overload::method("addYears", &[Date, Int], Date, Run::Two(add_years)),
        Overload::method("daysUntil", &[Date, Date], Int, Run::Two(days_until)),
        Overload::method("yearsUntil", &[Date, Date], Int, Run::Two(years_until)),
        Overload::op("+", &[Timestamp, Duration], Timestamp, Run::Two(add)),
        Overload::op("+", &[Duration, Timestamp], Timestamp, Run::Two(add)),
        Overload::op("+", &[Duration, Duration], Duration, Run::Two(add)),
        Overload::op("-", &[Timestamp, Duration], Timestamp, Run::Two(subtract)),
        Overload::op("-", &[Timestamp, Timestamp], Duration, Run::Two(subtract)),
        Overload::op("-", &[Duration, Duration], Duration, Run::Two(subtract)),
        Overload::op("-_", &[Duration], Duration, Run::One(negate)),
    ]
};

/// A part of a date or of a timestamp in a zone.
fn part<'a>(name: &str, args: &[Value<'a>], read: fn(NaiveDateTime) -> i64) -> Ran<'a> {
    let local = match args {
        [Value::Timestamp(at)] => at.naive_utc(),
        [Value::Date(date)] => date.and_time(chrono::NaiveTime::MIN),
        [Value::Timestamp(at), Value::String(zone)] => {
            time::in_zone(*at, zone).ok_or_else(|| invalid(format!("`{}` is not a time zone", &**zone)))?
        }
        _ => return Err(no_overload(name, args)),
    };
    Ok(Value::Int(read(local)))
}

fn of_duration<'a>(name: &str, a: &Value<'a>, read: fn(i64) -> i64) -> Ran<'a> {
    match a {
        Value::Duration(nanos) => Ok(Value::Int(read(*nanos))),
        _ => Err(no_overload(name, std::slice::from_ref(a))),
    }
}

fn total_hours<'a>(a: &Value<'a>) -> Ran<'a> {
    of_duration("getHours", a, |nanos| nanos / (3600 * NANOS))
}

fn total_minutes<'a>(a: &Value<'a>) -> Ran<'a> {
    of_duration("getMinutes", a, |nanos| nanos / (60 * NANOS))
}

fn total_seconds<'a>(a: &Value<'a>) -> Ran<'a> {
    of_duration("getSeconds", a, |nanos| nanos / NANOS)
}

/// The milliseconds within the second, unlike the other three, which are totals.
fn rest_milliseconds<'a>(a: &Value<'a>) -> Ran<'a> {
    of_duration("getMilliseconds", a, |nanos| nanos % NANOS / 1_000_000)
}

fn moved<'a>(
    name: &str,
    a: &Value<'a>,
    b: &Value<'a>,
    run: impl FnOnce(NaiveDate, i64) -> Option<NaiveDate>,
) -> Ran<'a> {
    match (a, b) {
        (Value::Date(date), Value::Int(distance)) => {
            run(*date, *distance).map(Value::Date).ok_or_else(out_of_years)
        }
        _ => Err(no_overload(name, &[a.clone(), b.clone()])),
    }
}

fn add_days<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    moved("addDays", a, b, time::add_days)
}

fn add_months<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    moved("addMonths", a, b, time::add_months)
}

fn add_years<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    moved("addYears", a, b, |date, years| time::add_months(date, years.checked_mul(12)?))
}

fn days_until<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    match (a, b) {
        (Value::Date(from), Value::Date(to)) => Ok(Value::Int((*to - *from).num_days())),
        _ => Err(no_overload("daysUntil", &[a.clone(), b.clone()])),
    }
}

/// Whole years, as in an age.
fn years_until<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    match (a, b) {
        (Value::Date(from), Value::Date(to)) => Ok(Value::Int(time::years_between(*from, *to))),
        _ => Err(no_overload("yearsUntil", &[a.clone(), b.clone()])),
    }
}

fn add<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    match (a, b) {
        (Value::Timestamp(at), Value::Duration(nanos)) | (Value::Duration(nanos), Value::Timestamp(at)) => {
            time::add_nanos(*at, *nanos).map(Value::Timestamp).ok_or_else(out_of_years)
        }
        (Value::Duration(a), Value::Duration(b)) => {
            a.checked_add(*b).map(Value::Duration).ok_or_else(too_long)
        }
        _ => Err(no_overload("+", &[a.clone(), b.clone()])),
    }
}

fn subtract<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    match (a, b) {
        (Value::Timestamp(at), Value::Duration(nanos)) => {
            let back = nanos.checked_neg().and_then(|nanos| time::add_nanos(*at, nanos));
            back.map(Value::Timestamp).ok_or_else(out_of_years)
        }
        (Value::Timestamp(a), Value::Timestamp(b)) => {
            time::difference(*a, *b).map(Value::Duration).ok_or_else(too_long)
        }
        (Value::Duration(a), Value::Duration(b)) => {
            a.checked_sub(*b).map(Value::Duration).ok_or_else(too_long)
        }
        _ => Err(no_overload("-", &[a.clone(), b.clone()])),
    }
}

fn negate<'a>(a: &Value<'a>) -> Ran<'a> {
    match a {
        Value::Duration(nanos) => nanos.checked_neg().map(Value::Duration).ok_or_else(too_long),
        _ => Err(no_overload("-", std::slice::from_ref(a))),
    }
}

#[cold]
fn out_of_years() -> EvalError {
    overflow("the time is outside the years 1 to 9999")
}

#[cold]
fn too_long() -> EvalError {
    overflow("the duration is outside its range of about 292 years")
}
