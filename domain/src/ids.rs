//! Identifiers and places, each a type of its own so that none can stand in for another.
//! Used by every crate to the right; nothing here reads a clock or makes randomness: ids are handed in.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest tenant slug, in bytes.
pub const TENANT_ID_BYTES_MAX: usize = 63;
/// The longest form id, in bytes.
pub const FORM_ID_BYTES_MAX: usize = 128;

/// Why a text is not an identifier; the message says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a {what}: {rule}")]
pub struct InvalidId {
    what: &'static str,
    given: String,
    rule: &'static str,
}

impl InvalidId {
    fn new(what: &'static str, given: &str, rule: &'static str) -> Self {
        Self { what, given: given.chars().take(FORM_ID_BYTES_MAX).collect(), rule }
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $accepts:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let accepts: fn(&str) -> bool = $accepts;
                if accepts(text) { Ok(Self(text.into())) } else { Err(InvalidId::new($what, text, $rule)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

text_id!(
    /// A tenant's slug, `[a-z0-9][a-z0-9-]{0,62}`: the owner of exactly one ledger.
    TenantId,
    "tenant slug",
    "use 1 to 63 of `a-z`, `0-9` and `-`, starting with a letter or digit",
    |text| {
        text.len() <= TENANT_ID_BYTES_MAX
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && text.bytes().next().is_some_and(|b| b != b'-')
    }
);

text_id!(
    /// A form's name within its tenant, `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
    FormId,
    "form id",
    "use 1 to 128 of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`, starting with a letter or digit",
    |text| {
        text.len() <= FORM_ID_BYTES_MAX
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
    }
);

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id!(
    /// A submission's id, unique in its tenant; version 7, so that ids grow with time and index pages stay warm.
    SubmissionId
);
uuid_id!(
    /// A recorded event's id; version 7.
    EventId
);
uuid_id!(
    /// An API key's id, unique in its tenant; version 7. It is no secret.
    ApiKeyId
);

macro_rules! place {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Before the first.
            pub const START: Self = Self(0);

            /// The place right after this one.
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

place!(
    /// A place in a tenant's ledger: 1, 2, 3, … without gaps; 0 is before the first event.
    Position
);
place!(
    /// A place in one stream: 1, 2, 3, …; 0 is a stream without events. Carries optimistic concurrency.
    Sequence
);

/// A form's published version: 1, 2, 3, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FormVersion(pub u32);

impl FormVersion {
    /// The version that the first publication gets.
    pub const FIRST: Self = Self(1);

    /// The version that the next publication gets.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for FormVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_slug_is_lower_case_letters_digits_and_inner_hyphens() {
        for good in ["a", "acme", "0-9", "a-", &"x".repeat(63)] {
            assert!(good.parse::<TenantId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "Acme", "a_b", "a/b", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_form_id_takes_the_names_of_published_forms() {
        for good in ["expense", "21P-527EZ-KITCHEN_SINK", "10-10CG", "a.b"] {
            assert!(good.parse::<FormId>().is_ok(), "{good}");
        }
        for bad in ["", ".a", "a/b", "a b", "_a", &"x".repeat(129)] {
            assert!(bad.parse::<FormId>().is_err(), "{bad}");
        }
    }
}
