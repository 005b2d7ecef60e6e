//! `PyHost`: the Python threads and the event loop that own the slots.

use pyo3::prelude::*;
use zjobs_engine::JobId;
use zjobs_engine::runtime::pool::{Host, QueueIndex};

use crate::below::told;

/// Calls three Python functions; an interpreter that ends is no host any more.
pub(crate) struct PyHost {
    pub(crate) ring: Py<PyAny>,
    pub(crate) reinforce: Py<PyAny>,
    pub(crate) give_up: Py<PyAny>,
}

fn attached(call: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>>) {
    let _ = Python::try_attach(|py| told(py, || call(py)));
}

impl Host for PyHost {
    fn ring(&self) {
        attached(|py| self.ring.call0(py));
    }

    fn reinforce(&self, queue: QueueIndex, slots: u32) {
        attached(|py| self.reinforce.call1(py, (queue.0, slots)));
    }

    fn give_up(&self, job: JobId) {
        attached(|py| self.give_up.call1(py, (job.0,)));
    }
}
