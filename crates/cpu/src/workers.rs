//! The threads of an executor, lent to one run at a time.

use std::io;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};

use engraft_kernels::Threads;

/// A pool of threads that does one run after the other, whoever asks.
///
/// A thread of a pool that waits for others takes up whatever else is to be done. If that were another run, it might want
/// a weight that this thread itself has locked, and wait forever.
#[derive(Debug)]
pub(crate) struct Workers {
    threads: Threads,
    turn: Mutex<()>,
}

impl Workers {
    /// As many as asked for; one for each core with `None`.
    pub(crate) fn new(count: Option<usize>) -> io::Result<Self> {
        Ok(Self { threads: Threads::new(count)?, turn: Mutex::new(()) })
    }

    pub(crate) fn count(&self) -> usize {
        self.threads.count()
    }

    /// Does `work` in the pool, when its turn has come.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let in_turn = || {
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            self.threads.run(work)
        };
        // A caller in a pool of its own would take up other work while it waits, and might ask for its turn again.
        if rayon::current_thread_index().is_some() {
            return std::thread::scope(|scope| scope.spawn(in_turn).join())
                .unwrap_or_else(|panic| resume_unwind(panic));
        }
        in_turn()
    }
}
