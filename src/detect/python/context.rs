//! Writes the alert context of a rule as JSON text, the way Python's `json.dumps` would with the event's own encoder.
//!
//! Separators are those of Python (`", "`, `": "`) since the text is shown to people; text outside ASCII is written as it is.
//! Unlike Python's, the result is always valid JSON: not-a-number and infinity are errors, unpaired surrogates are replaced.

use rustpython_vm::builtins::{PyBool, PyDict, PyFloat, PyInt, PyList, PyStr, PyTuple};
use rustpython_vm::{AsObject, PyObject, PyResult, VirtualMachine};

use super::event::{self, ImmutableDict, ImmutableList};
use crate::model::Value;

/// A structure nested deeper than this is almost surely one that contains itself; and who reads alerts reads 127 levels.
const DEPTH_LIMIT: usize = 100;

pub(super) fn to_json(value: &PyObject, vm: &VirtualMachine) -> PyResult<String> {
    let mut writer = Writer { out: String::new(), vm };
    writer.object(value, 0)?;
    Ok(writer.out)
}

struct Writer<'a> {
    out: String,
    vm: &'a VirtualMachine,
}

impl Writer<'_> {
    fn object(&mut self, value: &PyObject, depth: usize) -> PyResult<()> {
        self.admit(depth)?;
        if let Some(text) = value.downcast_ref::<PyStr>() {
            self.text(&text.to_string_lossy());
        } else if self.vm.is_none(value) {
            self.out.push_str("null");
        } else if value.downcast_ref::<PyBool>().is_some() {
            self.out.push_str(if value.try_to_bool(self.vm)? { "true" } else { "false" });
        } else if let Some(number) = value.downcast_ref::<PyInt>() {
            self.whole(number)?;
        } else if let Some(number) = value.downcast_ref::<PyFloat>() {
            self.float(number.to_f64())?;
        } else if let Some(dict) = value.downcast_ref::<PyDict>() {
            let entries = dict.items_vec();
            self.sequence(('{', '}'), entries.iter(), |writer, (key, value)| {
                writer.key(key)?;
                writer.out.push_str(": ");
                writer.object(value, depth + 1)
            })?;
        } else if let Some(list) = value.downcast_ref::<PyList>() {
            let items = list.borrow_vec().to_vec();
            self.sequence(('[', ']'), items.iter(), |writer, item| writer.object(item, depth + 1))?;
        } else if let Some(tuple) = value.downcast_ref::<PyTuple>() {
            self.sequence(('[', ']'), tuple.as_slice().iter(), |writer, item| writer.object(item, depth + 1))?;
        } else if let Some(dict) = value.downcast_ref::<ImmutableDict>() {
            self.tree(&Value::Map(dict.map().clone()), depth)?;
        } else if let Some(list) = value.downcast_ref::<ImmutableList>() {
            self.tree(&Value::List(list.items().clone()), depth)?;
        } else {
            return Err(event::not_serializable(value, self.vm));
        }
        Ok(())
    }

    fn admit(&self, depth: usize) -> PyResult<()> {
        if depth > DEPTH_LIMIT {
            let said = format!("alert_context is nested deeper than {DEPTH_LIMIT} levels, or contains itself");
            return Err(self.vm.new_value_error(said));
        }
        Ok(())
    }

    fn tree(&mut self, value: &Value, depth: usize) -> PyResult<()> {
        self.admit(depth)?;
        match value {
            Value::Null => self.out.push_str("null"),
            Value::Bool(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Value::Int(value) => self.out.push_str(&value.to_string()),
            Value::UInt(value) => self.out.push_str(&value.to_string()),
            Value::Float(value) => self.float(*value)?,
            Value::Str(text) => self.text(text),
            Value::List(items) => {
                self.sequence(('[', ']'), items.iter(), |writer, item| writer.tree(item, depth + 1))?
            }
            Value::Map(map) => self.sequence(('{', '}'), map.iter(), |writer, (key, value)| {
                writer.text(key);
                writer.out.push_str(": ");
                writer.tree(value, depth + 1)
            })?,
        }
        Ok(())
    }

    fn sequence<T>(
        &mut self,
        (open, close): (char, char),
        items: impl Iterator<Item = T>,
        mut write: impl FnMut(&mut Self, T) -> PyResult<()>,
    ) -> PyResult<()> {
        self.out.push(open);
        for (at, item) in items.enumerate() {
            if at > 0 {
                self.out.push_str(", ");
            }
            write(self, item)?;
        }
        self.out.push(close);
        Ok(())
    }

    /// Keys that are not text are written as the text JSON has for them.
    fn key(&mut self, key: &PyObject) -> PyResult<()> {
        if let Some(text) = key.downcast_ref::<PyStr>() {
            self.text(&text.to_string_lossy());
            return Ok(());
        }
        let scalar =
            self.vm.is_none(key) || key.downcast_ref::<PyInt>().is_some() || key.downcast_ref::<PyFloat>().is_some();
        if !scalar {
            let class = key.class().name().to_string();
            return Err(self.vm.new_type_error(format!("keys must be str, int, float, bool or None, not {class}")));
        }
        self.out.push('"');
        self.object(key, 0)?;
        self.out.push('"');
        Ok(())
    }

    fn whole(&mut self, number: &rustpython_vm::Py<PyInt>) -> PyResult<()> {
        match i64::try_from(number.as_bigint()) {
            Ok(small) => self.out.push_str(&small.to_string()),
            // The interpreter's own conversion has a limit on digits, which is what stops a hostile number here.
            Err(_) => {
                let plain = self.vm.ctx.new_bigint(number.as_bigint());
                self.out.push_str(&plain.as_object().repr(self.vm)?.to_string_lossy());
            }
        }
        Ok(())
    }

    fn float(&mut self, number: f64) -> PyResult<()> {
        if !number.is_finite() {
            return Err(self
                .vm
                .new_value_error("alert_context holds a number that JSON cannot express: NaN or Infinity"));
        }
        let number = self.vm.ctx.new_float(number);
        self.out.push_str(&number.as_object().repr(self.vm)?.to_string_lossy());
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                c if c < ' ' => self.out.push_str(&format!("\\u{:04x}", c as u32)),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}
