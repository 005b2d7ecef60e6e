//! Schedules and their ticks, in the shapes of `zjobs.crontab`.

use pyo3::prelude::*;
use zjobs_engine::job::Name;
use zjobs_engine::store::{CronEntry, CronRow, Ticked};

use super::{Row, expect};
use crate::convert::{Imported, datetime, member, optional_datetime, timestamp};
use crate::errors::{invalid, raised};
use crate::job::{self, build};
use crate::options::text;

static SCHEDULE: Imported = Imported::new("zjobs.cron", "Schedule");
static CRON_ENTRY: Imported = Imported::new("zjobs.crontab", "CronEntry");
static CRON_INFO: Imported = Imported::new("zjobs.rows", "CronInfo");
static TICKED: Imported = Imported::new("zjobs.crontab", "Ticked");
static TICK_REPLY: Imported = Imported::new("zjobs.crontab", "TickReply");

/// A schedule's name.
pub(crate) fn cron_name(value: &Bound<'_, PyAny>) -> PyResult<Name> {
    Name::cron(&text("cron name", value)?).map_err(raised)
}

impl Row for CronEntry {
    const NAME: &'static str = "CronEntry";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let parts = pyo3::types::PyDict::new(py);
        parts.set_item("name", self.name.as_str())?;
        parts.set_item("schedule", SCHEDULE.get(py)?.call1((self.expression, self.timezone))?)?;
        parts.set_item("worker", self.worker.as_str())?;
        CRON_ENTRY.get(py)?.call((), Some(&parts))
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        expect(&CRON_ENTRY, Self::NAME, value)?;
        let schedule = value.getattr("schedule")?;
        Ok(Self {
            name: cron_name(&value.getattr("name")?)?,
            expression: text("expression", &schedule.getattr("expression")?)?,
            timezone: text("timezone", &schedule.getattr("timezone")?)?,
            worker: build::worker(&value.getattr("worker")?)?,
        })
    }
}

impl Row for CronRow {
    const NAME: &'static str = "CronInfo";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        CRON_INFO.get(py)?.call1((
            self.entry.name.as_str(),
            self.entry.expression,
            self.entry.timezone,
            self.entry.worker.as_str(),
            self.paused,
            datetime(py, self.known_since)?,
            optional_datetime(py, self.last_tick)?,
        ))
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        expect(&CRON_INFO, Self::NAME, value)?;
        let part = |name: &str| value.getattr(name);
        Ok(Self {
            entry: CronEntry {
                name: cron_name(&part("name")?)?,
                expression: text("expression", &part("expression")?)?,
                timezone: text("timezone", &part("timezone")?)?,
                worker: build::worker(&part("worker")?)?,
            },
            paused: build::flag("paused", &part("paused")?)?,
            known_since: timestamp("known_since", &part("known_since")?)?,
            last_tick: build::optional(&part("last_tick")?, |value| timestamp("last_tick", value))?,
        })
    }
}

impl Row for Ticked {
    const NAME: &'static str = "Ticked";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let (reply, enqueued) = match self {
            Self::Inserted(enqueued) => ("inserted", enqueued),
            Self::Already => ("already", None),
            Self::Resting => ("resting", None),
        };
        let job = enqueued.map(|enqueued| job::Job::enqueued(*enqueued));
        TICKED.get(py)?.call1((member(&TICK_REPLY, py, reply)?, job))
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        expect(&TICKED, Self::NAME, value)?;
        let reply = value.getattr("reply")?;
        let name = reply.getattr("value").ok().and_then(|name| name.extract::<String>().ok());
        match name.as_deref() {
            Some("inserted") => {
                let job = value.getattr("job")?;
                let job = build::optional(&job, |job| Ok(job.cast::<job::Job>()?.get().reply()))?;
                Ok(Self::Inserted(job.map(Box::new)))
            }
            Some("already") => Ok(Self::Already),
            Some("resting") => Ok(Self::Resting),
            _ => Err(invalid("reply", "must be a TickReply", &reply)),
        }
    }
}
