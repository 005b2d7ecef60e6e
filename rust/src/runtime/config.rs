//! How an engine is set up. Every number has its reason beside it.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::job::Name;
use crate::limits;
use crate::runtime::running::Lane;
use crate::store::Retention;

/// The settings of one engine.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's human name.
    pub name: String,
    /// The queues it works on.
    pub queues: Vec<QueueConfig>,
    /// Between two heartbeats: a quarter of the ttl, so that three may be lost.
    pub heartbeat: Duration,
    /// How long the node may be silent before others take its jobs.
    pub ttl: Duration,
    /// The longest that a job waits when its wake-up was lost (stores that may wait only).
    pub poll: Duration,
    /// Between two looks for dead nodes.
    pub rescue: Duration,
    /// Between two prunes.
    pub prune: Duration,
    /// How long final jobs are kept.
    pub retention: Retention,
    /// The longest that an ack waits for company (stores that may wait only).
    pub ack_window: Duration,
    /// The most acks in one write.
    pub ack_batch: usize,
    /// How long a handler may go on after it was asked to stop.
    pub cancel_grace: Duration,
    /// How long after its last word the jobs of a process that ends while they run may be taken by others: long enough to
    /// lose four of the words that follow each other, short enough that a deploy does not wait.
    pub departure: Duration,
    /// How long jobs of unknown workers are put back before they fail: a rolling deploy's length.
    pub unknown_worker: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: String::new(),
            queues: Vec::new(),
            heartbeat: Duration::from_secs(5),
            ttl: Duration::from_secs(20),
            poll: Duration::from_secs(1),
            rescue: Duration::from_secs(5),
            prune: Duration::from_secs(60),
            retention: Retention::default(),
            ack_window: Duration::from_millis(2),
            ack_batch: 256,
            cancel_grace: Duration::from_secs(3),
            departure: Duration::from_secs(1),
            unknown_worker: Duration::from_secs(3600),
        }
    }
}

impl Config {
    /// The share of the ttl at whose end a node stops trusting its own lease, before anyone else may act on it.
    pub fn trust(&self) -> Duration {
        self.ttl * 3 / 4
    }

    /// Between two words of a process that ends.
    pub fn departure_beat(&self) -> Duration {
        self.departure / 5
    }

    /// Refuses settings that contradict each other.
    pub fn validate(&self) -> Result<()> {
        if self.heartbeat.is_zero() || self.ttl < self.heartbeat * 4 {
            let value = format!("{:?} and {:?}", self.ttl, self.heartbeat);
            return Err(Error::invalid("ttl", "must be at least four heartbeats", value));
        }
        for (field, interval) in [("poll_interval_ms", self.poll), ("rescue_interval_ms", self.rescue)] {
            if interval < Duration::from_millis(1) || interval > limits::DELAY {
                return Err(Error::invalid(field, "must be from 1 millisecond to ten years", format!("{interval:?}")));
            }
        }
        for (index, queue) in self.queues.iter().enumerate() {
            limits::integer::<u32>("concurrency", queue.concurrency.into(), 1, limits::CONCURRENCY.into())?;
            if self.queues[..index].iter().any(|other| other.name == queue.name) {
                return Err(Error::invalid("queues", "must name each queue once", &queue.name));
            }
        }
        Ok(())
    }
}

/// What a queue does about a handler that goes on after its deadline and grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StuckPolicy {
    /// The slot stays taken until the handler ends; the host is told.
    #[default]
    Report,
    /// Another slot takes its place.
    Replace,
    /// The host is told to end the process.
    Exit,
}

/// One queue of a node.
#[derive(Debug, Clone)]
pub struct QueueConfig {
    /// Its name.
    pub name: Name,
    /// How many of its jobs run at once.
    pub concurrency: u32,
    /// At most this many jobs are claimed ahead of a free slot; `None` adapts to the length of the jobs.
    pub prefetch: Option<u32>,
    /// What happens to slots that hang.
    pub stuck: StuckPolicy,
}

/// What the engine knows of a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// Where its handler runs.
    pub lane: Lane,
    /// Its backoff where the engine itself ends an attempt.
    pub backoff: Backoff,
    /// When its acks are written.
    pub ack: AckMode,
}

/// When acks are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AckMode {
    /// Together with others, within the ack window.
    #[default]
    Batched,
    /// Before its slot takes another job: no crash window.
    Sync,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let refused = |set: fn(&mut Config)| {
            let mut config = Config::default();
            set(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(Config::default().validate().is_ok());
        assert!(refused(|config| config.ttl = config.heartbeat * 3).contains("four heartbeats"));
        assert!(refused(|config| config.heartbeat = Duration::ZERO).contains("four heartbeats"));
        assert!(refused(|config| config.poll = Duration::ZERO).contains("poll_interval_ms"));
        assert!(refused(|config| config.rescue = limits::DELAY * 2).contains("rescue_interval_ms"));
        let queue = |name| QueueConfig {
            name: Name::queue(name).unwrap(),
            concurrency: 1,
            prefetch: None,
            stuck: StuckPolicy::Report,
        };
        let with = |queues| Config { queues, ..Config::default() }.validate();
        assert!(with(vec![queue("a"), queue("b")]).is_ok());
        let twice = with(vec![queue("a"), queue("b"), queue("a")]).unwrap_err().to_string();
        assert!(twice.contains("each queue once"), "{twice}");
        assert!(with(vec![QueueConfig { concurrency: 0, ..queue("a") }]).is_err());
    }

    #[test]
    fn the_shortest_and_the_longest_interval_are_as_good_as_any() {
        for interval in [Duration::from_millis(1), limits::DELAY] {
            assert!(Config { poll: interval, rescue: interval, ..Config::default() }.validate().is_ok());
        }
    }
}
