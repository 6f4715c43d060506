//! Standard output and error of rules: one bounded buffer in memory.
//!
//! The process' own standard output is the pipe to the daemon; Python never reaches it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustpython_vm::builtins::PyStrRef;
use rustpython_vm::function::OptionalArg;
use rustpython_vm::{Py, PyObjectRef, PyPayload, PyResult, VirtualMachine, pyclass};

use super::text;

/// Characters kept of what one rule prints about one event.
const OUTPUT_LIMIT: usize = 16 * 1024;

/// What was printed since it was last taken.
#[derive(Debug, Default)]
pub(super) struct Captured {
    /// Most rules print nothing; then the lock is not touched.
    any: AtomicBool,
    buffer: Mutex<String>,
}

impl Captured {
    fn write(&self, printed: &str) {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        // One character over the limit is enough to know that something is missing; bytes bound characters.
        let room = (OUTPUT_LIMIT * 4).saturating_sub(buffer.len());
        let end = (0..=room.min(printed.len())).rev().find(|at| printed.is_char_boundary(*at)).unwrap_or(0);
        buffer.push_str(&printed[..end]);
        self.any.store(true, Ordering::Relaxed);
    }

    /// Takes the text, shortened to the limit.
    pub(super) fn take(&self) -> String {
        if !self.any.swap(false, Ordering::Relaxed) {
            return String::new();
        }
        let printed = std::mem::take(&mut *self.buffer.lock().unwrap_or_else(PoisonError::into_inner));
        text::shorten(printed, OUTPUT_LIMIT)
    }

    pub(super) fn clear(&self) {
        if self.any.load(Ordering::Relaxed) {
            self.take();
        }
    }
}

/// The file object in `sys.stdout` and `sys.stderr`.
#[pyclass(module = "margay", name = "RuleOutput")]
#[derive(Debug, PyPayload)]
pub(super) struct RuleOutput {
    captured: Arc<Captured>,
}

impl RuleOutput {
    pub(super) fn new(captured: Arc<Captured>) -> RuleOutput {
        RuleOutput { captured }
    }
}

#[pyclass]
impl RuleOutput {
    #[pymethod]
    fn write(zelf: &Py<Self>, printed: PyStrRef) -> usize {
        zelf.captured.write(&printed.to_string_lossy());
        printed.char_len()
    }

    #[pymethod]
    fn writelines(zelf: &Py<Self>, lines: PyObjectRef, vm: &VirtualMachine) -> PyResult<()> {
        for line in lines.get_iter(vm)?.iter::<PyStrRef>(vm)? {
            zelf.captured.write(&line?.to_string_lossy());
        }
        Ok(())
    }

    #[pymethod]
    fn flush(_zelf: &Py<Self>) {}

    #[pymethod]
    fn isatty(_zelf: &Py<Self>) -> bool {
        false
    }

    #[pymethod]
    fn writable(_zelf: &Py<Self>) -> bool {
        true
    }

    #[pymethod]
    fn readable(_zelf: &Py<Self>) -> bool {
        false
    }

    #[pymethod]
    fn read(_zelf: &Py<Self>, _size: OptionalArg, vm: &VirtualMachine) -> PyResult {
        Err(vm.new_os_error("the output of rules cannot be read"))
    }

    #[pymethod]
    fn fileno(_zelf: &Py<Self>, vm: &VirtualMachine) -> PyResult {
        Err(vm.new_os_error("the output of rules has no file descriptor"))
    }

    #[pygetset]
    fn encoding(_zelf: &Py<Self>) -> &'static str {
        "utf-8"
    }

    #[pygetset]
    fn errors(_zelf: &Py<Self>) -> &'static str {
        "replace"
    }

    #[pygetset]
    fn closed(_zelf: &Py<Self>) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_taken_once_and_never_longer_than_its_limit() {
        let captured = Captured::default();
        captured.write("a");
        captured.write("b\n");
        assert_eq!(captured.take(), "ab\n");
        assert_eq!(captured.take(), "");

        (0..OUTPUT_LIMIT).for_each(|_| captured.write("äöü"));
        let taken = captured.take();
        assert_eq!(taken.chars().count(), OUTPUT_LIMIT);
        assert!(taken.ends_with(text::SUFFIX));

        captured.write("x");
        captured.clear();
        assert_eq!(captured.take(), "");
    }
}
