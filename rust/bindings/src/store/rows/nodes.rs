//! Nodes: what they say, and what is known of them.

use pyo3::prelude::*;
use zjobs_engine::store::{Heartbeat, NodeRow, Pulse};

use super::{Row, concurrencies, concurrencies_back, count, expect, id_tuple, ids};
use crate::convert::{Imported, datetime, seconds, timestamp};
use crate::errors::invalid;
use crate::job::build;
use crate::options::{integer, text};

static HEARTBEAT: Imported = Imported::new("zjobs.rows", "Heartbeat");
static PULSE: Imported = Imported::new("zjobs.rows", "Pulse");
static NODE_INFO: Imported = Imported::new("zjobs.rows", "NodeInfo");

impl Row for Heartbeat {
    const NAME: &'static str = "Heartbeat";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let (queues, holds) = (concurrencies(py, &self.queues)?, id_tuple(py, self.holds)?);
        let ttl = self.ttl.as_secs_f64();
        HEARTBEAT.get(py)?.call1((self.node.to_string(), self.name, self.pid, ttl, queues, holds))
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        expect(&HEARTBEAT, Self::NAME, value)?;
        let part = |name: &str| value.getattr(name);
        Ok(Self {
            node: build::node(&part("node")?)?,
            name: text("name", &part("name")?)?,
            pid: integer("pid", &part("pid")?, 0, u32::MAX.into())?,
            ttl: seconds("ttl_seconds", &part("ttl_seconds")?)?,
            queues: concurrencies_back(&part("queues")?)?,
            holds: ids("holds", &part("holds")?)?,
        })
    }
}

impl Row for Pulse {
    const NAME: &'static str = "Pulse";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        match self {
            Self::Dead => PULSE.get(py)?.call1((false,)),
            Self::Alive { cancel, lost, unknown } => {
                let unknown = unknown.into_iter().map(|(id, lease)| (id.0, lease.0));
                let unknown = pyo3::types::PyTuple::new(py, unknown.collect::<Vec<_>>())?;
                PULSE.get(py)?.call1((true, id_tuple(py, cancel)?, id_tuple(py, lost)?, unknown))
            }
        }
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        expect(&PULSE, Self::NAME, value)?;
        if !build::flag("alive", &value.getattr("alive")?)? {
            return Ok(Self::Dead);
        }
        let pair = |pair: PyResult<Bound<'_, PyAny>>| {
            let pair = pair?;
            let read = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>();
            let (id, lease) = read.map_err(|_| invalid("unknown", "must hold pairs (id, lease)", &pair))?;
            Ok((build::id("id", &id)?, build::lease(&lease)?))
        };
        Ok(Self::Alive {
            cancel: ids("cancel", &value.getattr("cancel")?)?,
            lost: ids("lost", &value.getattr("lost")?)?,
            unknown: value.getattr("unknown")?.try_iter()?.map(pair).collect::<PyResult<_>>()?,
        })
    }
}

impl Row for NodeRow {
    const NAME: &'static str = "NodeInfo";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        NODE_INFO.get(py)?.call1((
            self.node.to_string(),
            self.name,
            self.pid,
            datetime(py, self.started_at)?,
            datetime(py, self.beat_at)?,
            datetime(py, self.expires_at)?,
            concurrencies(py, &self.queues)?,
            self.executing,
        ))
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        expect(&NODE_INFO, Self::NAME, value)?;
        let part = |name: &str| value.getattr(name);
        Ok(Self {
            node: build::node(&part("node")?)?,
            name: text("name", &part("name")?)?,
            pid: integer("pid", &part("pid")?, 0, u32::MAX.into())?,
            started_at: timestamp("started_at", &part("started_at")?)?,
            beat_at: timestamp("beat_at", &part("beat_at")?)?,
            expires_at: timestamp("expires_at", &part("expires_at")?)?,
            queues: concurrencies_back(&part("queues")?)?,
            executing: count("executing", &part("executing")?)?,
        })
    }
}
