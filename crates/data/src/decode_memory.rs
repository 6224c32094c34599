//! The memory that decoding takes: a limit on all photos that this process decodes at the same time.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use engraft_nn::ErrorKind;

use crate::file::PhotoError;

/// The budget of this process. Memory belongs to the process, so its limit is global, too.
static BUDGET: Budget = Budget::unlimited();

/// Limits the memory, in bytes, of all photos that this process decodes at the same time; `None` removes the limit.
///
/// Decoding needs an amount that the header of a photo tells: the pixels, a second copy of them where the photo is turned, and the
/// coefficients of a progressive JPEG. A photo that alone exceeds the limit is refused before its pixels are allocated. A photo
/// that doesn't fit beside others waits until they are decoded, so the result doesn't depend on the number of threads.
///
/// ```standalone_crate
/// # // A BMP image of one red pixel.
/// # let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
/// # bmp.extend([0; 24]);
/// # bmp.extend([0, 0, 255, 0]);
/// use engraft_data::{decode_bytes, limit_decode_memory};
/// limit_decode_memory(Some(1));
/// let error = decode_bytes(&bmp, "red.bmp").unwrap_err();
/// assert_eq!(error.kind(), engraft_nn::ErrorKind::OutOfMemory);
/// limit_decode_memory(None);
/// assert_eq!(decode_bytes(&bmp, "red.bmp")?.rgb, [255, 0, 0]);
/// # Ok::<(), engraft_data::Error>(())
/// ```
pub fn limit_decode_memory(bytes: Option<u64>) {
    BUDGET.state().limit = bytes;
    BUDGET.freed.notify_all();
}

/// Reserves the memory of a photo of `width` x `height` pixels until the reservation is dropped; waits for other photos first.
pub(crate) fn reserve(bytes: u64, (width, height): (u32, u32)) -> Result<Reservation<'static>, PhotoError> {
    BUDGET.reserve(bytes).map_err(|limit| {
        let [needed, limit] = [bytes, limit].map(|bytes| bytes.div_ceil(1_000_000));
        let received = format!("received {width} x {height} pixels, which take {needed} MB");
        let expected = format!("expected a photo that decodes within {limit} MB of the memory limit");
        PhotoError::new(ErrorKind::OutOfMemory, format!("{expected}, {received}; scale it down, or raise the limit"))
    })
}

/// Bytes that are reserved at the same time, and a limit on them.
struct Budget {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    limit: Option<u64>,
    reserved: u64,
}

/// Reserved bytes, freed when dropped.
pub(crate) struct Reservation<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    const fn unlimited() -> Self {
        Self { state: Mutex::new(State { limit: None, reserved: 0 }), freed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers are consistent between any two statements, so a panic elsewhere does them no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves `bytes`; waits while other reservations leave too little. The error is the limit, if `bytes` exceed it.
    fn reserve(&self, bytes: u64) -> Result<Reservation<'_>, u64> {
        let mut state = self.state();
        loop {
            match state.limit {
                Some(limit) if bytes > limit => return Err(limit),
                Some(limit) if bytes > limit.saturating_sub(state.reserved) => {
                    state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                _ => break,
            }
        }
        state.reserved += bytes;
        Ok(Reservation { budget: self, bytes })
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.budget.state().reserved -= self.bytes;
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_together_stay_within_the_limit() {
        let budget = Budget::unlimited();
        budget.state().limit = Some(100);
        assert_eq!(budget.reserve(101).err(), Some(100));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let reservation = budget.reserve(40).unwrap_or_else(|limit| panic!("{limit}"));
                    assert!(budget.state().reserved <= 80);
                    std::thread::yield_now();
                    drop(reservation);
                });
            }
        });
        assert_eq!(budget.state().reserved, 0);
    }

    #[test]
    fn without_a_limit_nothing_is_refused() {
        let budget = Budget::unlimited();
        let (one, other) = (budget.reserve(u64::MAX / 2), budget.reserve(u64::MAX / 2));
        assert!(one.is_ok() && other.is_ok());
    }
}
