//! A random session with a store, and what each job may look like after it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use rusqlite::Connection;
use zjobs_engine::clock::Manual;
use zjobs_engine::outcome::{Again, Failure, Outcome, settle};
use zjobs_engine::store::sqlite::{Liveness, SqliteConfig, SqliteStore, Synchronous};
use zjobs_engine::store::{Acked, Claim, Filter, Heartbeat};
use zjobs_engine::sync::Arc;
use zjobs_engine::{Error, Job, JobId, Name, NewJob, NodeId, Result, State, Store};

use crate::disk::{Call, Disk, Fault, Step};
use crate::replay::{DATABASE, LOG};

const NODE: NodeId = NodeId(7);

/// What a session is made of.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The source of its chance.
    pub seed: u64,
    /// How many calls it makes.
    pub calls: usize,
    /// How hard the store presses its commits onto the disk.
    pub synchronous: Synchronous,
    /// What fails in it.
    pub fault: Option<Fault>,
}

/// What a job looks like: absent, or its state and how often it was claimed.
pub type Look = Option<(State, u32)>;

/// One look of a job, and since when a caller may rely on it.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    /// What it looks like.
    pub look: Look,
    /// The answer that promised it, when it was one that outlives a power loss.
    pub promised: Option<usize>,
}

/// What was done, and what may be left of it.
#[derive(Debug, Default)]
pub struct Recording {
    /// Everything that reached the disk, and every answer.
    pub steps: Vec<Step>,
    /// The looks of each job in order, by its arguments.
    pub jobs: BTreeMap<String, Vec<Version>>,
    /// The arguments of the jobs of each enqueue.
    pub batches: Vec<Vec<String>>,
    /// The errors of calls that failed.
    pub errors: Vec<Error>,
    /// How many calls on the disk were made to fail.
    pub struck: usize,
    /// How many of each kind could have been, in the order of [`Call::ALL`].
    pub met: [usize; Call::ALL.len()],
}

struct Session {
    disk: Arc<Disk>,
    setting: Setting,
    clock: Arc<Manual>,
    store: Option<SqliteStore>,
    random: Rng,
    answers: AtomicUsize,
    made: usize,
    running: Vec<Job>,
    finished: Vec<(JobId, String)>,
    done: Recording,
}

/// Works with a store in an empty folder.
///
/// # Panics
///
/// When the store, still running, shows something else than it has answered.
pub fn record(setting: Setting, folder: &Path) -> Recording {
    let disk = Disk::watched(folder);
    let mut session = Session {
        disk: disk.clone(),
        setting,
        clock: Arc::default(),
        store: None,
        random: Rng::with_seed(setting.seed),
        answers: AtomicUsize::new(0),
        made: 0,
        running: Vec::new(),
        finished: Vec::new(),
        done: Recording::default(),
    };
    disk.set_fault(setting.fault);
    for call in 0..setting.calls {
        // Space comes back before the end.
        if matches!(setting.fault, Some(Fault::NoSpace(_))) && call == setting.calls / 2 {
            disk.set_fault(None);
        }
        session.act();
    }
    (session.done.struck, session.done.met) = (disk.struck(), disk.met());
    disk.set_fault(None);
    session.compare();
    session.store = None;
    let mut done = std::mem::take(&mut session.done);
    done.steps = disk.steps();
    done
}

/// How the simulated disks open a store; each has a clock of its own and no neighbours.
pub fn config(path: &Path, synchronous: Synchronous, clock: Arc<Manual>) -> SqliteConfig {
    SqliteConfig {
        synchronous,
        clock,
        liveness: Liveness::Leases,
        // Small, so that the store copies its log into the file every few calls.
        checkpoint_pages: 12,
        press_again: crate::disk::press_again,
        ..SqliteConfig::new(path, Rng::with_seed(1))
    }
}

impl Session {
    fn act(&mut self) {
        self.clock_on();
        if self.store.is_none() && !self.open() {
            return;
        }
        match self.random.u8(..20) {
            0..=6 => self.enqueue(),
            7 => self.enqueue_at_once(),
            8..=11 => self.claim(),
            12..=15 => self.ack(),
            16 => self.delete(),
            17..=18 => self.checkpoint(),
            _ => self.store = None,
        }
    }

    fn clock_on(&self) {
        self.clock.advance(Duration::from_millis(1));
    }

    fn open(&mut self) -> bool {
        let path = self.disk.folder().join(DATABASE);
        match SqliteStore::open(config(&path, self.setting.synchronous, self.clock.clone())) {
            Ok(store) => self.store = Some(store),
            Err(error) => self.done.errors.push(error),
        }
        self.store.is_some()
    }

    fn ask<T>(&mut self, call: impl FnOnce(&SqliteStore) -> Result<T>) -> Option<(T, usize)> {
        let store = self.store.as_ref()?;
        match call(store) {
            Ok(reply) => {
                let answer = self.answers.fetch_add(1, Ordering::SeqCst);
                self.disk.answered(answer);
                Some((reply, answer))
            }
            Err(error) => {
                self.done.errors.push(error);
                None
            }
        }
    }

    fn new_job(&mut self) -> NewJob {
        self.made += 1;
        let size = if self.random.u8(..4) == 0 { self.random.usize(1000..20_000) } else { self.random.usize(..100) };
        let args = format!("{{\"n\":{},\"pad\":\"{}\"}}", self.made, "x".repeat(size));
        self.done.jobs.insert(args.clone(), vec![Version { look: None, promised: None }]);
        NewJob::new(name("default"), name("w"), args.as_bytes().into())
    }

