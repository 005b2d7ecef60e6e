//! The store in one SQLite file: shared by all threads and processes of one machine, survives `kill -9` and power loss.
//!
//! Invariants:
//!
//! * Every change goes through the one [`writer`], which shares commits; reads see what was committed last, and have two
//!   connections: no claim waits for a long list.
//! * What only a power loss could undo, and what is simply done again then (a claim, a beat, staging), is not pressed
//!   onto the disk by itself; an enqueue, an ack and what people do is.
//! * The time never goes back within a process, nor below what the nodes of the file have seen, and never stands still
//!   ([`time`]).
//! * A role that finds nothing to do takes no lock: at idle nothing is written but the heartbeat.
//! * A node is gone when the process that it lives in has ended, which the kernel tells at once. A slow or stopped
//!   process keeps its jobs: it has its lock. The lease decides where neither speaks, and in tests that move the clock.

mod ack;
mod by_hand;
mod claim;
mod connection;
mod cron;
mod disk;
mod enqueue;
#[cfg(feature = "fuzz")]
pub mod fuzzing;
mod group;
pub mod line;
mod meaning;
pub mod neighbours;
mod nodes;
mod patience;
mod place;
mod reads;
mod rows;
mod schema;
mod time;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use crate::clock::{Clock, System, Timestamp};
use crate::error::{Error, Result};
use crate::failpoint::{Hand, Step as Moment};
use crate::job::{Job, JobId, Name, NewJob, NodeId};
use crate::outcome::Ack;
use crate::store::subscribers::Subscribers;
use crate::store::{
    Acked, Cancelled, Claim, CronEntry, CronRow, CronTick, Enqueued, Filter, Heartbeat, NodeRow, Paused, Pulse,
    QueueRow, Report, Rescued, Retention, Retried, Signal, Staged, Store, Subscriber, Ticked,
};
use crate::sync::{Arc, Mutex, Weak};

pub use crate::store::migrate::Step;
pub use connection::{OLDEST, Synchronous, press_again};
pub use enqueue::Draft;
pub use place::{Create, PATIENCE};
pub use rows::COLUMNS;
pub use schema::{apply, steps};

use connection::{Frozen, retire};
use meaning::{advised, repeatable};
use neighbours::{Fate, Hearer, Neighbours, News};
use nodes::{Gone, Standing};
use place::{Kept, Place};
use reads::NodeRecord;
use time::Time;
use writer::{Durable, Transaction, Verb, Writer};

/// How a [`SqliteStore`] is set up.
#[derive(Debug, Clone)]
pub struct SqliteConfig {
    /// The file.
    pub path: PathBuf,
    /// How hard commits are pressed onto the disk.
    pub synchronous: Synchronous,
    /// Whether a missing file is made.
    pub create: Create,
    /// Whether it writes.
    pub access: Access,
    /// How long a call waits for another program that holds the write lock; above zero.
    pub patience: Duration,
    /// How many pages the log beside the file may have before they are copied into it.
    pub checkpoint_pages: u32,
    /// Writes a file's bytes over themselves and presses them onto the disk, after a sync that failed. A test that
    /// simulates disks takes notes here.
    pub press_again: fn(&Path) -> io::Result<()>,
    /// Where it reads time.
    pub clock: Arc<dyn Clock>,
    /// What tells whether a node is gone.
    pub liveness: Liveness,
    /// The source of the name that the neighbours know this process by.
    pub random: fastrand::Rng,
}

impl SqliteConfig {
    /// The file, and the default of everything else.
    pub fn new(path: impl Into<PathBuf>, random: fastrand::Rng) -> Self {
        Self {
            path: path.into(),
            synchronous: Synchronous::default(),
            create: Create::Yes,
            access: Access::Whole,
            patience: PATIENCE,
            // 16 MiB. After 4 MiB, SQLite's own choice, its share of the work is twice as large.
            checkpoint_pages: 4_000,
            press_again,
            clock: Arc::new(System),
            liveness: Liveness::Processes,
            random,
        }
    }
}

