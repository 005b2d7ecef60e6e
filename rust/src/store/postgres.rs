//! The store in PostgreSQL: shared by any number of processes on any number of machines.
//!
//! Invariants:
//!
//! * The server's clock decides what is due, expired and old.
//! * Up to five connections for a process: one on which jobs are enqueued and acks written, one on which jobs with unique
//!   keys are enqueued, one on which jobs are claimed and the node beats, one for everything else, and one that hears what
//!   others have done. Each is opened when it is needed.
//! * Enqueues that arrive while one is on its way share the next statement and its commit.
//! * A verb is one statement, or one transaction. Whoever holds locks on several rows has taken them in one statement, or in
//!   the order of their ids.

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::try_join_all;

use crate::clock::{Clock, Moment, System, Timestamp};
use crate::error::{Error, Result};
use crate::job::{Job, JobId, Name, NewJob, NodeId};
use crate::outcome::Ack;
use crate::store::group::Group;
use crate::store::migrate::{Migration, Step};
use crate::store::subscribers::Subscribers;
use crate::store::{
    Acked, Cancelled, Claim, CronEntry, CronRow, CronTick, Enqueued, Filter, Heartbeat, NodeRow, Paused, Pulse,
    QueueRow, Report, Rescued, Retention, Retried, Signal, Staged, Store, Subscriber, Ticked,
};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, Weak};
use crate::unique::UniqueStrategy;

mod ack;
mod address;
mod by_hand;
mod claim;
mod cron;
mod dialect;
mod ear;
mod enqueue;
#[cfg(feature = "fuzz")]
pub mod fuzzing;
mod marks;
mod meaning;
mod nodes;
mod pace;
mod reads;
mod roll;
mod rows;
mod schema;
mod seat;
mod session;
mod tls;
mod types;

pub use address::Environment;
pub use dialect::SCHEMA;
pub use rows::COLUMNS;

use crate::store::news::News;
use address::Address;
use by_hand::Setting;
use dialect::Dialect;
use ear::Ear;
use marks::Marks;
use meaning::Fate;
use pace::Pace;
use roll::Rolls;
use schema::Home;
use seat::{Contact, Repeat, Seat};
use session::{Plans, Session, Verb};

/// How long a call may take, unless it is told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Where the server is far away every look takes so long, which does no harm.
const LONG_LOOK: Duration = Duration::from_millis(50);

/// Looks for jobs whose node is gone may take one part of so many of the time.
const STRAYS: u32 = 20;

/// So many jobs of callers that arrive together are inserted by one statement.
const TOGETHER: usize = 1_000;

/// So many jobs are inserted by one statement of a bulk enqueue.
const AT_ONCE: usize = 2_000;

/// How a [`PostgresStore`] is set up.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// `postgresql://user@host/database?option=value`.
    pub url: String,
    /// The schema of the tables: several stores can share a database.
    pub schema: String,
    /// Whether the tables of a new database are made.
    pub create: bool,
    /// How long a call may take; above zero.
    pub patience: Duration,
    /// Once looks for work take so long, the next ones begin behind what was claimed before.
    pub long_look: Duration,
    /// Where the environment is read.
    pub environment: fn(&str) -> Option<String>,
    /// The source of chance: waits before another try, and the name of this process among the others.
    pub random: fastrand::Rng,
}

impl PostgresConfig {
    /// The server, and the default of everything else.
    pub fn new(url: impl Into<String>, random: fastrand::Rng) -> Self {
        Self {
            url: url.into(),
            schema: SCHEMA.to_owned(),
            create: true,
            patience: PATIENCE,
            long_look: LONG_LOOK,
            environment: |name| std::env::var(name).ok(),
            random,
        }
    }
}

/// Callers who enqueue at the same time, and when each came.
type Enqueues = Group<(Moment, Vec<NewJob>), Vec<Enqueued>>;

