//! `ImmutableCaseInsensitiveDict`: an object of an event.
//!
//! Lookups take the exact key first, else the first key that is equal ignoring case. Nothing here changes the map.

use rustpython_vm::builtins::{PyStr, PyType};
use rustpython_vm::common::lock::LazyLock;
use rustpython_vm::function::{FuncArgs, OptionalArg, PyComparisonValue};
use rustpython_vm::protocol::{PyMappingMethods, PySequenceMethods};
use rustpython_vm::types::{AsMapping, AsSequence, Comparable, Constructor, Iterable, PyComparisonOp, Representable};
use rustpython_vm::{
    AsObject, FromArgs, Py, PyObject, PyObjectRef, PyPayload, PyRef, PyResult, VirtualMachine, atomic_func, pyclass,
};

use super::views::{TreeIterator, View, ViewKind};
use super::{equals, from_object, is_mapping, only_default, text_keys, to_object, to_plain};
use crate::detect::python::tree;
use crate::model::{Map, Value};

#[pyclass(module = "panther_core.immutable", name = "ImmutableCaseInsensitiveDict", unhashable = true)]
#[derive(Debug, PyPayload)]
pub(in crate::detect::python) struct ImmutableDict {
    map: Map,
}

/// As `Mapping.get` takes them: in order or by name.
#[derive(FromArgs)]
struct GetArgs {
    #[pyarg(any)]
    key: PyObjectRef,
    #[pyarg(any, optional)]
    default: OptionalArg,
}

impl ImmutableDict {
    pub(super) fn new(map: Map) -> ImmutableDict {
        ImmutableDict { map }
    }

    pub(in crate::detect::python) fn map(&self) -> &Map {
        &self.map
    }

    pub(super) fn value(&self) -> Value {
        Value::Map(self.map.clone())
    }

    fn find(&self, key: &PyObject, vm: &VirtualMachine) -> PyResult<Option<&Value>> {
        match key.downcast_ref::<PyStr>() {
            Some(key) => Ok(key.to_str().and_then(|key| self.map.get_ignore_case(key))),
            // As in a dict: a key that cannot be hashed is an error, any other is merely absent.
            None => key.hash(vm).map(|_| None),
        }
    }

    fn subscript(&self, key: &PyObject, vm: &VirtualMachine) -> PyResult {
        match self.find(key, vm)? {
            Some(value) => Ok(to_object(value, vm)),
            None => Err(vm.new_key_error(key.to_owned())),
        }
    }

    /// A mapping given to a constructor.
    pub(super) fn map_from(object: &PyObject, vm: &VirtualMachine) -> PyResult<Map> {
        match from_object(object, vm)? {
            Value::Map(map) => Ok(map),
            _ => Err(vm.new_type_error(format!("a mapping is needed, not {}", object.class().name()))),
        }
    }
}

impl Constructor for ImmutableDict {
    type Args = PyObjectRef;

    fn py_new(_class: &Py<PyType>, container: Self::Args, vm: &VirtualMachine) -> PyResult<Self> {
        Ok(ImmutableDict { map: ImmutableDict::map_from(&container, vm)? })
    }
}

#[pyclass(
    with(AsMapping, AsSequence, Comparable, Constructor, Iterable, Representable),
    flags(BASETYPE, MAPPING, HAS_WEAKREF)
)]
impl ImmutableDict {
    #[pymethod]
    fn get(zelf: &Py<Self>, args: GetArgs, vm: &VirtualMachine) -> PyResult {
        Ok(match zelf.find(&args.key, vm)? {
            Some(value) => to_object(value, vm),
            None => args.default.unwrap_or_none(vm),
        })
    }

    #[pymethod]
    fn keys(zelf: &Py<Self>) -> View {
        View::new(ViewKind::Keys, zelf.map.clone())
    }

    #[pymethod]
    fn values(zelf: &Py<Self>) -> View {
        View::new(ViewKind::Values, zelf.map.clone())
    }

    #[pymethod]
    fn items(zelf: &Py<Self>) -> View {
        View::new(ViewKind::Items, zelf.map.clone())
    }

    #[pymethod]
    fn deep_get(zelf: &Py<Self>, args: FuncArgs, vm: &VirtualMachine) -> PyResult {
        let (keys, default) = only_default(args, "deep_get", vm)?;
        let found = text_keys(&keys).and_then(|keys| tree::deep_get(&zelf.map, keys));
        Ok(found.map_or(default, |value| to_object(value, vm)))
    }

    #[pymethod]
    fn to_dict(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult {
        to_plain(&zelf.value(), vm)
    }

    #[pymethod]
    fn copy(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult {
        to_plain(&zelf.value(), vm)
    }

    /// The tree has no Python form of its own, so this is a copy as well.
    #[pymethod]
    fn raw_view(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult {
        to_plain(&zelf.value(), vm)
    }

    #[pymethod]
    fn __copy__(zelf: PyRef<ImmutableDict>) -> PyRef<ImmutableDict> {
        zelf
    }

    #[pymethod]
    fn __deepcopy__(zelf: PyRef<ImmutableDict>, _memo: PyObjectRef) -> PyRef<ImmutableDict> {
        zelf
    }
}

impl AsMapping for ImmutableDict {
    fn as_mapping() -> &'static PyMappingMethods {
        static METHODS: LazyLock<PyMappingMethods> = LazyLock::new(|| PyMappingMethods {
            length: atomic_func!(|mapping, _vm| Ok(ImmutableDict::mapping_downcast(mapping).map.len())),
            subscript: atomic_func!(|mapping, key, vm| ImmutableDict::mapping_downcast(mapping).subscript(key, vm)),
            ..PyMappingMethods::NOT_IMPLEMENTED
        });
        &METHODS
    }
}

impl AsSequence for ImmutableDict {
    fn as_sequence() -> &'static PySequenceMethods {
        static METHODS: LazyLock<PySequenceMethods> = LazyLock::new(|| PySequenceMethods {
            contains: atomic_func!(|sequence, key, vm| {
                ImmutableDict::sequence_downcast(sequence).find(key, vm).map(|found| found.is_some())
            }),
            ..PySequenceMethods::NOT_IMPLEMENTED
        });
        &METHODS
    }
}

impl Comparable for ImmutableDict {
    fn cmp(zelf: &Py<Self>, other: &PyObject, op: PyComparisonOp, vm: &VirtualMachine) -> PyResult<PyComparisonValue> {
        op.eq_only(|| {
            if !is_mapping(other, vm)? {
                return Ok(PyComparisonValue::NotImplemented);
            }
            equals(&zelf.value(), other, vm).map(PyComparisonValue::Implemented)
        })
    }
}

impl Iterable for ImmutableDict {
    fn iter(zelf: PyRef<Self>, vm: &VirtualMachine) -> PyResult {
        Ok(TreeIterator::over_map(ViewKind::Keys, zelf.map.clone()).into_pyobject(vm))
    }
}

impl Representable for ImmutableDict {
    fn repr_str(zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult<String> {
        let plain = to_plain(&zelf.value(), vm)?.repr(vm)?;
        Ok(format!("{}({})", zelf.class().name(), plain.to_string_lossy()))
    }
}
