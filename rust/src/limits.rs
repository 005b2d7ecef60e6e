//! All limits, in one table, checked in one place.
//!
//! Every edge (Python, the command line, SQL checks, the dashboard) comes through these functions, so that a value is
//! refused with the same sentence wherever it enters.

#[cfg(feature = "fuzz")]
pub mod fuzzing;
mod quick;

use std::time::Duration;

use jiter::{Jiter, Peek};

use crate::error::{Error, Result};

/// Queue names match `[a-z0-9_.-]{1,64}`.
pub const QUEUE_NAME_BYTES: usize = 64;
/// Worker names match `[A-Za-z0-9_.:-]{1,128}`.
pub const WORKER_NAME_BYTES: usize = 128;
/// Arguments as JSON text.
pub const PAYLOAD_BYTES: usize = 1 << 20;
/// `meta` as JSON text.
pub const META_BYTES: usize = 16 << 10;
/// A kept result as JSON text.
pub const RESULT_BYTES: usize = 1 << 20;
/// How deep arrays and objects may nest.
pub const DEPTH: usize = 128;
/// Tags of one job.
pub const TAGS: usize = 16;
/// One tag: 1 to 64 bytes, no control characters.
pub const TAG_BYTES: usize = 64;
/// A unique key: 1 to 255 bytes, no control characters.
pub const UNIQUE_KEY_BYTES: usize = 255;
/// `max_attempts` is 1 to 10 000.
pub const MAX_ATTEMPTS: u32 = 10_000;
/// Slots of one queue in one process.
pub const CONCURRENCY: u32 = 4096;
/// Delays, periods and timeouts: at most ten years.
pub const DELAY: Duration = Duration::from_secs(3650 * 24 * 3600);
/// Error entries kept in a job: the newest.
pub const ERRORS_KEPT: usize = 10;
/// The message of an error entry, cut in the middle.
pub const ERROR_MESSAGE_BYTES: usize = 4 << 10;
/// The traceback of an error entry, cut in the middle.
pub const TRACEBACK_BYTES: usize = 16 << 10;
/// The text of a progress report.
pub const PROGRESS_MESSAGE_BYTES: usize = 255;
/// Jobs that one listing may return.
pub const LIST: u32 = 10_000;
/// A job is taken from dying nodes this often before it is discarded (Sidekiq Pro's number).
pub const CRASHES: u16 = 3;

/// The queue name, or why it is none.
pub fn queue_name(name: &str) -> Result<()> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-');
    if (1..=QUEUE_NAME_BYTES).contains(&name.len()) && name.bytes().all(fine) {
        return Ok(());
    }
    Err(Error::invalid("queue", "must match [a-z0-9_.-]{1,64}", quoted(name)))
}

/// The worker name, or why it is none.
pub fn worker_name(name: &str) -> Result<()> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b':');
    if (1..=WORKER_NAME_BYTES).contains(&name.len()) && name.bytes().all(fine) {
        return Ok(());
    }
    Err(Error::invalid("worker", "must match [A-Za-z0-9_.:-]{1,128}", quoted(name)))
}

/// A schedule's name follows the rule of worker names.
pub fn cron_name(name: &str) -> Result<()> {
    worker_name(name).map_err(|_| Error::invalid("cron name", "must match [A-Za-z0-9_.:-]{1,128}", quoted(name)))
}

/// Free text of a bounded length, on one line.
pub fn label(field: &str, text: &str, most: usize) -> Result<()> {
    if (1..=most).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("must be 1 to {most} bytes without control characters"), quoted(text)))
}

/// A whole number within `least..=most`.
pub fn integer<T>(field: &str, value: i64, least: i64, most: i64) -> Result<T>
where
    T: TryFrom<i64>,
{
    let refused = || Error::invalid(field, format!("must be a whole number from {least} to {most}"), value);
    if !(least..=most).contains(&value) {
        return Err(refused());
    }
    T::try_from(value).map_err(|_| refused())
}

/// Seconds as a duration: finite, not negative, at most [`DELAY`].
pub fn seconds(field: &str, value: f64) -> Result<Duration> {
    let most = DELAY.as_secs_f64();
    if value.is_finite() && (0.0..=most).contains(&value) {
        return Ok(Duration::from_secs_f64(value));
    }
    Err(Error::invalid(field, format!("must be from 0 to {most:.0} seconds (ten years)"), value))
}

/// Seconds that must pass before something is given up: as [`seconds`], and more than zero.
pub fn positive_seconds(field: &str, value: f64) -> Result<Duration> {
    let duration = seconds(field, value)?;
    if duration.is_zero() {
        return Err(Error::invalid(field, "must be more than 0 seconds", value));
    }
    Ok(duration)
}

