//! The deliberate bugs: for each invariant at least one way to break it, which the oracle must find.
//!
//! Most live in the [`crate::saboteur::Saboteur`], a store that lies; the ones of the runtime's own rules are switched
//! on in the engine, which has those switches only when it is built for the simulator.

use zjobs_engine::runtime::sabotage::Sabotage;

use crate::ground::Ground;

macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $name:ident breaks $invariant:literal,)+) => {
        /// A deliberate bug.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Bug {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Bug {
            /// Every bug, in the order of the invariants.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The invariant that it breaks, by its number.
            pub const fn breaks(self) -> u8 {
                match self { $(Self::$name => $invariant,)+ }
            }

            /// What is wrong, in words.
            pub const fn story(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ }
            }
        }
    };
}

bugs! {
    /// An accepted job is forgotten at once.
    ForgetsAJob breaks 1,
    /// A prune takes a job that waits, too.
    LosesTheQueueOnPrune breaks 24,
    /// An enqueue that is refused leaves its first job behind.
    RefusedEnqueueLeavesRows breaks 2,
    /// An enqueue whose reply was late is sent twice.
    EnqueuesTwice breaks 2,
    /// A claim hands out a job again that another claim has handed out.
    HandsOutTwice breaks 3,
    /// The lease number of a rescued job starts again from zero.
    LeaseStartsAgain breaks 4,
    /// An ack of an old lease is written as if it were the new one's.
    AcceptsStaleAcks breaks 5,
    /// Progress of an old lease is written.
    AcceptsStaleReports breaks 5,
    /// An ack that is sent again is told that its lease is lost.
    RefusesRepeatedAcks breaks 6,
    /// Jobs of a living node are taken back.
    RescuesTheLiving breaks 7,
    /// A node that was declared dead is told that it lives.
    DeadNodesLive breaks 8,
    /// A node that was declared dead may claim.
    DeadNodesClaim breaks 8,
    /// A node trusts its lease for ever.
    TrustsForEver breaks 9,
    /// What an old incarnation claimed runs under the new one.
    TakesLateClaims breaks 9,
    /// A node hands back jobs whose claim is on its way, and then starts them.
    ReleasesOpenClaims breaks 9,
    /// A node is never told of jobs that it does not know it has.
    NeverReconciles breaks 10,
    /// Acks of completed jobs are confirmed and not written.
    DropsAcks breaks 10,
    /// A last failure is followed by another attempt.
    FailsWithoutEnd breaks 11,
    /// Staging makes a finished job available again.
    StagesFinishedJobs breaks 12,
    /// A failed attempt is not counted.
    RefundsFailures breaks 13,
    /// A release does not give the attempt back.
    ReleasesWithoutRefund breaks 13,
    /// Reconciliation hands back jobs whose acks are on their way.
    ForgetsAcksOnTheirWay breaks 13,
    /// A late reply to a beat drops a newer lease of the same job.
    BelievesLateReplies breaks 13,
    /// An attempt whose handler hangs after its end is taken for the next one, which is dropped in its place.
    MistakesAttempts breaks 13,
    /// Acks whose write failed are dropped.
    DropsFailedAcks breaks 13,
    /// Acks that were being written when that panicked are dropped.
    LosesAcksInPanics breaks 13,
    /// Acks that a rule refuses are dropped.
    DropsRefusedAcks breaks 13,
    /// Unique keys are ignored.
    IgnoresKeys breaks 14,
    /// A job that waits for a retry gives its unique key away.
    FreesKeysOfRetryables breaks 14,
    /// A result is stored with the wrong job.
    SwapsResults breaks 15,
    /// The time of an attempt is the node's idea of it.
    StampsByTheNode breaks 16,
    /// Scheduled jobs become available before they are due.
    StagesEarly breaks 17,
    /// The delay of a job is forgotten.
    ForgetsDelays breaks 17,
    /// A claim is handed over in the wrong order.
    ReversesClaims breaks 18,
    /// Jobs of low priority are claimed first.
    InvertsPriorities breaks 18,
    /// A pause is confirmed and does nothing.
    IgnoresPauses breaks 19,
    /// Nodes are told a higher concurrency than was set.
    InflatesConcurrency breaks 20,
    /// Slots start jobs without looking at the limit.
    IgnoresLimits breaks 20,
    /// A cancel of a waiting job is confirmed and does nothing.
    ForgetsCancels breaks 21,
    /// A cancel of a running job is confirmed and does nothing.
    ForgetsCancelRequests breaks 21,
    /// A job that was asked to stop completes all the same.
    CompletesCancelled breaks 21,
    /// A tick that has fired fires again.
    TicksTwice breaks 22,
    /// A tick is recorded as done without its job.
    LosesTicks breaks 22,
    /// A job that has killed three nodes is tried on a fourth.
    IgnoresCrashes breaks 23,
    /// Finished jobs are pruned before their time.
    PrunesYoung breaks 24,
    /// One stale ack spoils the batch that it is in.
    SpoilsBatches breaks 25,
    /// A cancel does not reach one of two stores.
    StoresDiffer breaks 26,
    /// Jobs that were delayed never become available.
    NeverStages breaks 29,
    /// One queue is never claimed from.
    StarvesAQueue breaks 29,
    /// A node that missed the signal of a resumed queue never learns of it.
    MissesControl breaks 29,
    /// Jobs of dead nodes are never taken back.
    NeverRescues breaks 30,
    /// The acks of batches are never answered.
    NeverAnswersAcks breaks 31,
    /// A batch in which an ack is refused is only tried as a whole.
    KeepsBatchesWhole breaks 31,
    /// Nodes rely on wake-ups and do not poll.
    NeverPolls breaks 32,
    /// A node that stopped stays registered with what it had.
    NeverParts breaks 33,
    /// A role that panicked is not tried again.
    EndsAtPanics breaks 35,
}

