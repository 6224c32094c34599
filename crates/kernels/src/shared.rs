//! A mutable slice that several threads write at once, each to its own elements.

#![expect(unsafe_code, reason = "threads write interleaved elements, which safe slice splitting can't express")]

use std::marker::PhantomData;

/// A mutably borrowed slice that several threads may write to. Callers ensure that no two threads use the same element.
pub(crate) struct SharedSlice<'a> {
    start: *mut f32,
    len: usize,
    values: PhantomData<&'a mut [f32]>,
}

// SAFETY: elements are accessed through `at` only, whose caller promises that no two threads use the same element.
unsafe impl Sync for SharedSlice<'_> {}

impl<'a> SharedSlice<'a> {
    pub(crate) fn new(values: &'a mut [f32]) -> Self {
        Self { start: values.as_mut_ptr(), len: values.len(), values: PhantomData }
    }

    /// The address of element `index`, for prefetching only. `index` may lie past the end.
    #[inline(always)]
    pub(crate) fn address(&self, index: usize) -> *const f32 {
        self.start.wrapping_add(index)
    }

    /// A pointer to the `count` elements from `index` on.
    ///
    /// # Safety
    /// These elements must lie within the slice, and no other thread may use them at the same time.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, index: usize, count: usize) -> *mut f32 {
        debug_assert!(index + count <= self.len, "{count} values from {index} on exceed the slice's {}", self.len);
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
        let shared = SharedSlice::new(&mut values);
        (0..4).into_par_iter().for_each(|thread| {
            for i in (thread..100).step_by(4) {
                // SAFETY: every thread writes the indices of its own remainder modulo 4.
                unsafe { *shared.at(i, 1) = i as f32 };
            }
        });
        assert!(values.iter().enumerate().all(|(i, &value)| value == i as f32));
    }
}
