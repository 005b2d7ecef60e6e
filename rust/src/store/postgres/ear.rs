//! News between processes: NOTIFY after our own commits, LISTEN for those of others, on one connection and one thread.
//!
//! Correctness never rests on it: whoever hears nothing looks by itself. A notification is a hint, never an order: which
//! jobs are to be cancelled is read from their rows. Whoever begins to listen, or does so again, is told to look for what
//! was missed. A notification is sent outside of the transaction that it tells of, and the same news at most once in a
//! while: inside, it would take a lock that all commits of the cluster wait for.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use postgres_types::Type;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::AsyncMessage;

use crate::error::Error;
use crate::job::JobId;
use crate::sigmask;
use crate::store::Signal;
use crate::store::news::News;
use crate::store::own::Witness;
use crate::store::postgres::address::{Address, Driven};
use crate::store::postgres::dialect::Dialect;
use crate::store::postgres::seat::Missed;
use crate::store::postgres::session::{Kind, Plans, Session, Verb};
use crate::store::sql::postgres as sql;
use crate::store::subscribers::Subscribers;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};

/// The same news are told again after that long at the earliest.
const REST: Duration = Duration::from_millis(10);

/// How often it is tried whether notifications still come, and how long one may take.
const PROBE: Duration = Duration::from_secs(15);

/// The waits before a lost connection is opened again.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// So much news is kept while there is no connection; the rest is found by looking.
const KEPT: usize = 1_000;

const NOTIFY: &str = "SELECT pg_notify($1, line) FROM unnest($2::text[]) AS line";

#[derive(Debug)]
enum Command {
    Listen,
    /// There is news that was not there before.
    Tell,
}

/// Started when there is something to hear or to tell.
#[derive(Debug)]
pub(super) struct Ear {
    address: Arc<Address>,
    dialect: Arc<Dialect>,
    subscribers: Arc<Subscribers>,
    patience: Duration,
    thread: Mutex<Option<Running>>,
    listens: AtomicBool,
    /// Not told yet; what waits already need not wake the thread again.
    waiting: Arc<Mutex<Vec<News>>>,
    random: Mutex<fastrand::Rng>,
}

#[derive(Debug)]
struct Running {
    commands: UnboundedSender<Command>,
    over: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    owner: u32,
    witness: Arc<Witness>,
}

impl Running {
    /// The child of a fork has no such thread; one whose files were closed by other code hears nothing, and cannot be woken.
    fn is_ours(&self, here: u32) -> bool {
        self.owner == here && self.witness.is_there()
    }
}

impl Ear {
    pub(super) fn new(
        address: Arc<Address>,
        dialect: Arc<Dialect>,
        subscribers: Arc<Subscribers>,
        patience: Duration,
        random: fastrand::Rng,
    ) -> Self {
        let (thread, waiting, random) = (Mutex::default(), Arc::default(), Mutex::new(random));
        Self { address, dialect, subscribers, patience, thread, listens: AtomicBool::new(false), waiting, random }
    }

    /// From now on this process hears the others.
    pub(super) fn listen(&self) {
        self.listens.store(true, Ordering::Release);
        self.send(Command::Listen);
    }

    /// Tells the others.
    pub(super) fn tell(&self, news: &[News]) {
        let mut waiting = self.waiting.lock();
        let before = waiting.len();
        for one in news {
            if waiting.len() < KEPT && !waiting.contains(one) {
                waiting.push(one.clone());
            }
        }
        let more = waiting.len() > before;
        drop(waiting);
        if more {
            self.send(Command::Tell);
        }
    }

    /// Tells at once, on a connection that is there: whoever ends may be gone before the thread has its turn. What cannot
    /// be told is found by looking.
    pub(super) async fn tell_on(&self, session: &Session, news: &News) {
        let (channel, lines) = (self.dialect.channel(), vec![format!("- {}", news.line())]);
        drop(session.once(NOTIFY, &[(&channel, Type::TEXT), (&lines, Type::TEXT_ARRAY)]).await);
    }

