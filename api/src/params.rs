//! The parameters of a query string: taken by name, each of its type, and none left over.
//! Called by the queries, and by commands, which take hardly any; a misspelt filter must not answer everything, so what is not understood is refused.

use std::fmt::Display;
use std::str::FromStr;

use crate::error::ApiError;
use crate::head::Head;

/// Parameters that were not taken yet.
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads the query string of a request.
    ///
    /// # Errors
    /// 400 when it is not `application/x-www-form-urlencoded`.
    pub fn read(head: &Head) -> Result<Self, ApiError> {
        serde_urlencoded::from_str(head.uri.query().unwrap_or_default())
            .map(Self)
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
    pub fn one(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let mut values = self.all(name);
        let value = values.pop();
        if values.is_empty() { Ok(value) } else { Err(invalid(format!("give `{name}` once"))) }
    }

    /// Takes a parameter that may be given once and is not only text.
    ///
    /// # Errors
    /// 400 when it is given more often or is not what it should be.
    pub fn parsed<T>(&mut self, name: &str) -> Result<Option<T>, ApiError>
    where
        T: FromStr<Err: Display>,
    {
        let Some(text) = self.one(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|error| invalid(format!("`{name}`: {error}")))
    }

    /// Takes all values of a parameter, in order.
    pub fn all(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect()
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// 400 that names a parameter that nobody took.
    pub fn finish(&self) -> Result<(), ApiError> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(invalid(format!("there is no parameter `{name}` here"))),
        }
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
        let mut given = params("/?after=7&where=%2Fa%3E1&where=/b=x%20y&aftr=1");
        assert_eq!(given.parsed::<u64>("after").expect("a number"), Some(7));
        assert_eq!(given.all("where"), ["/a>1", "/b=x y"]);
        assert!(given.finish().expect_err("aftr").to_string().contains("`aftr`"));
        assert!(params("/?a=1&a=2").one("a").is_err());
        assert!(params("/?a=x").parsed::<u64>("a").is_err());
    }
}
