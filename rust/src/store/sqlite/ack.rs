//! *ack* and progress: what a running job may write, guarded by its lease.

use rusqlite::{OptionalExtension, named_params};

use crate::job::NodeId;
use crate::outcome::Ack;
use crate::state::{Event, State};
use crate::store::json;
use crate::store::sql::sqlite as sql;
use crate::store::sqlite::nodes::Standing;
use crate::store::sqlite::rows;
use crate::store::sqlite::writer::{Transaction, Verb};
use crate::store::{Acked, Report, Signal};

impl Transaction<'_> {
    pub(super) fn ack(&mut self, node: NodeId, acks: &[Ack]) -> Verb<Vec<Acked>> {
        let node = self.node(node)?;
        let writer = node.filter(|node| matches!(node.standing, Standing::Alive | Standing::Leaving));
        let number = writer.map(|node| node.number);
        let replies = acks.iter().map(|ack| self.settle(number, ack)).collect::<Verb<Vec<_>>>()?;
        if writer.is_some_and(|node| node.standing == Standing::Leaving) {
            self.retire()?;
        }
        Ok(replies)
    }

    /// One bad row never harms its neighbours: what the file refuses, by a rule that somebody has added, is written again
    /// without what came from the handler.
    fn settle(&mut self, node: Option<i64>, ack: &Ack) -> Verb<Acked> {
        match self.end(node, ack) {
            // Some rules take the whole transaction back: outside of one nothing may be written.
            Err(failed) if failed.is_bad_data() && !self.connection.is_autocommit() => self.end(node, &ack.reduced()),
            done => done,
        }
    }

    fn end(&mut self, node: Option<i64>, ack: &Ack) -> Verb<Acked> {
        let Some(number) = node else { return self.refused(node, ack) };
        let finished_at = ack.to.is_final().then_some(self.now.0);
        let scheduled_at = ack.delay.map(|delay| self.now + delay);
        let result = ack.result.as_deref().map(json::text).transpose()?;
        let changed = self.connection.prepare_cached(sql::ack)?.execute(named_params! {
            ":id": ack.id.0,
            ":lease": ack.lease.0,
            ":node": number,
            ":state": ack.to.number(),
            ":attempt": ack.attempt,
            ":scheduled_at": scheduled_at.map(|at| at.0),
            ":finished_at": finished_at,
            ":errors": self.errors_of(ack)?,
            ":result": result,
            ":cancels": ack.event == Event::Cancel,
        })?;
        if changed == 0 {
            return self.refused(node, ack);
        }
        match (ack.to, scheduled_at) {
            (State::Available, _) => {
                if let Some(job) = self.job(ack.id)? {
                    self.tell(Signal::Ready(job.queue));
                }
            }
            (_, Some(at)) => self.tell(Signal::Due(at)),
            (_, None) => self.tell(Signal::Settled),
        }
        Ok(Acked::Stored)
    }

    /// The errors that the job has with this one, when there is one.
    fn errors_of(&self, ack: &Ack) -> Verb<Option<String>> {
        let Some(failure) = &ack.error else { return Ok(None) };
        let mut statement = self.connection.prepare_cached(sql::errors)?;
        let known = statement.query_row(named_params! {":id": ack.id.0}, |row| rows::string(row, 0)).optional()?;
        Ok(Some(json::errors_after(known.as_deref(), ack.attempted(), self.now, failure)))
    }

    /// Why nothing was written.
    fn refused(&self, node: Option<i64>, ack: &Ack) -> Verb<Acked> {
        let mut statement = self.connection.prepare_cached(sql::why)?;
        let found = statement
            .query_row(named_params! {":id": ack.id.0}, |row| {
                Ok((row.get::<_, u8>(0)?, row.get::<_, u32>(1)?, row.get(2)?, row.get::<_, bool>(3)?, row.get(4)?))
            })
            .optional()?;
        let Some((state, lease, holder, acked, cancel_requested)) = found else { return Ok(Acked::LeaseLost) };
        if lease != ack.lease.0 {
            return Ok(Acked::LeaseLost);
        }
        if acked && state == ack.to.number() {
            return Ok(Acked::Already);
        }
        let holder: Option<i64> = holder;
        let runs_here = state == State::Executing.number() && node.is_some() && holder == node;
        Ok(if runs_here && cancel_requested { Acked::CancelRequested } else { Acked::LeaseLost })
    }

    pub(super) fn report(&mut self, node: NodeId, reports: &[Report]) -> Verb<()> {
        let node = self.node(node)?;
        let writer = node.filter(|node| matches!(node.standing, Standing::Alive | Standing::Leaving));
        let Some(writer) = writer else { return Ok(()) };
        let mut statement = self.connection.prepare_cached(sql::report)?;
        for report in reports {
            statement.execute(named_params! {
                ":id": report.id.0,
                ":lease": report.lease.0,
                ":node": writer.number,
                ":progress": json::progress_text(&report.progress),
            })?;
        }
        Ok(())
    }
}