    fn send(&self, command: Command) {
        let mut thread = self.thread.lock();
        let here = std::process::id();
        if thread.as_ref().is_some_and(|running| !running.is_ours(here)) {
            std::mem::forget(thread.take());
        }
        let anew = thread.is_none();
        if anew {
            *thread = self.start(here);
        }
        if let Some(running) = thread.as_ref() {
            if anew && self.listens.load(Ordering::Acquire) {
                drop(running.commands.send(Command::Listen));
            }
            // It ends only with the store.
            drop(running.commands.send(command));
        }
    }

    fn start(&self, owner: u32) -> Option<Running> {
        let witness = Arc::new(Witness::new().ok()?);
        let (commands, incoming) = mpsc::unbounded_channel();
        let (over, ends) = watch::channel(false);
        let mut random = self.random.lock().fork();
        let me = format!("{:016x}", random.u64(..));
        let listener = Listener {
            address: self.address.clone(),
            dialect: self.dialect.clone(),
            subscribers: self.subscribers.clone(),
            patience: self.patience,
            random,
            commands: incoming,
            listens: false,
            waiting: self.waiting.clone(),
            has_news: false,
            me,
            witness: witness.clone(),
        };
        // Without the thread, or its loop, everybody looks by themselves.
        let thread = sigmask::spawn("zjobs-ear", move || drop(drive(listener, ends))).ok()?;
        Some(Running { commands, over, thread: Some(thread), owner, witness })
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let Some(mut running) = self.thread.get_mut().take() else { return };
        if !running.is_ours(std::process::id()) {
            std::mem::forget(running);
            return;
        }
        // Nobody hears it who has ended already.
        running.over.send_replace(true);
        if let Some(thread) = running.thread.take().filter(|one| one.thread().id() != thread::current().id()) {
            drop(thread.join());
        }
    }
}

/// Listens until the store is dropped. Who hears something may call the store, so nobody is told inside of the loop that
/// drives the connection.
fn drive(mut listener: Listener, mut over: watch::Receiver<bool>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (subscribers, witness) = (listener.subscribers.clone(), listener.witness.clone());
    let (told, mut heard) = mpsc::unbounded_channel();
    let mut listening = Box::pin(async move { listener.run(told).await });
    loop {
        let mut turn = Box::pin(async {
            tokio::select! {
                _ = over.changed() => None,
                signal = heard.recv() => signal,
                () = &mut listening => None,
            }
        });
        let signal = catch_unwind(AssertUnwindSafe(|| runtime.block_on(turn.as_mut())));
        drop(turn);
        if signal.is_err() || !witness.is_there() {
            // Other code has closed its files. A loop without them panics, and does so again when it is dropped.
            std::mem::forget((runtime, listening));
            return Ok(());
        }
        let signal = signal.unwrap_or_default();
        let Some(signal) = signal else { return Ok(()) };
        subscribers.tell(&[signal]);
    }
}

struct Listener {
    address: Arc<Address>,
    dialect: Arc<Dialect>,
    subscribers: Arc<Subscribers>,
    patience: Duration,
    random: fastrand::Rng,
    commands: UnboundedReceiver<Command>,
    listens: bool,
    waiting: Arc<Mutex<Vec<News>>>,
    has_news: bool,
    /// What our own notifications begin with: we need not be told.
    me: String,
    witness: Arc<Witness>,
}

impl Listener {
    async fn run(&mut self, told: UnboundedSender<Signal>) {
        let mut wait = Duration::ZERO;
        loop {
            let mut lasted = Duration::ZERO;
            if let Ok((session, connection)) = self.connect().await {
                let began = Instant::now();
                if self.serve(&session, connection, &told).await.is_ok() {
                    return;
                }
                lasted = began.elapsed();
            }
            if !self.witness.is_there() {
                return;
            }
            wait = next_wait(wait, lasted);
            sleep(wait.mul_f64(0.5 + self.random.f64() / 2.0)).await;
        }
    }

    async fn connect(&self) -> Result<(Session, Driven), Missed> {
        let connected = timeout(self.patience, self.address.connect(Plans::Free, &self.dialect)).await;
        connected.map_err(|_| Missed::Late)?
    }

