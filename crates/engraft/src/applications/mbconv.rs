//! The blocks of EfficientNet and EfficientNetV2, MBConv and Fused-MBConv, and what else both have in common.

use super::body::Body;
use super::correct_pad::correct_pad;
use super::network::Network;
use crate::prelude::*;
use crate::{Distribution, FanMode, Result, VarianceScaling};

/// In what the two versions differ within a block.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Version {
    V1,
    V2,
}

impl Version {
    /// The momentum of the normalizations.
    fn momentum(self) -> f32 {
        match self {
            Self::V1 => 0.99,
            Self::V2 => 0.9,
        }
    }
}

/// A block of a network: an inverted residual with a linear bottleneck (Sandler et al. 2018, arXiv:1801.04381).
pub(super) struct Block {
    pub(super) version: Version,
    /// The prefix of its layers, such as `block1a`.
    pub(super) name: String,
    /// Width and height of the filters.
    pub(super) kernel: usize,
    /// The first convolution multiplies the channels by this factor; 1 for no such convolution.
    pub(super) expansion: usize,
    pub(super) filters: usize,
    pub(super) stride: usize,
    /// Probability that a sample skips the block in training (stochastic depth; Huang et al. 2016, arXiv:1603.09382).
    pub(super) drop_rate: f64,
}

impl Block {
    /// MBConv: expand, filter each channel, squeeze and excite, project.
    pub(super) fn mbconv(&self, body: &mut Body, input: &SymbolicTensor) -> Result<SymbolicTensor> {
        let Self { name, version, .. } = self;
        let channels = channels(input);
        let mut x = input.clone();
        if self.expansion != 1 {
            x = body.call(&x, conv(channels * self.expansion, 1).named(format!("{name}_expand_conv")))?;
            x = swish(body, &x, &format!("{name}_expand"), *version)?;
        }
        x = self.depthwise(body, &x)?;
        x = swish(body, &x, name, *version)?;
        x = squeeze_excite(body, &x, name, (channels / 4).max(1))?;
        x = body.call(&x, conv(self.filters, 1).named(format!("{name}_project_conv")))?;
        x = normalize(body, &x, &format!("{name}_project"), *version)?;
        self.add(body, input, &x)
    }

    /// Fused-MBConv (Tan and Le 2021, section 3.2): one convolution expands and filters.
    pub(super) fn fused_mbconv(&self, body: &mut Body, input: &SymbolicTensor) -> Result<SymbolicTensor> {
        let Self { name, version, kernel, stride, .. } = self;
        let mut x;
        if self.expansion == 1 {
            x = body.call(input, conv(self.filters, *kernel).strides(*stride).named(format!("{name}_project_conv")))?;
            x = swish(body, &x, &format!("{name}_project"), *version)?;
        } else {
            let expand = conv(channels(input) * self.expansion, *kernel).strides(*stride);
            x = body.call(input, expand.named(format!("{name}_expand_conv")))?;
            x = swish(body, &x, &format!("{name}_expand"), *version)?;
            x = body.call(&x, conv(self.filters, 1).named(format!("{name}_project_conv")))?;
            x = normalize(body, &x, &format!("{name}_project"), *version)?;
        }
        self.add(body, input, &x)
    }

    /// The filter of each channel. Version 1 pads in a layer of its own before a stride of 2.
    fn depthwise(&self, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
        let name = &self.name;
        let filter = DepthwiseConv2D::new(self.kernel).strides(self.stride).use_bias(false);
        let filter = filter.depthwise_initializer(kernel_initializer());
        match self.version {
            Version::V1 if self.stride == 2 => {
                let x = body.call(x, correct_pad(x, self.kernel).named(format!("{name}_dwconv_pad")))?;
                body.call(&x, filter.named(format!("{name}_dwconv")))
            }
            Version::V1 => body.call(x, filter.padding(Padding::Same).named(format!("{name}_dwconv"))),
            Version::V2 => body.call(x, filter.padding(Padding::Same).named(format!("{name}_dwconv2"))),
        }
    }

