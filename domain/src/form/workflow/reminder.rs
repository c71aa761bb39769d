//! When somebody is reminded of what waits: so long after it began to wait, or so long before it is due (a `-` in front, as alarms of
//! iCalendar have it, RFC 5545 section 3.8.6.3). Read by `read`, checked here; the times of one task are found when it is opened.

use chrono::{DateTime, Utc};

use super::Period;

/// The most reminders of a state.
pub const REMINDERS_MAX: usize = 10;

/// A moment in the time that a submission waits in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reminder {
    /// So long after it began to wait.
    After(Period),
    /// So long before it is due.
    Before(Period),
}

impl Reminder {
    /// Reads `P2D` or `-P1D`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix('-') {
            Some(before) => Period::parse(before).map(Self::Before),
            None => Period::parse(text).map(Self::After),
        }
    }

    /// When it is, for what began to wait at `opened` and is due at `due_at`; `None` when that is not while it waits and before it is due.
    fn at(self, opened: DateTime<Utc>, due_at: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
        let at = match self {
            Self::After(period) => period.after(opened),
            Self::Before(period) => period.before(due_at?),
        };
        at.filter(|at| opened < *at && due_at.is_none_or(|due_at| *at < due_at))
    }
}

/// The moments of `reminders`, in order and each once.
pub fn moments(
    reminders: &[Reminder],
    opened: DateTime<Utc>,
    due_at: Option<DateTime<Utc>>,
) -> Vec<DateTime<Utc>> {
    let mut moments: Vec<_> = reminders.iter().filter_map(|reminder| reminder.at(opened, due_at)).collect();
    moments.sort();
    moments.dedup();
    moments
}

/// What is wrong with the reminders of a state that is due after `due`: their places and why. Months differ, so it is tried on a leap year's
/// February, which is short, and on a long month: a reminder that is in time in neither never comes.
pub(super) fn never_in_time(reminders: &[Reminder], due: Option<Period>) -> Vec<(usize, &'static str)> {
    let tried = ["2028-02-01T00:00:00Z", "2028-07-01T00:00:00Z"];
    let openings: Vec<DateTime<Utc>> = tried.iter().filter_map(|text| text.parse().ok()).collect();
    let told = |(place, reminder): (usize, &Reminder)| {
        if matches!(reminder, Reminder::Before(_)) && due.is_none() {
            return Some((
                place,
                "nothing is due here, so there is no time before that; give a `due`, or count from the beginning",
            ));
        }
        let in_time = |opened: &DateTime<Utc>| {
            let due_at = due.map(|due| due.after(*opened));
            let at = reminder.at(*opened, due_at.flatten());
            at.is_some() && due_at.is_none_or(|due_at| due_at.is_some())
        };
        let never = "never comes: it lies before the submission begins to wait here, or not before it is due";
        (!openings.iter().any(in_time)).then_some((place, never))
    };
    reminders.iter().enumerate().filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn reminders(texts: &[&str]) -> Vec<Reminder> {
        texts.iter().map(|text| Reminder::parse(text).expect("a reminder")).collect()
    }

    #[test]
    fn moments_are_in_order_each_once_and_while_it_waits() {
        let (opened, due) = (time("2026-02-26T10:00:00Z"), time("2026-03-01T10:00:00Z"));
        let given = reminders(&["-P1D", "P1D", "P2D", "PT1H", "P9D", "-P1M"]);
        let expected = ["2026-02-26T11:00:00Z", "2026-02-27T10:00:00Z", "2026-02-28T10:00:00Z"].map(time);
        assert_eq!(moments(&given, opened, Some(due)), expected);
        let open_ended =
            ["2026-02-26T11:00:00Z", "2026-02-27T10:00:00Z", "2026-02-28T10:00:00Z", "2026-03-07T10:00:00Z"];
        assert_eq!(moments(&given, opened, None), open_ended.map(time));
    }

    #[test]
    fn what_never_comes_is_told_with_its_place() {
        let places = |texts: &[&str], due: Option<&str>| -> Vec<usize> {
            let due = due.map(|due| Period::parse(due).expect("a period"));
            never_in_time(&reminders(texts), due).into_iter().map(|(place, _)| place).collect()
        };
        assert_eq!(places(&["P1D", "-P1D", "P3D", "-P3D", "PT1S"], Some("P3D")), [2, 3]);
        assert_eq!(places(&["P30D", "-P30D"], Some("P1M")), Vec::<usize>::new(), "of a long month they come");
        assert_eq!(places(&["P1Y", "-PT1S"], None), [1]);
        for bad in ["", "-", "--P1D", "+P1D", "-1D", "P0D"] {
            assert_eq!(Reminder::parse(bad), None, "{bad}");
        }
    }
}
