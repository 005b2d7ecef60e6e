//! Values whose end waits for threads that may be waiting for the interpreter.

use std::ops::Deref;

use pyo3::prelude::*;

/// Dropped without the interpreter being held: a store's thread may be telling Python something just then.
pub(crate) struct Detached<T: Send>(Option<T>);

impl<T: Send> Detached<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T: Send> Deref for Detached<T> {
    type Target = T;

    #[expect(clippy::expect_used, reason = "only the drop takes it")]
    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl<T: Send> Drop for Detached<T> {
    fn drop(&mut self) {
        let mut value = self.0.take();
        // While the interpreter ends nobody gets hold of it any more.
        let _ = Python::try_attach(|py| py.detach(|| drop(value.take())));
    }
}
