//! Ids as clients spell them in paths, parameters and lines: the one spelling in which they are answered, in either case.
//! Called by what looks a submission, a replay or a key up, and by `audit`, which must name the same thing.

use std::str::FromStr;

/// Characters of a UUID with hyphens (RFC 9562 section 4); of the spellings that can be read, no other is as long.
const HYPHENATED_CHARS: usize = 36;

/// The id that a text spells; `None` for what names nothing here: with braces, as a URN or without hyphens, the same thing would have
/// several addresses.
pub fn read<T: FromStr>(text: &str) -> Option<T> {
    if text.len() == HYPHENATED_CHARS { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use formledger_domain::SubmissionId;

    use super::*;

    #[test]
    fn an_id_is_spelt_with_hyphens_and_in_either_case() {
        let spelt = "01a2044c-820f-767f-8936-209666b7162d";
        let known = read::<SubmissionId>(spelt).expect("an id");
        assert_eq!(known.to_string(), spelt);
        assert_eq!(read(&spelt.to_uppercase()), Some(known));
        let bare = spelt.replace('-', "");
        for other in
            [&*bare, &format!("{{{spelt}}}"), &format!("urn:uuid:{spelt}"), &format!("{bare}----"), ""]
        {
            assert_eq!(read::<SubmissionId>(other), None, "{other}");
        }
    }
}
