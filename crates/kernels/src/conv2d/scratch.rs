//! The size of the scratch buffer of a convolution.

use super::Conv2d;
use super::algorithm::Algorithm;
use super::choose::Im2colGradients;
use super::im2col::Im2col;
use crate::Conv2dShape;

impl Conv2d {
    /// Number of values of scratch that each call needs in the ambient thread pool. Smaller batches never need more.
    pub fn scratch_len(&self) -> usize {
        self.scratch_len_of(&self.algorithm, rayon::current_num_threads())
    }

    /// Number of values of scratch that [`forward`](Self::forward) needs in the ambient thread pool. Smaller batches never need
    /// more. The gradients may need [`scratch_len`](Self::scratch_len), many times as much.
    pub fn forward_scratch_len(&self) -> usize {
        let threads = rayon::current_num_threads();
        match &self.algorithm {
            Algorithm::Im2col(im2col) => im2col.forward_scratch_len(threads),
            Algorithm::Strips(strips) => strips.forward_scratch_len(threads),
            Algorithm::Pointwise(pointwise) => pointwise.forward_scratch_len(),
            Algorithm::Winograd(winograd) => winograd.forward_scratch_len(threads),
            Algorithm::Direct(direct, _) => direct.forward_scratch_len(threads),
        }
    }

    fn scratch_len_of(&self, algorithm: &Algorithm, threads: usize) -> usize {
        match algorithm {
            Algorithm::Im2col(im2col) => im2col.scratch_len(threads),
            Algorithm::Strips(strips) => strips.scratch_len(threads),
            Algorithm::Pointwise(pointwise) => pointwise.scratch_len(threads),
            Algorithm::Winograd(winograd) => winograd.scratch_len(threads).max(self.im2col_gradients_len(threads)),
            Algorithm::Direct(direct, in_f32) => direct.scratch_len(threads).max(self.scratch_len_of(in_f32, threads)),
        }
    }

    /// Scratch of the gradients that im2col computes for a convolution by Winograd's algorithm.
    ///
    /// This is the maximum over this batch and all smaller ones, as im2col may compute the gradients of smaller batches but not
    /// of this one.
    fn im2col_gradients_len(&self, threads: usize) -> usize {
        let batches = (1..=self.shape.batch).rev().map(|batch| Conv2dShape { batch, ..self.shape });
        let largest = |by_im2col: fn(Im2colGradients) -> bool| {
            let shape = batches.clone().find(|shape| by_im2col(Im2colGradients::beside_winograd(shape)));
            shape.map_or((0, 0), |shape| (Im2col::new(shape).scratch_len(threads), shape.x_len()))
        };
        let (kernel, _) = largest(|gradients| gradients.kernel);
        // Im2col computes an in-place input gradient into scratch first.
        let (input, x_len) = largest(|gradients| gradients.input);
        kernel.max(input + x_len)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{every_algorithm, same_3x3};
    use super::*;
    use crate::Threads;

    #[test]
    fn a_smaller_batch_never_needs_more_scratch() {
        // With 512 channels of inputs and outputs, the transformed filters don't fit in the cache.
        for (channels, out_c) in [(8, 16), (64, 16), (512, 16), (512, 512)] {
            let lengths = (0..40).map(|batch| {
                let shape = same_3x3([batch, 14, 15, channels], out_c);
                let convs = every_algorithm(shape).into_iter().map(|(_, conv)| conv).chain([Conv2d::new(shape)]);
                convs.flat_map(|conv| [conv.scratch_len(), conv.forward_scratch_len()]).collect::<Vec<_>>()
            });
            let lengths: Vec<_> = lengths.collect();
            assert!(lengths.windows(2).all(|pair| pair[0].iter().zip(&pair[1]).all(|(a, b)| a <= b)), "{lengths:?}");
        }
        // An image has 64 tiles. The kernel gradient cuts 32 images into 16 segments of 128 tiles, but 33 images into 9 of 256.
        for threads in [1, 2, 8] {
            let lengths = (20..50).map(|batch| {
                let shape = same_3x3([batch, 32, 32, 64], 64);
                Threads::new(Some(threads)).unwrap().run(|| Conv2d::new(shape).scratch_len())
            });
            assert!(lengths.collect::<Vec<_>>().is_sorted(), "{threads} threads");
        }
    }
}
