//! What `keys()`, `values()`, `items()` and iteration give. Lazy: each element is made when it is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustpython_vm::builtins::{PyStr, PyTuple};
use rustpython_vm::common::lock::LazyLock;
use rustpython_vm::function::PyComparisonValue;
use rustpython_vm::protocol::{PyIterReturn, PyNumberMethods, PySequenceMethods};
use rustpython_vm::types::{
    AsNumber, AsSequence, Comparable, IterNext, Iterable, PyComparisonOp, Representable, SelfIter,
};
use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine, atomic_func, pyclass,
};

use super::{equals, to_object};
use crate::model::{Map, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ViewKind {
    Keys,
    Values,
    Items,
}

impl ViewKind {
    fn element(self, key: &str, value: &Value, vm: &VirtualMachine) -> PyObjectRef {
        match self {
            ViewKind::Keys => vm.ctx.new_str(key).into(),
            ViewKind::Values => to_object(value, vm),
            ViewKind::Items => vm.ctx.new_tuple(vec![vm.ctx.new_str(key).into(), to_object(value, vm)]).into(),
        }
    }
}

/// A view of an object of an event. Keys and items take part in set operations, which give plain sets.
#[pyclass(module = "panther_core.immutable", name = "EventView", unhashable = true)]
#[derive(Debug, PyPayload)]
pub(super) struct View {
    kind: ViewKind,
    map: Map,
}

impl View {
    pub(super) fn new(kind: ViewKind, map: Map) -> View {
        View { kind, map }
    }

    fn contains(&self, needle: &PyObject, vm: &VirtualMachine) -> PyResult<bool> {
        match self.kind {
            ViewKind::Keys => {
                let key = needle.downcast_ref::<PyStr>().and_then(|key| key.to_str());
                Ok(key.is_some_and(|key| self.map.get_ignore_case(key).is_some()))
            }
            ViewKind::Values => {
                for (_, value) in self.map.iter() {
                    if equals(value, needle, vm)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            ViewKind::Items => {
                let Some(pair) = needle.downcast_ref::<PyTuple>() else { return Ok(false) };
                let [key, value] = pair.as_slice() else { return Ok(false) };
                let found = key.downcast_ref::<PyStr>().and_then(|key| key.to_str());
                match found.and_then(|key| self.map.get_ignore_case(key)) {
                    Some(found) => equals(found, value, vm),
                    None => Ok(false),
                }
            }
        }
    }
}

/// The set of an operand; `None` for a view of values, which has no set operations.
fn as_set(operand: &PyObject, vm: &VirtualMachine) -> PyResult<Option<PyObjectRef>> {
    match operand.downcast_ref::<View>() {
        Some(view) if view.kind == ViewKind::Values => Ok(None),
        _ => vm.ctx.types.set_type.as_object().call((operand.to_owned(),), vm).map(Some),
    }
}

fn set_operation(
    a: &PyObject,
    b: &PyObject,
    vm: &VirtualMachine,
    operation: fn(&VirtualMachine, &PyObject, &PyObject) -> PyResult,
) -> PyResult {
    match (as_set(a, vm)?, as_set(b, vm)?) {
        (Some(a), Some(b)) => operation(vm, &a, &b),
        _ => Ok(vm.ctx.not_implemented()),
    }
}

#[pyclass(with(AsNumber, AsSequence, Comparable, Iterable, Representable))]
impl View {
    #[pymethod]
    fn isdisjoint(zelf: &Py<Self>, other: PyObjectRef, vm: &VirtualMachine) -> PyResult {
        match as_set(zelf.as_object(), vm)? {
            Some(set) => vm.call_method(&set, "isdisjoint", (other,)),
            None => Err(vm.new_type_error("a view of values is not a set")),
        }
    }
}

impl AsNumber for View {
    fn as_number() -> &'static PyNumberMethods {
        static METHODS: PyNumberMethods = PyNumberMethods {
            and: Some(|a, b, vm| set_operation(a, b, vm, |vm, a, b| vm._and(a, b))),
            or: Some(|a, b, vm| set_operation(a, b, vm, |vm, a, b| vm._or(a, b))),
            subtract: Some(|a, b, vm| set_operation(a, b, vm, |vm, a, b| vm._sub(a, b))),
            xor: Some(|a, b, vm| set_operation(a, b, vm, |vm, a, b| vm._xor(a, b))),
            ..PyNumberMethods::NOT_IMPLEMENTED
        };
        &METHODS
    }
}

impl AsSequence for View {
    fn as_sequence() -> &'static PySequenceMethods {
        static METHODS: LazyLock<PySequenceMethods> = LazyLock::new(|| PySequenceMethods {
            length: atomic_func!(|sequence, _vm| Ok(View::sequence_downcast(sequence).map.len())),
            contains: atomic_func!(|sequence, needle, vm| View::sequence_downcast(sequence).contains(needle, vm)),
            ..PySequenceMethods::NOT_IMPLEMENTED
        });
        &METHODS
    }
}

impl Comparable for View {
    fn cmp(zelf: &Py<Self>, other: &PyObject, op: PyComparisonOp, vm: &VirtualMachine) -> PyResult<PyComparisonValue> {
        let set_like = other.downcast_ref::<View>().is_some()
            || other.fast_isinstance(vm.ctx.types.set_type)
            || other.fast_isinstance(vm.ctx.types.frozenset_type);
        if !set_like {
            return Ok(PyComparisonValue::NotImplemented);
        }
        match (as_set(zelf.as_object(), vm)?, as_set(other, vm)?) {
            (Some(a), Some(b)) => a.rich_compare_bool(&b, op, vm).map(PyComparisonValue::Implemented),
            _ => Ok(PyComparisonValue::NotImplemented),
        }
    }
}

impl Iterable for View {
    fn iter(zelf: PyRef<Self>, vm: &VirtualMachine) -> PyResult {
        Ok(TreeIterator::over_map(zelf.kind, zelf.map.clone()).into_pyobject(vm))
    }
}

impl Representable for View {
    fn repr_str(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<String> {
        let elements = zelf.map.iter().map(|(key, value)| zelf.kind.element(key, value, vm)).collect();
        let elements = vm.ctx.new_list(elements).as_object().repr(vm)?;
        Ok(format!("{:?}View({})", zelf.kind, elements.to_string_lossy()))
    }
}

#[derive(Debug)]
enum Source {
    List(Arc<[Value]>),
    Map(ViewKind, Map),
}

#[pyclass(module = "panther_core.immutable", name = "event_iterator")]
#[derive(Debug, PyPayload)]
pub(super) struct TreeIterator {
    source: Source,
    at: AtomicUsize,
}

impl TreeIterator {
    pub(super) fn over_list(items: Arc<[Value]>) -> TreeIterator {
        TreeIterator { source: Source::List(items), at: AtomicUsize::new(0) }
    }

    pub(super) fn over_map(kind: ViewKind, map: Map) -> TreeIterator {
        TreeIterator { source: Source::Map(kind, map), at: AtomicUsize::new(0) }
    }
}

#[pyclass(with(IterNext, Iterable))]
impl TreeIterator {
    #[pymethod]
    fn __length_hint__(zelf: &Py<Self>) -> usize {
        let length = match &zelf.source {
            Source::List(items) => items.len(),
            Source::Map(_, map) => map.len(),
        };
        length.saturating_sub(zelf.at.load(Ordering::Relaxed))
    }
}

impl SelfIter for TreeIterator {}

impl IterNext for TreeIterator {
    fn next(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<PyIterReturn> {
        let at = zelf.at.fetch_add(1, Ordering::Relaxed);
        let element = match &zelf.source {
            Source::List(items) => items.get(at).map(|item| to_object(item, vm)),
            Source::Map(kind, map) => map.entry(at).map(|(key, value)| kind.element(key, value, vm)),
        };
        Ok(element.map_or(PyIterReturn::StopIteration(None), PyIterReturn::Return))
    }
}
