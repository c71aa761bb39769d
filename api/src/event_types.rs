//! Types of events as clients choose them: one that no event can have is refused with those that may have been meant, because a feed of nothing
//! looks like one in which nothing happens. Asked by `events` for pages and feeds, and by `formledger replay`.

use formledger_domain::EVENT_TYPES;

/// Names that are told at once.
const TOLD_MAX: usize = 20;
/// How much a name must be like what was written to be told, 0 to 1.
const LIKENESS_MIN: f64 = 0.6;

/// Looks whether an event can be of a type, in all its versions or in one (`.v1`).
///
/// # Errors
/// What may have been meant.
pub fn check(wanted: &str) -> Result<(), String> {
    let is_meant = |(name, version): &(&str, &str)| {
        let of_version = wanted.strip_prefix(name).and_then(|rest| rest.strip_prefix(".v"));
        wanted == *name || of_version.is_some_and(|given| given == *version)
    };
    if EVENT_TYPES.iter().any(is_meant) {
        return Ok(());
    }
    Err(format!("no event is of the type `{wanted}`; {}", advice(wanted)))
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
        for (name, version) in EVENT_TYPES {
            assert_eq!(check(name), Ok(()));
            assert_eq!(check(&format!("{name}.v{version}")), Ok(()));
        }
    }

    #[test]
    fn of_another_one_it_is_said_what_may_have_been_meant() {
        for (wanted, meant) in [
            ("submitted", "did you mean `formledger.submission.submitted`?"),
            ("formledger.submission.submited", "did you mean `formledger.submission.submitted`?"),
            ("formledger.submission.submitted.v2", "did you mean `formledger.submission.submitted`?"),
            ("formledger.submission.submitted.v01", "did you mean `formledger.submission.submitted`?"),
            ("formledger.form.submitted", "did you mean `formledger.submission.submitted`?"),
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
            ("*", "there are `formledger.audit.attempt-refused`"),
            ("xyz", " and 9 more"),
        ] {
            let told = check(wanted).expect_err(wanted);
            assert!(told.starts_with(&format!("no event is of the type `{wanted}`; ")), "{told}");
            assert!(told.contains(meant), "{wanted}: {told}");
        }
    }
}
