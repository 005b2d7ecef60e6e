//! `Engine`: the node, as `zjobs.supervisor` drives it.

use std::sync::Arc;
use std::time::Duration;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use zjobs_engine::Error;
use zjobs_engine::backoff;
use zjobs_engine::clock::System;
use zjobs_engine::job::{Name, NewJob, Payload, Proof};
use zjobs_engine::runtime::config::AckMode;
use zjobs_engine::runtime::{self, Config, Lane, QueueConfig, QueueIndex, Registration, StuckPolicy};
use zjobs_engine::store::{CronTick, Retention, Ticked};
use zjobs_engine::sync::Mutex;

use crate::backoff::Backoff;
use crate::below::needed;
use crate::connected;
use crate::convert::{Imported, seconds, timestamp};
use crate::errors::{invalid, raised};
use crate::host::{PyHost, attached};
use crate::job::{Job, job_id, untracked};
use crate::options::Options;
use crate::registry::{Core, Entry, forked, random};
use crate::shape::Shape;
use crate::slot::{Slot, numbers};
use crate::store::store_of;
use crate::telemetry::PySink;

/// A queue as Python gives it: name, concurrency, prefetch, stuck policy.
type QueueTuple = (String, i64, Option<u32>, String);
/// Ages in seconds of completed, cancelled and discarded jobs.
type RetentionTuple = (Option<f64>, Option<f64>, Option<f64>);

/// One node: a store, its slots and the roles between them.
#[pyclass(frozen, module = "zjobs._engine")]
pub(crate) struct Engine {
    core: Arc<Core>,
    sink: Arc<PySink>,
}

fn queue_config((name, concurrency, prefetch, stuck): QueueTuple) -> PyResult<QueueConfig> {
    let stuck = match stuck.as_str() {
        "report" => StuckPolicy::Report,
        "replace" => StuckPolicy::Replace,
        "exit" => StuckPolicy::Exit,
        other => return Err(invalid("stuck", "must be report, replace or exit", other)),
    };
    Ok(QueueConfig {
        name: Name::queue(&name).map_err(raised)?,
        concurrency: zjobs_engine::limits::integer("concurrency", concurrency, 1, i64::from(u32::MAX))
            .map_err(raised)?,
        prefetch,
        stuck,
    })
}

/// `None` keeps jobs for ever.
pub(crate) fn retention((completed, cancelled, discarded): RetentionTuple) -> Retention {
    let age = |seconds: Option<f64>| seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Retention { completed: age(completed), cancelled: age(cancelled), discarded: age(discarded) }
}

#[pymethods]
impl Engine {
    /// An engine that is not started; a plain client until then.
    #[new]
    #[pyo3(signature = (store, queues, telemetry, *, name, poll_interval_ms, rescue_interval_ms, retention))]
    fn new(
        store: &Bound<'_, PyAny>,
        queues: Vec<QueueTuple>,
        telemetry: Py<PyAny>,
        name: String,
        poll_interval_ms: u64,
        rescue_interval_ms: u64,
        retention: RetentionTuple,
    ) -> PyResult<Self> {
        // Whoever wants dead nodes found soon must also hear of living ones often: the default finds a death within a
        // ttl of 20 s and a look each 5 s, and a look each second one within 5 s.
        let rescue = Duration::from_millis(rescue_interval_ms);
        let heartbeat = rescue.clamp(least_beat(), Duration::from_secs(5));
        let config = Config {
            heartbeat,
            ttl: heartbeat * 4,
            name,
            queues: queues.into_iter().map(queue_config).collect::<PyResult<_>>()?,
            poll: Duration::from_millis(poll_interval_ms),
            rescue,
            retention: self::retention(retention),
            ..Config::default()
        };
        let sink = Arc::new(PySink::new(telemetry));
        let engine = runtime::Engine::new(store_of(store)?, config, Arc::new(System), sink.clone(), random());
        let core = Core::new(engine.map_err(raised)?, store.clone().unbind())?;
        Ok(Self { core: Arc::new(core), sink })
    }