    /// Until the store is dropped; an error means that the connection was lost.
    async fn serve(
        &mut self,
        session: &Session,
        connection: Driven,
        told: &UnboundedSender<Signal>,
    ) -> Result<(), Missed> {
        let mut heard = forward(connection);
        if self.listens {
            self.start_listening(session, told).await?;
        }
        let (mut tell_at, mut probe_at) = (Instant::now(), Instant::now() + PROBE);
        let mut echoed = true;
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    None => return Ok(()),
                    Some(Command::Listen) if self.listens => {}
                    Some(Command::Listen) => {
                        self.listens = true;
                        self.start_listening(session, told).await?;
                    }
                    Some(Command::Tell) => self.has_news = true,
                },
                payload = heard.recv() => match payload {
                    None => return Err(Missed::Late),
                    Some(payload) => echoed |= self.hear(session, &payload, told).await?,
                },
                () = sleep_until(tell_at), if self.has_news => {
                    self.has_news = false;
                    let news = std::mem::take(&mut *self.waiting.lock());
                    self.notify(session, news.iter().map(News::line).collect()).await?;
                    tell_at = Instant::now() + REST;
                },
                () = sleep_until(probe_at), if self.listens && session.kind() == Kind::Direct => {
                    if !echoed {
                        return Err(Missed::Late);
                    }
                    echoed = false;
                    self.notify(session, vec![PROBED.to_owned()]).await?;
                    probe_at = Instant::now() + PROBE;
                },
            }
        }
    }

    /// A pooler lends sessions: nothing can be heard through it, and everybody looks by themselves.
    async fn start_listening(&self, session: &Session, told: &UnboundedSender<Signal>) -> Verb<()> {
        if session.kind() == Kind::Direct {
            session.script(&format!("LISTEN \"{}\"", self.dialect.channel())).await?;
            drop(told.send(Signal::Missed));
        }
        Ok(())
    }

    async fn notify(&self, session: &Session, lines: Vec<String>) -> Verb<()> {
        if !self.witness.is_there() {
            // The number of its socket may be somebody else's by now.
            return Err(Error::StoreUnavailable("the connection was closed by other code".into()).into());
        }
        let lines: Vec<String> = lines.into_iter().map(|line| format!("{} {line}", self.me)).collect();
        let channel = self.dialect.channel();
        session.once(NOTIFY, &[(&channel, Type::TEXT), (&lines, Type::TEXT_ARRAY)]).await.map(drop)
    }

    /// Passes news on. True for an answer to our own probe.
    async fn hear(&self, session: &Session, payload: &str, told: &UnboundedSender<Signal>) -> Verb<bool> {
        let Some((sender, line)) = payload.split_once(' ') else { return Ok(false) };
        if sender == self.me {
            return Ok(line == PROBED);
        }
        let signal = match News::read(line.as_bytes()).map(News::signal) {
            None => return Ok(false),
            Some(Signal::Cancel(ids)) => Signal::Cancel(wanted(session, &ids).await?),
            Some(other) => other,
        };
        // It is heard for as long as this runs.
        drop(told.send(signal));
        Ok(false)
    }
}

const PROBED: &str = "probe";

/// The wait after a connection that was waited for so long and lasted so long. A server that takes a connection only to
/// drop it is not there.
fn next_wait(waited: Duration, lasted: Duration) -> Duration {
    if lasted > FIRST_WAIT { FIRST_WAIT } else { (waited * 2).clamp(FIRST_WAIT, LONGEST_WAIT) }
}

/// Those of the jobs whose rows say so.
async fn wanted(session: &Session, ids: &[JobId]) -> Verb<Vec<JobId>> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let found = session.query(sql::wanted, &[(&ids, Type::INT8_ARRAY)]).await?;
    found.iter().map(|row| Ok(JobId(row.try_get(0)?))).collect()
}

/// Drives the connection, and gives what is told on it.
fn forward(mut connection: Driven) -> UnboundedReceiver<String> {
    let (told, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message
                && told.send(notification.payload().to_owned()).is_err()
            {
                // Nobody listens any more; the session is about to say goodbye.
            }
        }
    });
    heard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_grow_while_no_connection_lasts_and_begin_anew_after_one_that_did() {
        let mut waits = vec![Duration::ZERO];
        for _ in 0..8 {
            waits.push(next_wait(waits[waits.len() - 1], Duration::ZERO));
        }
        let millis: Vec<_> = waits.iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        let second = Duration::from_secs(1);
        assert_eq!(next_wait(second, FIRST_WAIT), 2 * second);
        assert_eq!(next_wait(second, FIRST_WAIT * 2), FIRST_WAIT);
    }
}
