//! Named places where a test makes its process die, stop, panic or fail (ADR 0019).
//!
//! Without the feature `failpoints` nothing is left of them: every call here is empty, and no name is compiled. A wheel is
//! built without it, which `tools/check_wheel.py` proves. With it and nothing armed, a place costs one relaxed load.
//!
//! There are two kinds. A [`Point`] has one place in the code. A [`Step`] is one of the moments that every verb of a
//! store goes through; the thread knows which verb it has in hand, since `store/pierced.rs` tells it.

#[cfg(feature = "failpoints")]
mod armed;

#[cfg(feature = "failpoints")]
pub use armed::{Scope, VARIABLE, Verb, arm, arm_by_environment, names};

use crate::error::Result;

/// A moment in the life of a call to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The store is asked; nothing is done.
    Asked,
    /// It is written in a transaction, which is not committed.
    Written,
    /// What commits is on its way to the server; its reply is not read.
    Sent,
    /// It is committed; nobody is told.
    Committed,
    /// The store has told the news; its caller has no reply.
    Answered,
}

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A claim was answered; its jobs are in no slot.
    Dispatch,
    /// A slot has a job; its handler was not called.
    Taken,
    /// A handler has ended; its job is not settled.
    Ended,
    /// An ack waits for company.
    Queued,
    /// A batch of acks has left the line; the store was not asked.
    Flush,
    /// The store has answered a batch of acks; nobody is told.
    Flushed,
    /// A job that is leased to this node and is not here is about to be handed back.
    Orphan,
    /// The node was declared dead and has dropped everything; it is no new incarnation yet.
    Dead,
    /// A stop claims no more, and what waited goes back.
    Drained,
    /// A stop has written its acks; the node has not departed.
    Parted,
    /// Between two calls that share a commit.
    Between,
    /// All calls of a commit are done; it is not committed.
    Grouped,
    /// They are committed; none is answered.
    Shared,
    /// The log is about to be copied into the file.
    Checkpoint,
    /// It was copied.
    Checkpointed,
    /// A migration has the lock.
    Locked,
    /// The statements of a migration are done; its row is not there.
    Migrated,
    /// Its row is there; nothing is committed.
    Recorded,
    /// A migration is committed.
    Settled,
    /// A role begins its tick.
    Tick(Role),
}

/// Whose tick it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are named by their roles")]
pub enum Role {
    Heartbeat,
    Claimer,
    Acker,
    Stager,
    Watchdog,
    Rescuer,
    Pruner,
}

/// The verb that a thread has in hand, to be taken along to another thread.
#[derive(Debug, Clone, Copy)]
pub struct Hand {
    #[cfg(feature = "failpoints")]
    verb: Option<Verb>,
}

impl Hand {
    /// What this thread has in hand.
    pub fn now() -> Self {
        Self {
            #[cfg(feature = "failpoints")]
            verb: armed::in_hand(),
        }
    }

    /// Goes through a moment of the verb; an armed place may fail it.
    #[inline]
    pub fn step(self, step: Step) -> Result<()> {
        #[cfg(feature = "failpoints")]
        return armed::step(self.verb, step);
        #[cfg(not(feature = "failpoints"))]
        {
            let _ = step;
            Ok(())
        }
    }

    /// As [`Hand::step`], where nothing can fail.
    #[inline]
    pub fn pass(self, step: Step) {
        drop(self.step(step));
    }
}

/// Goes through a place that cannot fail.
#[inline]
pub fn pass(point: Point) {
    #[cfg(feature = "failpoints")]
    armed::pass(point);
    #[cfg(not(feature = "failpoints"))]
    let _ = point;
}

/// The role of that name begins its tick.
#[inline]
pub fn tick(role: &str) {
    #[cfg(feature = "failpoints")]
    armed::tick(role);
    #[cfg(not(feature = "failpoints"))]
    let _ = role;
}

/// Waits for the reply to a request to a server. When it `commits` what the thread has in hand, the moments before and
/// after the reply are places.
#[inline]
pub async fn sending<F: Future>(commits: bool, request: F) -> F::Output {
    #[cfg(feature = "failpoints")]
    if commits {
        return armed::sending(request).await;
    }
    let _ = commits;
    request.await
}
