//! A runtime of its own for work that computes for long: its threads yield the processor to all others, and what they do
//! holds up no task of the rest.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::Tasks;

/// Of a thread: what is worked on here may be as deep as people write it. Only pages that are touched cost memory.
const STACK: usize = 64 * 1024 * 1024;

/// Threads that may wait for files at once.
const BLOCKING: usize = 16;

/// Ends with its last work; what still runs when it is dropped is left where it waits.
pub struct Aside {
    runtime: Option<Runtime>,
    tasks: Tasks,
}

impl Aside {
    pub fn new(name: &str, threads: usize) -> io::Result<Aside> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .max_blocking_threads(BLOCKING)
            .thread_name(name)
            .thread_stack_size(STACK)
            .on_thread_start(yield_to_others)
            .enable_all()
            .build()?;
        Ok(Aside { runtime: Some(runtime), tasks: Tasks::new() })
    }

    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let runtime = self.runtime.as_ref().expect("only the end of this takes it away");
        self.tasks.spawn_on(task, runtime.handle())
    }

    /// Waits for what runs; false when some of it still does after `grace`.
    pub async fn drained(&self, grace: Duration) -> bool {
        self.tasks.drained(grace).await
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Of this thread only, which is how Linux has it; elsewhere the number is of the whole process.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    {
        const NICE: i32 = 10;
        // Without it the work is done all the same.
        let _ = rustix::process::setpriority_process(None, NICE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn work_is_done_on_other_threads_and_ends_with_it() {
        let aside = Aside::new("aside", 1).unwrap();
        let name = aside.spawn(async { std::thread::current().name().map(str::to_owned) }).await.unwrap();
        assert_eq!(name.as_deref(), Some("aside"));
        assert!(aside.drained(Duration::from_secs(10)).await);
        drop(aside);
    }
}
