//! Reducers for replicas in threads of one process.

use std::sync::{Arc, Barrier, Mutex};

use engraft_nn::{Result, Weight};
use engraft_plan::{BatchPlace, GradientReducer, SingleReplica};

use crate::REPLICAS;

/// Shared memory in which replicas exchange their partial sums.
pub(crate) struct Exchange {
    pub(crate) barrier: Barrier,
    pub(crate) parts: Mutex<[Vec<f64>; REPLICAS]>,
}

impl Exchange {
    /// The sum over all replicas, in the order of their numbers.
    pub(crate) fn sum(&self, number: usize, own: Vec<f64>) -> Vec<f64> {
        self.parts.lock().unwrap()[number] = own;
        self.barrier.wait();
        let [first, second] = self.parts.lock().unwrap().clone();
        // Wait until all replicas have read the sums, before any replica writes its next one.
        self.barrier.wait();
        first.iter().zip(second).map(|(a, b)| a + b).collect()
    }
}

/// A replica: sums gradients with the other replica, and records the sums.
pub(crate) struct Replica {
    pub(crate) number: usize,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) synchronizes_statistics: bool,
    pub(crate) sums: Vec<(String, Vec<f32>)>,
}

impl GradientReducer for Replica {
    fn place(&self, samples: usize) -> BatchPlace {
        BatchPlace { first: self.number * samples, total: REPLICAS * samples }
    }

    fn collect(&mut self, weight: &Weight, gradient: &mut [f32]) -> Result<()> {
        let own = gradient.iter().copied().map(f64::from).collect();
        let sum = self.exchange.sum(self.number, own);
        gradient.iter_mut().zip(sum).for_each(|(gradient, sum)| *gradient = sum as f32);
        self.sums.push((weight.path(), gradient.to_vec()));
        Ok(())
    }

    fn sum_statistics(&mut self, sums: &mut [f64]) -> Result<()> {
        if self.synchronizes_statistics {
            sums.copy_from_slice(&self.exchange.sum(self.number, sums.to_vec()));
        }
        Ok(())
    }
}

/// A single replica that records its gradients.
#[derive(Default)]
pub(crate) struct Recorder(pub(crate) Vec<(String, Vec<f32>)>);

impl GradientReducer for Recorder {
    fn place(&self, samples: usize) -> BatchPlace {
        SingleReplica.place(samples)
    }

    fn collect(&mut self, weight: &Weight, gradient: &mut [f32]) -> Result<()> {
        self.0.push((weight.path(), gradient.to_vec()));
        Ok(())
    }
}
