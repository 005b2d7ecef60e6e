//! One error enum, named by what the caller can do about it.

use crate::state::{Event, State};

/// What every fallible call of the engine returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. A message names the value, the rule and the way out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A value breaks a rule: mend the call.
    #[error("{field} {rule} (got {value})")]
    Invalid {
        /// The option or argument that was wrong.
        field: String,
        /// What it must be.
        rule: String,
        /// What it was, shortened and with control characters escaped.
        value: String,
    },
    /// No such job, queue, schedule or node.
    #[error("{0}")]
    NotFound(String),
    /// The store holds as many unfinished jobs as it may.
    #[error(
        "the store is full: {limit} unfinished jobs are its limit; run more workers, raise max_jobs, or use a DbStore"
    )]
    StoreFull {
        /// The limit.
        limit: usize,
    },
    /// The store cannot be reached now; trying again may help.
    #[error("the store is unavailable: {0}")]
    StoreUnavailable(String),
    /// The schema in the database is not the one this version works with.
    #[error("{0}")]
    SchemaMismatch(String),
    /// The node's lease has ended: another node may have its jobs.
    #[error("lease lost: {0}")]
    LeaseLost(String),
    /// The commit of an enqueue was cut off, or the disk failed at it, and its outcome cannot be learnt.
    #[error("{0}")]
    EnqueueUncertain(String),
    /// The state table has no such move.
    #[error("a job that is {from} cannot {event}; see the state table")]
    Transition {
        /// The state it is in.
        from: State,
        /// What was asked of it.
        event: Event,
    },
    /// The call needs a started supervisor.
    #[error("{0}")]
    NotStarted(String),
    /// The supervisor runs already.
    #[error("{0}")]
    AlreadyStarted(String),
    /// A defect in a store written by a third party, or in zjobs itself.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Whether what was asked is at fault, and not the time: asked again soon it fails again, and other calls need not.
    pub(crate) const fn is_refusal(&self) -> bool {
        matches!(self, Self::Invalid { .. } | Self::Internal(_))
    }

    /// An [`Error::Invalid`]; `value` is shortened to 80 characters and its control characters are escaped.
    pub fn invalid(field: impl Into<String>, rule: impl Into<String>, value: impl std::fmt::Display) -> Self {
        Self::Invalid { field: field.into(), rule: rule.into(), value: shown(&value.to_string()) }
    }
}

/// A value as it may stand in a message: short, on one line, no control characters.
pub fn shown(value: &str) -> String {
    const MOST: usize = 80;
    let mut text = String::new();
    for c in value.chars().take(MOST) {
        match c {
            '\'' | '"' | '\\' => text.push(c),
            other => text.extend(other.escape_debug()),
        }
    }
    if value.chars().nth(MOST).is_some() {
        text.push('…');
    }
    text
}
