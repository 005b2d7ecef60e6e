//! `PyHost`: the Python threads and the event loop that own the slots.

use pyo3::prelude::*;
use zjobs_engine::JobId;
use zjobs_engine::runtime::QueueIndex;
use zjobs_engine::runtime::usher::Host;

use crate::below::made;

/// Calls three Python functions; an interpreter that ends is no host any more.
pub(crate) struct PyHost {
    pub(crate) ring: Py<PyAny>,
    pub(crate) reinforce: Py<PyAny>,
    pub(crate) give_up: Py<PyAny>,
}

/// Calls Python; false when that failed and is worth another attempt.
pub(crate) fn attached(call: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>>) -> bool {
    Python::try_attach(|py| made(py, || call(py))).unwrap_or(true)
}

impl Host for PyHost {
    fn ring(&self) -> bool {
        attached(|py| self.ring.call0(py))
    }

    fn reinforce(&self, queue: QueueIndex, slots: u32) -> bool {
        attached(|py| self.reinforce.call1(py, (queue.0, slots)))
    }

    fn give_up(&self, job: JobId) -> bool {
        attached(|py| self.give_up.call1(py, (job.0,)))
    }
}
