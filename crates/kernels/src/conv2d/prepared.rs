//! Prepared kernels: packed and transformed once, for many forward passes.

use super::Conv2d;
use super::algorithm::Algorithm;
use super::winograd::Winograd;
use crate::Activation;
use crate::aligned::AlignedVec;
use crate::chunks::check_len;

/// A kernel in the packed layout of its convolution's algorithm, for [`Conv2d::forward_prepared`].
///
/// Preparing pays off for a kernel that is used many times without changing. The prepared kernel takes additional memory. For
/// Winograd's algorithm, it has four times the kernel's size in f32 and twice in bf16. On a matrix unit, it has half the kernel's
/// size. A 1x1 kernel keeps its size.
#[derive(Debug)]
pub struct PreparedKernel(AlignedVec);

impl Conv2d {
    /// Number of values in the kernel that [`prepare`](Self::prepare) makes; 0 if the algorithm reads the kernel as it is.
    pub fn prepared_len(&self) -> usize {
        match &self.algorithm {
            Algorithm::Im2col(_) | Algorithm::Strips(_) => 0,
            Algorithm::Pointwise(pointwise) => pointwise.prepared_len(),
            Algorithm::Winograd(winograd) => winograd.prepared_len(),
            Algorithm::Direct(direct, _) => direct.prepared_len(),
        }
    }

    /// Number of values of scratch that [`forward_prepared`](Self::forward_prepared) needs. This excludes the space to prepare a
    /// kernel.
    pub fn prepared_scratch_len(&self) -> usize {
        match &self.algorithm {
            Algorithm::Im2col(_) | Algorithm::Strips(_) => self.forward_scratch_len(),
            Algorithm::Pointwise(_) => 0,
            Algorithm::Winograd(winograd) => winograd.prepared_scratch_len(rayon::current_num_threads()),
            Algorithm::Direct(direct, _) => direct.prepared_scratch_len(rayon::current_num_threads()),
        }
    }

    /// Whether preparing the kernel in each forward pass would take a large part of the pass's time.
    ///
    /// Preparing costs the same for every batch, so its share decreases with the number of tiles (4x4 outputs). The answer has
    /// no meaning for an algorithm that reads the kernel as it is.
    pub fn preparing_is_costly(&self) -> bool {
        // From this many tiles on, the matrix products take several times as long as preparing the kernel.
        const MANY_TILES: usize = 256;
        // The limit on a matrix unit is higher, as the unit computes the matrix products several times as fast.
        const MANY_TILES_OF_DIRECT: usize = 8 * MANY_TILES;
        let many = if matches!(self.algorithm, Algorithm::Direct(..)) { MANY_TILES_OF_DIRECT } else { MANY_TILES };
        self.shape.batch * Winograd::tiles_of_image(&self.shape) < many
    }

    /// The kernel in the algorithm's layout, or `None` if the algorithm reads the kernel as it is.
    ///
    /// ```
    /// use engraft_kernels::{Activation, Conv2d, Conv2dShape};
    /// let conv = Conv2d::new(Conv2dShape {
    ///     batch: 1, in_h: 8, in_w: 8, in_c: 24, out_c: 24, kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [1, 1],
    ///     out_h: 8, out_w: 8, groups: 1,
    /// });
    /// let (x, w, mut scratch) = (vec![1.0; 8 * 8 * 24], vec![0.5; 9 * 24 * 24], vec![0.0; conv.scratch_len()]);
    /// let (mut y, mut again) = (vec![0.0; 8 * 8 * 24], vec![0.0; 8 * 8 * 24]);
    /// conv.forward(&x, &w, None, Activation::Linear, &mut y, &mut scratch);
    /// if let Some(kernel) = conv.prepare(&w) {
    ///     conv.forward_prepared(&x, &kernel, None, Activation::Linear, &mut again, &mut scratch);
    ///     assert_eq!(again, y);
    /// }
    /// ```
    pub fn prepare(&self, w: &[f32]) -> Option<PreparedKernel> {
        check_len("kernel", w, self.shape.w_len());
        match &self.algorithm {
            Algorithm::Im2col(_) | Algorithm::Strips(_) => None,
            Algorithm::Pointwise(pointwise) => Some(PreparedKernel(pointwise.prepare(w))),
            Algorithm::Winograd(winograd) => Some(PreparedKernel(winograd.prepare(w))),
            Algorithm::Direct(direct, _) => Some(PreparedKernel(direct.prepare(w))),
        }
    }

    /// [`forward`](Self::forward) with a kernel that [`prepare`](Self::prepare) made: the same bits, without preparing in each
    /// call.
    ///
    /// The kernel may come from a convolution of another batch or image size, if kernel size and channels are the same.
    ///
    /// # Panics
    /// If a slice or the prepared kernel has another length than this convolution's.
    pub fn forward_prepared(
        &self,
        x: &[f32],
        kernel: &PreparedKernel,
        bias: Option<&[f32]>,
        activation: Activation,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        check_len("input", x, self.shape.x_len());
        check_len("output", y, self.output_len());
        let epilogue = self.epilogue(bias, activation);
        match &self.algorithm {
            Algorithm::Im2col(_) | Algorithm::Strips(_) => panic!("kernels of {:?} can't be prepared", self.shape),
            Algorithm::Pointwise(pointwise) => pointwise.forward_packed(x, kernel.0.as_slice(), epilogue, y),
            Algorithm::Winograd(winograd) => winograd.forward_prepared(x, &kernel.0, epilogue, y, scratch),
            Algorithm::Direct(direct, _) => direct.forward_prepared(x, &kernel.0, epilogue, y, scratch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{every_algorithm, shapes, shapes_of_3x3};
    use super::*;
    use crate::testing::integers;

    #[test]
    fn a_prepared_kernel_gives_the_same_bits() {
        for shape in shapes().into_iter().chain(shapes_of_3x3()) {
            let (x, w, bias) = (integers(shape.x_len(), 1), integers(shape.w_len(), 2), integers(shape.out_c, 3));
            for (name, conv) in every_algorithm(shape) {
                let Some(kernel) = conv.prepare(&w) else {
                    assert_eq!(conv.prepared_len(), 0, "{name} {shape:?}");
                    continue;
                };
                let [mut y, mut again] = [(); 2].map(|()| vec![f32::NAN; shape.y_len()]);
                let mut scratch = vec![f32::NAN; conv.scratch_len()];
                conv.forward(&x, &w, Some(&bias), Activation::Relu, &mut y, &mut scratch);
                let mut scratch = vec![f32::NAN; conv.prepared_scratch_len()];
                conv.forward_prepared(&x, &kernel, Some(&bias), Activation::Relu, &mut again, &mut scratch);
                assert!(again == y, "{name} {shape:?}");
            }
        }
    }
}
