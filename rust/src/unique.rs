//! The uniqueness key: what makes two jobs the same.
//!
//! A job with a key meets any live job with the same key; the store's index decides, so no race can break it. A key is
//! either the caller's own text or derived here from chosen fields. A derived key is `sha256:` and the hex digest of a
//! canonical JSON array, so that another language can compute it again.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::limits;
use crate::sync::Arc;

/// What happens when a live job has the key already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UniqueStrategy {
    /// Nothing is inserted; the caller gets the existing job.
    #[default]
    IgnoreNew,
    /// The existing job is cancelled (a running one is asked to stop and loses its key at once), the new one inserted.
    CancelExisting,
}

/// A key and what to do when it is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    /// The idempotency key.
    pub key: Arc<str>,
    /// What happens when it is taken.
    pub strategy: UniqueStrategy,
}

impl Unique {
    /// A key of the caller's own.
    pub fn by_key(key: &str, strategy: UniqueStrategy) -> Result<Self> {
        limits::label("unique_key", key, limits::UNIQUE_KEY_BYTES)?;
        Ok(Self { key: key.into(), strategy })
    }
}

/// One field that takes part in a derived key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// The worker's name.
    Worker,
    /// The queue's name.
    Queue,
    /// All arguments.
    Args,
    /// One argument by name; absent counts as null.
    Arg(String),
}

impl Field {
    /// `worker`, `queue` and `args` are the fields; any other word names an argument.
    pub fn parse(word: &str) -> Self {
        match word {
            "worker" => Self::Worker,
            "queue" => Self::Queue,
            "args" => Self::Args,
            argument => Self::Arg(argument.to_owned()),
        }
    }
}

/// Derives a key from `fields` and, when `period` is given, from the time bucket that `now` falls into.
pub fn derive(
    fields: &[Field],
    period: Option<Duration>,
    worker: &str,
    queue: &str,
    args: &[u8],
    now: Timestamp,
) -> Result<Arc<str>> {
    if fields.is_empty() {
        return Err(Error::invalid("unique_by", "must name at least one of worker, queue, args or an argument", "()"));
    }
    let args = serde_json::from_slice(args).or_else(|_| deep(args))?;
    // serde_json's maps are ordered by key, which makes the text canonical.
    let mut parts: Vec<Value> = fields
        .iter()
        .map(|field| match field {
            Field::Worker => json!(["worker", worker]),
            Field::Queue => json!(["queue", queue]),
            Field::Args => json!(["args", args]),
            Field::Arg(name) => json!(["arg", name, args.get(name)]),
        })
        .collect();
    if let Some(period) = period {
        let micros = i64::try_from(period.as_micros()).unwrap_or(i64::MAX).max(1);
        parts.push(json!(["period", micros, now.micros().div_euclid(micros)]));
    }
    let digest = Sha256::digest(Value::Array(parts).to_string().as_bytes());
    Ok(format!("sha256:{digest:x}").into())
}

/// The value of any text that may be stored: `serde_json` by itself gives up a level or two before our limit.
fn deep(args: &[u8]) -> Result<Value> {
    limits::json("args", args, limits::PAYLOAD_BYTES)?;
    let mut reader = serde_json::Deserializer::from_slice(args);
    reader.disable_recursion_limit();
    let value = reader.into_iter().next().unwrap_or(Ok(Value::Null));
    value.map_err(|error| Error::invalid("args", "must be valid JSON", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fields: &[Field], args: &str, at: i64) -> Arc<str> {
        derive(fields, Some(Duration::from_secs(60)), "w", "q", args.as_bytes(), Timestamp(at)).unwrap()
    }

    #[test]
    fn the_order_of_keys_in_the_arguments_does_not_matter() {
        assert_eq!(key(&[Field::Args], r#"{"a":1,"b":[2]}"#, 0), key(&[Field::Args], r#"{"b":[2],"a":1}"#, 0));
        assert_ne!(key(&[Field::Args], r#"{"a":1}"#, 0), key(&[Field::Args], r#"{"a":2}"#, 0));
    }

    #[test]
    fn only_the_chosen_arguments_count() {
        let by = [Field::Worker, Field::parse("a")];
        assert_eq!(key(&by, r#"{"a":1,"b":2}"#, 0), key(&by, r#"{"a":1,"b":3}"#, 0));
        assert_eq!(key(&by, r#"{"b":3}"#, 0), key(&by, r#"{"a":null}"#, 0));
    }

    #[test]
    fn a_period_is_a_bucket_of_time() {
        let by = [Field::Worker];
        assert_eq!(key(&by, "{}", 0), key(&by, "{}", 59_999_999));
        assert_ne!(key(&by, "{}", 59_999_999), key(&by, "{}", 60_000_000));
        assert_ne!(key(&by, "{}", -1), key(&by, "{}", 0));
    }

    #[test]
    fn neighbouring_floats_have_keys_of_their_own() {
        assert_ne!(
            key(&[Field::Args], "[1.844674407370955e-297]", 0),
            key(&[Field::Args], "[1.8446744073709554e-297]", 0)
        );
    }

    #[test]
    fn arguments_as_deep_as_may_be_have_a_key_and_deeper_ones_none() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        key(&[Field::Args], &deep(limits::DEPTH + 1), 0);
        let deeper = deep(limits::DEPTH + 2);
        assert!(derive(&[Field::Args], None, "w", "q", deeper.as_bytes(), Timestamp(0)).is_err());
    }

    #[test]
    fn a_key_without_fields_is_refused() {
        assert!(derive(&[], None, "w", "q", b"{}", Timestamp(0)).is_err());
    }
}
