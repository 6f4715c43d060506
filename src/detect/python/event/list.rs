//! `ImmutableList`: an array of an event. Equal to a list or tuple with equal elements; slices are tuples.

use std::sync::Arc;

use rustpython_vm::builtins::{PyList, PyTuple, PyType};
use rustpython_vm::common::lock::LazyLock;
use rustpython_vm::function::{OptionalArg, PyComparisonValue};
use rustpython_vm::protocol::{PyMappingMethods, PySequenceMethods};
use rustpython_vm::sliceable::SequenceIndex;
use rustpython_vm::types::{AsMapping, AsSequence, Comparable, Constructor, Iterable, PyComparisonOp, Representable};
use rustpython_vm::{
    AsObject, Py, PyObject, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine, atomic_func, pyclass,
};

use super::views::TreeIterator;
use super::{equals, from_object, to_object, to_plain};
use crate::model::Value;

#[pyclass(module = "panther_core.immutable", name = "ImmutableList", unhashable = true)]
#[derive(Debug, PyPayload)]
pub(in crate::detect::python) struct ImmutableList {
    items: Arc<[Value]>,
}

impl ImmutableList {
    pub(super) fn new(items: Arc<[Value]>) -> ImmutableList {
        ImmutableList { items }
    }

    pub(in crate::detect::python) fn items(&self) -> &Arc<[Value]> {
        &self.items
    }

    fn value(&self) -> Value {
        Value::List(self.items.clone())
    }

    fn contains(&self, needle: &PyObject, vm: &VirtualMachine) -> PyResult<bool> {
        Ok(self.position(needle, 0..self.items.len(), vm)?.is_some())
    }

