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
    fields: Vec<Word<'a>>,
    period: Option<u64>,
    now: i64,
    one: Text<'a>,
    /// None when it is the same again.
    other: Option<Text<'a>>,
}

/// What the caller names in `unique_by`.
#[derive(Debug, Arbitrary)]
enum Word<'a> {
    Worker,
    Queue,
    Args,
    Argument(u8),
    Any(&'a str),
}

/// A text that stands for arguments.
#[derive(Debug, Arbitrary)]
enum Text<'a> {
    Made(Tree<'a>),
    Any(&'a str),
}

/// JSON, with few names, so that they meet.
#[derive(Debug, Arbitrary)]
enum Tree<'a> {
    Null,
    Truth(bool),
    Whole(i64),
    Real(f64),
    Text(&'a str),
    List(Vec<Tree<'a>>),
    Map(Vec<(u8, Tree<'a>)>),
}

fn name(number: u8) -> String {
    char::from(b'a' + number % 4).to_string()
}

impl Word<'_> {
    fn field(&self) -> Field {
        match self {
            Word::Worker => Field::parse("worker"),
            Word::Queue => Field::parse("queue"),
            Word::Args => Field::parse("args"),
            Word::Argument(number) => Field::parse(&name(*number)),
            Word::Any(word) => Field::parse(word),
        }
    }
}

impl Tree<'_> {
    fn value(&self) -> Value {
        match self {
            Tree::Null => Value::Null,
            Tree::Truth(truth) => (*truth).into(),
            Tree::Whole(number) => (*number).into(),
            Tree::Real(number) => (*number).into(),
            Tree::Text(text) => (*text).into(),
            Tree::List(all) => all.iter().map(Tree::value).collect(),
            Tree::Map(all) => all.iter().map(|(number, tree)| (name(*number), tree.value())).collect(),
        }
    }
}

impl Text<'_> {
    fn text(&self) -> String {
        match self {
            Text::Made(tree) => tree.value().to_string(),
            Text::Any(text) => (*text).to_owned(),
        }
    }
}

pub(crate) fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let fields: Vec<_> = input.fields.iter().map(Word::field).collect();
    let (one, other) = (input.one.text(), input.other.as_ref().unwrap_or(&input.one).text());
    let period = input.period.map(Duration::from_nanos);
    let key = |args: &str| -> Result<_> { derive(&fields, period, "w", "q", args.as_bytes(), Timestamp(input.now)) };
    for args in [&one, &other] {
        match key(args) {
            Ok(key) => drop(made(Unique::by_key(&key, UniqueStrategy::IgnoreNew))),
            Err(error) => {
                assert_shown(&error.to_string());
                let good = limits::json("args", args.as_bytes(), limits::PAYLOAD_BYTES).is_ok();
                assert!(fields.is_empty() || !good, "arguments that are let in have no key: {error}");
            }
        }
    }
    let (Ok(key_of_one), Ok(key_of_other)) = (key(&one), key(&other)) else { return };
    let (Ok(one), Ok(other)) = (parsed(&one), parsed(&other)) else { return };
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