/// Whether a store writes into its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It reads and writes.
    Whole,
    /// It only reads, also where nothing can be written; the file must be there.
    Reading,
}

/// What tells whether a node is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// Its process has ended, by the lock that the kernel frees then and by the kernel's word.
    Processes,
    /// Its lease has ended, by the store's clock: for tests that own time and play several nodes in one process.
    Leases,
}

/// Jobs in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    place: Place,
    clock: Arc<dyn Clock>,
    time: Time,
    /// Lists and counts, which may take long.
    reader: Mutex<Option<Connection>>,
    /// What the engine looks at before it acts, and single jobs: they wait for no list.
    looker: Mutex<Option<Connection>>,
    /// None: it only reads.
    writer: Option<Writer>,
    subscribers: Arc<Subscribers>,
    neighbours: Option<Neighbours>,
    /// That this process has the file open; dropped last.
    kept: Kept,
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // In the child of a fork the connections are the parent's: closing one here would end its WAL under it.
        if !self.kept.is_ours() {
            self.writer.iter_mut().for_each(Writer::abandon);
            std::mem::forget((self.reader.get_mut().take(), self.looker.get_mut().take()));
            return;
        }
        // The writer last: whoever closes last copies the WAL into the file, and only the writer may.
        for reader in [&mut self.reader, &mut self.looker] {
            reader.get_mut().take().into_iter().for_each(retire);
        }
        self.writer.iter_mut().for_each(Writer::close);
    }
}

impl SqliteStore {
    /// Opens the file, or makes it with its tables.
    pub fn open(config: SqliteConfig) -> Result<Self> {
        if rusqlite::version_number() < OLDEST {
            return Err(Error::Internal(format!("SQLite {} is too old: 3.51.3 is needed", rusqlite::version())));
        }
        let create = match config.access {
            Access::Whole => config.create,
            Access::Reading => Create::No,
        };
        let place = Place::prepare(&config.path, create)?.patient(config.patience);
        let kept = place.keep()?;
        let (writer, time) = match config.access {
            Access::Whole => {
                let mut connection = place.open_writer()?;
                if let Err(error) = schema::prepare(&mut connection, &place, config.clock.now()) {
                    // Perhaps a sync has failed, and whoever opens the file next would build on what it left.
                    drop(group::alone(&connection, || (config.press_again)(&place.wal())));
                    return Err(error);
                }
                let time = Time::of(&connection, config.clock.clone()).map_err(|error| place.error(&error))?;
                (Some(Writer::new(place.clone(), connection, &config)?), time)
            }
            Access::Reading => {
                let (connection, _) = place.open_read_only()?;
                schema::check(&connection, &place)?;
                let time = Time::of(&connection, config.clock.clone()).map_err(|error| place.error(&error))?;
                (None, time)
            }
        };
        let neighbours = match (config.liveness, config.access) {
            (Liveness::Processes, Access::Whole) => Some(Neighbours::of(&place.path, config.random)),
            (Liveness::Leases, _) | (_, Access::Reading) => None,
        };
        Ok(Self {
            place,
            clock: config.clock,
            time,
            reader: Mutex::default(),
            looker: Mutex::default(),
            writer,
            subscribers: Arc::default(),
            neighbours,
            kept,
        })
    }

    /// The file, links resolved.
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    fn time(&self) -> Timestamp {
        self.time.now()
    }

    fn write<T: Send + 'static>(
        &self,
        durable: Durable,
        verb: impl FnOnce(&mut Transaction<'_>) -> Verb<T> + Send + 'static,
    ) -> Result<T> {
        self.insert(durable, verb).map_err(repeatable)
    }

