//! Rules of the runtime that the simulator switches off, one at a time, to prove that it would notice.
//!
//! Outside of tests and the simulator the switches do not exist: [`is_on`] is a constant.

/// A rule that is not kept.
#[cfg_attr(
    not(any(test, feature = "sim")),
    expect(unreachable_pub, reason = "only the simulator names it from outside")
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The trust window never ends.
    TrustForEver,
    /// Jobs that a former incarnation claimed are taken over.
    TakeLateClaims,
    /// Jobs of claims that are on their way are taken for lost.
    ReleaseOpenClaims,
    /// Only signals tell of queues that were paused or scaled.
    FollowSignalsOnly,
    /// Acks on their way do not count as held.
    ForgetAcksOnTheirWay,
    /// Acks whose write failed are not kept.
    DropFailedAcks,
    /// Acks that were being written when that panicked are not kept.
    LoseAcksInPanics,
    /// A batch in which an ack is refused is only tried as a whole.
    KeepBatchesWhole,
    /// Acks that are refused are not kept.
    DropRefusedAcks,
    /// A slot starts a job whatever runs beside it.
    IgnoreLimits,
    /// A role that panicked is not tried again.
    EndAtPanics,
    /// What a beat says that was answered late is taken for the present.
    BelieveLateReplies,
    /// An attempt whose handler hangs after its end is taken for the next one of the same job.
    MistakeAttempts,
}

#[cfg(any(test, feature = "sim"))]
std::thread_local! {
    static ON: std::cell::Cell<Option<Sabotage>> = const { std::cell::Cell::new(None) };
}

/// Chooses the rule that this thread does not keep.
#[cfg(any(test, feature = "sim"))]
pub fn switch(sabotage: Option<Sabotage>) {
    ON.set(sabotage);
}

/// Whether this rule is not kept.
#[cfg(any(test, feature = "sim"))]
pub(crate) fn is_on(sabotage: Sabotage) -> bool {
    ON.get() == Some(sabotage)
}

/// Whether this rule is not kept.
#[cfg(not(any(test, feature = "sim")))]
pub(crate) const fn is_on(_: Sabotage) -> bool {
    false
}
