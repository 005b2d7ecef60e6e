//! The kinds of faults, to be counted where they make a difference.

/// What goes wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A node that lived is gone.
    Crash,
    /// A node does nothing for a while.
    Freeze,
    /// A call failed, and nothing was written.
    Refusal,
    /// A call was written, and its reply was lost.
    Cut,
    /// Others went on while a call was on its way.
    Delay,
    /// A signal did not arrive.
    Deafness,
    /// The wall clock of a node stepped.
    NodeClock,
    /// The clock of the store stepped.
    StoreClock,
    /// A call of a role panicked.
    Panic,
    /// A rule that somebody has added to the store refused the end of a job.
    Rule,
}

impl Fault {
    /// All of them, in the order of [`crate::Run::faults`].
    pub const ALL: [Self; 10] = [
        Self::Crash,
        Self::Freeze,
        Self::Refusal,
        Self::Cut,
        Self::Delay,
        Self::Deafness,
        Self::NodeClock,
        Self::StoreClock,
        Self::Panic,
        Self::Rule,
    ];

    /// Many of them, as people say it.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::Crash => "crashes",
            Self::Freeze => "pauses",
            Self::Refusal => "refused calls",
            Self::Cut => "lost replies",
            Self::Delay => "slow calls",
            Self::Deafness => "lost signals",
            Self::NodeClock => "steps of a node's clock",
            Self::StoreClock => "steps of the store's clock",
            Self::Panic => "panics",
            Self::Rule => "refused ends",
        }
    }
}
