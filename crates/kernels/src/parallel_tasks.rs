//! Parallel loops over tasks: a static share for each thread, then work stealing.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// Runs `work(task, scratch)` for the tasks `0..count` on all threads of the ambient pool.
///
/// Each thread gets `len` values of `scratch` to itself. If `scratch` is too short for all threads, fewer threads run.
///
/// A thread runs its own share of the tasks in order, and then steals tasks from the shares of others. A thread has the same
/// share in every call, so it reads in one layer most of what it wrote in the layer before. Otherwise the values would move
/// between the caches of different cores.
///
/// # Panics
/// If `scratch` is shorter than `len`, or `len` is zero.
pub(crate) fn for_each_task(count: usize, scratch: &mut [f32], len: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    assert!(scratch.len() >= len, "scratch of {} values is too short for {len}", scratch.len());
    let threads = rayon::current_num_threads().min(scratch.len() / len);
    let shares: Vec<Share> = (0..threads).map(|thread| Share::new(thread, threads, count)).collect();
    scratch.par_chunks_exact_mut(len).take(threads).with_max_len(1).for_each(|scratch| {
        let own = rayon::current_thread_index().unwrap_or(0) % threads;
        for share in shares[own..].iter().chain(&shares[..own]) {
            while let Some(task) = share.next() {
                work(task, scratch);
            }
        }
    });
}

/// The tasks that belong to one thread. The alignment is two cache lines, as CPUs prefetch lines in pairs. So the counters of two
/// threads never share a line.
#[repr(align(128))]
struct Share {
    next: AtomicUsize,
    end: usize,
}

impl Share {
    fn new(thread: usize, threads: usize, count: usize) -> Self {
        let start = |thread: usize| thread * count / threads;
        Self { next: AtomicUsize::new(start(thread)), end: start(thread + 1) }
    }

    /// Claims the next task of this share; `None` if all are claimed.
    fn next(&self) -> Option<usize> {
        Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|&task| task < self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Threads;
    use crate::shared::SharedSlice;

    #[test]
    fn every_task_is_done_once() {
        let threads = Threads::new(Some(3)).unwrap();
        // A task needs 3 values: the lengths of scratch are enough for one thread, for two, and for more than three.
        for (count, scratch_len) in [(0, 3), (1, 3), (100, 3), (100, 7), (2, 50), (100, 50)] {
            let mut done = vec![0.0; count];
            let shared = SharedSlice::new(&mut done);
            threads.run(|| {
                for_each_task(count, &mut vec![0.0; scratch_len], 3, |task, scratch| {
                    assert_eq!(scratch.len(), 3);
                    // SAFETY: no other task uses this element.
                    #[expect(unsafe_code, reason = "tasks count themselves")]
                    unsafe {
                        *shared.at(task, 1) += 1.0;
                    }
                });
            });
            assert_eq!(done, vec![1.0; count]);
        }
    }

    #[test]
    #[should_panic(expected = "scratch of 2 values is too short for 3")]
    fn scratch_must_do_for_one() {
        for_each_task(1, &mut [0.0; 2], 3, |_, _| {});
    }
}
