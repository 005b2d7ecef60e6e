//! *heartbeat*: calls the roll of a node, what is leased to it against what it says it has.
//!
//! What it says is looked up job by job, at each beat. What it does not know (the reply to a claim was lost, or rows were
//! edited) is found by a walk along all that runs there, which can be long, and nobody claims meanwhile: it takes half a
//! per cent of the time at most. After a claim without a reply there is one at the next beat.

use rustc_hash::FxHashMap;

use crate::clock::{Clock, Moment, System};
use crate::error::Result;
use crate::job::{JobId, Lease, NodeId};
use crate::store::postgres::nodes::{self, Beaten, Leased};
use crate::store::postgres::pace::Pace;
use crate::store::postgres::seat::{Repeat, Seat};
use crate::store::postgres::session::Session;
use crate::store::{Heartbeat, Pulse};
use crate::sync::Mutex;

/// A walk may take one part of so many of the time.
const PARTS: u32 = 200;
/// A walk is given up after this part of the time that a call has: the next beat is due, and jobs wait to be claimed.
const SHARE: u32 = 3;

#[derive(Debug, Default)]
struct Roll {
    pace: Pace,
    /// What was leased to the node at the last call, and unknown to it.
    unknown: Vec<JobId>,
}

/// The nodes that beat here.
#[derive(Debug, Default)]
pub(super) struct Rolls {
    nodes: Mutex<FxHashMap<NodeId, Roll>>,
}

impl Rolls {
    /// A claim of this node had no reply: it may have jobs that it does not know.
    pub(super) fn doubt(&self, node: NodeId) {
        if let Some(roll) = self.nodes.lock().get_mut(&node) {
            roll.pace.hurry();
        }
    }

    /// This node is gone.
    pub(super) fn forget(&self, node: NodeId) {
        self.nodes.lock().remove(&node);
    }

    pub(super) fn heartbeat(&self, seat: &Seat, beat: &Heartbeat) -> Result<Pulse> {
        let came = System.moment();
        let mut asked = sorted(&beat.holds);
        asked.extend(self.unknown(beat.node));
        let beaten =
            seat.call(Repeat::Safe, &async |session: &Session| nodes::heartbeat(session, beat, &asked).await)?;
        let (number, mut leased) = match beaten {
            Beaten::Alive(number, leased) => (number, leased),
            Beaten::New => return Ok(compared(&beat.holds, &[])),
            Beaten::Dead => {
                self.forget(beat.node);
                return Ok(Pulse::Dead);
            }
        };
        if self.is_due(beat.node) {
            leased.extend(self.walk(seat, beat, number, came));
        }
        let pulse = compared(&beat.holds, &leased);
        if let Pulse::Alive { unknown, .. } = &pulse {
            self.nodes.lock().entry(beat.node).or_default().unknown = unknown.iter().map(|(id, _)| *id).collect();
        }
        Ok(pulse)
    }

    fn unknown(&self, node: NodeId) -> Vec<JobId> {
        self.nodes.lock().get(&node).map(|roll| roll.unknown.clone()).unwrap_or_default()
    }

    fn is_due(&self, node: NodeId) -> bool {
        self.nodes.lock().get(&node).is_none_or(|roll| roll.pace.is_due(PARTS, System.moment()))
    }

    /// All that is leased to the node and unknown to it. The beat is told already: where the walk fails, a later one will tell.
    fn walk(&self, seat: &Seat, beat: &Heartbeat, number: i64, came: Moment) -> Vec<Leased> {
        let (began, within) = (System.moment(), seat.patience() / SHARE);
        let walk = async |session: &Session| nodes::held(session, number, within).await;
        let found = seat.call_since(came, Repeat::Safe, &walk);
        self.nodes.lock().entry(beat.node).or_default().pace.looked(began, System.moment());
        let says = sorted(&beat.holds);
        let mut found = found.unwrap_or_default();
        found.retain(|job| says.binary_search(&job.id).is_err());
        found
    }
}

/// What a node must be told that says it has these jobs, when those are leased to it.
fn compared(says: &[JobId], leased: &[Leased]) -> Pulse {
    let mut lost = sorted(says);
    let (mut cancel, mut unknown): (Vec<JobId>, Vec<(JobId, Lease)>) = Default::default();
    for job in leased {
        match lost.binary_search(&job.id) {
            Ok(place) => {
                lost.remove(place);
                if job.is_cancel_requested {
                    cancel.push(job.id);
                }
            }
            Err(_) => unknown.push((job.id, job.lease)),
        }
    }
    cancel.sort_unstable();
    unknown.sort_unstable();
    unknown.dedup_by_key(|(id, _)| *id);
    Pulse::Alive { cancel, lost, unknown }
}

fn sorted(ids: &[JobId]) -> Vec<JobId> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}
