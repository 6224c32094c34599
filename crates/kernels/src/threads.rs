//! The threads that kernels run on.

use std::io;

/// A pool of worker threads; kernels called inside [`run`](Self::run) share their work among them.
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
    /// More threads than this are refused: no machine has them, and each costs memory.
    pub const MAX: usize = 1024;

    /// A pool of `count` threads (1..=[`MAX`](Self::MAX)), or with `None` one for every CPU this process may use.
    ///
    /// # Errors
    /// `InvalidInput` where `count` is out of range; what the system says where it gives no more threads.
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

    /// Runs `work` in the pool and returns its result.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.0.install(work)
    }

    /// How many threads the pool has.
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
