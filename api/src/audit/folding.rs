//! Which of many like facts are recorded one by one, and which are counted together: a flood of refusals must not flood the ledger.
//! Pure but for the clock that it is handed; `audit` records what comes out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use formledger_domain::{AuditEvent, SubmissionId, TenantContext, TenantId, Use};

/// How long facts of one actor are folded together before what was counted is recorded.
pub const WINDOW: Duration = Duration::from_secs(5);
/// Facts of one actor and window that are recorded or counted apart; further ones are counted by route and code alone. As many different exports are
/// remembered; further ones are recorded each, because none is given out before it is recorded.
const APART_MAX: usize = 20;
/// Actors of whom something is counted at once; facts of further ones are counted in a metric only.
const ACTORS_MAX: usize = 10_000;

/// What kind of fact it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Somebody was refused something.
    Refused {
        /// The problem's code.
        code: &'static str,
        /// The answer's status.
        status: u16,
    },
    /// Somebody read something.
    Read,
    /// Somebody was given something to take away.
    Export,
}

/// One fact, before it is known whether it is recorded by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Noted {
    /// What kind of fact.
    pub kind: Kind,
    /// The route.
    pub action: Arc<str>,
    /// The path.
    pub target: Option<Arc<str>>,
    /// The submission in the path, where it exists.
    pub submission_id: Option<SubmissionId>,
    /// SHA-256 of the query string, which tells one export from another and is not recorded.
    pub query: Option<[u8; 32]>,
}

impl Noted {
    /// The event that says it happened `times` between two moments.
    pub fn event(self, times: u32, first_at: DateTime<Utc>, last_at: DateTime<Utc>) -> AuditEvent {
        let Self { kind, action, target, submission_id, query: _ } = self;
        let used = Use { action, target, submission_id, times, first_at, last_at };
        match kind {
            Kind::Refused { code, status } => {
                AuditEvent::AttemptRefused { attempt: used, code: code.into(), status }
            }
            Kind::Read => AuditEvent::DataRead { read: used },
            Kind::Export => AuditEvent::Exported { export: used },
        }
    }
}

/// What is counted and not recorded yet, by tenant and actor.
#[derive(Default)]
pub struct Folding {
    actors: HashMap<(TenantId, Arc<str>), Window>,
}

struct Window {
    began: Instant,
    context: TenantContext,
    counted: HashMap<Noted, Count>,
}

impl Window {
    /// How many exports are remembered, or how many other facts: neither takes the other's room.
    fn apart(&self, exports: bool) -> usize {
        self.counted.keys().filter(|noted| (noted.kind == Kind::Export) == exports).count()
    }
}

struct Count {
    times: u32,
    first_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
}

/// What becomes of a fact.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is recorded now.
    Apart,
    /// It is counted, and recorded when the window ends.
    Folded,
    /// Too many actors at once: nothing is kept.
    Dropped,
}

/// What one actor did in a window, to be recorded.
pub struct Folded {
    /// In whose name.
    pub context: TenantContext,
    /// What was counted.
    pub events: Vec<AuditEvent>,
}

impl Folding {
    /// Says what becomes of a fact; with `at_once`, the first of its like in a window is recorded by itself.
    pub fn note(&mut self, context: &TenantContext, noted: Noted, at_once: bool, now: Instant) -> Fate {
        let Some(window) = self.window(context, now) else { return Fate::Dropped };
        let (first_at, last_at) = (context.now, context.now);
        if let Some(count) = window.counted.get_mut(&noted) {
            if count.times == 0 {
                count.first_at = first_at;
            }
            (count.times, count.last_at) = (count.times.saturating_add(1), last_at);
            return Fate::Folded;
        }
        if window.apart(false) < APART_MAX {
            // What is recorded now stands there with nothing counted, so that its like are folded.
            let times = if at_once { 0 } else { 1 };
            window.counted.insert(noted, Count { times, first_at, last_at });
            return if at_once { Fate::Apart } else { Fate::Folded };
        }
        let alike = Noted { target: None, submission_id: None, query: None, ..noted };
        let count = window.counted.entry(alike).or_insert(Count { times: 0, first_at, last_at });
        (count.times, count.last_at) = (count.times.saturating_add(1), last_at);
        Fate::Folded
    }