/// JSON text as it may be stored: valid UTF-8 and syntax, exact integers of 64 bits, finite numbers, no NUL, no lone
/// surrogate, at most [`DEPTH`] deep and `most` bytes long.
pub fn json(field: &str, text: &[u8], most: usize) -> Result<()> {
    if text.len() > most {
        let rule = format!("must be at most {most} bytes of JSON; store large data elsewhere and pass its key");
        return Err(Error::invalid(field, rule, format!("{} bytes", text.len())));
    }
    if quick::is_plain(text) { Ok(()) } else { thorough(field, text) }
}

/// The walk that knows all of JSON, and says what is wrong.
fn thorough(field: &str, text: &[u8]) -> Result<()> {
    let mut reader = Jiter::new(text);
    let checked = reader.peek().map_err(Flaw::from).and_then(|peek| value(&mut reader, peek, 0));
    match checked.and_then(|()| reader.finish().map_err(Flaw::from)) {
        Ok(()) => Ok(()),
        Err(Flaw::Syntax(why)) => Err(Error::invalid(field, format!("must be valid JSON: {why}"), excerpt(text))),
        Err(Flaw::Rule(rule)) => Err(Error::invalid(field, rule, excerpt(text))),
    }
}

enum Flaw {
    Syntax(String),
    Rule(String),
}

impl From<jiter::JiterError> for Flaw {
    fn from(error: jiter::JiterError) -> Self {
        Self::Syntax(error.to_string())
    }
}

fn value(reader: &mut Jiter<'_>, peek: Peek, depth: usize) -> Result<(), Flaw> {
    if depth > DEPTH {
        return Err(Flaw::Rule(format!("must nest at most {DEPTH} levels deep")));
    }
    match peek {
        Peek::String => text(reader.known_str()?),
        Peek::Array => {
            let mut next = reader.known_array()?;
            while let Some(peek) = next {
                value(reader, peek, depth + 1)?;
                next = reader.array_step()?;
            }
            Ok(())
        }
        Peek::Object => {
            let mut more = match reader.known_object()? {
                Some(key) => text(key).map(|()| true)?,
                None => false,
            };
            while more {
                let peek = reader.peek()?;
                value(reader, peek, depth + 1)?;
                more = match reader.next_key()? {
                    Some(key) => text(key).map(|()| true)?,
                    None => false,
                };
            }
            Ok(())
        }
        Peek::True | Peek::False | Peek::Null => Ok(reader.known_skip(peek)?),
        _ => number(reader, peek),
    }
}

fn text(text: &str) -> Result<(), Flaw> {
    if memchr_nul(text) {
        return Err(Flaw::Rule("must not contain the character U+0000".into()));
    }
    Ok(())
}

fn memchr_nul(text: &str) -> bool {
    text.as_bytes().contains(&0)
}

fn number(reader: &mut Jiter<'_>, peek: Peek) -> Result<(), Flaw> {
    use jiter::{NumberAny, NumberInt};
    match reader.known_number(peek)? {
        NumberAny::Int(NumberInt::Int(_)) => Ok(()),
        NumberAny::Int(NumberInt::BigInt(big)) => {
            if u64::try_from(&big).is_ok() {
                return Ok(());
            }
            Err(Flaw::Rule("must hold integers of at most 64 bits; pass larger ones as text".into()))
        }
        NumberAny::Float(float) if float.is_finite() => Ok(()),
        NumberAny::Float(_) => Err(Flaw::Rule("must hold finite numbers".into())),
    }
}

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

fn quoted(text: &str) -> String {
    format!("'{text}'")
}