    /// Adds the block's input where the shapes agree.
    fn add(&self, body: &mut Body, input: &SymbolicTensor, x: &SymbolicTensor) -> Result<SymbolicTensor> {
        let name = &self.name;
        if self.stride != 1 || channels(input) != self.filters {
            return Ok(x.clone());
        }
        let mut x = x.clone();
        if self.drop_rate > 0.0 {
            let drop = Dropout::new(self.drop_rate as f32).noise_shape([None, Some(1), Some(1), Some(1)]);
            x = body.call(&x, drop.named(format!("{name}_drop")))?;
        }
        body.call([&x, input], Add::new().named(format!("{name}_add")))
    }
}

/// Squeeze-and-excitation (Hu et al. 2017, arXiv:1709.01507): scales each channel by a function of the means of all channels, with
/// `squeezed` channels between.
fn squeeze_excite(body: &mut Body, input: &SymbolicTensor, name: &str, squeezed: usize) -> Result<SymbolicTensor> {
    let channels = channels(input);
    let mut x = body.call(input, GlobalAveragePooling2D::new().named(format!("{name}_se_squeeze")))?;
    x = body.call(&x, Reshape::new([1, 1, channels as i64]).named(format!("{name}_se_reshape")))?;
    let [reduce, expand] = [squeezed, channels].map(|filters| conv(filters, 1).use_bias(true));
    x = body.call(&x, reduce.activation(ActivationFn::Silu).named(format!("{name}_se_reduce")))?;
    x = body.call(&x, expand.activation(Sigmoid).named(format!("{name}_se_expand")))?;
    body.call([input, &x], Multiply::new().named(format!("{name}_se_excite")))
}

/// The last convolution, and the top or the pooling.
pub(super) fn top(
    version: Version,
    filters: usize,
    dropout: f32,
    network: &Network,
    body: &mut Body,
    x: &SymbolicTensor,
) -> Result<SymbolicTensor> {
    let mut x = body.call(x, conv(filters, 1).named("top_conv"))?;
    x = swish(body, &x, "top", version)?;
    if !network.include_top {
        return body.named_pool(network, &x);
    }
    body.end_of_base();
    x = body.call(&x, GlobalAveragePooling2D::new().named("avg_pool"))?;
    x = body.call(&x, Dropout::new(dropout).named("top_dropout"))?;
    let initializer = VarianceScaling::new(1.0 / 3.0, FanMode::FanOut, Distribution::Uniform);
    let classifier = Dense::new(network.classes).activation(network.classifier_activation);
    let classifier = classifier.kernel_initializer(Initializer::VarianceScaling(initializer));
    body.call(&x, classifier.named("predictions"))
}

/// A convolution of `kernel` x `kernel` pixels with padding and, by default, without bias.
pub(super) fn conv(filters: usize, kernel: usize) -> Conv2D {
    let conv = Conv2D::new(filters, kernel).padding(Padding::Same).use_bias(false);
    conv.kernel_initializer(kernel_initializer())
}

/// Batch normalization and Swish.
pub(super) fn swish(body: &mut Body, x: &SymbolicTensor, name: &str, version: Version) -> Result<SymbolicTensor> {
    let x = normalize(body, x, name, version)?;
    body.call(&x, Activation::new(ActivationFn::Silu).named(format!("{name}_activation")))
}

fn normalize(body: &mut Body, x: &SymbolicTensor, name: &str, version: Version) -> Result<SymbolicTensor> {
    body.call(x, BatchNormalization::new().momentum(version.momentum()).named(format!("{name}_bn")))
}

fn kernel_initializer() -> Initializer {
    Initializer::VarianceScaling(VarianceScaling::new(2.0, FanMode::FanOut, Distribution::TruncatedNormal))
}

fn channels(x: &SymbolicTensor) -> usize {
    x.shape().last().copied().unwrap_or(0)
}