    /// As `write`, for what must not be done twice: it says when nobody knows what became of the commit.
    fn insert<T: Send + 'static>(
        &self,
        durable: Durable,
        verb: impl FnOnce(&mut Transaction<'_>) -> Verb<T> + Send + 'static,
    ) -> Result<T> {
        let Some(writer) = &self.writer else {
            return Err(Error::StoreUnavailable(format!(
                "{} was opened for reading only: open it without read_only=True or ?mode=ro to change something",
                self.place.path.display()
            )));
        };
        let hand = Hand::now();
        let written = move |transaction: &mut Transaction<'_>| {
            let done = verb(transaction)?;
            hand.step(Moment::Written)?;
            Ok(done)
        };
        let told = |news: &[Signal]| {
            hand.pass(Moment::Committed);
            if !news.is_empty() {
                self.tell(news);
            }
        };
        writer.write(durable, |connection| self.time.inside(connection), told, written)
    }

    fn read<T>(&self, verb: impl FnOnce(&Connection) -> Verb<T>) -> Result<T> {
        self.read_by(&self.reader, verb)
    }

    fn look<T>(&self, verb: impl FnOnce(&Connection) -> Verb<T>) -> Result<T> {
        self.read_by(&self.looker, verb)
    }

    fn read_by<T>(&self, reader: &Mutex<Option<Connection>>, verb: impl FnOnce(&Connection) -> Verb<T>) -> Result<T> {
        let mut slot = reader.lock();
        self.place.check_open()?;
        self.place.check()?;
        self.place.check_beside()?;
        self.place.begin();
        let (mut frozen, new) = (Frozen::No, slot.is_none());
        if new {
            let opened = match self.writer {
                Some(_) => (self.place.open_reader()?, Frozen::No),
                None => self.place.open_read_only()?,
            };
            frozen = opened.1;
            *slot = Some(opened.0);
        }
        let Some(connection) = slot.as_ref() else { return Err(Error::Internal("no connection".into())) };
        let reply = verb(connection);
        // Opened again next time: nothing rests on a connection that met an error, or that sees no change. One that has the
        // index of a disk that took no writes would keep it so for all others.
        if reply.is_err() || frozen == Frozen::Yes || (new && self.place.index_is_only_read()) {
            slot.take().into_iter().for_each(retire);
        }
        reply.map_err(|failed| self.place.meaning(failed))
    }

    /// Tells this process and its neighbours what committed.
    fn tell(&self, news: &[Signal]) {
        self.subscribers.tell(news);
        if let Some(neighbours) = &self.neighbours {
            let news: Vec<News> = news.iter().flat_map(News::of).collect();
            if !news.is_empty() {
                neighbours.tell(&news, self.clock.moment());
            }
        }
    }

    /// The name of this process among its neighbours; from the first call on it hears them.
    fn process(&self) -> Result<String> {
        let Some(neighbours) = &self.neighbours else { return Ok(String::new()) };
        let subscribers = Arc::downgrade(&self.subscribers);
        neighbours.join(subscribers, self.clock.moment())
    }

    /// The nodes that are gone and not yet declared dead. One that cannot be looked at keeps nobody from rescuing the jobs of
    /// the others: the error is the answer when nothing else is.
    fn gone(&self) -> Result<Vec<(NodeRecord, Gone)>> {
        let now = self.time();
        let (mut gone, mut failed) = (Vec::new(), None);
        for node in self.look(reads::nodes)? {
            match self.why_gone(&node, now) {
                Ok(Some(why)) => gone.push((node, why)),
                // One that beats is not missed.
                Err(error) if node.row.expires_at < now => failed = Some(error),
                Ok(None) | Err(_) => {}
            }
        }
        if gone.is_empty() { failed.map_or(Ok(gone), Err) } else { Ok(gone) }
    }

    fn why_gone(&self, node: &NodeRecord, now: Timestamp) -> Result<Option<Gone>> {
        let lapsed = || (node.row.expires_at < now).then_some(Gone::Lapsed);
        let leaves = match node.standing {
            Standing::Alive => false,
            Standing::Leaving => true,
            Standing::Dead(_) | Standing::Gone => return Ok(None),
        };
        let Some(neighbours) = &self.neighbours else { return Ok(lapsed()) };
        Ok(match neighbours.fate_of(&node.process) {
            Ok(Fate::Ended) => Some(Gone::Ended),
            Ok(Fate::Unclear) => lapsed(),
            // It said itself how long it may still hold its jobs.
            Ok(Fate::Lives) | Err(_) if leaves => lapsed(),
            Ok(Fate::Lives) => None,
            Err(error) => return Err(error),
        })
    }
}

