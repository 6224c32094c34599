//! The thread pool that decodes photos, as large as `--threads` says.

use engraft::runtime::Runtime;
use engraft::{Error, ErrorKind};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// A pool with the number of threads of `runtime`.
///
/// Without it, photos are decoded by rayon's global pool, which always has one thread per core.
pub(crate) fn decode_pool(runtime: &Runtime) -> Result<ThreadPool, Error> {
    ThreadPoolBuilder::new().num_threads(runtime.threads()).build().map_err(|error| {
        Error::because("--threads", &error)
            .with_kind(ErrorKind::Io)
            .caused_by(error)
            .hint("use fewer threads; the system can't start as many")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_has_the_threads_of_the_runtime() {
        let pool = decode_pool(&Runtime::cpu(Some(3)).unwrap()).unwrap();
        assert_eq!(pool.install(rayon::current_num_threads), 3);
    }
}