/// Text that may be stored anywhere: NUL becomes U+FFFD, and what exceeds `most` bytes is cut out of the middle.
pub fn stored_text(text: &str, most: usize) -> String {
    const MARK: &str = "\n... cut ...\n";
    let clean = if memchr_nul(text) { text.replace('\0', "\u{FFFD}") } else { text.to_owned() };
    if clean.len() <= most {
        return clean;
    }
    let half = most.saturating_sub(MARK.len()) / 2;
    let is_boundary = |at: &usize| clean.is_char_boundary(*at);
    let head = (0..=half).rev().find(is_boundary).unwrap_or(0);
    let tail = (clean.len() - half..=clean.len()).find(is_boundary).unwrap_or(clean.len());
    format!("{}{MARK}{}", &clean[..head], &clean[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_those_that_are_documented() {
        assert_eq!((PAYLOAD_BYTES, META_BYTES, RESULT_BYTES), (1_048_576, 16_384, 1_048_576));
        assert_eq!((ERROR_MESSAGE_BYTES, TRACEBACK_BYTES), (4096, 16_384));
        assert_eq!(DELAY, Duration::from_secs(315_360_000));
    }

    #[test]
    fn names_keep_to_one_rule() {
        for good in ["default", "mail", "a.b-c_1", &"q".repeat(64)] {
            assert!(queue_name(good).is_ok(), "{good}");
        }
        for bad in ["", "mail;--", "Mail", "é", "a b", "a\n", "\u{202e}x", &"q".repeat(65)] {
            assert!(queue_name(bad).is_err(), "{bad}");
        }
        assert_eq!(
            queue_name("mail;--").unwrap_err().to_string(),
            "queue must match [a-z0-9_.-]{1,64} (got 'mail;--')"
        );
        assert!(worker_name("app.tasks:Send_mail-2").is_ok());
        assert!(worker_name("os.system()").is_err());
        assert!(worker_name(&"w".repeat(128)).is_ok() && worker_name(&"w".repeat(129)).is_err());
        assert!(cron_name("nightly:Report").is_ok());
        assert_eq!(
            cron_name("a b").unwrap_err().to_string(),
            "cron name must match [A-Za-z0-9_.:-]{1,128} (got 'a b')"
        );
    }

    #[test]
    fn a_label_is_one_line_of_bounded_text() {
        assert!(label("tag", "x", 3).is_ok() && label("tag", "a é", 4).is_ok());
        for bad in ["", "é é", "a\n", "\u{85}"] {
            let refused = label("tag", bad, 3).unwrap_err().to_string();
            assert!(refused.starts_with("tag must be 1 to 3 bytes without control characters (got '"), "{refused}");
        }
    }

    #[test]
    fn a_number_is_whole_within_its_ends_and_fits_its_type() {
        assert_eq!(integer::<u32>("n", 1, 1, 5).unwrap(), 1);
        assert_eq!(integer::<u32>("n", 5, 1, 5).unwrap(), 5);
        for bad in [0, 6] {
            let refused = integer::<u32>("n", bad, 1, 5).unwrap_err().to_string();
            assert_eq!(refused, format!("n must be a whole number from 1 to 5 (got {bad})"));
        }
        assert!(integer::<u8>("n", 256, 0, 1000).is_err());
    }

    #[test]
    fn json_that_is_refused_is_shown_with_the_reason() {
        let refused = |text: &str| json("args", text.as_bytes(), 30).unwrap_err().to_string();
        assert_eq!(refused("[1e999]"), "args must hold finite numbers (got [1e999])");
        assert_eq!(refused("\"\\u0000\""), "args must not contain the character U+0000 (got \"\\u0000\")");
        assert!(refused("[1,]").starts_with("args must be valid JSON: "), "{}", refused("[1,]"));
        assert!(refused(&"9".repeat(31)).ends_with("(got 31 bytes)"));
        assert!(json("args", "9".repeat(18).as_bytes(), 18).is_ok());
    }

    #[test]
    fn json_keeps_what_comes_back_equal_and_refuses_the_rest() {
        for good in [
            r"null",
            r#"{"to":"u@e.com","n":1}"#,
            r"[1,2.5,-3e10,true,[],{}]",
            "18446744073709551615",
            r#""\ud83d\ude00""#,
            r#"{"é":{},"ü":[null,false,""]}"#,
        ] {
            json("args", good.as_bytes(), PAYLOAD_BYTES).unwrap();
        }
        for bad in [
            r"{",
            r#""\u0000""#,
            r#"{"\u0000":1}"#,
            r#""\ud800""#,
            "18446744073709551616",
            "1e999",
            "NaN",
            "[1,]",
            "1 2",
            "",
        ] {
            assert!(json("args", bad.as_bytes(), PAYLOAD_BYTES).is_err(), "{bad}");
        }
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(json("args", deep(DEPTH + 1).as_bytes(), PAYLOAD_BYTES).is_ok());
        assert!(json("args", deep(DEPTH + 2).as_bytes(), PAYLOAD_BYTES).is_err());
        assert!(json("args", deep(100_000).as_bytes(), PAYLOAD_BYTES).is_err());
        let deep = |n: usize| r#"{"a":"#.repeat(n) + "{}" + &"}".repeat(n);
        assert!(json("args", deep(DEPTH).as_bytes(), PAYLOAD_BYTES).is_ok());
        assert!(json("args", deep(DEPTH + 1).as_bytes(), PAYLOAD_BYTES).is_err());
        assert!(json("args", b"\"abc\"", 4).is_err());
        assert!(json("args", b"\xff", 10).is_err());
    }

    #[test]
    fn seconds_are_finite_and_at_most_ten_years() {
        assert_eq!(seconds("d", 1.5).unwrap(), Duration::from_millis(1500));
        for bad in [-0.1, f64::NAN, f64::INFINITY, 1e12] {
            assert!(seconds("d", bad).is_err(), "{bad}");
        }
        assert!(positive_seconds("d", 0.0).is_err());
    }

    #[test]
    fn stored_text_is_bounded_and_has_no_nul() {
        assert_eq!(stored_text("a\0b", 10), "a\u{FFFD}b");
        assert_eq!(stored_text("abc", 3), "abc");
        assert_eq!(stored_text("abcdefghijklmnopqrstuvwxyz", 23), "abcde\n... cut ...\nvwxyz");
        let long = "é".repeat(1000);
        let cut = stored_text(&long, 101);
        assert!(cut.len() <= 101 && cut.contains("cut"));
    }
}
