//! The event object of rules: native Python classes over the shared tree of [`crate::model`].
//!
//! Nothing is converted up front: a nested object or list becomes a wrapper when it is touched, and that costs one
//! reference count. Wrappers are immutable; what a rule may change is a deep copy in plain dicts and lists.

mod dict;
mod list;
mod top;
mod views;

#[cfg(test)]
mod tests;

use rustpython_vm::builtins::{PyBool, PyDict, PyFloat, PyInt, PyList, PyStr, PyTuple};
use rustpython_vm::class::PyClassImpl;
use rustpython_vm::function::FuncArgs;
use rustpython_vm::{AsObject, PyObject, PyObjectRef, PyPayload, PyResult, VirtualMachine};

use super::tree;
use crate::model::{MapBuilder, Value};

pub(super) use dict::ImmutableDict;
pub(super) use list::ImmutableList;
pub(super) use top::{PantherEvent, not_serializable};

/// Nesting of a Python value that becomes a tree; the JSON parser of events has the same bound.
const DEPTH_LIMIT: usize = 128;

/// The classes by the name they are exported under. Creates them, so it comes before any event.
pub(super) fn classes() -> [(&'static str, PyObjectRef); 3] {
    let _ = views::View::make_static_type();
    let _ = views::TreeIterator::make_static_type();
    let dict = ImmutableDict::make_static_type();
    let list = ImmutableList::make_static_type();
    let event = PantherEvent::make_static_type();
    [("ImmutableCaseInsensitiveDict", dict.into()), ("ImmutableList", list.into()), ("PantherEvent", event.into())]
}

/// As rules see a value: containers wrapped.
pub(super) fn to_object(value: &Value, vm: &VirtualMachine) -> PyObjectRef {
    match value {
        Value::List(items) => ImmutableList::new(items.clone()).into_pyobject(vm),
        Value::Map(map) => ImmutableDict::new(map.clone()).into_pyobject(vm),
        scalar => scalar_to_object(scalar, vm),
    }
}

/// A deep copy in plain, mutable Python values.
pub(super) fn to_plain(value: &Value, vm: &VirtualMachine) -> PyResult {
    Ok(match value {
        Value::List(items) => {
            let items: PyResult<Vec<_>> = items.iter().map(|item| to_plain(item, vm)).collect();
            vm.ctx.new_list(items?).into()
        }
        Value::Map(map) => {
            let dict = vm.ctx.new_dict();
            for (key, value) in map.iter() {
                dict.set_item(&**key, to_plain(value, vm)?, vm)?;
            }
            dict.into()
        }
        scalar => scalar_to_object(scalar, vm),
    })
}

fn scalar_to_object(value: &Value, vm: &VirtualMachine) -> PyObjectRef {
    match value {
        Value::Bool(value) => vm.ctx.new_bool(*value).into(),
        Value::Int(value) => vm.ctx.new_int(*value).into(),
        Value::UInt(value) => vm.ctx.new_int(*value).into(),
        Value::Float(value) => vm.ctx.new_float(*value).into(),
        Value::Str(text) => vm.ctx.new_str(&**text).into(),
        Value::Null | Value::List(_) | Value::Map(_) => vm.ctx.none(),
    }
}

/// A tree from Python values; what JSON cannot hold is a `TypeError`.
pub(super) fn from_object(object: &PyObject, vm: &VirtualMachine) -> PyResult<Value> {
    from_object_at(object, 0, vm)
}

fn from_object_at(object: &PyObject, depth: usize, vm: &VirtualMachine) -> PyResult<Value> {
    if depth > DEPTH_LIMIT {
        return Err(vm.new_value_error(format!("an event is nested deeper than {DEPTH_LIMIT} levels")));
    }
    let sequence = |items: Vec<PyObjectRef>| -> PyResult<Value> {
        let items: PyResult<Vec<_>> = items.iter().map(|item| from_object_at(item, depth + 1, vm)).collect();
        Ok(Value::List(items?.into()))
    };
    if vm.is_none(object) {
        Ok(Value::Null)
    } else if let Some(text) = object.downcast_ref::<PyStr>() {
        Ok(Value::str(text.to_string_lossy()))
    } else if object.downcast_ref::<PyBool>().is_some() {
        Ok(Value::Bool(object.try_to_bool(vm)?))
    } else if let Some(number) = object.downcast_ref::<PyInt>() {
        let number = number.as_bigint();
        let small = i64::try_from(number).map(Value::Int).or_else(|_| u64::try_from(number).map(Value::UInt));
        small.map_err(|_| vm.new_overflow_error("an event holds integers of 64 bits only"))
    } else if let Some(number) = object.downcast_ref::<PyFloat>() {
        Ok(Value::Float(number.to_f64()))
    } else if let Some(dict) = object.downcast_ref::<ImmutableDict>() {
        Ok(Value::Map(dict.map().clone()))
    } else if let Some(list) = object.downcast_ref::<ImmutableList>() {
        Ok(Value::List(list.items().clone()))
    } else if let Some(dict) = object.downcast_ref::<PyDict>() {
        let mut map = MapBuilder::default();
        for (key, value) in dict.items_vec() {
            let Some(key) = key.downcast_ref::<PyStr>() else {
                return Err(vm.new_type_error(format!("keys of an event are str, not {}", key.class().name())));
            };
            map.insert(key.to_string_lossy().as_ref(), from_object_at(&value, depth + 1, vm)?);
        }
        Ok(Value::Map(map.build()))
    } else if let Some(list) = object.downcast_ref::<PyList>() {
        let items = list.borrow_vec().to_vec();
        sequence(items)
    } else if let Some(tuple) = object.downcast_ref::<PyTuple>() {
        sequence(tuple.as_slice().to_vec())
    } else {
        Err(vm.new_type_error(format!("an event holds JSON values only, not {}", object.class().name())))
    }
}

/// Python's `==` between a tree value and any object.
pub(super) fn equals(value: &Value, other: &PyObject, vm: &VirtualMachine) -> PyResult<bool> {
    match value {
        Value::Str(text) => match other.downcast_ref::<PyStr>() {
            Some(other) => Ok(other.to_str() == Some(&**text)),
            None => equals_scalar(value, other, vm),
        },
        Value::List(items) => {
            let others = if let Some(list) = other.downcast_ref::<ImmutableList>() {
                return Ok(tree::same(value, &Value::List(list.items().clone())));
            } else if let Some(list) = other.downcast_ref::<PyList>() {
                // A copy: comparing runs Python, which may change the list.
                list.borrow_vec().to_vec()
            } else if let Some(tuple) = other.downcast_ref::<PyTuple>() {
                tuple.as_slice().to_vec()
            } else {
                return Ok(false);
            };
            let mut pairs = items.iter().zip(&others);
            Ok(items.len() == others.len() && all(&mut pairs, |(item, other)| equals(item, other, vm))?)
        }
        Value::Map(map) => {
            if let Some(dict) = other.downcast_ref::<ImmutableDict>() {
                return Ok(tree::same_items(map, dict.map()));
            }
            if !is_mapping(other, vm)? || other.length(vm)? != map.len() {
                return Ok(false);
            }
            all(&mut map.iter(), |(key, value)| match other.get_item(&**key, vm) {
                Ok(other) => equals(value, &other, vm),
                Err(missing) if missing.fast_isinstance(vm.ctx.exceptions.key_error) => Ok(false),
                Err(error) => Err(error),
            })
        }
        scalar => equals_scalar(scalar, other, vm),
    }
}

fn equals_scalar(value: &Value, other: &PyObject, vm: &VirtualMachine) -> PyResult<bool> {
    vm.bool_eq(&scalar_to_object(value, vm), other)
}

fn all<T>(items: &mut impl Iterator<Item = T>, mut test: impl FnMut(T) -> PyResult<bool>) -> PyResult<bool> {
    for item in items {
        if !test(item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A dict, or anything that has `keys` and can be subscripted.
pub(super) fn is_mapping(object: &PyObject, vm: &VirtualMachine) -> PyResult<bool> {
    if object.downcast_ref::<PyDict>().is_some() || object.downcast_ref::<ImmutableDict>().is_some() {
        return Ok(true);
    }
    Ok(object.mapping_unchecked().check() && object.has_attr("keys", vm)?)
}

/// The `default` keyword of a method; any other keyword is a `TypeError`.
fn only_default(mut args: FuncArgs, method: &str, vm: &VirtualMachine) -> PyResult<(Vec<PyObjectRef>, PyObjectRef)> {
    let default = args.kwargs.pop_kwarg("default").unwrap_or_else(|| vm.ctx.none());
    match args.check_kwargs_empty(vm) {
        Some(_) => Err(vm.new_type_error(format!("{method}() takes keys and the keyword argument 'default' only"))),
        None => Ok((args.args, default)),
    }
}

/// Keys as text; `None` when one of them is not a string and so leads nowhere.
fn text_keys(keys: &[PyObjectRef]) -> Option<Vec<&str>> {
    keys.iter().map(|key| key.downcast_ref::<PyStr>()?.to_str()).collect()
}