impl Hearer for Subscribers {
    fn hear(&self, news: News) {
        self.tell(&[news.signal()]);
    }
}

impl Store for SqliteStore {
    fn blocks(&self) -> bool {
        true
    }

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) {
        self.subscribers.add(subscriber);
    }

    fn now(&self) -> Result<Timestamp> {
        Ok(self.time())
    }

    fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.insert(Durable::Yes, move |transaction| transaction.enqueue(jobs)).map_err(advised)
    }

    fn claim(&self, claim: &Claim) -> Result<Vec<Job>> {
        let claim = claim.clone();
        if claim.limit > 0 && !self.look(|connection| reads::has_work(connection, &claim.queue))? {
            let now = self.time();
            let alive = |node: &NodeRecord| {
                node.row.node == claim.node && node.standing == Standing::Alive && node.row.expires_at >= now
            };
            if self.look(reads::nodes)?.iter().any(alive) {
                return Ok(Vec::new());
            }
        }
        self.write(Durable::No, move |transaction| transaction.claim(&claim))
    }

    fn ack(&self, node: NodeId, acks: &[Ack]) -> Result<Vec<Acked>> {
        if acks.is_empty() {
            return Ok(Vec::new());
        }
        let acks = acks.to_vec();
        self.write(Durable::Yes, move |transaction| transaction.ack(node, &acks))
    }

    fn report(&self, node: NodeId, reports: &[Report]) -> Result<()> {
        let reports = reports.to_vec();
        self.write(Durable::No, move |transaction| transaction.report(node, &reports))
    }

    fn stage(&self, limit: usize) -> Result<Staged> {
        let next = self.look(reads::next_due)?;
        let now = self.time();
        if next.is_none_or(|next| next > now) {
            return Ok(Staged { moved: 0, next, now });
        }
        self.write(Durable::No, move |transaction| transaction.stage(limit))
    }

    fn heartbeat(&self, beat: &Heartbeat) -> Result<Pulse> {
        let (beat, process) = (beat.clone(), self.process()?);
        self.time.look();
        self.write(Durable::No, move |transaction| transaction.heartbeat(&beat, &process))
    }

    fn depart(&self, node: NodeId, grace: Duration) -> Result<()> {
        self.write(Durable::No, move |transaction| transaction.depart(node, grace))
    }

    fn rescue(&self, limit: usize) -> Result<Vec<Rescued>> {
        let gone = self.gone();
        if gone.as_ref().map_or(true, Vec::is_empty) && !self.look(reads::has_orphans)? {
            return gone.map(|_| Vec::new());
        }
        let gone = gone.unwrap_or_default();
        let dead: Vec<(i64, Gone)> = gone.iter().map(|(node, why)| (node.number, *why)).collect();
        let rescued = self.write(Durable::Yes, move |transaction| transaction.rescue(&dead, limit))?;
        if let Some(neighbours) = &self.neighbours {
            // A node may be gone and its process live, which has other nodes, or will have.
            for (node, _) in gone.iter().filter(|(_, why)| *why == Gone::Ended) {
                neighbours.bury(&node.process);
            }
        }
        Ok(rescued)
    }

    fn nodes(&self) -> Result<Vec<NodeRow>> {
        Ok(self.look(reads::nodes)?.into_iter().map(|node| node.row).collect())
    }

    fn cancel(&self, filter: &Filter) -> Result<Vec<Cancelled>> {
        let filter = filter.clone();
        self.write(Durable::Yes, move |transaction| transaction.cancel(&filter))
    }

    fn retry(&self, filter: &Filter) -> Result<Vec<Retried>> {
        let filter = filter.clone();
        self.write(Durable::Yes, move |transaction| transaction.retry(&filter))
    }

    fn delete(&self, filter: &Filter) -> Result<usize> {
        let filter = filter.clone();
        self.write(Durable::Yes, move |transaction| transaction.delete(&filter))
    }

    fn prune(&self, retention: &Retention, limit: usize) -> Result<usize> {
        let (retention, now) = (*retention, self.time());
        if !self.look(|connection| reads::has_old(connection, &retention, now))? {
            return Ok(0);
        }
        self.write(Durable::No, move |transaction| transaction.prune(&retention, limit))
    }

    fn pause(&self, queue: &Name) -> Result<()> {
        let queue = queue.clone();
        self.write(Durable::Yes, move |transaction| transaction.set_paused(queue, true))
    }

    fn resume(&self, queue: &Name) -> Result<()> {
        let queue = queue.clone();
        self.write(Durable::Yes, move |transaction| transaction.set_paused(queue, false))
    }

    fn scale(&self, queue: &Name, concurrency: Option<u32>) -> Result<()> {
        let queue = queue.clone();
        self.write(Durable::Yes, move |transaction| transaction.scale(queue, concurrency))
    }

    fn get(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        let filter = Filter { ids: Some(ids.to_vec()), ..Filter::default() };
        self.look(|connection| reads::list(connection, &filter))
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Job>> {
        self.read(|connection| reads::list(connection, filter))
    }

    fn count(&self, filter: &Filter) -> Result<u64> {
        self.read(|connection| reads::count(connection, filter))
    }

    fn count_by_state(&self, queue: Option<&Name>) -> Result<[u64; 7]> {
        self.read(|connection| reads::count_by_state(connection, queue))
    }

    fn queues(&self) -> Result<Vec<QueueRow>> {
        self.read(reads::queues)
    }

    fn settings(&self) -> Result<Vec<QueueRow>> {
        self.look(reads::settings)
    }

    fn save_cron(&self, entry: &CronEntry) -> Result<()> {
        let entry = entry.clone();
        self.write(Durable::Yes, move |transaction| transaction.save_cron(&entry))
    }

    fn crons(&self) -> Result<Vec<CronRow>> {
        self.look(reads::crons)
    }

    fn set_cron_paused(&self, name: &Name, paused: Paused) -> Result<bool> {
        let name = name.clone();
        self.write(Durable::Yes, move |transaction| transaction.set_cron_paused(&name, paused))
    }

    fn delete_cron(&self, name: &Name) -> Result<bool> {
        let name = name.clone();
        self.write(Durable::Yes, move |transaction| transaction.delete_cron(&name))
    }

    fn tick(&self, tick: CronTick) -> Result<Ticked> {
        self.write(Durable::Yes, move |transaction| transaction.tick(tick))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn a_claim_does_not_wait_for_a_long_list() {
        let folder = tempfile::tempdir().unwrap();
        let config = SqliteConfig::new(folder.path().join("jobs.db"), fastrand::Rng::with_seed(1));
        let store = SqliteStore::open(config).unwrap();
        let claim = Claim { node: NodeId(1), queue: Name::queue("default").unwrap(), limit: 1 };
        let (begins, lists) = channel();
        let (claimed, waits) = channel();
        let list = move |_: &Connection| {
            begins.send(()).unwrap();
            Ok(waits.recv_timeout(Duration::from_secs(10)))
        };
        let waited = thread::scope(|scope| {
            let reading = scope.spawn(|| store.read(list));
            lists.recv().unwrap();
            drop(store.claim(&claim));
            let in_time = claimed.send(()).is_ok();
            (in_time, reading.join().unwrap().unwrap())
        });
        assert_eq!(waited, (true, Ok(())));
    }
}
