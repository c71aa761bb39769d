//! A form whose submissions wait for a reviewer and may be amended meanwhile.
//!
//! Published beside the form of the comparison by `history` and `requests`.

use anyhow::Result;

use crate::contestant::{CREATED, Running};
use crate::request::RequestTemplate;

const FORM: &str = include_str!("../data/review.json");
const FORM_PATH: &str = "/v1/forms/review";
const SUBMISSION: &str = r#"{"data":{"amount":{{int:1:100000}},"title":"{{uuid}}"}}"#;

/// Where it is submitted to.
pub fn submissions_path() -> String {
    format!("{FORM_PATH}/submissions")
}

/// Makes it known.
///
/// # Errors
/// It is refused.
pub fn publish(running: &Running) -> Result<()> {
    running.once("PUT", FORM_PATH, Some(FORM), 200)?;
    running.once("POST", &format!("{FORM_PATH}/publish"), None, CREATED)?;
    Ok(())
}

/// A different one each time.
///
/// # Errors
/// A bad placeholder.
pub fn submission(running: &Running) -> Result<RequestTemplate> {
    running.request("POST", &submissions_path(), Some(SUBMISSION))
}
