//! Why a token is not taken, in words for who sent it. Made by `keys` and `auth`, shown by `problem`.
//!
//! Of a token that no trusted key signed nothing is judged but its header, so whoever has no key learns nothing by trying. Nothing that the
//! token says of people stands here: refusals are logged.

use chrono::{DateTime, SecondsFormat, Utc};

/// Why a token is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// It cannot be read as one.
    #[error(
        "the token is no signed JWT: three parts of base64url, joined by dots, of which the first two are JSON objects"
    )]
    NoJwt,
    /// Its header asks for what is not known here (RFC 7515 section 4.1.11).
    #[error("the token's header has `crit`, and none of the extensions that it may name is known here")]
    Extensions,
    /// Its header names an algorithm for which there is no key.
    #[error("tokens that are signed by `{stated}` are not accepted here; accepted are `{}`", accepted.join("`, `"))]
    Algorithm {
        /// What the header names.
        stated: String,
        /// The algorithms of the keys that there are.
        accepted: Vec<String>,
    },
    /// Its header names a key that is not trusted.
    #[error("the key that the token's header names in `kid` is not trusted here")]
    KeyUnknown,
    /// Several keys could have signed it.
    #[error("several keys could have signed the token; its header has to name one in `kid`")]
    KeyNotNamed,
    /// No key that is trusted signed it.
    #[error("the token is signed by no key that is trusted here")]
    Signature,
    /// It was good.
    #[error("the token expired at {}; get a new one", written(*.0))]
    Expired(Option<DateTime<Utc>>),
    /// It will be good.
    #[error("the token is not valid before {}; is a clock wrong?", written(*.0))]
    NotYetValid(Option<DateTime<Utc>>),
    /// It does not say what it has to.
    #[error("the token lacks the claim `{0}`")]
    ClaimMissing(&'static str),
    /// It says something else than it has to.
    #[error("the token's claim `{claim}` {right}")]
    Claim {
        /// The claim.
        claim: &'static str,
        /// What it has to be, in words that go on from its name.
        right: &'static str,
    },
}

fn written(time: Option<DateTime<Utc>>) -> String {
    time.map_or_else(
        || "a time beyond the calendar".to_owned(),
        |time| time.to_rfc3339_opts(SecondsFormat::Secs, true),
    )
}

impl TokenRefusal {
    /// The same as `error_description` of RFC 6750 section 3, which takes visible ASCII without quotes and backslashes.
    pub fn description(&self) -> String {
        let fits = |char: char| matches!(char, ' '..='~') && !matches!(char, '"' | '\\');
        self.to_string().chars().map(|char| if fits(char) { char } else { '?' }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_fits_into_its_quotes() {
        let refusal = TokenRefusal::Algorithm { stated: "a\"b\\c\u{e9}\n".to_owned(), accepted: Vec::new() };
        let description = refusal.description();
        assert!(description.contains("`a?b?c??`"), "{description}");
        let early = TokenRefusal::NotYetValid(DateTime::from_timestamp(0, 0)).description();
        assert!(early.contains("1970-01-01T00:00:00Z"), "{early}");
    }
}
