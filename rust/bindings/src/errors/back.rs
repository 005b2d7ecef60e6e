//! The engine's errors for exceptions that a store written in Python raises.

use pyo3::prelude::*;
use zjobs_engine::Error;

use super::{EnqueueUncertain, Invalid, LeaseLost, NotFound, SchemaMismatch, StoreFull};

/// The engine's error for an exception: its own kind for those of `zjobs.errors`, `StoreUnavailable` for all others.
pub(crate) fn error_of(py: Python<'_>, error: &PyErr) -> Error {
    let text = text_of(py, error);
    if error.is_instance_of::<Invalid>(py) {
        return invalid(&text);
    }
    if error.is_instance_of::<NotFound>(py) {
        return Error::NotFound(text);
    }
    if error.is_instance_of::<StoreFull>(py) {
        let limit = text.split(|c: char| !c.is_ascii_digit()).find_map(|digits| digits.parse().ok());
        return Error::StoreFull { limit: limit.unwrap_or(0) };
    }
    if error.is_instance_of::<LeaseLost>(py) {
        return Error::LeaseLost(without("lease lost: ", &text));
    }
    if error.is_instance_of::<SchemaMismatch>(py) {
        return Error::SchemaMismatch(text);
    }
    if error.is_instance_of::<EnqueueUncertain>(py) {
        return Error::EnqueueUncertain(text);
    }
    if error.is_instance_of::<super::StoreUnavailable>(py) {
        return Error::StoreUnavailable(without("the store is unavailable: ", &text));
    }
    let kind = error.get_type(py).name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
    Error::StoreUnavailable(if text.is_empty() { kind } else { format!("{kind}: {text}") })
}

/// The exception's text; a `str()` that raises has none.
fn text_of(py: Python<'_>, error: &PyErr) -> String {
    error.value(py).str().map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
}

fn without(prefix: &str, text: &str) -> String {
    text.strip_prefix(prefix).unwrap_or(text).to_owned()
}

/// `field rule (got value)`, taken apart; the engine puts it together again.
fn invalid(text: &str) -> Error {
    let (sentence, value) = text
        .strip_suffix(')')
        .and_then(|text| text.rsplit_once(" (got "))
        .unwrap_or((text, "what the store was asked"));
    let (field, rule) = sentence.split_once(' ').unwrap_or(("request", sentence));
    Error::Invalid { field: field.to_owned(), rule: rule.to_owned(), value: value.to_owned() }
}
