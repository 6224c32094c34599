//! One slice that several threads write, each its own values.

#![expect(unsafe_code, reason = "threads write interleaved values, which no safe split of a slice allows")]

use std::marker::PhantomData;

/// A slice borrowed for writing from several threads.
pub(crate) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    values: PhantomData<&'a mut [f32]>,
}

// SAFETY: values are used through `at` only, whose caller promises that no two threads use the same.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(crate) fn new(values: &'a mut [f32]) -> Self {
        Self { start: values.as_mut_ptr(), len: values.len(), values: PhantomData }
    }

    /// Where value `index` lies, or would lie if there were as many: to be prefetched, not read.
    #[inline(always)]
    pub(crate) fn address(&self, index: usize) -> *const f32 {
        self.start.wrapping_add(index)
    }

    /// Where value `index` lies, for the use of `count` values from there on.
    ///
    /// # Safety
    /// These values must lie within the slice, and no other thread may use them at the same time.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, index: usize, count: usize) -> *mut f32 {
        debug_assert!(index + count <= self.len, "{count} values at {index} do not fit {}", self.len);
        // SAFETY: the caller's promise.
        unsafe { self.start.add(index) }
    }
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    #[test]
    fn threads_write_interleaved_values() {
        let mut values = vec![0.0; 100];
        let shared = Shared::new(&mut values);
        (0..4).into_par_iter().for_each(|thread| {
            for i in (thread..100).step_by(4) {
                // SAFETY: every thread has its own remainder.
                unsafe { *shared.at(i, 1) = i as f32 };
            }
        });
        assert!(values.iter().enumerate().all(|(i, &value)| value == i as f32));
    }
}
