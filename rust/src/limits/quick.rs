//! The proof of plain JSON in one short walk; most payloads are.
//!
//! It says yes only to what the thorough walk accepts, and leaves everything else to it: escapes, text beyond ASCII,
//! exponents, long numbers, deep nesting, and whatever is wrong, so that a refusal always has the same words.

/// Deeper text is left to the thorough walk.
const LEVELS: u32 = 16;
/// Digits that surely fit into 64 bits.
const DIGITS: usize = 18;
/// Bytes that may stand in a string as they are.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        plain[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    plain
};

/// Whether the whole text is plain JSON.
pub(super) fn is_plain(text: &[u8]) -> bool {
    value(blank(text), LEVELS).is_some_and(|rest| blank(rest).is_empty())
}

/// What follows one value; `None` where this walk cannot tell.
fn value(text: &[u8], levels: u32) -> Option<&[u8]> {
    match text.first()? {
        b'"' => string(text),
        b'{' => object(&text[1..], levels.checked_sub(1)?),
        b'[' => array(&text[1..], levels.checked_sub(1)?),
        b't' => text.strip_prefix(b"true"),
        b'f' => text.strip_prefix(b"false"),
        b'n' => text.strip_prefix(b"null"),
        _ => number(text),
    }
}

fn string(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_prefix(b"\"")?;
    let end = text.iter().position(|byte| !PLAIN[usize::from(*byte)])?;
    text[end..].strip_prefix(b"\"")
}

fn object(text: &[u8], levels: u32) -> Option<&[u8]> {
    let mut text = blank(text);
    if let Some(rest) = text.strip_prefix(b"}") {
        return Some(rest);
    }
    loop {
        let colon = blank(string(text)?).strip_prefix(b":")?;
        match blank(value(blank(colon), levels)?).split_first()? {
            (b',', rest) => text = blank(rest),
            (b'}', rest) => return Some(rest),
            _ => return None,
        }
    }
}

fn array(text: &[u8], levels: u32) -> Option<&[u8]> {
    let mut text = blank(text);
    if let Some(rest) = text.strip_prefix(b"]") {
        return Some(rest);
    }
    loop {
        match blank(value(text, levels)?).split_first()? {
            (b',', rest) => text = blank(rest),
            (b']', rest) => return Some(rest),
            _ => return None,
        }
    }
}

fn number(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, rest) = digits(text)?;
    if whole.len() > 1 && whole[0] == b'0' {
        return None;
    }
    match rest.first() {
        Some(b'.') => fraction(&rest[1..]),
        Some(b'e' | b'E') => None,
        _ => Some(rest),
    }
}

fn fraction(text: &[u8]) -> Option<&[u8]> {
    let (_, rest) = digits(text)?;
    (!matches!(rest.first(), Some(b'e' | b'E'))).then_some(rest)
}

fn digits(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    (1..=DIGITS).contains(&end).then(|| text.split_at(end))
}

fn blank(text: &[u8]) -> &[u8] {
    // Not `trim_ascii_start`: a form feed is no blank of JSON.
    let end = text.iter().position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).unwrap_or(text.len());
    &text[end..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::thorough;
    use proptest::prelude::*;

    #[test]
    fn a_form_feed_is_no_blank() {
        assert!(!is_plain(b" \x0c1"));
        assert!(thorough("args", b" \x0c1").is_err());
    }

    #[test]
    fn usual_payloads_are_plain() {
        for plain in [
            r#"{"to":"user@example.com","n":1}"#,
            r#" { "a" : [ 1 , -2.5 , true , false , null , {} , [] ] } "#,
            "0",
            "-0.05",
            "10",
            "999999999999999999",
            "\t\"\"\r\n",
        ] {
            assert!(is_plain(plain.as_bytes()), "{plain}");
        }
    }

    #[test]
    fn what_it_cannot_tell_is_left_to_the_thorough_walk() {
        let deep = "[".repeat(17) + &"]".repeat(17);
        for other in [
            "", "01", "1.", "-", ".5", "1e5", "1.5e5", "[1,]", "{,}", "{\"a\"}", "1 2", "\"\\n\"", "\"é\"", "tru",
            &deep,
        ] {
            assert!(!is_plain(other.as_bytes()), "{other}");
        }
        assert!(!is_plain(b"\"\x00\"") && !is_plain(b"\"\x1f\"") && !is_plain(b"\"\xff\"") && !is_plain(b"\x0b1"));
        assert!(!is_plain(b"\"\x7f\""));
        assert!(!is_plain("9".repeat(19).as_bytes()));
    }

    fn token() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"",
            "\\",
            "u0000",
            "0",
            "1",
            "-",
            ".",
            "e",
            "E",
            "+",
            "12",
            " ",
            "\n",
            "\u{b}",
            "\0",
            "true",
            "null",
            "é",
            "9999999999",
            "{\"k\":",
            "[1,",
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn it_accepts_nothing_that_the_thorough_walk_refuses(tokens in prop::collection::vec(token(), 0..8)) {
            let text = tokens.concat();
            prop_assert!(!is_plain(text.as_bytes()) || thorough("args", text.as_bytes()).is_ok(), "{}", text);
        }
    }
}