impl Bug {
    /// Whether it hides from a hunt: once it was a defect that one seed in hundreds of thousands showed.
    pub const fn is_rare(self) -> bool {
        matches!(self, Self::BelievesLateReplies | Self::MistakesAttempts)
    }

    /// Whether the runtime's own rules are broken, whatever the store is.
    pub const fn is_of_the_runtime(self) -> bool {
        self.sabotage().is_some() || matches!(self, Self::NeverPolls)
    }

    /// Whether it can show on that store.
    pub fn shows_on(self, ground: Ground) -> bool {
        match self {
            // A file has no limit that an enqueue could meet, and its own checks refuse an attempt too many.
            Self::RefusedEnqueueLeavesRows | Self::FailsWithoutEnd => ground == Ground::Memory,
            Self::StoresDiffer => ground == Ground::Both,
            _ => true,
        }
    }

    /// The switch in the engine that makes this bug, for the bugs of the runtime.
    pub(crate) const fn sabotage(self) -> Option<Sabotage> {
        match self {
            Self::TrustsForEver => Some(Sabotage::TrustForEver),
            Self::TakesLateClaims => Some(Sabotage::TakeLateClaims),
            Self::ReleasesOpenClaims => Some(Sabotage::ReleaseOpenClaims),
            Self::MissesControl => Some(Sabotage::FollowSignalsOnly),
            Self::ForgetsAcksOnTheirWay => Some(Sabotage::ForgetAcksOnTheirWay),
            Self::DropsFailedAcks => Some(Sabotage::DropFailedAcks),
            Self::IgnoresLimits => Some(Sabotage::IgnoreLimits),
            Self::BelievesLateReplies => Some(Sabotage::BelieveLateReplies),
            Self::MistakesAttempts => Some(Sabotage::MistakeAttempts),
            Self::LosesAcksInPanics => Some(Sabotage::LoseAcksInPanics),
            Self::KeepsBatchesWhole => Some(Sabotage::KeepBatchesWhole),
            Self::DropsRefusedAcks => Some(Sabotage::DropRefusedAcks),
            Self::EndsAtPanics => Some(Sabotage::EndAtPanics),
            _ => None,
        }
    }
}
