//! Thread pools that kernels run in.

use std::io;

/// A pool of worker threads. Kernels that are called inside [`run`](Self::run) use all of its threads.
///
/// ```
/// use engraft_kernels::Threads;
/// let threads = Threads::new(Some(2))?;
/// assert_eq!(threads.count(), 2);
/// assert_eq!(threads.run(|| 1 + 1), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Threads(rayon::ThreadPool);

impl Threads {
    /// Maximum number of threads of a pool. A larger number is likely a mistake, and each thread costs memory.
    pub const MAX: usize = 1024;

    /// A pool of `count` threads, 1 to [`MAX`](Self::MAX). With `None`, one thread for each CPU that this process may use, at
    /// most `MAX`.
    ///
    /// # Errors
    /// `InvalidInput` if `count` is out of range; the system's error if it can't start the threads.
    pub fn new(count: Option<usize>) -> io::Result<Self> {
        let count = match count {
            Some(count) if (1..=Self::MAX).contains(&count) => count,
            Some(count) => {
                let message = format!("threads: expected 1 to {}, received {count}", Self::MAX);
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            None => std::thread::available_parallelism().map_or(1, |count| count.get().min(Self::MAX)),
        };
        rayon::ThreadPoolBuilder::new().num_threads(count).build().map(Self).map_err(io::Error::other)
    }

    /// Runs `work` on a thread of the pool and returns its result. Kernels inside `work` use all threads of the pool.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.0.install(work)
    }

    /// Number of threads of the pool.
    pub fn count(&self) -> usize {
        self.0.current_num_threads()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_out_of_range_are_refused_with_the_range() {
        for count in [0, Threads::MAX + 1] {
            let error = Threads::new(Some(count)).unwrap_err();
            assert_eq!(error.to_string(), format!("threads: expected 1 to 1024, received {count}"));
        }
    }

    #[test]
    fn work_runs_inside_the_pool() {
        let threads = Threads::new(Some(3)).unwrap();
        assert_eq!(threads.run(rayon::current_num_threads), 3);
    }
}
