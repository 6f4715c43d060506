//! Mocks of a test case: names of the rule's module that answer with a fixed value, and nothing else changes.

use rustpython_vm::builtins::PyDictRef;
use rustpython_vm::function::{FuncArgs, KwArgs};
use rustpython_vm::{PyObjectRef, PyResult, VirtualMachine};

use super::event;
use crate::detect::protocol::Mock;
use crate::model::Value;

/// What stood in the module before; put back by [`Mocked::restore`].
pub(super) struct Mocked {
    namespace: PyDictRef,
    previous: Vec<(String, Option<PyObjectRef>)>,
}

impl Mocked {
    /// All mocks or, on an error, none.
    pub(super) fn apply(namespace: &PyDictRef, mocks: &[Mock], vm: &VirtualMachine) -> PyResult<Mocked> {
        let mut mocked = Mocked { namespace: namespace.clone(), previous: Vec::new() };
        for mock in mocks {
            if let Err(error) = mocked.replace(mock, vm) {
                mocked.restore(vm)?;
                return Err(error);
            }
        }
        Ok(mocked)
    }

    fn replace(&mut self, mock: &Mock, vm: &VirtualMachine) -> PyResult<()> {
        let name = mock.object_name.as_str();
        let previous = self.namespace.get_item_opt(name, vm)?;
        if previous.is_none() && !vm.builtins.dict().contains_key(name, vm) {
            return Err(vm.new_attribute_error(format!("the module of the rule has no '{name}' that could be mocked")));
        }
        let value: Value = serde_json::from_value(mock.return_value.clone())
            .map_err(|error| vm.new_value_error(format!("the return value of mock '{name}': {error}")))?;
        let value = event::to_plain(&value, vm)?;
        // The class that helpers of rules test for with isinstance.
        vm.import("unittest.mock", 0)?;
        let class = vm.sys_module.get_attr("modules", vm)?.get_item("unittest.mock", vm)?.get_attr("MagicMock", vm)?;
        let arguments: KwArgs = [("return_value".to_owned(), value)].into_iter().collect();
        let object = class.call_with_args(FuncArgs::from(arguments), vm)?;
        self.namespace.set_item(name, object, vm)?;
        self.previous.push((name.to_owned(), previous));
        Ok(())
    }

    pub(super) fn restore(self, vm: &VirtualMachine) -> PyResult<()> {
        // Backwards: of two mocks with one name, the first one saw the original.
        for (name, previous) in self.previous.into_iter().rev() {
            match previous {
                Some(object) => self.namespace.set_item(name.as_str(), object, vm)?,
                None => self.namespace.del_item(name.as_str(), vm)?,
            }
        }
        Ok(())
    }
}
