//! Tasks that threads take one after the other.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// Does `count` tasks on as many threads as the pool has, each with `len` values of `scratch` to itself. A thread takes the next
/// task when it is done with one, in order: neighbours, which often read the same, run at about the same time.
///
/// # Panics
/// `scratch` has no room for a single thread.
pub(crate) fn for_each_task(count: usize, scratch: &mut [f32], len: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    assert!(scratch.len() >= len, "scratch of {} values is too short for {len}", scratch.len());
    let next = AtomicUsize::new(0);
    scratch.par_chunks_exact_mut(len).take(rayon::current_num_threads()).with_max_len(1).for_each(|scratch| {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= count {
                break;
            }
            work(task, scratch);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Shared;

    #[test]
    fn every_task_is_done_once() {
        for (count, room) in [(0, 3), (1, 3), (100, 3), (100, 50)] {
            let mut done = vec![0.0; count];
            let shared = Shared::new(&mut done);
            for_each_task(count, &mut vec![0.0; room], 3, |task, scratch| {
                assert_eq!(scratch.len(), 3);
                // SAFETY: the value is this task's alone.
                #[expect(unsafe_code, reason = "tasks count themselves")]
                unsafe {
                    *shared.at(task, 1) += 1.0;
                }
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
