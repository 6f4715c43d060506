//! `PantherEvent`: the object that rules receive. A dictionary that also knows its data model and its lookups.

use std::sync::Arc;

use rustpython_vm::builtins::{PyBaseExceptionRef, PyStr, PyType};
use rustpython_vm::function::{FuncArgs, OptionalArg};
use rustpython_vm::types::Constructor;
use rustpython_vm::{Py, PyObject, PyObjectRef, PyRef, PyResult, VirtualMachine, pyclass};
use time::PrimitiveDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::dict::ImmutableDict;
use super::list::ImmutableList;
use super::{from_object, only_default, text_keys, to_object, to_plain};
use crate::detect::python::data_model::{DataModel, Resolved};
use crate::detect::python::lookup::{Lookups, NoAnswer};
use crate::detect::python::tree::{self, Gap, Item, Pick, Walked};
use crate::lookup;
use crate::model::{Map, Value};

#[pyclass(module = "panther_core.enriched_event", name = "PantherEvent", base = ImmutableDict, unhashable = true)]
#[derive(Debug)]
#[repr(C)]
pub(in crate::detect::python) struct PantherEvent {
    dict: ImmutableDict,
    model: Option<Arc<DataModel>>,
    /// None of an event that a rule has made itself.
    lookups: Option<Arc<Lookups>>,
}

impl PantherEvent {
    pub(in crate::detect::python) fn new(
        map: Map,
        model: Option<Arc<DataModel>>,
        lookups: Option<Arc<Lookups>>,
    ) -> PantherEvent {
        PantherEvent { dict: ImmutableDict::new(map), model, lookups }
    }

    fn model_or_error(&self, vm: &VirtualMachine) -> PyResult<&DataModel> {
        self.model.as_deref().ok_or_else(|| {
            let log_type = self.dict.map().get("p_log_type").and_then(Value::as_str).unwrap_or("None");
            panther_error(format!("a data model hasn't been specified for log type: {log_type}"), vm)
        })
    }
}

/// An instance of `panther_core.exceptions.PantherError`.
fn panther_error(text: String, vm: &VirtualMachine) -> PyBaseExceptionRef {
    let make = || {
        let package = vm.import("panther_core.exceptions", 0)?;
        package.get_attr("exceptions", vm)?.get_attr("PantherError", vm)?.call((text.clone(),), vm)
    };
    match make().map(|error| error.downcast()) {
        Ok(Ok(error)) => error,
        Ok(Err(_)) => vm.new_runtime_error(text),
        Err(error) => error,
    }
}

impl Constructor for PantherEvent {
    type Args = (PyObjectRef, OptionalArg);

    fn py_new(_class: &Py<PyType>, (event, model): Self::Args, vm: &VirtualMachine) -> PyResult<Self> {
        if !vm.is_none(&model.unwrap_or_none(vm)) {
            return Err(vm.new_type_error(
                "PantherEvent() takes no data model here: the engine chooses it by the log type of an event",
            ));
        }
        Ok(PantherEvent::new(ImmutableDict::map_from(&event, vm)?, None, None))
    }
}

#[pyclass(with(Constructor), flags(BASETYPE, MAPPING, HAS_WEAKREF))]
impl PantherEvent {
    #[pymethod]
    fn deep_walk(zelf: &Py<Self>, mut args: FuncArgs, vm: &VirtualMachine) -> PyResult {
        let pick = match args.kwargs.pop_kwarg("return_val") {
            None => Pick::All,
            Some(name) => match name.downcast_ref::<PyStr>().and_then(|name| name.to_str()) {
                Some("all") => Pick::All,
                Some("first") => Pick::First,
                Some("last") => Pick::Last,
                _ => return Err(vm.new_value_error("return_val is one of 'all', 'first' and 'last'")),
            },
        };
        let (keys, default) = only_default(args, "deep_walk", vm)?;
        let Some(keys) = text_keys(&keys) else { return Ok(default) };
        let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
        let gap =
            if vm.is_none(&default) { Gap::Skipped } else { from_object(&default, vm).map_or(Gap::Opaque, Gap::Value) };
        let item = |item: Item| match item {
            Item::Value(value) => to_plain(&value, vm),
            Item::Default => Ok(default.clone()),
        };
        match tree::deep_walk(&zelf.dict.value(), &keys, pick, &gap) {
            Walked::Nothing => Ok(default),
            Walked::One(one) => item(one),
            Walked::Many(many) => {
                let items: PyResult<Vec<_>> = many.into_iter().map(item).collect();
                Ok(vm.ctx.new_list(items?).into())
            }
        }
    }

    #[pymethod]
    fn udm(zelf: PyRef<PantherEvent>, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
        let (keys, default) = only_default(args, "udm", vm)?;
        let Some(keys) = text_keys(&keys) else { return Ok(default) };
        if let ([key], Some(model)) = (keys.as_slice(), &zelf.model) {
            match model.resolve(key, zelf.dict.map()) {
                Resolved::Unmapped => {}
                Resolved::Absent => return Ok(default),
                Resolved::Value(place) => return Ok(to_object(&place.value, vm)),
                Resolved::Method { function, .. } => return function.call((zelf.clone(),), vm),
                Resolved::Ambiguous(text) => {
                    return Err(vm.new_exception_msg(vm.ctx.exceptions.exception_type.to_owned(), text.into()));
                }
            }
        }
        let map = zelf.dict.map();
        let stored = tree::deep_get(map, std::iter::once("p_udm").chain(keys.iter().copied()));
        let found = stored.filter(|value| truthy(value)).or_else(|| tree::deep_get(map, &keys));
        Ok(found.filter(|value| truthy(value)).map_or(default, |value| to_object(value, vm)))
    }

