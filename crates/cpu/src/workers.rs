//! The threads of an executor, lent to runs.

use std::io;
use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use engraft_kernels::Threads;

/// Pools that are kept for later runs, at most.
const MOST_IDLE: usize = 4;

/// Pools of threads, one for each run that is under way: runs side by side never wait for each other.
///
/// A thread of a pool that waits for others takes up whatever else the pool has to do. If that belonged to another run, it might
/// want a weight that this thread itself has locked, and wait forever. So a pool does one run at a time, and a second run gets a
/// second pool; a few are kept for later runs. Whoever runs many at once shares the cores among them.
#[derive(Debug)]
pub(crate) struct Workers {
    count: usize,
    idle: Mutex<Vec<Threads>>,
    returned: Condvar,
}

impl Workers {
    /// As many threads a run as asked for; one for each core with `None`.
    pub(crate) fn new(count: Option<usize>) -> io::Result<Self> {
        let first = Threads::new(count)?;
        Ok(Self { count: first.count(), idle: Mutex::new(vec![first]), returned: Condvar::new() })
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Does `work` in a pool of its own.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let in_pool = || {
            let lent = Lent { workers: self, threads: Some(self.take()) };
            lent.threads.as_ref().map(|threads| threads.run(work)).expect("taken back when dropped only")
        };
        // A caller in a pool of its own would take up other work of that pool while it waits, and ask for one pool after another.
        if rayon::current_thread_index().is_some() {
            return std::thread::scope(|scope| scope.spawn(in_pool).join())
                .unwrap_or_else(|panic| resume_unwind(panic));
        }
        in_pool()
    }

    /// An idle pool, a new one, or, where the system gives no more threads, the next that falls idle.
    fn take(&self) -> Threads {
        if let Some(threads) = self.lock().pop() {
            return threads;
        }
        if let Ok(threads) = Threads::new(Some(self.count)) {
            return threads;
        }
        let none = |idle: &mut Vec<Threads>| idle.is_empty();
        let mut idle = self.returned.wait_while(self.lock(), none).unwrap_or_else(PoisonError::into_inner);
        idle.pop().expect("waited for one")
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Threads>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pool that goes back when dropped, after a panic too.
struct Lent<'a> {
    workers: &'a Workers,
    threads: Option<Threads>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut idle = self.workers.lock();
        // Others end their threads, after the lock is let go.
        let surplus = match idle.len() < MOST_IDLE {
            true => {
                idle.extend(self.threads.take());
                None
            }
            false => self.threads.take(),
        };
        drop(idle);
        drop(surplus);
        self.workers.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn runs_go_on_side_by_side() {
        let workers = Workers::new(Some(1)).unwrap();
        // Each waits for the other within its run.
        let barrier = Barrier::new(2);
        let numbers = std::thread::scope(|scope| {
            let runs = [1, 2].map(|number| {
                let (workers, barrier) = (&workers, &barrier);
                scope.spawn(move || {
                    workers.run(|| {
                        barrier.wait();
                        number
                    })
                })
            });
            runs.map(|run| run.join().unwrap())
        });
        assert_eq!((numbers, workers.lock().len()), ([1, 2], 2));
        workers.run(|| ());
        assert_eq!(workers.lock().len(), 2, "an idle pool is used again");
    }
}
