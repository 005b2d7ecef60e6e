//! Signals across the border, both ways.

use pyo3::prelude::*;
use zjobs_engine::store::{Signal, Subscriber};
use zjobs_engine::sync::Weak;

use super::rows::ids;
use crate::below::told;
use crate::convert::{datetime, timestamp};
use crate::job::build;

/// The engine's listener, for a store that is written in Python.
#[pyclass(frozen, module = "zjobs._engine")]
pub(crate) struct Signals {
    subscriber: Weak<dyn Subscriber>,
}

impl Signals {
    pub(super) fn new(subscriber: Weak<dyn Subscriber>) -> Self {
        Self { subscriber }
    }

    // Told detached: a subscriber takes locks of the engine.
    fn tell(&self, py: Python<'_>, signal: &Signal) {
        if let Some(subscriber) = self.subscriber.upgrade() {
            py.detach(|| subscriber.signal(signal));
        }
    }
}

#[pymethods]
impl Signals {
    /// The queue has jobs to claim.
    fn ready(&self, queue: &Bound<'_, PyAny>) -> PyResult<()> {
        self.tell(queue.py(), &Signal::Ready(build::queue(queue)?));
        Ok(())
    }

    /// A job becomes due then.
    fn due(&self, at: &Bound<'_, PyAny>) -> PyResult<()> {
        self.tell(at.py(), &Signal::Due(timestamp("at", at)?));
        Ok(())
    }

    /// Somebody wants these running jobs to stop.
    fn cancel(&self, ids: &Bound<'_, PyAny>) -> PyResult<()> {
        self.tell(ids.py(), &Signal::Cancel(self::ids("ids", ids)?));
        Ok(())
    }

    /// The queue was paused, resumed or scaled.
    fn control(&self, queue: &Bound<'_, PyAny>) -> PyResult<()> {
        self.tell(queue.py(), &Signal::Control(build::queue(queue)?));
        Ok(())
    }

    /// Jobs have reached a final state.
    fn settled(&self, py: Python<'_>) {
        self.tell(py, &Signal::Settled);
    }

    /// A node may have ended: its jobs wait to be rescued.
    fn orphaned(&self, py: Python<'_>) {
        self.tell(py, &Signal::Orphaned);
    }

    /// Others may have told something that could not be heard.
    fn missed(&self, py: Python<'_>) {
        self.tell(py, &Signal::Missed);
    }

    /// Whether nobody listens any more: the store may forget it.
    #[getter]
    fn gone(&self) -> bool {
        self.subscriber.strong_count() == 0
    }
}

/// A `zjobs.store.Listener` that hears a compiled store.
pub(super) struct PyListener(pub(super) Py<PyAny>);

impl PyListener {
    fn tell(&self, py: Python<'_>, signal: &Signal) -> PyResult<()> {
        let listener = self.0.bind(py);
        match signal {
            Signal::Ready(queue) => listener.call_method1("ready", (queue.as_str(),)),
            Signal::Due(at) => listener.call_method1("due", (datetime(py, *at)?,)),
            Signal::Cancel(ids) => listener.call_method1("cancel", (ids.iter().map(|id| id.0).collect::<Vec<_>>(),)),
            Signal::Control(queue) => listener.call_method1("control", (queue.as_str(),)),
            Signal::Settled => listener.call_method0("settled"),
            Signal::Orphaned | Signal::Leaving => listener.call_method0("orphaned"),
            Signal::Missed => listener.call_method0("missed"),
        }
        .map(drop)
    }
}

impl Subscriber for PyListener {
    fn signal(&self, signal: &Signal) {
        let _ = Python::try_attach(|py| told(py, || self.tell(py, signal)));
    }
}
