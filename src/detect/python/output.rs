//! Standard output and error of rules: one bounded buffer in memory.
//!
//! The process' own standard output is the pipe to the daemon; Python never reaches it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustpython_vm::builtins::PyStrRef;
use rustpython_vm::function::OptionalArg;
use rustpython_vm::{Py, PyObjectRef, PyPayload, PyResult, VirtualMachine, pyclass};

use super::text;
use crate::detect::protocol::Step;

/// Told what a rule does in a watched test, as it happens.
pub(super) type Watcher = Arc<dyn Fn(Step) + Send + Sync>;

/// Characters kept of what one rule prints about one event.
const OUTPUT_LIMIT: usize = 16 * 1024;

/// Bytes that are told as they are printed, of one test.
const LIVE_LIMIT: usize = 1024 * 1024;

/// What was printed since it was last taken.
#[derive(Debug, Default)]
pub(super) struct Captured {
    /// Most rules print nothing; then the lock is not touched.
    any: AtomicBool,
    buffer: Mutex<String>,
    live: Mutex<Option<Live>>,
}

/// Who is told what is printed as it is printed, and how much more of it.
struct Live {
    watcher: Watcher,
    room: usize,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("room", &self.room).finish_non_exhaustive()
    }
}

impl Live {
    fn tell(&mut self, printed: &str) {
        if self.room == 0 || printed.is_empty() {
            return;
        }
        let end = (0..=self.room.min(printed.len())).rev().find(|at| printed.is_char_boundary(*at)).unwrap_or(0);
        self.room -= end;
        (self.watcher)(Step::Printed(printed[..end].to_owned()));
        if end < printed.len() {
            self.room = 0;
            (self.watcher)(Step::Printed(text::SUFFIX.to_owned()));
        }
    }
}

impl Captured {
    /// From now on, or no longer, tells what is printed as it is printed.
    pub(super) fn watch(&self, watcher: Option<Watcher>) {
        let live = watcher.map(|watcher| Live { watcher, room: LIVE_LIMIT });
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = live;
    }

    fn write(&self, printed: &str) {
        if let Some(live) = &mut *self.live.lock().unwrap_or_else(PoisonError::into_inner) {
            live.tell(printed);
        }
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

    #[test]
    fn what_is_told_as_it_is_printed_has_its_limit_too() {
        let (captured, told) = (Captured::default(), Arc::new(Mutex::new(Vec::new())));
        let heard = told.clone();
        captured.watch(Some(Arc::new(move |step| heard.lock().unwrap().push(step))));
        captured.write("one\n");
        captured.write(&"ä".repeat(LIVE_LIMIT));
        captured.write("more");
        captured.watch(None);
        captured.write("unwatched");
        let told = told.lock().unwrap();
        let [Step::Printed(first), Step::Printed(most), Step::Printed(end)] = &told[..] else { panic!("three parts") };
        assert_eq!((first.as_str(), end.as_str()), ("one\n", text::SUFFIX));
        assert!(most.len() + first.len() <= LIVE_LIMIT, "{}", most.len());
    }
}
