//! One translation of the engine's errors into `zjobs.errors`, and back.

pub(crate) mod back;

use pyo3::{PyErr, import_exception};
use zjobs_engine::Error;

import_exception!(zjobs.errors, AlreadyStarted);
import_exception!(zjobs.errors, EnqueueUncertain);
import_exception!(zjobs.errors, Invalid);
import_exception!(zjobs.errors, LeaseLost);
import_exception!(zjobs.errors, NotFound);
import_exception!(zjobs.errors, NotStarted);
import_exception!(zjobs.errors, SchemaMismatch);
import_exception!(zjobs.errors, StoreFull);
import_exception!(zjobs.errors, StoreUnavailable);
mod base {
    pyo3::import_exception!(zjobs.errors, Error);
}

/// The Python exception for an error of the engine.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(crate) fn raised(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Invalid { .. } | Error::Transition { .. } => Invalid::new_err(text),
        Error::NotFound(_) => NotFound::new_err(text),
        Error::StoreFull { .. } => StoreFull::new_err(text),
        Error::StoreUnavailable(_) => StoreUnavailable::new_err(text),
        Error::SchemaMismatch(_) => SchemaMismatch::new_err(text),
        Error::LeaseLost(_) => LeaseLost::new_err(text),
        Error::EnqueueUncertain(_) => EnqueueUncertain::new_err(text),
        Error::NotStarted(_) => NotStarted::new_err(text),
        Error::AlreadyStarted(_) => AlreadyStarted::new_err(text),
        Error::Internal(_) => base::Error::new_err(text),
    }
}

/// An `Invalid` made of its parts.
pub(crate) fn invalid(field: &str, rule: &str, value: impl std::fmt::Display) -> PyErr {
    raised(Error::invalid(field, rule, value))
}
