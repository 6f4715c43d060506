//! One tracker and one cancellation token for every task of the process. Nothing else may spawn.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Cloned into whatever has to start tasks or learn that the process is ending.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    /// Every task, for [`Tasks::crash`].
    #[cfg(test)]
    started: std::sync::Arc<std::sync::Mutex<Vec<tokio::task::AbortHandle>>>,
}

impl Tasks {
    pub fn new() -> Tasks {
        Tasks::default()
    }

    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let task = self.tracker.spawn(task);
        #[cfg(test)]
        self.started.lock().expect("no holder of this lock panics").push(task.abort_handle());
        task
    }

    /// The same on another runtime.
    pub(super) fn spawn_on<F>(&self, task: F, runtime: &Handle) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.tracker.spawn_on(task, runtime)
    }

    /// Ends every task wherever it waits, as the death of the process does.
    #[cfg(test)]
    pub(crate) fn crash(&self) {
        for task in self.started.lock().expect("no holder of this lock panics").drain(..) {
            task.abort();
        }
    }

    /// Runs a task whose end, for whatever reason, must end the process.
    pub fn spawn_critical<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        let task = self.spawn(task);
        self.spawn(async move {
            match task.await {
                Ok(()) if shutdown.is_cancelled() => {}
                Ok(()) => tracing::error!(task = name, "a task that must not end has ended; shutting down"),
                Err(error) => tracing::error!(task = name, %error, "a task panicked; shutting down"),
            }
            shutdown.cancel();
        });
    }

    /// Asks every task to end.
    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }

    pub fn token(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Waits for all tasks; false when some still run after `grace`.
    pub async fn drained(&self, grace: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(grace, self.tracker.wait()).await.is_ok()
    }
}

/// Runs CPU-bound or blocking work on a thread that may block. A panic in it resumes here.
#[expect(clippy::disallowed_methods, reason = "the one place that starts blocking work")]
pub async fn blocking<T, F>(work: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    // Another thread would finish when it likes: a seeded test could not be repeated, and paused time would stand
    // still.
    #[cfg(test)]
    if tokio::runtime::Handle::current().runtime_flavor() == tokio::runtime::RuntimeFlavor::CurrentThread {
        tokio::task::yield_now().await;
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("blocking work is never aborted"),
        },
    }
}

/// As [`blocking`], on a stack that recursion over text that people write does not exhaust.
pub async fn blocking_deep<T, F>(work: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    /// That of a rule worker, which has parsed the same text before.
    const STACK: usize = 64 * 1024 * 1024;
    blocking(|| {
        let deep = std::thread::Builder::new().name("deep".into()).stack_size(STACK);
        let thread = deep.spawn(work).expect("a process that runs can start a thread");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
    .await
}
