//! Texts that others wrote, as they are kept and shown.

use arbitrary::{Arbitrary, Unstructured};
use zjobs_engine::error::shown;
use zjobs_engine::limits::{self, stored_text};
use zjobs_engine::outcome::Failure;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    most: u16,
    times: u8,
    text: &'a str,
}

pub(crate) fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    // Far beyond every limit, too.
    let text = input.text.repeat(usize::from(input.times).pow(2));
    let most = usize::from(input.most).max(limits::WORKER_NAME_BYTES);
    let kept = stored_text(&text, most);
    assert!(kept.len() <= most, "{} of {most} bytes", kept.len());
    assert!(!kept.contains('\0'), "NUL is kept");
    assert_eq!(stored_text(&kept, most), kept, "what was kept is changed when it is kept again");
    let clean = text.replace('\0', "\u{FFFD}");
    if clean.len() <= most {
        assert_eq!(kept, clean, "cut without need");
    } else {
        let (head, tail) = kept.split_once("\n... cut ...\n").unwrap_or_else(|| panic!("cut without a mark"));
        // The mark may stand in the text, too; then the halves are not told apart here.
        if !clean.contains("... cut ...") {
            assert!(clean.starts_with(head) && clean.ends_with(tail), "the ends are not those of the text");
            assert!(kept.len() + 8 > most, "more is cut than need be: {} of {most}", kept.len());
        }
    }
    let failure = Failure::new(&text, &text, &text);
    assert!(failure.kind.len() <= limits::WORKER_NAME_BYTES && failure.message.len() <= limits::ERROR_MESSAGE_BYTES);
    assert!(failure.traceback.len() <= limits::TRACEBACK_BYTES);
    let line = shown(&text);
    assert!(!line.chars().any(char::is_control), "{line:?}");
    assert!(line.chars().count() <= 80 * 10 + 1, "{} characters", line.chars().count());
    assert!(limits::json("text", serde_json::Value::from(kept).to_string().as_bytes(), usize::MAX).is_ok());
}
