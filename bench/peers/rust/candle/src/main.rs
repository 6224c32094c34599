//! The benchmark's model in candle.

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, loss, ops};
use peer_serve::{BLOCKS, HEAD, Options, Result, Task, serve};

/// A layer's kernel and bias. For a frozen layer they are plain tensors, which candle doesn't differentiate.
struct Layer {
    kernel: Tensor,
    bias: Tensor,
}

/// Creates random weights and collects the trainable ones.
struct Weights {
    device: Device,
    trainable: Vec<Var>,
}

impl Weights {
    fn layer(&mut self, kernel: &[usize], inputs: usize, units: usize, trainable: bool) -> Result<Layer> {
        let bound = (6.0 / inputs as f64).sqrt();
        let kernel = Tensor::rand(-bound as f32, bound as f32, kernel, &self.device)?;
        let bias = Tensor::zeros(units, DType::F32, &self.device)?;
        if !trainable {
            return Ok(Layer { kernel, bias });
        }
        let (kernel, bias) = (Var::from_tensor(&kernel)?, Var::from_tensor(&bias)?);
        let layer = Layer { kernel: kernel.as_tensor().clone(), bias: bias.as_tensor().clone() };
        self.trainable.extend([kernel, bias]);
        Ok(layer)
    }
}

struct Net {
    convolutions: Vec<Layer>,
    head: Vec<Layer>,
}

impl Net {
    fn new(weights: &mut Weights, size: usize, frozen: usize, train: bool) -> Result<Self> {
        let (mut convolutions, mut channels) = (Vec::new(), 3);
        for (count, filters) in BLOCKS {
            for _ in 0..count {
                let trainable = train && convolutions.len() >= frozen;
                let kernel = [filters, channels, 3, 3];
                convolutions.push(weights.layer(&kernel, channels * 9, filters, trainable)?);
                channels = filters;
            }
        }
        let mut inputs = channels * (size / 32).pow(2);
        let mut head = Vec::new();
        for units in HEAD {
            head.push(weights.layer(&[inputs, units], inputs, units, train)?);
            inputs = units;
        }
        Ok(Self { convolutions, head })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        let mut layers = self.convolutions.iter();
        for (count, _) in BLOCKS {
            for layer in layers.by_ref().take(count) {
                let bias = layer.bias.reshape((1, (), 1, 1))?;
                x = x.conv2d(&layer.kernel, 1, 1, 1, 1)?.broadcast_add(&bias)?.relu()?;
            }
            x = x.max_pool2d(2)?;
        }
        x = x.flatten_from(1)?;
        for (number, layer) in self.head.iter().enumerate() {
            x = x.matmul(&layer.kernel)?.broadcast_add(&layer.bias)?;
            x = if number + 1 < self.head.len() { x.relu()? } else { x };
        }
        Ok(x)
    }
}

fn main() -> Result<()> {
    let Options { task, batch, size } = Options::read()?;
    let mut weights = Weights { device: Device::Cpu, trainable: Vec::new() };
    let x = Tensor::rand(-128f32, 128f32, (batch, 3, size, size), &weights.device)?;
    let classes: Vec<u32> = (0..batch as u32).map(|sample| sample % 5).collect();
    let y = Tensor::new(classes, &weights.device)?;
    match task {
        Task::Predict => {
            let net = Net::new(&mut weights, size, 13, false)?;
            serve("candle 0.11.1", || {
                ops::softmax(&net.forward(&x)?, D::Minus1)?.to_vec2::<f32>()?;
                Ok(())
            })
        }
        Task::Train { frozen } => {
            let net = Net::new(&mut weights, size, frozen, true)?;
            let adam = ParamsAdamW { lr: 1e-6, weight_decay: 0.0, ..ParamsAdamW::default() };
            let mut adam = AdamW::new(weights.trainable, adam)?;
            serve("candle 0.11.1", || {
                let loss = loss::cross_entropy(&net.forward(&x)?, &y)?;
                adam.backward_step(&loss)?;
                loss.to_scalar::<f32>()?;
                Ok(())
            })
        }
    }
}
