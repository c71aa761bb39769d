//! What a client would be answered in: its `Accept` (RFC 9110 section 12.5.1) beside what a resource is served as.
//! Asked by `query` for every query, and by `events`, which is served in two ways. Commands are not asked: what they did is done.

use http::header::ACCEPT;

use crate::error::ApiError;
use crate::head::Head;

/// JSON, which most resources are served as.
pub const JSON: &str = "application/json";
/// JSON, a line each.
pub const NDJSON: &str = "application/x-ndjson";
/// Server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";
/// Comma-separated values.
pub const CSV: &str = "text/csv";

/// What a client accepts.
pub struct Accepted<'a> {
    /// None: anything.
    ranges: Vec<MediaRange<'a>>,
}

impl<'a> Accepted<'a> {
    /// Reads it. Several fields are one list, and a field that is not text names nothing that is on offer.
    pub fn read(head: &'a Head) -> Self {
        let fields = head.headers.get_all(ACCEPT).iter().map(|field| field.to_str().unwrap_or("unreadable"));
        let elements = fields.flat_map(|field| field.split(','));
        // Empty elements are passed over (RFC 9110 section 5.6.1.2), so a field without any names nothing, as if it was not there.
        let ranges = elements.filter(|element| !element.trim().is_empty()).map(MediaRange::read);
        Self { ranges: ranges.collect() }
    }

    /// Refuses a request that would take nothing of what is offered.
    ///
    /// # Errors
    /// 406 that names what there is.
    pub fn require(&self, offered: &[&str]) -> Result<(), ApiError> {
        if self.ranges.is_empty() || offered.iter().any(|offered| self.preference(offered).weight > 0.0) {
            return Ok(());
        }
        Err(ApiError::NotAcceptable(format!("`{}`", offered.join("` and `"))))
    }

    /// Whether the client would rather have `one` than `other`: by the weights that it gives them, and of equal ones where it names it.
    pub fn prefers(&self, one: &str, other: &str) -> bool {
        let (one, other) = (self.preference(one), self.preference(other));
        one.weight > other.weight || one.weight == other.weight && one.is_named()
    }

    fn preference(&self, media_type: &str) -> Preference {
        let kind = media_type.split('/').next().unwrap_or_default();
        for (range, name) in [media_type, &*format!("{kind}/*"), "*/*"].into_iter().enumerate() {
            let given = self.ranges.iter().filter(|range| range.name.eq_ignore_ascii_case(name));
            if let Some(weight) = given.map(|range| range.weight).reduce(f32::max) {
                return Preference { weight, range };
            }
        }
        Preference { weight: 0.0, range: usize::MAX }
    }
}

/// One of the ranges that a client accepts, with how much it wants it, 0 to 1.
struct MediaRange<'a> {
    name: &'a str,
    weight: f32,
}

impl<'a> MediaRange<'a> {
    /// What is not a weight counts as none given, which is 1.
    fn read(range: &'a str) -> Self {
        let (name, parameters) = range.split_once(';').unwrap_or((range, ""));
        let weight = parameters
            .split(';')
            .filter_map(|parameter| parameter.split_once('='))
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .find_map(|(_, value)| value.trim().parse().ok().filter(|weight| (0.0..=1.0).contains(weight)));
        Self { name: name.trim(), weight: weight.unwrap_or(1.0) }
    }
}

/// How much a client wants a media type: what the most precise of its ranges says that covers it.
struct Preference {
    weight: f32,
    /// Which one that is of the type itself, all of its kind, and all; none at the end.
    range: usize,
}

impl Preference {
    fn is_named(&self) -> bool {
        self.range == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, Method, Uri};

    fn head(fields: &[&str]) -> Head {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(ACCEPT, field.parse().expect("a header value"));
        }
        Head::new(Method::GET, Uri::from_static("/"), headers)
    }

    fn takes(fields: &[&str], offered: &[&str]) -> bool {
        Accepted::read(&head(fields)).require(offered).is_ok()
    }

    #[test]
    fn media_types_are_chosen_in_any_case_from_all_fields_by_their_weights() {
        for (lines, fields) in [
            (true, &["Application/X-NDJSON"][..]),
            (true, &["text/html", "application/x-ndjson;q=0.5"]),
            (true, &["application/json;q=0.1, application/x-ndjson"]),
            (true, &["application/x-ndjson, application/json"]),
            (true, &["application/x-ndjson, */*"]),
            (true, &["application/x-ndjson;q=0.5", "*/*;q=0.1"]),
            (true, &["application/json; q=0, */*"]),
            (false, &[]),
            (false, &["*/*"]),
            (false, &["application/*"]),
            (false, &["application/x-ndjson; Q=0, application/json"]),
            (false, &["application/x-ndjson;q=0.1, application/json"]),
            (false, &["application/x-ndjson;q=0.1, */*;q=0.2"]),
            (false, &["application/x-ndjson;q=0, */*;q=0.2"]),
            (false, &["application/json;charset=utf-8;q=0.9", "application/x-ndjson;q=0.899"]),
        ] {
            assert!(takes(fields, &[JSON, NDJSON]), "{fields:?}");
            assert_eq!(Accepted::read(&head(fields)).prefers(NDJSON, JSON), lines, "{fields:?}");
        }
        for fields in
            ["text/html, */*;q=0.000", "application/json;q=0, application/x-ndjson;q=0, */*", "text/html"]
        {
            assert!(!takes(&[fields], &[JSON, NDJSON]), "{fields}");
        }
    }

    #[test]
    fn a_resource_that_is_served_in_one_way_is_refused_to_who_takes_another() {
        for fields in [
            &[][..],
            &[""],
            &[" , "],
            &["*/*;q=0.1"],
            &["text/*"],
            &["TEXT/CSV;header=present"],
            &["image/png", "*/*"],
        ] {
            assert!(takes(fields, &[CSV]), "{fields:?}");
        }
        for fields in
            [&["application/json"][..], &["application/*"], &["*/*, text/csv;q=0"], &["csv"], &["*"]]
        {
            let refused = Accepted::read(&head(fields)).require(&[CSV]).expect_err("another").to_string();
            assert_eq!(refused, "this resource is served as `text/csv`", "{fields:?}");
        }
    }
}
