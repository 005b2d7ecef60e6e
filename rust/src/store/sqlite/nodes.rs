//! *heartbeat*, departure and *rescue*: who lives, and what becomes of the jobs of those who do not.

use std::time::Duration;

use rusqlite::{OptionalExtension, named_params};

use crate::clock::Timestamp;
use crate::job::{JobId, Lease, NodeId};
use crate::outcome::{self, RescueReason};
use crate::state::State;
use crate::store::json;
use crate::store::sql::sqlite as sql;
use crate::store::sqlite::writer::{Transaction, Verb};
use crate::store::sqlite::{reads, rows};
use crate::store::{Heartbeat, MOST_REFUSED, Pulse, Rescued, Signal};

/// What a node may still do; the numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Beats and claims.
    Alive,
    /// Has announced its end: it may ack what it holds, until its lease ends.
    Leaving,
    /// Declared dead: it may do nothing, and its jobs are taken back for this reason.
    Dead(RescueReason),
    /// Ended and holds nothing; never comes back.
    Gone,
}

impl Standing {
    pub(super) const fn of(number: u8) -> Self {
        match number {
            0 => Self::Alive,
            1 => Self::Leaving,
            2 => Self::Dead(RescueReason::NodeDied),
            3 => Self::Dead(RescueReason::Shutdown),
            _ => Self::Gone,
        }
    }
}

/// Why a node that has not said good-bye, or not for good, is taken for gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// Its process has ended.
    Ended,
    /// Its lease had ended at the look; it may have beaten since.
    Lapsed,
}

/// A node that has a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) number: i64,
    pub(super) standing: Standing,
    pub(super) expires_at: Timestamp,
}

impl Transaction<'_> {
    pub(super) fn node(&self, node: NodeId) -> Verb<Option<Known>> {
        let mut statement = self.connection.prepare_cached(sql::node)?;
        let known = statement.query_row(named_params! {":id": rows::node_text(node)}, |row| {
            let standing = Standing::of(row.get(1)?);
            Ok(Known { number: row.get(0)?, standing, expires_at: Timestamp(row.get(2)?) })
        });
        Ok(known.optional()?)
    }

    pub(super) fn heartbeat(&mut self, beat: &Heartbeat, process: &str) -> Verb<Pulse> {
        let queues = json::queues_text(&beat.queues);
        let expires_at = (self.now + beat.ttl).0;
        let Some(node) = self.node(beat.node)? else {
            self.connection.prepare_cached(sql::register)?.execute(named_params! {
                ":id": rows::node_text(beat.node),
                ":name": beat.name,
                ":pid": beat.pid,
                ":process": process,
                ":now": self.now.0,
                ":expires_at": expires_at,
                ":queues": queues,
            })?;
            return Ok(Pulse::Alive { cancel: Vec::new(), lost: sorted(&beat.holds), unknown: Vec::new() });
        };
        if matches!(node.standing, Standing::Dead(_) | Standing::Gone) {
            return Ok(Pulse::Dead);
        }
        self.connection.prepare_cached(sql::heartbeat)?.execute(named_params! {
            ":number": node.number,
            ":name": beat.name,
            ":pid": beat.pid,
            ":now": self.now.0,
            ":expires_at": expires_at,
            ":queues": queues,
        })?;
        self.reconcile(node.number, &beat.holds)
    }

    /// Compares what the node says it runs with what is leased to it.
    fn reconcile(&self, node: i64, says: &[JobId]) -> Verb<Pulse> {
        let mut lost = sorted(says);
        let (mut cancel, mut unknown) = (Vec::new(), Vec::new());
        let mut statement = self.connection.prepare_cached(sql::held)?;
        let held = statement.query_map(named_params! {":node": node}, |row| {
            Ok((JobId(row.get(0)?), Lease(row.get(1)?), row.get::<_, bool>(2)?))
        })?;
        for row in held {
            let (id, lease, wanted) = row?;
            match lost.binary_search(&id) {
                Ok(place) => {
                    lost.remove(place);
                    if wanted {
                        cancel.push(id);
                    }
                }
                Err(_) => unknown.push((id, lease)),
            }
        }
        Ok(Pulse::Alive { cancel, lost, unknown })
    }

    pub(super) fn depart(&mut self, node: NodeId, grace: Duration) -> Verb<()> {
        let Some(node) = self.node(node)? else { return Ok(()) };
        if matches!(node.standing, Standing::Dead(_) | Standing::Gone) {
            return Ok(());
        }
        let expires_at = (self.now + grace).0;
        self.connection
            .prepare_cached(sql::depart)?
            .execute(named_params! {":number": node.number, ":expires_at": expires_at})?;
        self.retire()
    }

    /// Nodes that ended and hold nothing are gone.
    pub(super) fn retire(&self) -> Verb<()> {
        self.connection.prepare_cached(sql::retire)?.execute([])?;
        Ok(())
    }

    /// Declares these nodes dead, and takes back up to `limit` jobs of all that are. A job that a rule refuses, which somebody
    /// has added, stays where it is, and is an error only where there is no other.
    pub(super) fn rescue(&mut self, dead: &[(i64, Gone)], limit: usize) -> Verb<Vec<Rescued>> {
        for (number, why) in dead {
            self.connection.prepare_cached(sql::bury)?.execute(named_params! {
                ":number": number,
                ":ended": *why == Gone::Ended,
                ":now": self.now.0,
            })?;
        }
        let (mut rescued, mut refused, mut why) = (Vec::new(), Vec::new(), None);
        loop {
            let known = refused.len();
            for (id, reason) in self.orphans(limit - rescued.len(), &refused)? {
                match self.rescue_one(id, reason) {
                    Err(failed) if failed.is_bad_data() && !self.connection.is_autocommit() => {
                        refused.push(id);
                        why = Some(failed);
                    }
                    done => rescued.extend(done?),
                }
            }
            if refused.len() == known || refused.len() >= MOST_REFUSED {
                break;
            }
        }
        if let Some(failed) = why.filter(|_| rescued.is_empty()) {
            return Err(failed);
        }
        self.retire()?;
        Ok(rescued)
    }

    /// Up to `limit` jobs whose node is gone, beside those that are refused.
    fn orphans(&self, limit: usize, refused: &[JobId]) -> Verb<Vec<(JobId, RescueReason)>> {
        let mut statement = self.connection.prepare_cached(sql::orphans)?;
        let limit = i64::try_from(limit + refused.len()).unwrap_or(i64::MAX);
        let found = statement.query_map(named_params! {":limit": limit}, |row| {
            let reason = match Standing::of(row.get(1)?) {
                Standing::Dead(reason) => reason,
                Standing::Alive | Standing::Leaving | Standing::Gone => RescueReason::NodeDied,
            };
            Ok((JobId(row.get(0)?), reason))
        })?;
        let orphans = found.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(orphans.into_iter().filter(|(id, _)| !refused.contains(id)).collect())
    }

    fn rescue_one(&mut self, id: JobId, reason: RescueReason) -> Verb<Option<Rescued>> {
        let Some(job) = self.job(id)? else { return Ok(None) };
        let rescue = outcome::rescue(&job, reason)?;
        let mut statement = self.connection.prepare_cached(sql::errors)?;
        let known = statement.query_row(named_params! {":id": id.0}, |row| rows::string(row, 0))?;
        self.connection.prepare_cached(sql::rescue)?.execute(named_params! {
            ":id": id.0,
            ":lease": job.lease.0,
            ":state": rescue.to.number(),
            ":attempt": rescue.attempt,
            ":crashes": rescue.crashes,
            ":errors": json::errors_after(Some(&known), job.attempt, self.now, &rescue.error),
            ":finished_at": rescue.to.is_final().then_some(self.now.0),
        })?;
        let Some(job) = self.job(id)? else { return Ok(None) };
        self.tell(if job.state == State::Available { Signal::Ready(job.queue.clone()) } else { Signal::Settled });
        Ok(Some(Rescued { job, reason }))
    }

    pub(super) fn job(&self, id: JobId) -> Verb<Option<crate::job::Job>> {
        reads::get(self.connection, id)
    }
}

