//! What processes tell each other, as one short line each.

use crate::clock::Timestamp;
use crate::job::{JobId, Name};
use crate::store::Signal;

/// The longest line that is sent or read.
pub(crate) const LONGEST: usize = 1024;

/// So many ids fit in one line.
const IDS: usize = 40;

/// A piece of news: a signal that concerns other processes.
#[derive(Debug, Clone, PartialEq)]
pub struct News(Signal);

impl News {
    /// What the others are told of a signal: nothing of what was missed here, or of jobs that have settled, since whoever
    /// waits for one looks by itself, and a busy worker would wake everybody all the time.
    pub fn of(signal: &Signal) -> Vec<Self> {
        match signal {
            Signal::Settled | Signal::Missed => Vec::new(),
            Signal::Cancel(ids) => ids.chunks(IDS).map(|ids| Self(Signal::Cancel(ids.to_vec()))).collect(),
            Signal::Ready(_) | Signal::Due(_) | Signal::Control(_) | Signal::Orphaned | Signal::Leaving => {
                vec![Self(signal.clone())]
            }
        }
    }

    /// A neighbour has ended.
    pub(crate) const fn orphaned() -> Self {
        Self(Signal::Orphaned)
    }

    /// This node ends.
    pub(crate) const fn leaving() -> Self {
        Self(Signal::Leaving)
    }

    /// The signal.
    pub fn signal(self) -> Signal {
        self.0
    }

    pub(crate) fn line(&self) -> String {
        match &self.0 {
            Signal::Ready(queue) => format!("ready {queue}"),
            Signal::Due(at) => format!("due {}", at.micros()),
            Signal::Cancel(ids) => {
                let ids: Vec<_> = ids.iter().map(JobId::to_string).collect();
                format!("cancel {}", ids.join(" "))
            }
            Signal::Control(queue) => format!("control {queue}"),
            Signal::Orphaned => "orphaned".to_owned(),
            Signal::Leaving => "leaving".to_owned(),
            Signal::Settled | Signal::Missed => String::new(),
        }
    }

    /// Reads a line; nothing when it is none of ours.
    pub(crate) fn read(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let signal = match word {
            "ready" => Signal::Ready(Name::queue(rest).ok()?),
            "due" => Signal::Due(Timestamp(rest.parse().ok()?)),
            "cancel" => Signal::Cancel(rest.split(' ').map(|id| id.parse().map(JobId)).collect::<Result<_, _>>().ok()?),
            "control" => Signal::Control(Name::queue(rest).ok()?),
            "orphaned" => Signal::Orphaned,
            "leaving" => Signal::Leaving,
            _ => return None,
        };
        Some(Self(signal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn news_come_back_as_they_were_and_fit_a_line() {
        let queue = Name::queue(&"q".repeat(64)).unwrap();
        let ids: Vec<_> = (0..100).map(|n| JobId(i64::MAX - n)).collect();
        let signals = [
            Signal::Ready(queue.clone()),
            Signal::Due(Timestamp(-5)),
            Signal::Cancel(ids),
            Signal::Control(queue),
            Signal::Orphaned,
            Signal::Leaving,
        ];
        for news in signals.iter().flat_map(News::of) {
            let line = news.line();
            assert!(line.len() <= LONGEST, "{}", line.len());
            assert_eq!(News::read(line.as_bytes()), Some(news));
        }
        assert!([Signal::Settled, Signal::Missed].iter().flat_map(News::of).next().is_none());
    }

    proptest! {
        #[test]
        fn what_is_no_news_is_passed_over(line in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(news) = News::read(&line) {
                prop_assert_eq!(News::read(news.line().as_bytes()), Some(news));
            }
        }
    }
}