    /// Tells the engine which kinds of events are wanted: one bit for each of `EVENTS`.
    fn set_event_mask(&self, mask: u32) {
        self.sink.set_mask(mask);
    }

    /// Notes, in the child, that the process was forked.
    #[staticmethod]
    fn forked() {
        forked();
    }

    /// Makes a worker known. `invoke(args_bytes, ctx)` runs it; `payload(args)` and, where there is one, `shape` make
    /// its JSON text, which a worker that `takes_text` gets as it was given; `options` are the options of its jobs, and
    /// `arguments` the names of all that it takes, where that is known.
    #[pyo3(signature = (name, invoke, payload, worker, options, *, coroutine, sync_ack, takes_text=false, shape=None, backoff=None, arguments=None))]
    #[expect(clippy::too_many_arguments, reason = "one keyword for each part of a registration")]
    fn register(
        &self,
        name: &str,
        invoke: Py<PyAny>,
        payload: Py<PyAny>,
        worker: Py<PyAny>,
        options: &Bound<'_, PyDict>,
        coroutine: bool,
        sync_ack: bool,
        takes_text: bool,
        shape: Option<Py<Shape>>,
        backoff: Option<&Bound<'_, Backoff>>,
        arguments: Option<Vec<String>>,
    ) -> PyResult<()> {
        self.core.check_fork()?;
        let name = Name::worker(name).map_err(raised)?;
        let options = Options::new(Name::queue("default").map_err(raised)?).taking(arguments).merged(options)?;
        let registration = Registration {
            lane: if coroutine { Lane::Loop } else { Lane::Thread },
            backoff: backoff.map_or_else(backoff::Backoff::default, |backoff| backoff.get().inner),
            ack: if sync_ack { AckMode::Sync } else { AckMode::Batched },
        };
        let entry = Arc::new(Entry { name: name.clone(), invoke, payload, shape, worker, options, takes_text });
        self.core.entries.write().insert(name.clone(), entry);
        self.core.engine.register(name, registration);
        Ok(())
    }

    // --- the walk of a job ---

