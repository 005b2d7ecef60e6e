//! New jobs, acks and progress.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use zjobs_engine::job::{Job, Name, NewJob, Priority, When};
use zjobs_engine::limits;
use zjobs_engine::outcome::{Ack, RescueReason};
use zjobs_engine::state::Event;
use zjobs_engine::store::{Acked, Enqueued, Report, Rescued, Staged};
use zjobs_engine::unique::{Unique, UniqueStrategy};

use super::{Row, count, expect};
use crate::convert::{Imported, datetime, member, optional_datetime, seconds, timestamp};
use crate::errors::{invalid, raised};
use crate::job::{self, build};
use crate::options::{integer, strategy, text};
use crate::telemetry::reason_name;

static NEW_JOB: Imported = Imported::new("zjobs.rows", "NewJob");
static ENQUEUED: Imported = Imported::new("zjobs.rows", "Enqueued");
static ACK_ROW: Imported = Imported::new("zjobs.rows", "AckRow");
static ACKED: Imported = Imported::new("zjobs.rows", "Acked");
static FAILURE: Imported = Imported::new("zjobs.rows", "Failure");
static JOB_EVENT: Imported = Imported::new("zjobs.rows", "JobEvent");
static REPORT: Imported = Imported::new("zjobs.rows", "Report");
static STAGED: Imported = Imported::new("zjobs.rows", "Staged");
static RESCUED: Imported = Imported::new("zjobs.rows", "Rescued");
static REASON: Imported = Imported::new("zjobs.rows", "RescueReason");
static STRATEGY: Imported = Imported::new("zjobs.options", "UniqueStrategy");

impl Row for NewJob {
    const NAME: &'static str = "NewJob";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let (at, delay) = match self.when {
            When::Now => (None, None),
            When::In(delay) => (None, Some(delay)),
            When::At(at) => (Some(at), None),
        };
        let (key, strategy) = match &self.unique {
            Some(unique) => (Some(&*unique.key), unique.strategy),
            None => (None, UniqueStrategy::IgnoreNew),
        };
        let parts = [
            self.worker.as_str().into_pyobject(py)?.into_any(),
            PyBytes::new(py, &self.args).into_any(),
            self.queue.as_str().into_pyobject(py)?.into_any(),
            self.priority.0.into_pyobject(py)?.into_any(),
            self.max_attempts.into_pyobject(py)?.into_any(),
            optional_datetime(py, at)?.into_pyobject(py)?,
            build::length(delay).into_pyobject(py)?,
            build::length(self.timeout).into_pyobject(py)?,
            key.into_pyobject(py)?,
            member(&STRATEGY, py, strategy_name(strategy))?,
            PyTuple::new(py, self.tags.iter().map(Name::as_str))?.into_any(),
            self.meta.map(|meta| PyBytes::new(py, &meta)).into_pyobject(py)?,
        ];
        NEW_JOB.get(py)?.call1(PyTuple::new(py, parts)?)
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        expect(&NEW_JOB, Self::NAME, value)?;
        let part = |name: &str| value.getattr(name);
        let job = Self {
            queue: build::queue(&part("queue")?)?,
            worker: build::worker(&part("worker")?)?,
            proof: zjobs_engine::job::Proof::Needed,
            args: build::bytes("args_bytes", &part("args_bytes")?)?,
            priority: Priority(integer("priority", &part("priority")?, i32::MIN.into(), i32::MAX.into())?),
            max_attempts: integer("max_attempts", &part("max_attempts")?, 1, limits::MAX_ATTEMPTS.into())?,
            when: when(&part("scheduled_at")?, &part("schedule_in")?)?,
            timeout: build::optional(&part("timeout_seconds")?, |value| seconds("timeout_seconds", value))?,
            unique: unique(&part("unique_key")?, &part("unique_strategy")?)?,
            tags: build::tags(&part("tags")?)?,
            meta: build::optional(&part("meta_bytes")?, |value| build::bytes("meta_bytes", value))?,
        };
        job.validate().map_err(raised)?;
        Ok(job)
    }
}

fn when(at: &Bound<'_, PyAny>, delay: &Bound<'_, PyAny>) -> PyResult<When> {
    match (at.is_none(), delay.is_none()) {
        (true, true) => Ok(When::Now),
        (false, true) => timestamp("scheduled_at", at).map(When::At),
        (true, false) => seconds("schedule_in", delay).map(When::In),
        (false, false) => Err(invalid("schedule_in", "excludes scheduled_at; give one of them", "both")),
    }
}

fn unique(key: &Bound<'_, PyAny>, how: &Bound<'_, PyAny>) -> PyResult<Option<Unique>> {
    let how = strategy(how)?;
    build::optional(key, |key| Unique::by_key(&text("unique_key", key)?, how).map_err(raised))
}

