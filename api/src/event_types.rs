//! Types of events as clients choose them: what can be no type, or is a slip of the pen for a known one, is refused with those that may have been
//! meant, because a feed of nothing looks like one in which nothing happens. Any other is taken, known or not: who asks a node of an earlier version
//! may want what a later one records. Asked by `events` for pages and feeds, and by `formledger replay`.

use formledger_domain::EVENT_TYPES;

/// Names of the messages with which a replay tells what it found; its feed sends its summary whatever is chosen.
const REPLAY_TYPES: [&str; 3] =
    ["formledger.replay.difference", "formledger.replay.outcomes-changed", "formledger.replay.summary"];
/// Names that are told at once.
const TOLD_MAX: usize = 20;
/// How much a name must be like what was written to be told, 0 to 1.
const LIKENESS_MIN: f64 = 0.6;

/// Looks whether an event can be of a type, in all its versions or in one (`.v1`).
///
/// # Errors
/// What may have been meant.
pub fn check(wanted: &str) -> Result<(), String> {
    let name = unversioned(wanted);
    let known = || EVENT_TYPES.iter().map(|(name, _)| *name).chain(REPLAY_TYPES);
    let meant: Vec<&str> = known().filter(|known| is_slip(name, known)).collect();
    let advice = if !has_shape(name) {
        advice(wanted)
    } else if meant.is_empty() || meant.contains(&name) {
        return Ok(());
    } else {
        format!("did you mean {}?", told(&meant))
    };
    Err(format!("no event is of the type `{wanted}`; {advice}"))
}

/// A type without its version. `.v01` is none, and stays part of the name.
fn unversioned(wanted: &str) -> &str {
    let is_version =
        |v: &str| !v.is_empty() && !v.starts_with('0') && v.bytes().all(|digit| digit.is_ascii_digit());
    wanted.rsplit_once(".v").filter(|(_, v)| is_version(v)).map_or(wanted, |(name, _)| name)
}

/// Whether a name is one as all events have: `formledger.<aggregate>.<name>`, in small letters, digits and hyphens.
fn has_shape(name: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let parts: Vec<&str> = name.split('.').collect();
    matches!(parts.as_slice(), ["formledger", aggregate, name] if is_word(aggregate) && is_word(name))
}

/// Whether each part of a name is a known one's, or one letter away from it. Two letters would be too many: a later version may well record that
/// something was `reassigned`, beside `assigned`.
fn is_slip(name: &str, known: &str) -> bool {
    let parts = || name.split('.').zip(known.split('.'));
    name.split('.').count() == known.split('.').count()
        && parts().all(|(part, known)| {
            part.len().abs_diff(known.len()) <= 1 && strsim::osa_distance(part, known) <= 1
        })
}

fn advice(wanted: &str) -> String {
    let names = EVENT_TYPES.map(|(name, _)| name);
    let begun = wanted.trim_end_matches('*').trim_end_matches('.');
    let below =
        |name: &&str| !begun.is_empty() && name.strip_prefix(begun).is_some_and(|rest| rest.starts_with('.'));
    let meant: Vec<&str> = names.into_iter().filter(below).collect();
    if !meant.is_empty() {
        return format!("name each of them: {}", told(&meant));
    }
    match nearest(wanted, &names).as_slice() {
        [] => format!("there are {}", told(&names)),
        near => format!("did you mean {}?", told(near)),
    }
}

/// The names that are most like what was written, all of the same likeness.
fn nearest<'n>(wanted: &str, names: &[&'n str]) -> Vec<&'n str> {
    // Without its version, which may be what is wrong.
    let wanted = wanted
        .rsplit_once(".v")
        .filter(|(_, v)| v.bytes().all(|b| b.is_ascii_digit()))
        .map_or(wanted, |(n, _)| n);
    let wanted = wanted.to_ascii_lowercase().replace('_', "-");
    let like = |name: &str| {
        let short = name.rsplit('.').next().unwrap_or_default();
        let short_of_wanted = wanted.rsplit('.').next().unwrap_or_default();
        strsim::normalized_levenshtein(&wanted, name)
            .max(strsim::normalized_levenshtein(short_of_wanted, short))
    };
    let best = names.iter().map(|name| like(name)).fold(LIKENESS_MIN, f64::max);
    names.iter().copied().filter(|name| like(name) >= best).collect()
}

fn told(names: &[&str]) -> String {
    let told: Vec<String> = names.iter().take(TOLD_MAX).map(|name| format!("`{name}`")).collect();
    match names.len() - told.len() {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_there_is_is_taken_in_all_versions_or_in_one() {
        for name in EVENT_TYPES.iter().map(|(name, _)| *name).chain(REPLAY_TYPES) {
            for version in ["", ".v1", ".v2", ".v10"] {
                assert_eq!(check(&format!("{name}{version}")), Ok(()));
            }
        }
    }

    #[test]
    fn a_type_that_a_later_version_may_have_is_taken() {
        for name in
            ["submission.reassigned", "submission.unsigned", "form.submitted", "tenant.api-key-rotated"]
        {
            for version in ["", ".v1", ".v3"] {
                assert_eq!(check(&format!("formledger.{name}{version}")), Ok(()));
            }
        }
        assert_eq!(check("formledger.webhook.sent"), Ok(()));
    }

    #[test]
    fn of_another_one_it_is_said_what_may_have_been_meant() {
        for (wanted, meant) in [
            ("submitted", "did you mean `formledger.submission.submitted`?"),
            ("submission.submitted", "did you mean `formledger.submission.submitted`?"),
            ("formledger.submission.submited", "did you mean `formledger.submission.submitted`?"),
            ("formledger.submission.submited.v2", "did you mean `formledger.submission.submitted`?"),
            ("formledger.submision.sumbitted", "did you mean `formledger.submission.submitted`?"),
            ("formledger.submission.submitted.v01", "did you mean `formledger.submission.submitted`?"),
            ("formledger.submission.submitted.v", "did you mean `formledger.submission.submitted`?"),
            ("formleger.submission.submitted", "did you mean `formledger.submission.submitted`?"),
            ("formledger.forms.published", "did you mean `formledger.form.published`?"),
            ("formledger.replay.sumary", "did you mean `formledger.replay.summary`?"),
            (
                "Formledger.Submission.Rules_Evaluated",
                "did you mean `formledger.submission.rules-evaluated`?",
            ),
            (
                "formledger.form.*",
                "`formledger.form.draft-saved`, `formledger.form.published`, `formledger.form.retired`",
            ),
            ("formledger.submission.*", "`formledger.submission.withdrawn`"),
            ("formledger.submission", "name each of them: `formledger.submission.amended`, "),
            ("formledger.submission.v1", ""),
            ("formledger.submission.task.opened", ""),
            ("*", "there are `formledger.audit.attempt-refused`"),
            ("xyz", " and 9 more"),
        ] {
            let told = check(wanted).expect_err(wanted);
            assert!(told.starts_with(&format!("no event is of the type `{wanted}`; ")), "{told}");
            assert!(told.contains(meant), "{wanted}: {told}");
        }
    }
}