    /// Enqueues one job; `args` is what its worker takes or JSON text, `options` override those of the worker.
    #[pyo3(signature = (worker, args=None, **options))]
    fn enqueue(
        &self,
        py: Python<'_>,
        worker: &Bound<'_, PyAny>,
        args: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<Job>> {
        self.core.check_fork()?;
        let worker = worker.cast::<PyString>().map_err(|_| not_a_name(worker))?;
        let args = args.map_or_else(|| py.None().into_bound(py), Clone::clone);
        let job = match options {
            Some(given) if given.contains("connection")? => {
                let (connection, options) = connected::split(given)?;
                let job = self.new_job(&self.known(worker)?, &args, Some(&options))?;
                if !connection.is_none() {
                    return connected::enqueue(&self.core, self.core.store.bind(py), &connection, &job);
                }
                job
            }
            options => self.new_job(&self.known(worker)?, &args, options)?,
        };
        let reply = self.core.call(py, |engine| engine.enqueue_one(job)).map_err(raised)?;
        untracked(py, Job::enqueued(reply))
    }

    /// Enqueues many jobs in one write, all or none: `(worker, args, options)` each.
    fn enqueue_many(&self, py: Python<'_>, jobs: &Bound<'_, PyList>) -> PyResult<Vec<Py<Job>>> {
        let new = self.new_jobs(jobs)?;
        let replies = self.core.call(py, |engine| engine.enqueue(new)).map_err(raised)?;
        replies.into_iter().map(|reply| untracked(py, Job::enqueued(reply))).collect()
    }

    /// Checks one job; nothing is inserted.
    #[pyo3(signature = (worker, args=None, **options))]
    fn prepare(
        &self,
        py: Python<'_>,
        worker: &Bound<'_, PyAny>,
        args: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Prepared> {
        self.core.check_fork()?;
        let worker = worker.cast::<PyString>().map_err(|_| not_a_name(worker))?;
        let args = args.map_or_else(|| py.None().into_bound(py), Clone::clone);
        Ok(Prepared(self.new_job(&self.known(worker)?, &args, options)?))
    }

    /// Enqueues what was prepared in one write, all or none.
    fn enqueue_prepared(&self, py: Python<'_>, jobs: Vec<PyRef<'_, Prepared>>) -> PyResult<Vec<Py<Job>>> {
        self.core.check_fork()?;
        let new: Vec<NewJob> = jobs.iter().map(|job| job.0.clone()).collect();
        drop(jobs);
        let replies = self.core.call(py, |engine| engine.enqueue(new)).map_err(raised)?;
        replies.into_iter().map(|reply| untracked(py, Job::enqueued(reply))).collect()
    }

    /// The same jobs as `zjobs.connections` takes them; nothing is inserted.
    fn drafts<'py>(&self, py: Python<'py>, jobs: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyList>> {
        let new = self.new_jobs(jobs)?;
        connected::drafts(py, &self.core, self.core.store.bind(py), &new)
    }

    /// How many of the queue's jobs may run at once now.
    fn limit(&self, queue: usize) -> u32 {
        self.core.engine.pool().limit(QueueIndex(queue))
    }

    /// The thread or loop side of one slot of a queue.
    fn slot(&self, queue: usize, coroutine: bool) -> Slot {
        let lane = if coroutine { Lane::Loop } else { Lane::Thread };
        Slot::new(self.core.clone(), QueueIndex(queue), lane)
    }

    /// The job when it is final or `seconds` have passed. Raises `NotFound`.
    fn wait_final(&self, py: Python<'_>, job: &Bound<'_, PyAny>, most: &Bound<'_, PyAny>) -> PyResult<Job> {
        self.core.check_fork()?;
        let (id, most) = (job_id(job)?, seconds("timeout", most)?);
        let engine = &self.core.engine;
        let job = py.detach(|| engine.wait_final(id, most)).map_err(raised)?;
        let missing = || Error::NotFound(format!("job not found: {id}; it may have been pruned or deleted"));
        job.map(Job::new).ok_or_else(|| raised(missing()))
    }

    // --- life ---

    /// Registers the node, starts its services and opens its slots. `ring()` wakes the event loop, `reinforce(queue,
    /// slots)` says how many thread slots a queue may use now, `give_up(job_id)` that the process should end.
    fn start(&self, py: Python<'_>, ring: Py<PyAny>, reinforce: Py<PyAny>, give_up: Py<PyAny>) -> PyResult<()> {
        self.core.check_fork()?;
        let host = Arc::new(PyHost { ring, reinforce, give_up });
        py.detach(|| self.core.engine.start(host)).map_err(raised)
    }

    /// Stops; see `Supervisor.stop`. Returns the ids of jobs whose handlers still run. What a signal handler raises
    /// meanwhile makes it hurry, and is raised when it has stopped.
    fn stop(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Vec<i64>> {
        self.core.check_fork()?;
        let timeout = timeout.and_then(|timeout| Duration::try_from_secs_f64(timeout).ok());
        let signal: Mutex<Option<PyErr>> = Mutex::new(None);
        let heed = || {
            if let Some(Err(error)) = Python::try_attach(signals) {
                self.core.engine.hurry();
                signal.lock().get_or_insert(error);
            }
        };
        let stopped = py.detach(|| self.core.engine.stop_heeding(timeout, &heed)).map_err(raised)?;
        match signal.into_inner() {
            Some(error) => Err(error),
            None => Ok(stopped.stuck.into_iter().map(|id| id.0).collect()),
        }
    }

    /// Calls `call()` once, from whichever thread it is, when the next jobs have settled.
    fn on_settled(&self, call: Py<PyAny>) -> PyResult<()> {
        self.core.check_fork()?;
        self.core.engine.on_settled(Box::new(move || attached(|py| call.call0(py))));
        Ok(())
    }

    /// Says that the process ends while handlers run on. Nothing while it runs, or when they have ended.
    fn depart(&self, py: Python<'_>) {
        if self.core.check_fork().is_ok() {
            py.detach(|| self.core.engine.depart());
        }
    }

    /// Makes a stop that waits for handlers go on to its next step.
    fn hurry(&self) {
        self.core.engine.hurry();
    }

    /// Whether it is started and not stopped.
    #[getter]
    fn is_running(&self) -> bool {
        self.core.check_fork().is_ok() && self.core.engine.is_running()
    }

    /// The incarnation now, as 32 hexadecimal digits.
    #[getter]
    fn node(&self) -> String {
        self.core.engine.node().to_string()
    }

    /// Claims for a queue, in this thread.
    fn claim_here(&self, py: Python<'_>, queue: usize) -> PyResult<()> {
        py.detach(|| self.core.engine.claim_here(QueueIndex(queue))).map_err(raised)
    }

    /// Writes the acks that wait.
    fn flush(&self, py: Python<'_>) {
        py.detach(|| self.core.engine.flush_all());
    }

    // --- schedules and upkeep by hand ---

    /// Records the tick of a schedule together with its job: `("inserted" | "already" | "resting", job or None)`.
    /// Without a worker the tick is recorded as left out.
    #[pyo3(signature = (name, at, worker=None, args=None, options=None))]
    fn tick(
        &self,
        py: Python<'_>,
        name: &str,
        at: &Bound<'_, PyAny>,
        worker: Option<&Bound<'_, PyString>>,
        args: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<(&'static str, Option<Job>)> {
        self.core.check_fork()?;
        let job = match (worker, args) {
            (Some(worker), Some(args)) => Some(self.new_job(&self.known(worker)?, args, options)?),
            _ => None,
        };
        let tick = CronTick { name: Name::cron(name).map_err(raised)?, at: timestamp("at", at)?, job };
        Ok(match self.core.call(py, |engine| engine.tick(tick)).map_err(raised)? {
            Ticked::Inserted(enqueued) => ("inserted", enqueued.map(|enqueued| Job::enqueued(*enqueued))),
            Ticked::Already => ("already", None),
            Ticked::Resting => ("resting", None),
        })
    }

    /// Deletes what the retention no longer keeps; says how many jobs.
    fn prune(&self, py: Python<'_>) -> PyResult<usize> {
        self.core.check_fork()?;
        self.core.call(py, runtime::Engine::prune).map_err(raised)
    }

    /// Takes back the jobs of dead nodes; says how many.
    fn rescue(&self, py: Python<'_>) -> PyResult<usize> {
        self.core.check_fork()?;
        self.core.call(py, runtime::Engine::rescue).map_err(raised)
    }

    // --- garbage ---

    // Handlers often refer to their supervisor, which owns this: without these two, none would ever be collected.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.sink.telemetry())?;
        // While slots or contexts share the core, its references are theirs as well.
        if Arc::strong_count(&self.core) == 1 {
            self.core.traverse(&visit)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.core.clear();
    }

    // --- the event loop's side ---

    /// The loop answers a ring: the attempts to interrupt, and how many jobs could start now in each queue.
    fn hear(&self) -> (Vec<(i64, u32)>, Vec<usize>) {
        let pool = self.core.engine.pool();
        let interrupts = pool.hear().iter().map(|running| numbers(running.attempt())).collect();
        (interrupts, pool.indexes().map(|queue| pool.ready(queue, Lane::Loop)).collect())
    }
}

fn signals(py: Python<'_>) -> PyResult<()> {
    py.check_signals()
}

fn not_a_name(worker: &Bound<'_, PyAny>) -> PyErr {
    let shown = worker.repr().map_or_else(|_| "something else".to_owned(), |repr| repr.to_string());
    invalid("worker", "must be a worker's name; a decorated function has an enqueue() of its own", shown)
}

static UNKNOWN_PAYLOAD: Imported = Imported::new("zjobs.worker", "unknown_payload");

impl Engine {
    fn new_jobs(&self, jobs: &Bound<'_, PyList>) -> PyResult<Vec<NewJob>> {
        self.core.check_fork()?;
        let mut new = Vec::with_capacity(jobs.len());
        // Batches mostly name one worker: the same text need not be looked up again.
        let mut known: Option<(Bound<'_, PyString>, Known)> = None;
        for job in jobs {
            let (worker, args, options) = parts(&job)?;
            let known = match &mut known {
                Some((name, known)) if name.is(&worker) => known,
                other => &mut other.insert((worker.clone(), self.known(&worker)?)).1,
            };
            new.push(self.new_job(known, &args, options.as_ref())?);
        }
        Ok(new)
    }

    fn known(&self, worker: &Bound<'_, PyString>) -> PyResult<Known> {
        let worker = worker.to_str().map_err(|_| invalid("worker", "must not contain lone surrogates", "such text"))?;
        let (name, entry) = self.core.worker(worker)?;
        Ok(Known { name, entry })
    }

    fn new_job(&self, known: &Known, args: &Bound<'_, PyAny>, options: Option<&Bound<'_, PyDict>>) -> PyResult<NewJob> {
        let entry = known.entry.as_deref();
        let base = self.core.options(entry);
        let (args, proof) = payload(entry, args)?;
        let now = || self.core.engine.clock().now();
        match options {
            Some(options) if !options.is_empty() => base.merged(options)?.job(known.name.clone(), args, proof, now),
            _ => base.job(known.name.clone(), args, proof, now),
        }
    }
}

/// A job that was checked and is not enqueued yet.
#[pyclass(frozen, module = "zjobs._engine")]
pub(crate) struct Prepared(NewJob);

/// A worker's valid name, and its entry when it is registered here.
struct Known {
    name: Name,
    entry: Option<Arc<Entry>>,
}

type Parts<'py> = (Bound<'py, PyString>, Bound<'py, PyAny>, Option<Bound<'py, PyDict>>);

/// Worker, arguments and options of one entry of an `enqueue_many`.
fn parts<'py>(job: &Bound<'py, PyAny>) -> PyResult<Parts<'py>> {
    let refused = || invalid("jobs", "must hold worker.job(...) entries or pairs of worker name and arguments", job);
    let parts = job.cast::<PyTuple>().ok().filter(|parts| (2..=3).contains(&parts.len())).ok_or_else(refused)?;
    let worker = parts.get_item(0)?.cast_into::<PyString>().map_err(|_| refused())?;
    let options = if parts.len() == 3 { Some(parts.get_item(2)?) } else { None };
    let options = options.filter(|options| !options.is_none()).map(Bound::cast_into::<PyDict>);
    Ok((worker, parts.get_item(1)?, options.transpose().map_err(|_| refused())?))
}

/// The JSON text of arguments: the quick way, the worker's thorough way, or the way of plain values.
fn payload(entry: Option<&Entry>, args: &Bound<'_, PyAny>) -> PyResult<(Payload, Proof)> {
    let py = args.py();
    if let Some(shape) = entry.and_then(|entry| entry.shape.as_ref())
        && let Some(text) = shape.get().encode(args, |text| Payload::from(text))?
    {
        return Ok((text, Proof::Given));
    }
    if entry.is_none_or(|entry| entry.takes_text)
        && let Ok(text) = args.cast_exact::<PyBytes>()
    {
        return Ok((text.as_bytes().into(), Proof::Needed));
    }
    let text = match entry {
        Some(entry) => needed(py, || entry.payload.bind(py).call1((args,)))?,
        None => UNKNOWN_PAYLOAD.get(py)?.call1((args,))?,
    };
    Ok((text.cast_into::<PyBytes>()?.as_bytes().into(), Proof::Needed))
}

/// The shortest time between two beats.
fn least_beat() -> Duration {
    #[cfg(feature = "failpoints")]
    return crate::failpoints::least_beat();
    #[cfg(not(feature = "failpoints"))]
    Duration::from_secs(1)
}
