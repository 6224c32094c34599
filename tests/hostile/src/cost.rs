//! What a call takes.

use std::time::Duration;

/// Time that no small file is worth, of one processor: other programs beside this one don't count.
const MAX_TIME: Duration = Duration::from_secs(10);

/// What `read` gives, and the most bytes that it held at a time on this thread. No single allocation was larger.
///
/// # Panics
/// It took longer than any file may take.
pub fn peak<T>(read: impl FnOnce() -> T) -> (T, u64) {
    let mut value = None;
    let start = time();
    let counted = allocation_counter::measure(|| value = Some(read()));
    let taken = time().saturating_sub(start);
    assert!(taken <= MAX_TIME, "expected at most {MAX_TIME:?}, took {taken:?}");
    (value.expect("it was called"), counted.bytes_max)
}

/// How long this thread has computed.
#[cfg(unix)]
fn time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("time is never negative")
}

/// How long the program has run, where no more is known.
#[cfg(not(unix))]
fn time() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waits_takes_no_time() {
        let start = time();
        std::thread::sleep(Duration::from_millis(200));
        let waited = time() - start;
        let computed = || time() - start > waited + Duration::from_millis(10);
        while !computed() {}
        assert!(waited < Duration::from_millis(100), "{waited:?}");
    }
}