    /// Counts an export the like of which was recorded in this window; answers `false` for one that is to be recorded now.
    pub fn repeats(&mut self, context: &TenantContext, noted: &Noted) -> bool {
        let actor = (context.tenant.clone(), Arc::clone(&context.actor.subject));
        let Some(window) = self.actors.get_mut(&actor) else { return false };
        let Some(count) = window.counted.get_mut(noted) else { return false };
        if count.times == 0 {
            count.first_at = context.now;
        }
        (count.times, count.last_at) = (count.times.saturating_add(1), context.now);
        true
    }

    /// Remembers an export that was recorded by itself, so that its like are counted, as long as there is room.
    pub fn recorded(&mut self, context: &TenantContext, export: Noted, now: Instant) {
        let Some(window) = self.window(context, now) else { return };
        if window.apart(true) < APART_MAX {
            let (first_at, last_at) = (context.now, context.now);
            window.counted.entry(export).or_insert(Count { times: 0, first_at, last_at });
        }
    }

    /// The actor's window; `None` where there are too many.
    fn window(&mut self, context: &TenantContext, now: Instant) -> Option<&mut Window> {
        let actor = (context.tenant.clone(), Arc::clone(&context.actor.subject));
        if self.actors.len() >= ACTORS_MAX && !self.actors.contains_key(&actor) {
            return None;
        }
        let window = || Window { began: now, context: context.clone(), counted: HashMap::new() };
        Some(self.actors.entry(actor).or_insert_with(window))
    }