const fn strategy_name(strategy: UniqueStrategy) -> &'static str {
    match strategy {
        UniqueStrategy::IgnoreNew => "ignore_new",
        UniqueStrategy::CancelExisting => "cancel_existing",
    }
}

impl Row for Job {
    const NAME: &'static str = "Job";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        Ok(job::Job::new(self).into_pyobject(py)?.into_any())
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let job = value.cast::<job::Job>().map_err(|_| invalid("Job", "must be a Job", value))?;
        Ok(job.get().inner.clone())
    }
}

impl Row for Enqueued {
    const NAME: &'static str = "Enqueued";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let conflict = self.conflict;
        ENQUEUED.get(py)?.call1((job::Job::enqueued(self), conflict))
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        expect(&ENQUEUED, Self::NAME, value)?;
        let conflict = build::flag("conflict", &value.getattr("conflict")?)?;
        Ok(Self { job: Job::from_python(&value.getattr("job")?)?, conflict })
    }
}

impl Row for Ack {
    const NAME: &'static str = "AckRow";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let error = self.error.map(|e| FAILURE.get(py)?.call1((e.kind, e.message, e.traceback))).transpose()?;
        let event = member(&JOB_EVENT, py, self.event.name())?;
        let result = self.result.map(|result| PyBytes::new(py, &result));
        let (to, delay) = (job::state(py, self.to)?, build::length(self.delay));
        ACK_ROW.get(py)?.call1((self.id.0, self.lease.0, event, to, self.attempt, delay, error, result))
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        expect(&ACK_ROW, Self::NAME, value)?;
        let part = |name: &str| value.getattr(name);
        Ok(Self {
            id: build::id("id", &part("id")?)?,
            lease: build::lease(&part("lease")?)?,
            event: event(&part("event")?)?,
            to: build::state("to", &part("to")?)?,
            attempt: integer("attempt", &part("attempt")?, 0, u32::MAX.into())?,
            delay: build::optional(&part("delay_seconds")?, |value| seconds("delay_seconds", value))?,
            error: build::optional(&part("error")?, build::failure)?,
            result: build::optional(&part("result_bytes")?, |value| build::bytes("result_bytes", value))?,
        })
    }
}

fn event(value: &Bound<'_, PyAny>) -> PyResult<Event> {
    let name = text("event", value)?;
    let event = Event::ALL.into_iter().find(|event| event.name() == name);
    event.ok_or_else(|| invalid("event", "must be a JobEvent", value))
}

impl Row for Acked {
    const NAME: &'static str = "Acked";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        member(&ACKED, py, acked_name(self))
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let name = text("Acked", value)?;
        let all = [Self::Stored, Self::Already, Self::CancelRequested, Self::LeaseLost];
        let one = all.into_iter().find(|one| acked_name(*one) == name);
        one.ok_or_else(|| invalid("Acked", "must be a member of Acked", value))
    }
}

const fn acked_name(acked: Acked) -> &'static str {
    match acked {
        Acked::Stored => "stored",
        Acked::Already => "already",
        Acked::CancelRequested => "cancel_requested",
        Acked::LeaseLost => "lease_lost",
    }
}

impl Row for Report {
    const NAME: &'static str = "Report";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        REPORT.get(py)?.call1((self.id.0, self.lease.0, job::progress(py, &self.progress)?))
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        expect(&REPORT, Self::NAME, value)?;
        Ok(Self {
            id: build::id("id", &value.getattr("id")?)?,
            lease: build::lease(&value.getattr("lease")?)?,
            progress: build::progress(&value.getattr("progress")?)?,
        })
    }
}

impl Row for Staged {
    const NAME: &'static str = "Staged";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        STAGED.get(py)?.call1((self.moved, optional_datetime(py, self.next)?, datetime(py, self.now)?))
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        expect(&STAGED, Self::NAME, value)?;
        Ok(Self {
            moved: count("moved", &value.getattr("moved")?)?,
            next: build::optional(&value.getattr("next")?, |value| timestamp("next", value))?,
            now: timestamp("now", &value.getattr("now")?)?,
        })
    }
}

impl Row for Rescued {
    const NAME: &'static str = "Rescued";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let reason = member(&REASON, py, reason_name(self.reason))?;
        RESCUED.get(py)?.call1((self.job.into_python(py)?, reason))
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        expect(&RESCUED, Self::NAME, value)?;
        Ok(Self { job: Job::from_python(&value.getattr("job")?)?, reason: reason(&value.getattr("reason")?)? })
    }
}

/// Why a job is taken back.
pub(crate) fn reason(value: &Bound<'_, PyAny>) -> PyResult<RescueReason> {
    let name = text("reason", value)?;
    let all = [RescueReason::NodeDied, RescueReason::Shutdown];
    let one = all.into_iter().find(|one| reason_name(*one) == name);
    one.ok_or_else(|| invalid("reason", "must be a RescueReason", value))
}
