//! What one seed is about: sizes, settings and which faults happen how often.
//!
//! Each fault is off in some seeds and frequent in others, so that rare combinations meet (swarm testing: Groce et al.,
//! "Swarm Testing", ISSTA 2012).

use std::time::Duration;

use fastrand::Rng;
use zjobs_engine::backoff::{Backoff, Curve, Jitter};
use zjobs_engine::job::Name;
use zjobs_engine::runtime::config::AckMode;
use zjobs_engine::runtime::{Config, Lane, QueueConfig, Registration, StuckPolicy};
use zjobs_engine::store::Retention;

/// How often each fault happens, per thousand chances.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    /// The node is gone for good; another may start.
    pub(crate) crash: u32,
    /// The node does nothing for a while and then goes on.
    pub(crate) freeze: u32,
    /// The call fails and nothing was written.
    pub(crate) refuse: u32,
    /// The call is written and its reply is lost.
    pub(crate) cut: u32,
    /// Others go on while the call is on its way.
    pub(crate) slow: u32,
    /// A signal does not arrive.
    pub(crate) deaf: u32,
    /// The wall clock of a node steps.
    pub(crate) node_steps: u32,
    /// The clock of the store steps.
    pub(crate) store_steps: u32,
    /// A node stops in order.
    pub(crate) stops: u32,
    /// The call of a role panics, before or after it was written.
    pub(crate) panics: u32,
}

/// Everything about a seed that is decided before it starts.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) queues: Vec<Name>,
    pub(crate) workers: Vec<(Name, Registration)>,
    pub(crate) jobs: u32,
    pub(crate) steps: u32,
    /// Whether the store may wait, fail and lose signals.
    pub(crate) blocks: bool,
    pub(crate) max_jobs: Option<usize>,
    /// Some jobs are of a worker that is deployed only when the faults stop.
    pub(crate) unknown: bool,
    /// A rule that somebody has added refuses the end of every so-manieth job, until a while after the faults have stopped.
    pub(crate) rule: Option<i64>,
    pub(crate) faults: Faults,
}

pub(crate) const BEAT: Duration = Duration::from_secs(1);
pub(crate) const TTL: Duration = Duration::from_secs(4);
pub(crate) const POLL: Duration = Duration::from_secs(1);
pub(crate) const RESCUE: Duration = Duration::from_secs(1);
pub(crate) const GRACE: Duration = Duration::from_millis(500);
pub(crate) const DEPARTURE: Duration = Duration::from_secs(1);
/// How long the rule outlives the faults: longer than the other ends may take by then.
pub(crate) const RULE: Duration = Duration::from_secs(10);
pub(crate) const DRAIN: Duration = Duration::from_secs(2);
pub(crate) const KEPT: Retention = Retention {
    completed: Some(Duration::from_secs(6)),
    cancelled: Some(Duration::from_secs(6)),
    discarded: Some(Duration::from_secs(9)),
};
/// The worker that nobody has registered at first.
pub(crate) const UNKNOWN: &str = "unknown";
pub(crate) const CONCURRENCY: u32 = 2;

fn known<T>(name: zjobs_engine::Result<T>) -> Vec<T> {
    name.into_iter().collect()
}

impl Plan {
    /// What came later is drawn from dice of its own, so that older seeds stay what they are.
    pub(crate) fn draw(rng: &mut Rng, later: &mut Rng, latest: &mut Rng) -> Self {
        let blocks = rng.u32(..3) > 0;
        let mut rate = |most: u32| if rng.bool() { rng.u32(1..=most) } else { 0 };
        let faults = Faults {
            crash: rate(30),
            freeze: rate(60),
            refuse: rate(80),
            cut: rate(80),
            slow: rate(150),
            deaf: rate(400),
            node_steps: rate(50),
            store_steps: rate(20),
            stops: rate(25),
            panics: if later.u32(..4) == 0 { later.u32(1..=40) } else { 0 },
        };
        let queues = ["a", "b", "c"][..rng.usize(2..=3)].iter().flat_map(|name| known(Name::queue(name))).collect();
        let backoff = Backoff {
            curve: Curve::Constant { delay: Duration::from_millis(rng.u64(0..1500)) },
            jitter: Jitter::Spread,
        };
        let worker = |name, lane, ack| {
            known(Name::worker(name)).into_iter().map(move |name| (name, Registration { lane, backoff, ack }))
        };
        let workers = worker("thread", Lane::Thread, AckMode::Batched)
            .chain(worker("loop", Lane::Loop, AckMode::Batched))
            .chain(worker("sync", Lane::Thread, AckMode::Sync))
            .collect();
        Self {
            nodes: rng.usize(2..=5),
            queues,
            workers,
            jobs: rng.u32(15..=35),
            steps: rng.u32(150..=350),
            blocks,
            max_jobs: (rng.u32(..4) == 0).then(|| rng.usize(6..=15)),
            unknown: rng.u32(..20) == 0,
            rule: (blocks && latest.u32(..8) == 0).then(|| latest.i64(3..=8)),
            faults,
        }
    }

    /// The settings of a node.
    pub(crate) fn config(&self, node: usize, poll: Duration) -> Config {
        let queue = |name: &Name| QueueConfig {
            name: name.clone(),
            concurrency: CONCURRENCY,
            prefetch: (node % 2 == 1).then_some(2),
            stuck: StuckPolicy::Report,
        };
        Config {
            name: format!("node {node}"),
            queues: self.queues.iter().map(queue).collect(),
            heartbeat: BEAT,
            ttl: TTL,
            poll,
            rescue: RESCUE,
            prune: Duration::from_secs(3),
            retention: KEPT,
            ack_window: Duration::from_millis(20),
            ack_batch: 4,
            cancel_grace: GRACE,
            departure: DEPARTURE,
            unknown_worker: Duration::from_secs(3600),
        }
    }
}
