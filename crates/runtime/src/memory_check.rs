//! The check that a plan fits into memory, and the error that suggests a smaller batch.

use engraft_nn::{Error, ErrorKind, Result};
use engraft_plan::Memory;

/// Estimated memory of the process apart from plans: code, threads and a few decoded photos.
pub(crate) const PROGRAM_BYTES: usize = 48 << 20;

/// Checks that a plan fits into `available` bytes. The error suggests a smaller batch size that would fit, if there is one.
///
/// `with_batch` gives the bytes that another batch size needs.
///
/// ```
/// use engraft_plan::Memory;
/// use engraft_runtime::ensure_fits;
/// let needed = Memory { buffers: 3 << 30, ..Memory::default() };
/// let error = ensure_fits(&needed, 2 << 30, 16, |batch| Ok(batch << 27)).unwrap_err();
/// assert!(error.to_string().contains("a batch size of 8 would fit"));
/// ```
///
/// # Errors
/// The plan doesn't fit, or `with_batch` fails.
pub fn ensure_fits(
    needed: &Memory,
    available: usize,
    batch: usize,
    with_batch: impl Fn(usize) -> Result<usize>,
) -> Result<()> {
    if needed.total() <= available {
        return Ok(());
    }
    let available_memory = Memory { buffers: available, ..Memory::default() }.total_readable();
    let error =
        Error::because("memory", format_args!("the plan needs {needed}, but only {available_memory} are available"))
            .with_kind(ErrorKind::OutOfMemory);
    let mut smaller = batch / 2;
    while smaller > 0 {
        if with_batch(smaller)? <= available {
            return Err(error.hint(format_args!("a batch size of {smaller} would fit")));
        }
        smaller /= 2;
    }
    Err(error.hint("no batch size would fit: use smaller images, a smaller head, or freeze more layers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(batch: usize) -> Memory {
        Memory { weights: 100 << 20, buffers: batch * (10 << 20), ..Memory::default() }
    }

    #[test]
    fn what_fits_passes_and_what_does_not_says_what_would() {
        let with_batch = |batch| Ok(memory(batch).total());
        assert!(ensure_fits(&memory(16), 300 << 20, 16, with_batch).is_ok());
        let error = ensure_fits(&memory(16), 150 << 20, 16, with_batch).unwrap_err().to_string();
        assert!(error.contains("260.0 MiB") && error.contains("150.0 MiB"), "{error}");
        assert!(error.contains("hint: a batch size of 4 would fit"), "{error}");
        let error = ensure_fits(&memory(16), 50 << 20, 16, with_batch).unwrap_err().to_string();
        assert!(error.contains("smaller images"), "{error}");
    }
}
