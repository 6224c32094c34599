//! `ThreadPools`: a thread pool for each concurrent run of an executor.

use std::io;
use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use engraft_kernels::Threads;

/// The maximum number of idle pools that are kept for later runs.
const MOST_IDLE: usize = 4;

/// Thread pools of equal size, one for each concurrent run. Concurrent runs never wait for each other.
///
/// With one shared pool they could deadlock: a rayon thread that waits steals other work of its pool. Stolen work of another
/// run may wait for a weight that this very thread has locked. So each run has a pool to itself, and the pools share the cores.
#[derive(Debug)]
pub(crate) struct ThreadPools {
    /// Number of threads in each pool.
    count: usize,
    idle: Mutex<Vec<Threads>>,
    returned: Condvar,
}

impl ThreadPools {
    /// Pools of `count` threads; `None` means one thread for each core. The first pool is created at once.
    pub(crate) fn new(count: Option<usize>) -> io::Result<Self> {
        let first = Threads::new(count)?;
        Ok(Self { count: first.count(), idle: Mutex::new(vec![first]), returned: Condvar::new() })
    }

    /// Number of threads in each pool.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Calls `work` in a pool that no other run uses meanwhile.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let in_pool = || {
            let guard = PoolGuard { pools: self, threads: Some(self.take()) };
            guard.threads.as_ref().map(|threads| threads.run(work)).expect("only `drop` takes the pool out")
        };
        // If the caller is a rayon thread of another pool, a new thread runs `in_pool`, and the caller blocks until it ends.
        // If the rayon thread itself called `in_pool`, it would steal other work of its own pool meanwhile. That work might ask
        // for further pools without end.
        if rayon::current_thread_index().is_some() {
            return std::thread::scope(|scope| scope.spawn(in_pool).join())
                .unwrap_or_else(|panic| resume_unwind(panic));
        }
        in_pool()
    }

    /// Takes an idle pool or creates one. If the system gives no more threads, waits until a pool is idle.
    fn take(&self) -> Threads {
        if let Some(threads) = self.lock().pop() {
            return threads;
        }
        if let Ok(threads) = Threads::new(Some(self.count)) {
            return threads;
        }
        let none = |idle: &mut Vec<Threads>| idle.is_empty();
        let mut idle = self.returned.wait_while(self.lock(), none).unwrap_or_else(PoisonError::into_inner);
        idle.pop().expect("the wait ends when a pool is idle")
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Threads>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guard of a pool in use. Returns the pool when dropped, also after a panic.
struct PoolGuard<'a> {
    pools: &'a ThreadPools,
    threads: Option<Threads>,
}

impl Drop for PoolGuard<'_> {
    fn drop(&mut self) {
        let mut idle = self.pools.lock();
        // A surplus pool ends its threads when dropped. That takes time, so the lock is released first.
        let surplus = match idle.len() < MOST_IDLE {
            true => {
                idle.extend(self.threads.take());
                None
            }
            false => self.threads.take(),
        };
        drop(idle);
        drop(surplus);
        self.pools.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn runs_go_on_side_by_side() {
        let pools = ThreadPools::new(Some(1)).unwrap();
        // Each run waits for the other, so both must be in progress at the same time.
        let barrier = Barrier::new(2);
        let numbers = std::thread::scope(|scope| {
            let runs = [1, 2].map(|number| {
                let (pools, barrier) = (&pools, &barrier);
                scope.spawn(move || {
                    pools.run(|| {
                        barrier.wait();
                        number
                    })
                })
            });
            runs.map(|run| run.join().unwrap())
        });
        assert_eq!((numbers, pools.lock().len()), ([1, 2], 2));
        pools.run(|| ());
        assert_eq!(pools.lock().len(), 2, "an idle pool is used again");
    }
}