    #[pymethod]
    fn udm_path(zelf: &Py<Self>, key: PyObjectRef, vm: &VirtualMachine) -> PyResult {
        let model = zelf.model_or_error(vm)?;
        let Some(key) = key.downcast_ref::<PyStr>().and_then(|key| key.to_str()) else { return Ok(vm.ctx.none()) };
        match model.resolve(key, zelf.dict.map()) {
            Resolved::Unmapped | Resolved::Absent => Ok(vm.ctx.none()),
            Resolved::Value(place) => Ok(vm.ctx.new_str(place.path).into()),
            Resolved::Method { name, .. } => Ok(vm.ctx.new_str(name).into()),
            Resolved::Ambiguous(text) => {
                Err(vm.new_exception_msg(vm.ctx.exceptions.exception_type.to_owned(), text.into()))
            }
        }
    }

    /// The row of a lookup table whose primary key is `key`. What a test brings along under `_mocked_lookup_data_` stands for
    /// the table of that name.
    #[pymethod]
    fn lookup(zelf: &Py<Self>, table: PyObjectRef, key: PyObjectRef, vm: &VirtualMachine) -> PyResult {
        let Some(name) = table.downcast_ref::<PyStr>().and_then(|name| name.to_str()) else {
            return Err(vm.new_type_error(format!("lookup() takes the name of a table, not {}", table.class().name())));
        };
        // A field that is not there has no row.
        if vm.is_none(&key) {
            return Ok(vm.ctx.none());
        }
        let value = from_object(&key, vm)?;
        let Some(text) = lookup::text_of(&value) else {
            return Err(vm.new_type_error(format!("lookup() takes a text or a number, not {}", key.class().name())));
        };
        let lookups = zelf.lookups.as_deref();
        let mocks = lookups.is_none_or(Lookups::takes_mocks).then(|| zelf.dict.map().get("_mocked_lookup_data_"));
        if let Some(mocked) = mocks.flatten().and_then(|mocks| mocks.as_map()?.get(name)?.as_map()) {
            return Ok(mocked.get(&text).map_or_else(|| vm.ctx.none(), |row| to_object(row, vm)));
        }
        let refused = |said: String| vm.new_exception_msg(vm.ctx.exceptions.lookup_error.to_owned(), said.into());
        let Some(lookups) = lookups else {
            let said = "lookup tables are known to the event that a function is given, not to one that it makes itself";
            return Err(refused(said.to_owned()));
        };
        match lookups.row(name, &text) {
            Ok(row) => Ok(row.map_or_else(|| vm.ctx.none(), |row| to_object(&Value::Map(row), vm))),
            Err(NoAnswer::Table(said)) => Err(refused(said)),
            Err(NoAnswer::Limit(said)) => Err(vm.new_runtime_error(said)),
        }
    }

    #[pymethod]
    fn event_time_epoch(zelf: &Py<Self>) -> i64 {
        let time = zelf.dict.map().get_ignore_case("p_event_time").and_then(Value::as_str);
        time.and_then(epoch).unwrap_or(0)
    }

    /// For `json.dumps(…, default=event.json_encoder)`.
    #[pymethod]
    fn json_encoder(_zelf: &Py<Self>, object: PyObjectRef, vm: &VirtualMachine) -> PyResult {
        if let Some(dict) = object.downcast_ref::<ImmutableDict>() {
            to_plain(&dict.value(), vm)
        } else if let Some(list) = object.downcast_ref::<ImmutableList>() {
            to_plain(&Value::List(list.items().clone()), vm)
        } else {
            Err(not_serializable(&object, vm))
        }
    }
}

/// In the words of Python's own encoder.
pub(in crate::detect::python) fn not_serializable(object: &PyObject, vm: &VirtualMachine) -> PyBaseExceptionRef {
    vm.new_type_error(format!("Object of type {} is not JSON serializable", object.class().name()))
}

fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Int(value) => *value != 0,
        Value::UInt(_) => true,
        Value::Float(value) => *value != 0.0,
        Value::Str(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Map(map) => !map.is_empty(),
    }
}

/// Seconds since 1970 of a UTC time as it is stored (`2021-01-02 03:04:05.000000000`) or as ISO 8601 writes it.
fn epoch(text: &str) -> Option<i64> {
    const FORM: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let seconds = text.get(..19)?.replace('T', " ");
    let fraction = text[19..].trim_end_matches('Z');
    let fraction = fraction.strip_suffix("+00:00").unwrap_or(fraction);
    let plain = fraction.is_empty()
        || fraction.strip_prefix('.').is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
    let time = PrimitiveDateTime::parse(&seconds, FORM).ok()?;
    plain.then(|| time.assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_stored_and_as_iso_8601_become_seconds() {
        for (text, seconds) in [
            ("1970-01-01 00:00:01.999999999", Some(1)),
            ("2021-01-02 03:04:05", Some(1_609_556_645)),
            ("2021-01-02T03:04:05Z", Some(1_609_556_645)),
            ("2021-01-02T03:04:05.5+00:00", Some(1_609_556_645)),
            ("2021-01-02T03:04:05+02:00", None),
            ("2021-13-02 03:04:05", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(epoch(text), seconds, "{text}");
        }
    }
}
