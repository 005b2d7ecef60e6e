//! Values that JSON keeps: what comes back is equal to what went in, type and value.

use pyo3::exceptions::PyUnicodeEncodeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};
use zjobs_engine::limits;

use crate::errors::invalid;

/// Raises `Invalid` with the path of the first value that JSON would not give back unchanged.
///
/// Plain are `None`, `bool`, `int` of 64 bits, finite `float`, `str` without NUL and lone surrogates, `list` and `dict`
/// with such keys, at most 128 levels deep. A subclass, a tuple, a set, bytes and everything else are not.
#[pyfunction]
pub(crate) fn check_plain(field: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    check(value, &mut Path { field, steps: Vec::new() })
}

struct Path<'a> {
    field: &'a str,
    steps: Vec<String>,
}

impl Path<'_> {
    fn refuse(&self, rule: &str, value: &Bound<'_, PyAny>) -> PyErr {
        let steps = self.steps.iter().take(12).cloned().collect::<String>();
        let shown = value.repr().map_or_else(|_| format!("<{}>", type_name(value)), |repr| repr.to_string());
        invalid(&format!("{}{steps}", self.field), rule, shown)
    }
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string())
}

fn check(value: &Bound<'_, PyAny>, path: &mut Path<'_>) -> PyResult<()> {
    if let Ok(text) = value.cast_exact::<PyString>() {
        return check_text(text, path);
    }
    if value.is_none() || value.is_exact_instance_of::<PyBool>() {
        return Ok(());
    }
    if value.is_exact_instance_of::<PyInt>() {
        return check_integer(value, path);
    }
    if let Ok(float) = value.cast_exact::<PyFloat>() {
        return if float.value().is_finite() { Ok(()) } else { Err(path.refuse("must be a finite number", value)) };
    }
    if path.steps.len() >= limits::DEPTH {
        let rule = format!("must nest at most {} levels deep and not contain itself", limits::DEPTH);
        return Err(invalid(path.field, &rule, format!("a {} at level {}", type_name(value), path.steps.len())));
    }
    if let Ok(items) = value.cast_exact::<PyDict>() {
        for (key, item) in items {
            let Ok(name) = key.cast_exact::<PyString>() else {
                return Err(path.refuse("must have only str as keys", &key));
            };
            check_text(name, path)?;
            path.steps.push(format!("[{:?}]", name.to_str().unwrap_or("?")));
            check(&item, path)?;
            path.steps.pop();
        }
        return Ok(());
    }
    if let Ok(items) = value.cast_exact::<PyList>() {
        for (index, item) in items.iter().enumerate() {
            path.steps.push(format!("[{index}]"));
            check(&item, path)?;
            path.steps.pop();
        }
        return Ok(());
    }
    let rule = format!(
        "must be None, bool, int, float, str, list or dict, not {}; annotate the worker's parameter to pass it",
        type_name(value)
    );
    Err(path.refuse(&rule, value))
}

fn check_text(text: &Bound<'_, PyString>, path: &Path<'_>) -> PyResult<()> {
    match text.to_str() {
        Ok(text_) if !text_.as_bytes().contains(&0) => Ok(()),
        Ok(_) => Err(path.refuse("must not contain the character U+0000", text)),
        Err(error) if error.is_instance_of::<PyUnicodeEncodeError>(text.py()) => {
            Err(path.refuse("must not contain lone surrogates", text))
        }
        Err(error) => Err(error),
    }
}

fn check_integer(value: &Bound<'_, PyAny>, path: &Path<'_>) -> PyResult<()> {
    if value.extract::<i64>().is_ok() || value.extract::<u64>().is_ok() {
        return Ok(());
    }
    Err(path.refuse("must fit into 64 bits; pass larger integers as text", value))
}
