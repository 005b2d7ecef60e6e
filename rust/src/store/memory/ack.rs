//! *ack* and progress: what a running job may write, guarded by its lease.

use crate::job::NodeId;
use crate::outcome::Ack;
use crate::queue::jobs::{Ended, Row};
use crate::queue::leases::Holder;
use crate::state::{Event, State};
use crate::store::memory::index::Index;
use crate::store::memory::tables::Tables;
use crate::store::{Acked, Report};

impl Tables {
    pub(super) fn ack(&mut self, node: NodeId, acks: &[Ack]) -> Vec<Acked> {
        let replies = acks.iter().map(|ack| self.settle(node, ack)).collect();
        self.trim();
        replies
    }

    pub(super) fn ack_one(&mut self, node: NodeId, ack: &Ack) -> Acked {
        let reply = self.settle(node, ack);
        self.trim();
        reply
    }

    fn settle(&mut self, node: NodeId, ack: &Ack) -> Acked {
        let Self { jobs, index, .. } = self;
        let Some(row) = jobs.get_mut(ack.id).filter(|row| row.lease == ack.lease) else { return Acked::LeaseLost };
        if row.state == ack.to && row.ended == Ended::ByAck {
            return Acked::Already;
        }
        if !may_write(row, index.leases.writer(node)) {
            return Acked::LeaseLost;
        }
        if row.is_cancel_requested() && ack.event != Event::Cancel {
            return Acked::CancelRequested;
        }
        index.take(ack.id, row);
        index.write(row, ack);
        index.shift(ack.id, row, ack.to);
        Acked::Stored
    }

    pub(super) fn report(&mut self, node: NodeId, reports: &[Report]) {
        let writer = self.index.leases.writer(node);
        for report in reports {
            let row = self.jobs.get_mut(report.id).filter(|row| row.lease == report.lease && may_write(row, writer));
            if let Some(row) = row {
                row.details_mut().progress = Some(report.progress.clone());
            }
        }
    }
}

impl Index {
    fn write(&self, row: &mut Row, ack: &Ack) {
        if let Some(failure) = &ack.error {
            self.add_error(row, failure.clone());
        }
        if let Some(result) = &ack.result {
            row.details_mut().result = Some(result.clone());
        }
        row.attempt = ack.attempt;
        row.ended = Ended::ByAck;
        if let Some(delay) = ack.delay {
            row.scheduled_at = self.now + delay;
        }
    }
}

fn may_write(row: &Row, writer: Option<Holder>) -> bool {
    row.state == State::Executing && writer == Some(row.holder)
}
