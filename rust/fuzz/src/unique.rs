//! Keys of unique jobs that are derived from what the jobs are.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use serde_json::Value;
use zjobs_engine::limits;
use zjobs_engine::unique::{Field, Unique, UniqueStrategy, derive};
use zjobs_engine::{Timestamp, error::Result};

use crate::arguments::parsed;
use crate::words::{assert_shown, made};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    fields: Vec<&'a str>,
    period: Option<u64>,
    now: i64,
    one: &'a str,
    other: &'a str,
}

pub(crate) fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let fields: Vec<_> = input.fields.iter().map(|word| Field::parse(word)).collect();
    let period = input.period.map(Duration::from_nanos);
    let key = |args: &str| -> Result<_> { derive(&fields, period, "w", "q", args.as_bytes(), Timestamp(input.now)) };
    for args in [input.one, input.other] {
        match key(args) {
            Ok(key) => drop(made(Unique::by_key(&key, UniqueStrategy::IgnoreNew))),
            Err(error) => {
                assert_shown(&error.to_string());
                let good = limits::json("args", args.as_bytes(), limits::PAYLOAD_BYTES).is_ok();
                assert!(fields.is_empty() || !good, "arguments that are let in have no key: {error}");
            }
        }
    }
    let (Ok(one), Ok(other)) = (parsed(input.one), parsed(input.other)) else { return };
    let (Ok(key_of_one), Ok(key_of_other)) = (key(input.one), key(input.other)) else { return };
    let written_otherwise = serde_json::to_string_pretty(&one).unwrap_or_default();
    assert_eq!(key(&written_otherwise).ok().as_ref(), Some(&key_of_one), "spaces make another key");
    assert_eq!(key_of_one == key_of_other, equal(&fields, &one, &other), "{one} and {other}");
}

/// Whether the fields say that two arguments mean the same job.
fn equal(fields: &[Field], one: &Value, other: &Value) -> bool {
    // As texts: -0.0 is no 0.0 there.
    let text = |value: &Value| value.to_string();
    let part = |value: &Value, name: &str| value.get(name).map_or_else(|| text(&Value::Null), text);
    fields.iter().all(|field| match field {
        Field::Worker | Field::Queue => true,
        Field::Args => text(one) == text(other),
        Field::Arg(name) => part(one, name) == part(other, name),
    })
}