    /// What a job may look like from now on; `promised` when whoever called was told so.
    fn now_looks(&mut self, args: &str, look: Look, promised: Option<usize>) {
        if let Some(versions) = self.done.jobs.get_mut(args) {
            versions.push(Version { look, promised });
        }
    }

    fn enqueue(&mut self) {
        let jobs: Vec<NewJob> = (0..self.random.usize(1..4)).map(|_| self.new_job()).collect();
        let texts: Vec<String> = jobs.iter().map(|job| text(&job.args)).collect();
        let answer = self.ask(|store| store.enqueue(jobs)).map(|(_, answer)| answer);
        for args in &texts {
            self.now_looks(args, Some((State::Available, 0)), answer);
        }
        self.done.batches.push(texts);
    }

    /// Several at once, which may share a commit.
    fn enqueue_at_once(&mut self) {
        let jobs: Vec<NewJob> = (0..4).map(|_| self.new_job()).collect();
        let Some(store) = self.store.take() else { return };
        let replies: Vec<_> = std::thread::scope(|scope| {
            let one = |job: NewJob| {
                let (store, disk, answers) = (&store, &self.disk, &self.answers);
                let args = text(&job.args);
                scope.spawn(move || {
                    let reply = store.enqueue(vec![job]);
                    let answer = reply.map(|_| {
                        let answer = answers.fetch_add(1, Ordering::SeqCst);
                        disk.answered(answer);
                        answer
                    });
                    (args, answer)
                })
            };
            let threads: Vec<_> = jobs.into_iter().map(one).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        self.store = Some(store);
        for (args, answer) in replies {
            let answer = answer.map_err(|error| self.done.errors.push(error)).ok();
            self.now_looks(&args, Some((State::Available, 0)), answer);
        }
    }

    fn claim(&mut self) {
        let beat = Heartbeat {
            node: NODE,
            name: "host".into(),
            pid: 1,
            ttl: Duration::from_secs(3600),
            queues: Vec::new(),
            holds: self.running.iter().map(|job| job.id).collect(),
        };
        if self.ask(|store| store.heartbeat(&beat)).is_none() {
            return;
        }
        let limit = self.random.usize(1..5);
        let claim = Claim { node: NODE, queue: name("default"), limit };
        let Some((jobs, _)) = self.ask(|store| store.claim(&claim)) else { return };
        for job in &jobs {
            // A claim may be taken back by a power loss: nobody was promised anything.
            self.now_looks(&text(&job.args), Some((State::Executing, job.lease.0)), None);
        }
        self.running.extend(jobs);
    }

    fn ack(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let job = self.running.swap_remove(self.random.usize(..self.running.len()));
        let outcome = if self.random.u8(..4) == 0 {
            let failure = Failure::new("ValueError", "no such address", &"line\n".repeat(self.random.usize(..500)));
            Outcome::Failed { failure, again: Again::In(Duration::from_secs(9999)) }
        } else {
            Outcome::Completed { result: None }
        };
        let Ok(ack) = settle(&job, outcome) else { return };
        let (to, args) = (ack.to, text(&job.args));
        if let Some((acked, answer)) = self.ask(|store| store.ack(NODE, &[ack])) {
            assert_eq!(acked, [Acked::Stored], "{args:.40}");
            self.now_looks(&args, Some((to, job.lease.0)), Some(answer));
            if to.is_final() {
                self.finished.push((job.id, args));
            }
        } else {
            // It waits: nothing is lost but time.
            self.now_looks(&args, Some((to, job.lease.0)), None);
            self.now_looks(&args, Some((State::Executing, job.lease.0)), None);
            self.running.push(job);
        }
    }

    fn delete(&mut self) {
        let Some((id, args)) = self.finished.pop() else { return };
        let filter = Filter { ids: Some(vec![id]), ..Filter::default() };
        let answer = self.ask(|store| store.delete(&filter)).map(|(_, answer)| answer);
        self.now_looks(&args, None, answer);
        if answer.is_none() {
            self.now_looks(&args, Some((State::Completed, 1)), None);
            self.finished.push((id, args));
        }
    }

    /// As another program with the file open does.
    fn checkpoint(&mut self) {
        let mode = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"][self.random.usize(..4)];
        // Who comes between a failed sync and the repair is told by the system that all is well: nobody can protect it.
        if self.disk.is_in_doubt(LOG) {
            return;
        }
        // Errors that only another program is told of are its own to mend.
        self.disk.sparing(|| {
            if let Ok(other) = Connection::open(self.disk.folder().join(DATABASE)) {
                drop(other.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(())));
            }
        });
    }

    /// What is shown without any loss is what was answered last.
    fn compare(&mut self) {
        if self.store.is_none() && !self.open() {
            return;
        }
        let Some(store) = &self.store else { return };
        let shown = crate::check::looks(store).expect("a store without faults can be read");
        for (args, versions) in &self.done.jobs {
            let certain = versions.iter().rposition(|version| version.promised.is_some()).unwrap_or(0);
            let look = shown.get(args).copied();
            let fits = versions[certain..].iter().any(|version| version.look == look);
            assert!(fits, "seed {}: {args:.40} is {look:?}, not {:?}", self.setting.seed, &versions[certain..]);
        }
        let whole = crate::check::whole(&self.done, &shown);
        assert!(whole.is_ok(), "seed {}: {whole:?}", self.setting.seed);
    }
}

/// A job's arguments as text.
pub fn text(args: &[u8]) -> String {
    String::from_utf8_lossy(args).into_owned()
}

fn name(text: &str) -> Name {
    Name::queue(text).expect("a name of ours")
}
