//! Rules about the source itself that a compiler cannot state: which way crates depend, what lives in exactly one place, and that the
//! documentation speaks of things that exist. Each failure says what to do.

mod documentation;
mod layering;
mod source;
