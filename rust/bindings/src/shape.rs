//! `Shape`: the quick way from a call's arguments to JSON text, with the proof that the handler will get them equal.
//!
//! It knows handlers whose parameters are plain scalars, which most are. What it does not recognise is not refused but
//! left to the thorough check in `zjobs.signature`. Being one call it also touches few pages of code, which is what a
//! lone enqueue of an idle process pays for.

use std::cell::Cell;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyFloatMethods, PyInt, PyString};

/// A desk that has grown larger than this is not kept.
const DESK_BYTES: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Whole,
    Float,
    Bool,
}

struct Field {
    name: Py<PyString>,
    /// The name as JSON text with its colon.
    key: Vec<u8>,
    kind: Kind,
    optional: bool,
    required: bool,
}

/// The parameters of a handler that takes nothing but scalars.
#[pyclass(frozen, module = "zjobs._engine")]
pub(crate) struct Shape {
    fields: Vec<Field>,
}

#[pymethods]
impl Shape {
    /// `(name, type, may be None, must be given)` for each parameter; `type` is `str`, `int`, `float` or `bool`.
    #[new]
    fn new(py: Python<'_>, fields: Vec<(Bound<'_, PyString>, Bound<'_, PyAny>, bool, bool)>) -> PyResult<Self> {
        let builtins = py.import(intern!(py, "builtins"))?;
        let kinds = [("str", Kind::Text), ("int", Kind::Whole), ("float", Kind::Float), ("bool", Kind::Bool)];
        let fields = fields
            .into_iter()
            .map(|(name, class, optional, required)| {
                let mut kind = None;
                for (builtin, found) in kinds {
                    if class.is(&builtins.getattr(builtin)?) {
                        kind = Some(found);
                    }
                }
                let kind =
                    kind.ok_or_else(|| crate::errors::invalid("type", "must be str, int, float or bool", &class))?;
                let text = name.to_str()?;
                let mut key = Vec::new();
                json(&mut key, &text);
                key.push(b':');
                Ok(Field { name: PyString::intern(py, text).unbind(), key, kind, optional, required })
            })
            .collect::<PyResult<_>>()?;
        Ok(Self { fields })
    }

    /// The JSON text of these arguments; `None` where only the thorough check can tell.
    #[pyo3(name = "encode")]
    fn encode_py<'py>(&self, args: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.encode(args, |text| PyBytes::new(args.py(), text))
    }
}

impl Shape {
    /// What `take` makes of the JSON text of these arguments; `None` where only the thorough check can tell.
    pub(crate) fn encode<T>(&self, args: &Bound<'_, PyAny>, take: impl FnOnce(&[u8]) -> T) -> PyResult<Option<T>> {
        thread_local! {
            // Taken out while it is used: looking up a key may run code of the caller's, which may enqueue.
            static DESK: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
        }
        let Ok(args) = args.cast_exact::<PyDict>() else { return Ok(None) };
        let mut text = DESK.take();
        text.clear();
        let taken = self.write(args, &mut text)?.then(|| take(&text));
        if text.capacity() <= DESK_BYTES {
            DESK.set(text);
        }
        Ok(taken)
    }

    /// Writes the text; false where only the thorough check can tell.
    fn write(&self, args: &Bound<'_, PyDict>, text: &mut Vec<u8>) -> PyResult<bool> {
        let mut given = 0;
        text.push(b'{');
        for field in &self.fields {
            match args.get_item(field.name.bind(args.py()))? {
                Some(value) => {
                    if given > 0 {
                        text.push(b',');
                    }
                    text.extend_from_slice(&field.key);
                    if !field.write(text, &value) {
                        return Ok(false);
                    }
                    given += 1;
                }
                None if !field.required => {}
                None => return Ok(false),
            }
        }
        text.push(b'}');
        Ok(given == args.len())
    }
}

impl Field {
    /// Writes one value; false when it is not what the parameter says or JSON would not give it back.
    fn write(&self, text: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> bool {
        if value.is_none() {
            text.extend_from_slice(b"null");
            return self.optional;
        }
        match self.kind {
            Kind::Text => {
                let value = value.cast_exact::<PyString>().ok().and_then(|value| value.to_str().ok());
                value.is_some_and(|value| !value.as_bytes().contains(&0) && json(text, &value))
            }
            Kind::Whole => {
                let value = value.cast_exact::<PyInt>().ok().and_then(|value| value.extract::<i64>().ok());
                value.is_some_and(|value| json(text, &value))
            }
            Kind::Float => {
                let value = value.cast_exact::<PyFloat>().ok().map(PyFloatMethods::value);
                value.is_some_and(|value| value.is_finite() && json(text, &value))
            }
            Kind::Bool => value.cast_exact::<PyBool>().is_ok_and(|value| json(text, &value.is_true())),
        }
    }
}

fn json(text: &mut Vec<u8>, value: &impl serde::Serialize) -> bool {
    serde_json::to_writer(text, value).is_ok()
}
