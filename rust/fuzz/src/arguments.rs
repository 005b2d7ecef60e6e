//! Arguments as JSON text: what is let in, and that it comes out as it was.

use serde_json::Value;
use zjobs_engine::Error;
use zjobs_engine::limits::{self, fuzzing};

use crate::words::assert_shown;

pub(crate) fn run(text: &[u8]) {
    let judged = limits::json("args", text, limits::PAYLOAD_BYTES);
    let thorough = fuzzing::thorough(text);
    assert!(!fuzzing::is_plain(text) || thorough.is_ok(), "the short walk lets in what the thorough one does not");
    assert_eq!(judged.is_ok(), thorough.is_ok());
    if let Some(less) = text.len().checked_sub(1) {
        assert!(matches!(limits::json("args", text, less), Err(Error::Invalid { .. })), "one byte too many is let in");
    }
    match judged {
        Ok(()) => let_in(text),
        Err(error) => {
            assert!(matches!(error, Error::Invalid { .. }), "{error}");
            assert_shown(&error.to_string());
            assert!(refusable(text), "refused without a reason: {error}");
        }
    }
}

fn let_in(text: &[u8]) {
    let text = std::str::from_utf8(text).unwrap_or_else(|error| panic!("no UTF-8 is let in: {error}"));
    assert!(depth(text) <= limits::DEPTH + 1, "too deep");
    let value = parsed(text).unwrap_or_else(|error| panic!("what is no JSON is let in: {error}"));
    assert!(!has_nul(&value), "NUL is let in");
    let again = value.to_string();
    assert!(limits::json("args", again.as_bytes(), usize::MAX).is_ok(), "{again} is refused");
    assert_eq!(parsed(&again).ok(), Some(value), "what comes out is not what went in");
}

/// Whether one of the rules is broken, by another reading of them.
fn refusable(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return true };
    // Long rows of digits may be integers that 64 bits cannot hold.
    let long = text.as_bytes().split(|byte| !byte.is_ascii_digit()).any(|digits| digits.len() > 18);
    depth(text) > limits::DEPTH || long || parsed(text).map_or(true, |value| has_nul(&value))
}

/// The value of a text of any depth that is let in.
pub(crate) fn parsed(text: &str) -> serde_json::Result<Value> {
    let mut reader = serde_json::Deserializer::from_str(text);
    if depth(text) <= limits::DEPTH + 1 {
        reader.disable_recursion_limit();
    }
    let mut values = reader.into_iter();
    let value = values.next().unwrap_or_else(|| serde_json::from_str(""))?;
    // What follows is an error, or a second value.
    match values.next() {
        None => Ok(value),
        Some(_) => serde_json::from_str(text),
    }
}

/// How deep brackets nest outside of strings.
fn depth(text: &str) -> usize {
    let (mut deepest, mut here, mut quoted, mut escaped) = (0, 0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => here += 1,
            b']' | b'}' if !quoted => here = here.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(here);
    }
    deepest
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(all) => all.iter().any(has_nul),
        Value::Object(all) => all.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
