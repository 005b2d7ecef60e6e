//! Values that several targets make of a fuzzer's bytes.

use arbitrary::{Arbitrary, Result, Unstructured};
use zjobs_engine::job::Name;

/// Letters that a queue's name may have.
const LETTERS: &[u8; 39] = b"abcdefghijklmnopqrstuvwxyz0123456789_.-";

/// All steps that the bytes give.
pub(crate) fn steps<'a, T: Arbitrary<'a>>(data: &'a [u8]) -> impl Iterator<Item = T> {
    let mut u = Unstructured::new(data);
    std::iter::from_fn(move || if u.is_empty() { None } else { u.arbitrary().ok() })
}

/// A name of a queue; few letters, so that names meet.
pub(crate) fn queue(u: &mut Unstructured<'_>) -> Result<Name> {
    Ok(made(Name::queue(&word(u, 64)?)))
}

/// A name of a worker.
pub(crate) fn worker(u: &mut Unstructured<'_>) -> Result<Name> {
    Ok(made(Name::worker(&word(u, 128)?)))
}

/// A tag: any text that the rule lets in.
pub(crate) fn tag(u: &mut Unstructured<'_>) -> Result<Name> {
    Name::tag(&line(u, 64)?).map_err(|_| arbitrary::Error::IncorrectFormat)
}

/// Text without control characters of 1 to `most` bytes.
pub(crate) fn line(u: &mut Unstructured<'_>, most: usize) -> Result<String> {
    let mut text = String::new();
    for letter in u.arbitrary::<&str>()?.chars().filter(|letter| !letter.is_control()) {
        if text.len() + letter.len_utf8() > most {
            break;
        }
        text.push(letter);
    }
    if text.is_empty() { Err(arbitrary::Error::IncorrectFormat) } else { Ok(text) }
}

fn word(u: &mut Unstructured<'_>, most: usize) -> Result<String> {
    let length = if u.ratio(1, 20)? { u.int_in_range(1..=most)? } else { u.int_in_range(1..=2)? };
    (0..length).map(|_| Ok(char::from(*u.choose(LETTERS)?))).collect()
}

pub(crate) fn made<T, E: std::fmt::Display>(made: std::result::Result<T, E>) -> T {
    made.unwrap_or_else(|error| panic!("{error}"))
}

/// What an error's text must be, whatever it tells of: short, on one line, without control characters.
pub(crate) fn assert_shown(text: &str) {
    assert!(text.len() <= 2_000, "{} bytes: {text}", text.len());
    assert!(!text.chars().any(char::is_control), "{text:?}");
}
