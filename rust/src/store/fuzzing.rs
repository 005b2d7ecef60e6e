//! What the fuzz targets see of the parts that stores share.

use crate::clock::Timestamp;
use crate::job::{AttemptError, Name, Progress};
use crate::outcome::Failure;
use crate::store::json;
use crate::store::news::News;

/// The longest line that is sent or read.
pub const LONGEST: usize = crate::store::news::LONGEST;

/// The line of a piece of news.
pub fn line(news: &News) -> String {
    news.line()
}

/// The news of a line.
pub fn read(line: &[u8]) -> Option<News> {
    News::read(line)
}

/// The stored text of tags.
pub fn tags_text(tags: &[Name]) -> Option<String> {
    json::tags_text(tags)
}

/// The tags of a stored text.
pub fn tags_of(text: &str) -> Vec<Name> {
    json::tags_of(text)
}

/// The errors of a stored text.
pub fn errors_of(text: &str) -> Vec<AttemptError> {
    json::errors_of(text)
}

/// The stored text of errors after one more.
pub fn errors_after(known: Option<&str>, attempt: u32, at: Timestamp, failure: &Failure) -> String {
    json::errors_after(known, attempt, at, failure)
}

/// The stored text of a progress.
pub fn progress_text(progress: &Progress) -> String {
    json::progress_text(progress)
}

/// The progress of a stored text.
pub fn progress_of(text: &str) -> Option<Progress> {
    json::progress_of(text)
}

/// The stored text of a node's queues.
pub fn queues_text(queues: &[(Name, u32)]) -> String {
    json::queues_text(queues)
}

/// The queues of a stored text.
pub fn queues_of(text: &str) -> Vec<(Name, u32)> {
    json::queues_of(text)
}