    /// Takes out what was counted in windows that are over at `now`, or in all of them.
    pub fn take(&mut self, now: Option<Instant>) -> Vec<Folded> {
        let over = |window: &Window| now.is_none_or(|now| now.duration_since(window.began) >= WINDOW);
        let windows = self.actors.extract_if(|_, window| over(window));
        let events = |counted: HashMap<Noted, Count>| {
            let counted = counted.into_iter().filter(|(_, count)| count.times > 0);
            let mut events: Vec<AuditEvent> = counted
                .map(|(noted, Count { times, first_at, last_at })| noted.event(times, first_at, last_at))
                .collect();
            events.sort_by_key(|event| event.about().first_at);
            events
        };
        windows
            .map(|(_, Window { context, counted, .. })| Folded { context, events: events(counted) })
            .filter(|folded| !folded.events.is_empty())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use formledger_domain::Actor;

    fn context(subject: &str) -> TenantContext {
        let actor = Actor { subject: subject.into(), roles: Arc::new([]) };
        let now = "2026-02-26T10:00:00Z".parse().expect("a time");
        TenantContext { actor, ..TenantContext::system("acme".parse().expect("a slug"), "test", now) }
    }

    fn refused(target: &str) -> Noted {
        let kind = Kind::Refused { code: "not-permitted", status: 403 };
        Noted {
            kind,
            action: "PUT /v1/forms/{form}".into(),
            target: Some(target.into()),
            submission_id: None,
            query: None,
        }
    }

    fn times(folded: &[Folded]) -> Vec<u32> {
        folded.iter().flat_map(|folded| &folded.events).map(|event| event.about().times).collect()
    }

    #[test]
    fn the_first_of_its_like_is_recorded_and_those_after_it_are_counted() {
        let (mut folding, now) = (Folding::default(), Instant::now());
        let eve = context("eve");
        assert_eq!(folding.note(&eve, refused("/v1/forms/a"), true, now), Fate::Apart);
        for _ in 0..7 {
            assert_eq!(folding.note(&eve, refused("/v1/forms/a"), true, now), Fate::Folded);
        }
        assert_eq!(folding.note(&eve, refused("/v1/forms/b"), true, now), Fate::Apart);
        assert_eq!(folding.note(&context("mia"), refused("/v1/forms/a"), true, now), Fate::Apart);
        assert!(folding.take(Some(now)).is_empty(), "the window is not over");
        assert_eq!(times(&folding.take(Some(now + WINDOW))), [7]);
        assert_eq!(folding.note(&eve, refused("/v1/forms/a"), true, now), Fate::Apart, "a new window");
    }

    #[test]
    fn of_a_flood_of_different_ones_a_bounded_number_is_recorded_and_every_one_counted() {
        let (mut folding, now) = (Folding::default(), Instant::now());
        let mut apart = 0;
        for number in 0..5_000 {
            let noted = refused(&format!("/v1/forms/{number}"));
            apart += usize::from(folding.note(&context("eve"), noted, true, now) == Fate::Apart);
        }
        assert_eq!(apart, APART_MAX);
        let folded = folding.take(None);
        assert_eq!(times(&folded), [5_000 - APART_MAX as u32]);
        assert_eq!(folded[0].events[0].about().target, None);
    }

    #[test]
    fn an_export_is_recorded_once_and_counted_whatever_else_its_actor_did() {
        let (mut folding, now) = (Folding::default(), Instant::now());
        let eve = context("eve");
        for number in 0..APART_MAX + 5 {
            folding.note(&eve, refused(&format!("/v1/forms/{number}")), true, now);
        }
        let export = Noted { kind: Kind::Export, ..refused("/v1/exports/submissions.csv") };
        let mut recorded = 0;
        for number in 0..30 {
            let query = Some([number % 3; 32]);
            let export = Noted { query, ..export.clone() };
            if !folding.repeats(&eve, &export) {
                recorded += 1;
                folding.recorded(&eve, export, now);
            }
        }
        assert_eq!(recorded, 3, "each of three queries");
        let folded = folding.take(None);
        let is_export = |event: &&AuditEvent| matches!(event, AuditEvent::Exported { .. });
        let counted = folded[0].events.iter().filter(is_export).map(|event| event.about().times);
        assert_eq!(counted.collect::<Vec<_>>(), [9, 9, 9]);
    }

    #[test]
    fn exports_beyond_what_is_remembered_are_each_recorded_and_counted_nowhere() {
        let (mut folding, now) = (Folding::default(), Instant::now());
        let eve = context("eve");
        for round in 0..2 {
            for number in 0..APART_MAX as u8 + 5 {
                let export = Noted { kind: Kind::Export, query: Some([number; 32]), ..refused("/v1/events") };
                let repeats = folding.repeats(&eve, &export);
                assert_eq!(repeats, round > 0 && usize::from(number) < APART_MAX);
                if !repeats {
                    folding.recorded(&eve, export, now);
                }
            }
        }
        assert_eq!(times(&folding.take(None)), [1; APART_MAX]);
    }

    #[test]
    fn reads_are_counted_and_never_recorded_at_once() {
        let (mut folding, now) = (Folding::default(), Instant::now());
        let read = Noted { kind: Kind::Read, ..refused("/v1/tasks") };
        for _ in 0..3 {
            assert_eq!(folding.note(&context("eve"), read.clone(), false, now), Fate::Folded);
        }
        assert_eq!(times(&folding.take(None)), [3]);
    }

    #[test]
    fn memory_is_bounded_whoever_comes() {
        let (mut folding, now) = (Folding::default(), Instant::now());
        let fates = (0..ACTORS_MAX + 5)
            .map(|number| folding.note(&context(&number.to_string()), refused("/"), true, now))
            .filter(|fate| *fate == Fate::Dropped);
        assert_eq!(fates.count(), 5);
    }
}
