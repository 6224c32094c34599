//! [`Prefetcher`]: reads the next batch in a second thread while the current one is computed.

use std::sync::mpsc::sync_channel;

use engraft_data::{Batch, Dataset};
use engraft_nn::{Error, ErrorKind, Result};
use engraft_runtime::Runtime;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Reads the batches of datasets, one batch ahead, on as many threads as the runtime has.
///
/// Datasets decode the photos of a batch in parallel. In a pool of its own, decoding keeps to the number of threads that the
/// caller chose; rayon's global pool has a thread for every core.
pub(crate) struct Prefetcher(ThreadPool);

impl Prefetcher {
    /// Starts the threads.
    pub(crate) fn new(runtime: &Runtime) -> Result<Self> {
        // An executor on another device may have no threads of its own. Zero would mean one for every core.
        let threads = ThreadPoolBuilder::new().num_threads(runtime.threads().max(1)).build();
        threads.map(Self).map_err(|error| Error::from_source("threads that read batches", error))
    }

    /// Reads the samples in `order`, batch by batch, and calls `work` with each step and its batch, until it returns false.
    pub(crate) fn for_each_batch(
        &self,
        data: &dyn Dataset,
        order: &[usize],
        batch_size: usize,
        mut work: impl FnMut(usize, Batch) -> Result<bool>,
    ) -> Result<()> {
        std::thread::scope(|scope| {
            // The channel has no capacity, so that only one batch is in memory besides the one in use.
            let (sender, receiver) = sync_channel(0);
            scope.spawn(move || {
                for indices in order.chunks(batch_size) {
                    // Sending fails if the receiver was dropped, because training stopped.
                    if sender.send(self.0.install(|| data.batch(indices))).is_err() {
                        return;
                    }
                }
            });
            for step in 0..order.len().div_ceil(batch_size) {
                let batch = receiver.recv().map_err(|error| {
                    Error::because("dataset", "reading a batch ended unexpectedly")
                        .with_kind(ErrorKind::Internal)
                        .caused_by(error)
                })??;
                if !work(step, batch)? {
                    return Ok(());
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use engraft_data::Arrays;
    use engraft_nn::Tensor;

    use super::*;

    fn numbers(n: usize) -> Arrays {
        let x = Tensor::new([n, 1], (0..n).map(|i| i as f32).collect()).unwrap();
        Arrays::new(x.clone(), x).unwrap()
    }

    fn prefetcher(threads: usize) -> Prefetcher {
        Prefetcher::new(&Runtime::cpu(Some(threads)).unwrap()).unwrap()
    }

    #[test]
    fn batches_come_in_order_and_the_last_may_be_short() {
        let mut seen = Vec::new();
        prefetcher(1)
            .for_each_batch(&numbers(5), &[4, 2, 0, 1, 3], 2, |step, batch| {
                seen.push((step, batch.x.data().to_vec()));
                Ok(true)
            })
            .unwrap();
        assert_eq!(seen, [(0, vec![4.0, 2.0]), (1, vec![0.0, 1.0]), (2, vec![3.0])]);
    }

    #[test]
    fn stopping_and_errors_end_the_reader() {
        let (mut steps, prefetcher) = (0, prefetcher(2));
        prefetcher
            .for_each_batch(&numbers(100), &(0..100).collect::<Vec<_>>(), 1, |_, _| {
                steps += 1;
                Ok(steps < 3)
            })
            .unwrap();
        assert_eq!(steps, 3);
        assert!(prefetcher.for_each_batch(&numbers(2), &[0, 9], 1, |_, _| Ok(true)).is_err());
    }

    #[test]
    fn datasets_read_on_the_threads_of_the_runtime() {
        /// Samples whose value is the number of threads that read them.
        struct Threads;
        impl Dataset for Threads {
            fn len(&self) -> usize {
                2
            }
            fn batch(&self, indices: &[usize]) -> Result<Batch> {
                let x = Tensor::new([indices.len(), 1], vec![rayon::current_num_threads() as f32; indices.len()])?;
                Ok(Batch { x: x.clone(), y: x })
            }
        }
        for threads in [1, 3] {
            let mut seen = Vec::new();
            prefetcher(threads)
                .for_each_batch(&Threads, &[0, 1], 1, |_, batch| {
                    seen.extend(batch.x.into_data());
                    Ok(true)
                })
                .unwrap();
            assert_eq!(seen, [threads as f32; 2]);
        }
    }
}
