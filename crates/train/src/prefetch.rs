//! Prefetching: reads the next batch in a second thread while the current one is computed.

use std::sync::mpsc::sync_channel;

use engraft_data::{Batch, Dataset};
use engraft_nn::{Error, ErrorKind, Result};

/// Reads the samples in `order`, batch by batch, and calls `work` until it returns false. A second thread reads one batch ahead.
///
/// The arguments of `work` are the step, the indices of the batch's samples, and the batch.
pub(crate) fn for_each_batch(
    data: &dyn Dataset,
    order: &[usize],
    batch_size: usize,
    mut work: impl FnMut(usize, &[usize], Batch) -> Result<bool>,
) -> Result<()> {
    std::thread::scope(|scope| {
        // The channel has no capacity, so that only one batch is in memory besides the one in use.
        let (sender, receiver) = sync_channel(0);
        scope.spawn(move || {
            for indices in order.chunks(batch_size) {
                // Sending fails if the receiver was dropped, because training stopped.
                if sender.send(data.batch(indices)).is_err() {
                    return;
                }
            }
        });
        for (step, indices) in order.chunks(batch_size).enumerate() {
            let batch = receiver.recv().map_err(|error| {
                Error::because("dataset", "reading a batch ended unexpectedly")
                    .with_kind(ErrorKind::Internal)
                    .caused_by(error)
            })??;
            if !work(step, indices, batch)? {
                return Ok(());
            }
        }
        Ok(())
    })
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

    #[test]
    fn batches_come_in_order_and_the_last_may_be_short() {
        let mut seen = Vec::new();
        for_each_batch(&numbers(5), &[4, 2, 0, 1, 3], 2, |step, _, batch| {
            seen.push((step, batch.x.data().to_vec()));
            Ok(true)
        })
        .unwrap();
        assert_eq!(seen, [(0, vec![4.0, 2.0]), (1, vec![0.0, 1.0]), (2, vec![3.0])]);
    }

    #[test]
    fn stopping_and_errors_end_the_reader() {
        let mut steps = 0;
        for_each_batch(&numbers(100), &(0..100).collect::<Vec<_>>(), 1, |_, _, _| {
            steps += 1;
            Ok(steps < 3)
        })
        .unwrap();
        assert_eq!(steps, 3);
        assert!(for_each_batch(&numbers(2), &[0, 9], 1, |_, _, _| Ok(true)).is_err());
    }
}
