//! The benchmark's model in Burn, on its `flex` device.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::MaxPool2dConfig;
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, Distribution, Int, Tensor};
use peer_serve::{BLOCKS, HEAD, Options, Result, Task, serve};

/// The trainable part of the network: the last convolutions and the head.
#[derive(Module, Debug)]
struct TrainablePart {
    convolutions: Vec<Conv2d>,
    head: Vec<Linear>,
}

/// Convolutions `from..to` of VGG16.
fn convolutions(from: usize, to: usize, device: &Device) -> Vec<Conv2d> {
    let filters = BLOCKS.iter().flat_map(|&(count, filters)| std::iter::repeat_n(filters, count));
    let channels = std::iter::once(3).chain(filters.clone());
    let all = channels.zip(filters).skip(from).take(to - from);
    let convolution = |(channels, filters)| {
        let config = Conv2dConfig::new([channels, filters], [3, 3]);
        config.with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(device)
    };
    all.map(convolution).collect()
}

fn head(size: usize, device: &Device) -> Vec<Linear> {
    let inputs = 512 * (size / 32).pow(2);
    let sizes = [inputs, HEAD[0], HEAD[1], HEAD[2]];
    sizes.windows(2).map(|pair| LinearConfig::new(pair[0], pair[1]).init(device)).collect()
}

/// Applies consecutive convolutions of VGG16, from index `first` on, with a pooling after each block.
fn base(mut x: Tensor<4>, convolutions: &[Conv2d], first: usize) -> Tensor<4> {
    let pool = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init();
    let ends: Vec<usize> = (1..=BLOCKS.len()).map(|blocks| BLOCKS[..blocks].iter().map(|(count, _)| count).sum()).collect();
    for (number, convolution) in (first..).zip(convolutions) {
        x = relu(convolution.forward(x));
        if ends.contains(&(number + 1)) {
            x = pool.forward(x);
        }
    }
    x
}

impl TrainablePart {
    fn forward(&self, x: Tensor<4>, first: usize) -> Tensor<2> {
        let mut x: Tensor<2> = base(x, &self.convolutions, first).flatten(1, 3);
        for (number, layer) in self.head.iter().enumerate() {
            x = layer.forward(x);
            x = if number + 1 < self.head.len() { relu(x) } else { x };
        }
        x
    }
}

fn main() -> Result<()> {
    let Options { task, batch, size } = Options::read()?;
    let plain = Device::flex();
    let x = Tensor::<4>::random([batch, 3, size, size], Distribution::Uniform(-128.0, 128.0), &plain);
    match task {
        Task::Predict => {
            let net = TrainablePart { convolutions: convolutions(0, 13, &plain), head: head(size, &plain) };
            serve("Burn 0.22.1", || {
                softmax(net.forward(x.clone(), 0), 1).into_data();
                Ok(())
            })
        }
        Task::Train { frozen } => {
            // Frozen convolutions run on a device without autodiff, which saves no values for a backward pass.
            let lower = convolutions(0, frozen, &plain);
            let device = Device::flex().autodiff();
            let mut net = TrainablePart { convolutions: convolutions(frozen, 13, &device), head: head(size, &device) };
            let y = Tensor::<1, Int>::from_data(
                (0..batch as i32).map(|sample| sample % 5).collect::<Vec<_>>().as_slice(),
                &device,
            );
            let (loss, mut adam) = (CrossEntropyLossConfig::new().init(&device), AdamConfig::new().init());
            serve("Burn 0.22.1", || {
                let features = base(x.clone(), &lower, 0).autodiff();
                let loss = loss.forward(net.forward(features, frozen), y.clone());
                let gradients = GradientsParams::from_grads(loss.backward(), &net);
                net = adam.step(1e-6, net.clone(), gradients);
                loss.into_data();
                Ok(())
            })
        }
    }
}