/// Jobs in a database of PostgreSQL.
#[derive(Debug)]
pub struct PostgresStore {
    address: Arc<Address>,
    dialect: Arc<Dialect>,
    writes: Seat,
    /// Of enqueues with unique keys: one that waits for somebody's open transaction, which has its key, holds up no others and
    /// no ends of jobs.
    keyed: Seat,
    claims: Seat,
    desk: Seat,
    ear: Ear,
    marks: Marks,
    rolls: Rolls,
    /// Of looks for jobs whose node is gone and did not die.
    strays: Mutex<Pace>,
    enqueues: Enqueues,
    keyed_enqueues: Enqueues,
    subscribers: Arc<Subscribers>,
    /// Nodes that have announced their end here: with their last ack they are gone.
    leaving: Mutex<Vec<NodeId>>,
    contact: Arc<Contact>,
    /// How long a beat of ours is good for, in nanoseconds; 0 when nobody beats here.
    lease: AtomicU64,
    /// When the database got its tables.
    born_at: Timestamp,
}

impl PostgresStore {
    /// Finds the server, and makes the tables of a new database when asked to.
    pub fn open(config: PostgresConfig) -> Result<Self> {
        let create = config.create;
        let store = Self::at(config)?;
        let born_at = if create { store.home().prepare()? } else { store.home().check()? };
        Ok(Self { born_at, ..store })
    }

    /// The steps of this version's schema, and which of them the database has.
    pub fn steps(config: PostgresConfig) -> Result<Vec<Step>> {
        Self::at(config)?.home().steps()
    }

    /// Brings a database up to this version's schema; says which steps were applied now.
    pub fn migrate(config: PostgresConfig) -> Result<Vec<Migration>> {
        Self::at(config)?.home().apply()
    }

    fn at(mut config: PostgresConfig) -> Result<Self> {
        let address = Arc::new(Address::parse(&config.url, config.patience, &config.environment)?);
        let dialect = Arc::new(Dialect::new(&config.schema)?);
        let subscribers = Arc::<Subscribers>::default();
        let contact = Arc::<Contact>::default();
        let mut seat = |plans| {
            let random = config.random.fork();
            Seat::new(address.clone(), dialect.clone(), plans, config.patience, random, contact.clone())
        };
        let (writes, claims, desk) = (seat(Plans::Free), seat(Plans::Ordered), seat(Plans::Free));
        let keyed = seat(Plans::Free);
        let random = config.random.fork();
        let ear = Ear::new(address.clone(), dialect.clone(), subscribers.clone(), config.patience, random);
        let (enqueues, keyed_enqueues) = (Group::default(), Group::default());
        let (leaving, lease) = (Mutex::default(), AtomicU64::new(0));
        let born_at = Timestamp::MIN;
        Ok(Self {
            address,
            dialect,
            writes,
            keyed,
            claims,
            desk,
            ear,
            marks: Marks::new(config.long_look),
            rolls: Rolls::default(),
            strays: Mutex::default(),
            enqueues,
            keyed_enqueues,
            subscribers,
            leaving,
            contact,
            lease,
            born_at,
        })
    }