    fn position(
        &self,
        needle: &PyObject,
        within: std::ops::Range<usize>,
        vm: &VirtualMachine,
    ) -> PyResult<Option<usize>> {
        for at in within {
            if equals(&self.items[at], needle, vm)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn item(&self, at: isize, vm: &VirtualMachine) -> PyResult {
        let length = self.items.len() as isize;
        let at = if at < 0 { at + length } else { at };
        match usize::try_from(at).ok().and_then(|at| self.items.get(at)) {
            Some(value) => Ok(to_object(value, vm)),
            None => Err(vm.new_index_error("list index out of range")),
        }
    }

    fn subscript(&self, index: &PyObject, vm: &VirtualMachine) -> PyResult {
        match SequenceIndex::try_from_borrowed_object(vm, index, "list")? {
            SequenceIndex::Int(at) => self.item(at, vm),
            SequenceIndex::Slice(slice) => {
                let (range, step, _) = slice.adjust_indices(self.items.len());
                let width = step.unsigned_abs();
                let positions: Vec<usize> =
                    if step < 0 { range.rev().step_by(width).collect() } else { range.step_by(width).collect() };
                let items = positions.into_iter().map(|at| to_object(&self.items[at], vm)).collect();
                Ok(vm.ctx.new_tuple(items).into())
            }
        }
    }
}

impl Constructor for ImmutableList {
    type Args = PyObjectRef;

    fn py_new(_class: &Py<PyType>, container: Self::Args, vm: &VirtualMachine) -> PyResult<Self> {
        match from_object(&container, vm)? {
            Value::List(items) => Ok(ImmutableList { items }),
            _ => Err(vm.new_type_error(format!("a list is needed, not {}", container.class().name()))),
        }
    }
}

#[pyclass(
    with(AsMapping, AsSequence, Comparable, Constructor, Iterable, Representable),
    flags(BASETYPE, SEQUENCE, HAS_WEAKREF)
)]
impl ImmutableList {
    #[pymethod]
    fn as_list(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult {
        to_plain(&zelf.value(), vm)
    }

    #[pymethod]
    fn copy(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult {
        to_plain(&zelf.value(), vm)
    }

    #[pymethod]
    fn raw_view(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult {
        to_plain(&zelf.value(), vm)
    }

    #[pymethod]
    fn count(zelf: &Py<Self>, needle: PyObjectRef, vm: &VirtualMachine) -> PyResult<usize> {
        let mut count = 0;
        for item in zelf.items.iter() {
            count += usize::from(equals(item, &needle, vm)?);
        }
        Ok(count)
    }

    #[pymethod]
    fn index(
        zelf: &Py<Self>,
        needle: PyObjectRef,
        start: OptionalArg<isize>,
        stop: OptionalArg<isize>,
        vm: &VirtualMachine,
    ) -> PyResult<usize> {
        let length = zelf.items.len() as isize;
        let bound = |at: isize| (if at < 0 { at + length } else { at }).clamp(0, length) as usize;
        let within = bound(start.unwrap_or(0))..bound(stop.unwrap_or(length));
        zelf.position(&needle, within, vm)?.ok_or_else(|| vm.new_value_error("the value is not in the list"))
    }

    #[pymethod]
    fn __reversed__(zelf: &Py<Self>) -> TreeIterator {
        TreeIterator::over_list(zelf.items.iter().rev().cloned().collect())
    }

    #[pymethod]
    fn __copy__(zelf: PyRef<ImmutableList>) -> PyRef<ImmutableList> {
        zelf
    }

    #[pymethod]
    fn __deepcopy__(zelf: PyRef<ImmutableList>, _memo: PyObjectRef) -> PyRef<ImmutableList> {
        zelf
    }
}

impl AsMapping for ImmutableList {
    fn as_mapping() -> &'static PyMappingMethods {
        static METHODS: LazyLock<PyMappingMethods> = LazyLock::new(|| PyMappingMethods {
            length: atomic_func!(|mapping, _vm| Ok(ImmutableList::mapping_downcast(mapping).items.len())),
            subscript: atomic_func!(|mapping, key, vm| ImmutableList::mapping_downcast(mapping).subscript(key, vm)),
            ..PyMappingMethods::NOT_IMPLEMENTED
        });
        &METHODS
    }
}

impl AsSequence for ImmutableList {
    fn as_sequence() -> &'static PySequenceMethods {
        static METHODS: LazyLock<PySequenceMethods> = LazyLock::new(|| PySequenceMethods {
            length: atomic_func!(|sequence, _vm| Ok(ImmutableList::sequence_downcast(sequence).items.len())),
            item: atomic_func!(|sequence, at, vm| ImmutableList::sequence_downcast(sequence).item(at, vm)),
            contains: atomic_func!(|sequence, needle, vm| {
                ImmutableList::sequence_downcast(sequence).contains(needle, vm)
            }),
            ..PySequenceMethods::NOT_IMPLEMENTED
        });
        &METHODS
    }
}

impl Comparable for ImmutableList {
    fn cmp(zelf: &Py<Self>, other: &PyObject, op: PyComparisonOp, vm: &VirtualMachine) -> PyResult<PyComparisonValue> {
        op.eq_only(|| {
            let sequence = other.downcast_ref::<ImmutableList>().is_some()
                || other.downcast_ref::<PyList>().is_some()
                || other.downcast_ref::<PyTuple>().is_some();
            if !sequence {
                return Ok(PyComparisonValue::NotImplemented);
            }
            equals(&zelf.value(), other, vm).map(PyComparisonValue::Implemented)
        })
    }
}

impl Iterable for ImmutableList {
    fn iter(zelf: PyRef<Self>, vm: &VirtualMachine) -> PyResult {
        Ok(TreeIterator::over_list(zelf.items.clone()).into_pyobject(vm))
    }
}

impl Representable for ImmutableList {
    fn repr_str(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<String> {
        let items: PyResult<Vec<_>> = zelf.items.iter().map(|item| to_plain(item, vm)).collect();
        let plain = vm.ctx.new_tuple(items?).as_object().repr(vm)?;
        Ok(format!("{}({})", zelf.class().name(), plain.to_string_lossy()))
    }
}