fn sorted(ids: &[JobId]) -> Vec<JobId> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Manual;
    use crate::job::{Name, NewJob};
    use crate::store::sqlite::writer::Durable;
    use crate::store::sqlite::{Liveness, SqliteConfig, SqliteStore};
    use crate::store::{Claim, Store};
    use crate::sync::Arc;

    #[test]
    fn a_node_that_has_beaten_since_the_look_is_not_dead_unless_its_process_has_ended() {
        const TTL: Duration = Duration::from_secs(20);
        let (folder, node) = (tempfile::tempdir().unwrap(), NodeId(7));
        let (queue, worker) = (Name::queue("default").unwrap(), Name::worker("w").unwrap());
        let clock = Arc::new(Manual::default());
        let config = SqliteConfig::new(folder.path().join("jobs.db"), fastrand::Rng::with_seed(1));
        let config = SqliteConfig { clock: clock.clone(), liveness: Liveness::Leases, ..config };
        let store = SqliteStore::open(config).unwrap();
        let beat = Heartbeat { node, name: String::new(), pid: 1, ttl: TTL, queues: Vec::new(), holds: Vec::new() };
        store.heartbeat(&beat).unwrap();
        store.enqueue(vec![NewJob::new(queue.clone(), worker, b"{}".as_slice().into())]).unwrap();
        assert_eq!(store.claim(&Claim { node, queue, limit: 1 }).unwrap().len(), 1);

        clock.advance(TTL * 2);
        let (looked, _) = store.gone().unwrap().remove(0);
        store.heartbeat(&beat).unwrap();
        let rescue = |why: Gone| {
            store.write(Durable::Yes, move |transaction| transaction.rescue(&[(looked.number, why)], 10)).unwrap().len()
        };
        assert_eq!(rescue(Gone::Lapsed), 0);
        assert_eq!(rescue(Gone::Ended), 1);
    }
}