    fn home(&self) -> Home<'_> {
        Home { seat: &self.desk, address: &self.address, dialect: &self.dialect }
    }

    /// The server and the database, without anything secret.
    pub fn place(&self) -> String {
        self.address.to_string()
    }

    /// When the database got its tables: what tells it from another one.
    pub fn born_at(&self) -> Timestamp {
        self.born_at
    }

    /// The schema of the tables.
    pub fn schema(&self) -> &str {
        self.dialect.schema()
    }

    /// Tells this process and the others what committed.
    fn tell(&self, news: &[Signal]) {
        self.subscribers.tell(news);
        self.ear.tell(&news.iter().flat_map(News::of).collect::<Vec<_>>());
    }

    /// What may be done twice, on the connection for everything else.
    #[expect(clippy::needless_pass_by_value, reason = "closures are written in place")]
    fn read<T>(&self, verb: impl AsyncFn(&Session) -> Verb<T>) -> Result<T> {
        self.desk.call(Repeat::Safe, &verb)
    }

    /// A transaction that may be repeated, and the news that it brings.
    fn change<T>(&self, verb: &impl AsyncFn(&Session) -> Verb<(T, Vec<Signal>)>) -> Result<T> {
        let transaction = async |session: &Session| session.transact(verb).await;
        let (reply, news) = self.read(transaction)?;
        self.tell(&news);
        Ok(reply)
    }

    /// What a person does, in a transaction that is not repeated when nobody knows what came of it: who starts a job again,
    /// or deletes ten, means once.
    fn by_hand<T>(&self, verb: &impl AsyncFn(&Session) -> Verb<(T, Vec<Signal>)>) -> Result<T> {
        let transaction = async |session: &Session| session.transact(verb).await;
        let (reply, news) = self.desk.call(Repeat::Unsafe, &transaction).map_err(|error| match error {
            Error::EnqueueUncertain(_) => Error::StoreUnavailable(
                "the connection ended while it was done, and nobody knows whether it was: look at the jobs before you do it again"
                    .into(),
            ),
            other => other,
        })?;
        self.tell(&news);
        Ok(reply)
    }

    /// What one statement, or one transaction, inserts for a group of callers.
    fn enqueue_together(&self, group: Vec<(Moment, Vec<NewJob>)>) -> Vec<Result<Vec<Enqueued>>> {
        let callers: Vec<_> = group.iter().map(|(came, jobs)| (*came, jobs.len())).collect();
        let first = callers.iter().map(|(came, _)| *came).min().unwrap_or_else(|| System.moment());
        let jobs: Vec<NewJob> = group.into_iter().flat_map(|(_, jobs)| jobs).collect();
        let (refused, doubt) = (Cell::new(false), Cell::new(None));
        match self.insert(&jobs, first, &refused, &doubt) {
            Ok(enqueued) => {
                let mut enqueued = enqueued.into_iter();
                callers.into_iter().map(|(_, size)| Ok(enqueued.by_ref().take(size).collect())).collect()
            }
            // Nothing was done, and one of them is at fault.
            Err(_) if refused.get() && callers.len() > 1 => {
                let mut left = &*jobs;
                let apart = |(came, size)| {
                    let mine;
                    (mine, left) = left.split_at(size);
                    self.insert(mine, came, &refused, &doubt)
                };
                callers.into_iter().map(apart).collect()
            }
            // Each of them is told what is known of all.
            Err(error) => callers.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// `refused` is set when the server refused what is in one of them; `doubt` is since when they may have been inserted
    /// by a try of which nobody knows what came.
    fn insert(
        &self,
        jobs: &[NewJob],
        came: Moment,
        refused: &Cell<bool>,
        doubt: &Cell<Option<Moment>>,
    ) -> Result<Vec<Enqueued>> {
        let keyed = |job: &NewJob| job.unique.as_ref().is_some_and(|one| one.strategy == UniqueStrategy::IgnoreNew);
        let repeat = if jobs.iter().all(keyed) { Repeat::Safe } else { Repeat::Unsafe };
        let seat = if has_key(jobs) { &self.keyed } else { &self.writes };
        let alone = jobs.len() == 1 || (jobs.len() <= AT_ONCE && !has_key(jobs));
        let (began, tried) = (System.moment(), Cell::new(false));
        let again = || {
            if tried.replace(true) {
                doubt.set(doubt.get().or(Some(began)));
            }
            doubt.get()
        };
        let enqueued = if alone {
            let verb = async |session: &Session| {
                let done = match again() {
                    None => enqueue::enqueue(session, jobs, None).await,
                    again => {
                        session.transact(async |session: &Session| enqueue::enqueue(session, jobs, again).await).await
                    }
                };
                done.inspect_err(|failed| refused.set(Fate::is_refused(failed)))
            };
            seat.call_since(came, repeat, &verb)?
        } else {
            // Jobs with keys ask and decide one by one; the others need not wait for each other's replies.
            let parts = async |session: &Session| {
                let again = again();
                let parts = jobs.chunks(AT_ONCE).map(|part| enqueue::enqueue(session, part, again));
                if !has_key(jobs) {
                    return try_join_all(parts).await.map(|parts| parts.concat());
                }
                let mut enqueued = Vec::with_capacity(jobs.len());
                for part in parts {
                    enqueued.extend(part.await?);
                }
                Ok(enqueued)
            };
            let verb = async |session: &Session| {
                session.transact(parts).await.inspect_err(|failed| refused.set(Fate::is_refused(failed)))
            };
            seat.call_since(came, repeat, &verb)?
        };
        let mut news = Vec::new();
        for signal in enqueued.iter().filter_map(enqueue::news) {
            if !news.contains(&signal) {
                news.push(signal);
            }
        }
        self.tell(&news);
        Ok(enqueued)
    }

    /// Whether a job runs under a node that is gone; not at each call, where looking takes long.
    fn has_strays(&self) -> Result<bool> {
        let began = System.moment();
        if !self.strays.lock().is_due(STRAYS, began) {
            return Ok(false);
        }
        let found = self.read(async |session: &Session| nodes::has_strays(session).await);
        self.strays.lock().looked(began, System.moment());
        found
    }

    fn set(&self, queue: &Name, setting: Setting) -> Result<()> {
        self.read(async |session: &Session| by_hand::set(session, queue, setting).await)?;
        let resumed = matches!(setting, Setting::Paused(false)).then(|| Signal::Ready(queue.clone()));
        let news: Vec<_> = resumed.into_iter().chain([Signal::Control(queue.clone())]).collect();
        self.tell(&news);
        Ok(())
    }
}

/// Whether one of them has a unique key.
fn has_key(jobs: &[NewJob]) -> bool {
    jobs.iter().any(|job| job.unique.is_some())
}

impl Store for PostgresStore {
    fn blocks(&self) -> bool {
        true
    }

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) {
        self.subscribers.add(subscriber);
    }

    fn now(&self) -> Result<Timestamp> {
        self.read(async |session: &Session| reads::now(session).await)
    }

    fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let came = System.moment();
        if jobs.len() > TOGETHER {
            return self.insert(&jobs, came, &Cell::default(), &Cell::default());
        }
        let enqueues = if has_key(&jobs) { &self.keyed_enqueues } else { &self.enqueues };
        enqueues.run((came, jobs), TOGETHER, |group| self.enqueue_together(group))
    }

    fn claim(&self, claim: &Claim) -> Result<Vec<Job>> {
        let claimed = self.claims.call(Repeat::Unsafe, &async |session: &Session| {
            session.planned(async |session: &Session| claim::claim(session, claim, &self.marks).await).await
        });
        if claimed.as_ref().map_or(true, |claimed| claimed.is_cut_short) {
            self.rolls.doubt(claim.node);
        }
        claimed.map(|claimed| claimed.jobs).map_err(certain)
    }

    fn ack(&self, node: NodeId, acks: &[Ack]) -> Result<Vec<Acked>> {
        if acks.is_empty() {
            return Ok(Vec::new());
        }
        let leaves = self.leaving.lock().contains(&node);
        let (replies, news) = self.writes.call(Repeat::Safe, &async |session: &Session| {
            let done = ack::ack(session, node, acks).await?;
            if leaves {
                nodes::retire(session).await?;
            }
            Ok(done)
        })?;
        self.tell(&news);
        Ok(replies)
    }

    fn report(&self, node: NodeId, reports: &[Report]) -> Result<()> {
        if reports.is_empty() {
            return Ok(());
        }
        self.writes.call(Repeat::Safe, &async |session: &Session| ack::report(session, node, reports).await)
    }

    fn stage(&self, limit: usize) -> Result<Staged> {
        let (staged, queues) = self.claims.call(Repeat::Safe, &async |session: &Session| {
            session.planned(async |session: &Session| claim::stage(session, limit).await).await
        })?;
        self.tell(&queues.into_iter().map(Signal::Ready).collect::<Vec<_>>());
        Ok(staged)
    }

    fn heartbeat(&self, beat: &Heartbeat) -> Result<Pulse> {
        self.ear.listen();
        self.lease.store(u64::try_from(beat.ttl.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.claims.hurry(beat.ttl);
        self.rolls.heartbeat(&self.claims, beat)
    }

    fn depart(&self, node: NodeId, grace: Duration) -> Result<()> {
        let mut leaving = self.leaving.lock();
        if !leaving.contains(&node) {
            leaving.push(node);
        }
        drop(leaving);
        if grace.is_zero() {
            self.rolls.forget(node);
        }
        self.claims.call(Repeat::Safe, &async |session: &Session| {
            nodes::depart(session, node, grace).await?;
            if !grace.is_zero() {
                // Its jobs are to be taken when the grace after its last word is over, and not when somebody happens to
                // look: so each word is told.
                self.ear.tell_on(session, &News::leaving()).await;
            }
            Ok(())
        })
    }

    fn rescue(&self, limit: usize) -> Result<Vec<Rescued>> {
        // Whoever could not reach the server, or has just found it, has not heard all who live. A person who asks for it knows.
        let listened = || (self.lease.load(Ordering::Relaxed) > 0).then(|| self.contact.listened());
        let found = self.read(async |session: &Session| nodes::has_dead(session, listened()).await)?;
        if !found && !self.has_strays()? {
            return Ok(Vec::new());
        }
        self.change(&async |session: &Session| nodes::rescue(session, listened(), limit).await)
    }

    fn nodes(&self) -> Result<Vec<NodeRow>> {
        self.read(async |session: &Session| reads::nodes(session).await)
    }

    fn cancel(&self, filter: &Filter) -> Result<Vec<Cancelled>> {
        self.by_hand(&async |session: &Session| by_hand::cancel(session, filter).await)
    }

    fn retry(&self, filter: &Filter) -> Result<Vec<Retried>> {
        self.by_hand(&async |session: &Session| by_hand::retry(session, filter).await)
    }

    fn delete(&self, filter: &Filter) -> Result<usize> {
        self.by_hand(&async |session: &Session| {
            let deleted = by_hand::delete(session, filter).await?;
            // Whoever waits for one of them must look again.
            Ok((deleted, if deleted > 0 { vec![Signal::Settled] } else { Vec::new() }))
        })
    }

    fn prune(&self, retention: &Retention, limit: usize) -> Result<usize> {
        self.read(async |session: &Session| by_hand::prune(session, retention, limit).await)
    }

    fn pause(&self, queue: &Name) -> Result<()> {
        self.set(queue, Setting::Paused(true))
    }

    fn resume(&self, queue: &Name) -> Result<()> {
        self.set(queue, Setting::Paused(false))
    }

    fn scale(&self, queue: &Name, concurrency: Option<u32>) -> Result<()> {
        self.set(queue, Setting::Concurrency(concurrency))
    }

    fn get(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        self.read(async |session: &Session| reads::get(session, ids).await)
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Job>> {
        self.read(async |session: &Session| reads::list(session, filter).await)
    }

    fn count(&self, filter: &Filter) -> Result<u64> {
        self.read(async |session: &Session| reads::count(session, filter).await)
    }

    fn count_by_state(&self, queue: Option<&Name>) -> Result<[u64; 7]> {
        self.read(async |session: &Session| reads::count_by_state(session, queue).await)
    }

    fn queues(&self) -> Result<Vec<QueueRow>> {
        self.read(async |session: &Session| reads::queues(session).await)
    }

    fn settings(&self) -> Result<Vec<QueueRow>> {
        self.read(async |session: &Session| reads::settings(session).await)
    }

    fn save_cron(&self, entry: &CronEntry) -> Result<()> {
        self.read(async |session: &Session| cron::save(session, entry).await)
    }

    fn crons(&self) -> Result<Vec<CronRow>> {
        self.read(async |session: &Session| cron::all(session).await)
    }

    fn set_cron_paused(&self, name: &Name, paused: Paused) -> Result<bool> {
        self.read(async |session: &Session| cron::set_paused(session, name, paused).await)
    }

    fn delete_cron(&self, name: &Name) -> Result<bool> {
        self.change(&async |session: &Session| Ok((cron::delete(session, name).await?, Vec::new())))
    }

    fn tick(&self, tick: CronTick) -> Result<Ticked> {
        self.change(&async |session: &Session| {
            let ticked = cron::tick(session, &tick).await?;
            let news = match &ticked {
                Ticked::Inserted(Some(enqueued)) => enqueue::news(enqueued).into_iter().collect(),
                Ticked::Inserted(None) | Ticked::Already | Ticked::Resting => Vec::new(),
            };
            Ok((ticked, news))
        })
    }
}

/// Only an enqueue leaves its caller in doubt; the jobs of a claim whose reply was lost are found by the next heartbeat.
fn certain(error: Error) -> Error {
    match error {
        Error::EnqueueUncertain(_) => {
            Error::StoreUnavailable("the connection ended during a claim; what it took is handed back".into())
        }
        other => other,
    }
}
