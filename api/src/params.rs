//! The parameters of a query string: taken by name, each of its type, and none left over.
//! Called by the queries, and by commands, which take hardly any; a misspelt filter must not answer everything, so what is not understood is refused.

use std::fmt::Display;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use formledger_domain::Position;
use percent_encoding::percent_decode_str;

use crate::error::ApiError;
use crate::head::Head;
use crate::numbers;
use crate::times::Rfc3339;

/// Parameters that were not taken yet.
pub struct Params {
    left: Vec<(String, String)>,
    /// The names by which some were taken, or would have been, in that order.
    known: Vec<&'static str>,
}

impl Params {
    /// Reads the query string of a request.
    ///
    /// # Errors
    /// 400 when it is not `application/x-www-form-urlencoded`, or not UTF-8: what would be replaced in it is not what was asked for.
    pub fn read(head: &Head) -> Result<Self, ApiError> {
        let query = head.uri.query().unwrap_or_default();
        // Looked at as a whole: what stands between parameters is ASCII, so no character goes beyond one.
        if percent_decode_str(query).decode_utf8().is_err() {
            return Err(invalid(
                "the query string is not UTF-8; percent-encode the bytes of UTF-8, for example `é` as `%C3%A9`",
            ));
        }
        serde_urlencoded::from_str(query)
            .map(|left| Self { left, known: Vec::new() })
            .map_err(|error| invalid(format!("the query string cannot be read: {error}")))
    }

    /// Refuses a query string where no parameter has a meaning, as at commands: `?dry_run=true` must not do what it asks not to do.
    ///
    /// # Errors
    /// 400 that names the first parameter.
    pub fn none(head: &Head) -> Result<(), ApiError> {
        match head.uri.query() {
            None => Ok(()),
            Some(_) => Self::read(head)?.finish(),
        }
    }

    /// Takes a parameter that may be given once.
    ///
    /// # Errors
    /// 400 when it is given more often.
    pub fn one(&mut self, name: &'static str) -> Result<Option<String>, ApiError> {
        let mut values = self.all(name);
        let value = values.pop();
        if values.is_empty() { Ok(value) } else { Err(invalid(format!("give `{name}` once"))) }
    }

    /// Takes a parameter that is a number; `right` says which ones it may be.
    ///
    /// # Errors
    /// 400 when it is given more often or is no number.
    pub fn number<T: FromStr>(
        &mut self,
        name: &'static str,
        right: impl Display,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        numbers::read(&text).map(Some).ok_or_else(|| invalid(format!("`{name}`: use {right}")))
    }

    /// Takes a parameter that is a position of a ledger.
    ///
    /// # Errors
    /// 400 when it is given more often or is no position.
    pub fn position(&mut self, name: &'static str) -> Result<Option<Position>, ApiError> {
        Ok(self.number(name, "a position of the ledger, a whole number in digits")?.map(Position))
    }

    /// Takes `limit`, which is 1 to `max`.
    ///
    /// # Errors
    /// 400 when it is given more often or is none of these.
    pub fn limit(&mut self, max: u32) -> Result<Option<u32>, ApiError> {
        let right = format!("1 to {max}");
        match self.number("limit", &right)? {
            Some(limit) if !(1..=max).contains(&limit) => Err(invalid(format!("`limit`: use {right}"))),
            limit => Ok(limit),
        }
    }

    /// Takes a parameter that is a time.
    ///
    /// # Errors
    /// 400 when it is given more often or is no time.
    pub fn time(&mut self, name: &'static str) -> Result<Option<DateTime<Utc>>, ApiError> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        text.parse()
            .map(|Rfc3339(time)| Some(time))
            .map_err(|error| invalid(format!("`{name}`: {error}; in a query string, write `+` as `%2B`")))
    }

    /// Takes a parameter that may be given once and is not only text, where what is wrong with it says what would be right.
    ///
    /// # Errors
    /// 400 when it is given more often or is not what it should be.
    pub fn parsed<T>(&mut self, name: &'static str) -> Result<Option<T>, ApiError>
    where
        T: FromStr<Err: Display>,
    {
        let Some(text) = self.one(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|error| invalid(format!("`{name}`: {error}")))
    }

    /// Takes all values of a parameter, in order.
    pub fn all(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        self.left.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect()
    }

    /// Ends the reading, when everything that has a meaning here was taken.
    ///
    /// # Errors
    /// 400 that names a parameter that nobody took, and those that there are.
    pub fn finish(&self) -> Result<(), ApiError> {
        let Some((name, _)) = self.left.first() else { return Ok(()) };
        let known = match self.known.as_slice() {
            [] => "none is taken".to_owned(),
            known => format!("there are `{}`", known.join("`, `")),
        };
        Err(invalid(format!("there is no parameter `{name}` here; {known}")))
    }
}

/// A query string that cannot be answered.
pub fn invalid(detail: impl Into<String>) -> ApiError {
    ApiError::Malformed { code: "query-invalid", detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, Method, Uri};

    fn params(query: &'static str) -> Params {
        let head = Head::new(Method::GET, Uri::from_static(query), HeaderMap::new());
        Params::read(&head).expect("readable")
    }

    #[test]
    fn parameters_are_typed_and_what_nobody_takes_is_refused_by_name() {
        let mut given = params("/?after=7&where=%2Fa%3E1&where=/b=x%20y&limit=5&aftr=1");
        assert_eq!(given.position("after").expect("a number"), Some(Position(7)));
        assert_eq!(given.limit(5).expect("in range"), Some(5));
        assert_eq!(given.all("where"), ["/a>1", "/b=x y"]);
        let refused = given.finish().expect_err("aftr").to_string();
        assert_eq!(refused, "there is no parameter `aftr` here; there are `after`, `limit`, `where`");
        let none = params("/?dry_run=true").finish().expect_err("a command").to_string();
        assert_eq!(none, "there is no parameter `dry_run` here; none is taken");
        assert!(params("/?a=1&a=2").one("a").is_err());
        assert!(params("/?sort=").parsed::<formledger_domain::FormId>("sort").is_err());
    }

    #[test]
    fn what_a_parameter_cannot_be_is_told_with_what_it_can() {
        for text in ["x", "", "-1", "%2B5", "05", "5.0", "0", "501", "99999999999999999999"] {
            let query: &'static str = format!("/?limit={text}").leak();
            let refused = params(query).limit(500).expect_err(text);
            assert_eq!(refused.to_string(), "`limit`: use 1 to 500");
        }
        let refused = params("/?after=%2B1").position("after").expect_err("a sign");
        assert_eq!(refused.to_string(), "`after`: use a position of the ledger, a whole number in digits");
        // An offset whose `+` is a space by now.
        let refused = params("/?at=2026-01-31T12:00:00+01:00").time("at").expect_err("a space").to_string();
        assert!(refused.contains("RFC 3339") && refused.contains("`%2B`"), "{refused}");
        assert!(params("/?at=2026-01-31T12:00:00%2B01:00").time("at").is_ok());
    }

    #[test]
    fn a_query_that_is_not_utf_8_is_refused_rather_than_mended() {
        for query in ["/?name=%ff", "/?%C3=%A9", "/?a=1&b=%ED%A0%80"] {
            let head = Head::new(Method::GET, Uri::from_static(query), HeaderMap::new());
            let problem = Params::read(&head).err().expect(query).problem();
            assert_eq!((problem.status.as_u16(), problem.code), (400, "query-invalid"), "{query}");
        }
        assert_eq!(params("/?a=%C3%A9+%25").one("a").expect("text"), Some("é %".to_owned()));
    }
}
