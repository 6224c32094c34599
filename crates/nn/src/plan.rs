//! From a model to a plan: what to compute, in which order, and where every value stands.
//!
//! Keras knows the whole graph at `compile` and then runs it layer by layer. Here the graph is [lowered](Program) to a
//! flat list of operations, and a [`Plan`] decides before anything runs: which steps nothing is differentiated or saved
//! for, which of those run a few samples at a time, which values share a buffer, and how much memory that takes.

mod bands;
mod buffers;
mod joining;
mod lifetimes;
mod lowering;
mod memory;
mod op;
mod precision;
mod program;
mod work;

pub use bands::Band;
pub use buffers::Slot;
pub use lowering::Lowering;
pub use memory::Memory;
pub use op::Op;
pub use precision::Precision;
pub use program::{Param, Program, Step, ValueId};
pub use work::Work;

use std::ops::Range;

use engraft_kernels::Activation;

use crate::compile::{Head, Loss, Optimizer};
use crate::{Error, Model, Result};
use buffers::Layout;
use lifetimes::Lifetimes;

/// What a plan is for.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// Outputs only.
    Predict,
    /// Outputs and their loss, outside training.
    Evaluate {
        /// What is measured.
        loss: Loss,
    },
    /// A loss, its gradients and the optimizer's update.
    Train {
        /// How updates are made.
        optimizer: Optimizer,
        /// What is minimised.
        loss: Loss,
    },
    /// Outputs, and gradients of their weighted sum, kept for the caller.
    Gradients,
}

/// A whole computation, decided: an executor needs nothing else to run it.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_nn::plan::Plan;
/// let model = Sequential::new().add(Input::new([8, 8, 3])).add(Flatten::new()).add(Dense::new(2)).build()?;
/// let plan = Plan::predict(&model, 16)?;
/// assert_eq!(plan.memory().weights, 4 * (8 * 8 * 3 * 2 + 2));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Plan {
    program: Program,
    purpose: Purpose,
    head: Head,
    batch: usize,
    /// Steps at the front that run `chunk` samples at a time: nothing in them is differentiated.
    prefix: usize,
    chunk: usize,
    bands: Vec<Option<Band>>,
    thrifty: bool,
    precision: Precision,
    differentiated: Vec<bool>,
    layout: Layout,
}

/// What the widest step of a chunk of the prefix may read and write: three 256-pixel images at VGG16's. Larger chunks are little
/// faster (with 5 images 1 %, with 17 4 %), as the kernels already split one image over the cores.
const CHUNK_BYTES: usize = 40 << 20;

/// What steps may read and write of a whole batch without being part of the prefix. Their kernels are then read once a batch.
const NARROW_BYTES: usize = 32 << 20;

impl Plan {
    /// The plan of `predict` for up to `batch` samples at a time.
    pub fn predict(model: &Model, batch: usize) -> Result<Self> {
        Self::of(Program::of(model, false, 0)?, Purpose::Predict, batch)
    }

    /// The plan of the outputs of layer `layer`, of a nested model's too.
    pub fn features(model: &Model, layer: &str, batch: usize) -> Result<Self> {
        Self::of(Program::of(model, false, 0)?.until(layer)?, Purpose::Predict, batch)
    }

    /// The plan of outputs and loss of up to `batch` samples at a time, outside training.
    pub fn evaluate(model: &Model, loss: Loss, batch: usize) -> Result<Self> {
        let program = Program::of(model, false, 0)?;
        single_output(model, &program, &loss)?;
        Self::of(program, Purpose::Evaluate { loss }, batch)
    }

    /// The plan of a training step of up to `batch` samples, by what is trainable now.
    ///
    /// `seed` decides what the random layers without a seed of their own draw.
    pub fn train(model: &Model, optimizer: Optimizer, loss: Loss, batch: usize, seed: u64) -> Result<Self> {
        let program = Program::of(model, true, seed)?;
        single_output(model, &program, &loss)?;
        Self::of(program, Purpose::Train { optimizer, loss }, batch)
    }

    /// The plan of outputs and gradients by inputs and trainable weights, in training mode or not.
    pub fn gradients(model: &Model, training: bool, batch: usize, seed: u64) -> Result<Self> {
        Self::of(Program::of(model, training, seed)?, Purpose::Gradients, batch)
    }

    fn of(mut program: Program, purpose: Purpose, batch: usize) -> Result<Self> {
        if batch == 0 {
            return Err(Error::new("batch size", "at least 1", 0));
        }
        check_countable(&program, batch)?;
        let head = match &purpose {
            Purpose::Train { loss, .. } | Purpose::Evaluate { loss } => program.split_head(loss),
            Purpose::Predict | Purpose::Gradients => Head::None,
        };
        let differentiated = match purpose {
            Purpose::Predict | Purpose::Evaluate { .. } => vec![false; program.steps.len()],
            Purpose::Train { .. } => program.differentiated(false),
            Purpose::Gradients => program.differentiated(true),
        };
        let blocked = program.steps.iter().zip(&differentiated).find(|(step, d)| **d && !step.op.differentiable());
        if let Some((step, _)) = blocked {
            return Err(Error::because(
                format_args!("layer `{}`", step.layer),
                "a random layer can't be differentiated",
            )
            .hint("put augmentation before the first trainable layer"));
        }
        let differentiated = program.join_pools(differentiated);
        let prefix = program.prefix(&differentiated);
        let bands = program.bands(prefix);
        let prefix = program.narrow_from(&bands[..prefix], NARROW_BYTES / batch);
        let chunk = (CHUNK_BYTES / program.widest_step_bytes(&bands[..prefix]).max(1)).clamp(1, batch);
        let layout = Layout::new(&Lifetimes::new(&program, &differentiated, prefix), &purpose, &bands, chunk, batch);
        let (thrifty, precision) = (false, Precision::default());
        Ok(Self { program, purpose, head, batch, prefix, chunk, bands, thrifty, precision, differentiated, layout })
    }

    /// The same plan with less memory, for some time: its prefix runs one sample at a time, values that are cheap to compute are
    /// [recomputed](Self::running_again) for the backward pass where that saves memory, and executors keep nothing that they
    /// could compute again. Results are the same, bit for bit.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_nn::plan::Plan;
    /// let x = Input::new([64, 64, 3]);
    /// let y = Conv2D::new(8, 3).call(&x)?;
    /// let plan = Plan::predict(&Model::new(&x, &y)?, 16)?;
    /// assert!(plan.chunk() > 1 && plan.clone().thrifty().chunk() == 1);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    #[must_use]
    pub fn thrifty(self) -> Self {
        let lifetimes = || Lifetimes::new(&self.program, &self.differentiated, self.prefix);
        let layout = |lifetimes: Lifetimes<'_>| Layout::new(&lifetimes, &self.purpose, &self.bands, 1, self.batch);
        // What is brought back for a moment may weigh more than what is given up for long.
        let [kept, recomputed] = [layout(lifetimes()), layout(lifetimes().recomputing())];
        let layout = if recomputed.length() < kept.length() { recomputed } else { kept };
        Self { chunk: 1, thrifty: true, layout, ..self }
    }

    /// Whether memory counts for more than time.
    pub fn is_thrifty(&self) -> bool {
        self.thrifty
    }

    /// The same plan computed with other numbers; an executor that can't refuses it.
    #[must_use]
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// What its products are computed with.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The operations.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// What the plan is for.
    pub fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    /// The function between the program's last value and the model's output, split off so that the loss can be had
    /// from logits, as Keras does in a compiled step.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The largest number of samples a call may hold.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The steps that run [`chunk`](Self::chunk) samples at a time, before all others.
    pub fn prefix(&self) -> Range<usize> {
        0..self.prefix
    }

    /// Samples a round of the prefix.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    /// Whether step `index` runs together with the next, some rows of an image at a time, and how. Its output then has room for
    /// [`held`](Band::held) rows.
    pub fn band(&self, index: usize) -> Option<Band> {
        self.bands[index]
    }

    /// Whether the backward pass goes through step `index`.
    pub fn differentiates(&self, index: usize) -> bool {
        self.differentiated[index]
    }

    /// Where a value stands; `None` for an input, which is borrowed.
    pub fn slot(&self, value: ValueId) -> Option<Slot> {
        self.layout.value(value)
    }

    /// Where a value stands in the backward pass: in its [slot](Self::slot), or elsewhere if it is recomputed.
    pub fn slot_backward(&self, value: ValueId) -> Option<Slot> {
        self.layout.value_backward(value)
    }

    /// The steps to run again, in this order, right before the backward pass of step `index`: what they make was not kept.
    /// Both what they read and what they make stands where the [backward pass](Self::slot_backward) wants it.
    pub fn running_again(&self, index: usize) -> &[usize] {
        self.layout.running_again(index)
    }

    /// The value whose buffer this one shares: itself, unless it is a reshaped form.
    pub fn root(&self, value: ValueId) -> ValueId {
        self.layout.root(value)
    }

    /// Whether a value of the prefix is read after it; it then holds the whole batch, not a chunk.
    pub fn leaves_prefix(&self, value: ValueId) -> bool {
        self.layout.leaves_prefix(value)
    }

    /// Where the gradient by a value stands; `None` where it isn't wanted.
    pub fn gradient_slot(&self, value: ValueId) -> Option<Slot> {
        self.layout.gradient(value)
    }

    /// Whether the gradient by a value is written over the value. The step that does it takes the gradient of the ReLU that
    /// made the value too, if one did.
    pub fn gradient_replaces(&self, value: ValueId) -> bool {
        self.layout.replaced(value)
    }

    /// Whether a ReLU made a value, within the step of a convolution or a Dense.
    pub fn made_by_relu(&self, value: ValueId) -> bool {
        self.layout.maker(value).is_some_and(|maker| self.program.steps[maker].activation == Activation::Relu)
    }

    /// Where a second and later contribution to a gradient is computed before it is added, for step `index`.
    pub fn contribution_slot(&self, index: usize) -> Option<Slot> {
        self.layout.contribution(index)
    }

    /// Where the gradient by a weight is gathered; `None` where the update is made while the gradient is computed.
    pub fn weight_gradient_slot(&self, weight: usize) -> Option<Slot> {
        self.layout.weight_gradient(weight)
    }

    /// The step that contributes first to the gradient by a weight in the backward pass.
    pub fn first_use(&self, weight: usize) -> Option<usize> {
        self.layout.uses(weight).map(|(first, _)| first)
    }

    /// The step after which nothing more is added to the gradient by a weight in the backward pass.
    pub fn last_use(&self, weight: usize) -> Option<usize> {
        self.layout.uses(weight).map(|(_, last)| last)
    }

    /// Length in f32 of every buffer.
    pub fn buffers(&self) -> &[usize] {
        self.layout.lengths()
    }

    /// What it takes to run, before an executor adds its working space.
    pub fn memory(&self) -> Memory {
        let trainable: usize = self.program.weights().iter().filter(|p| p.trainable).map(|p| p.weight.count()).sum();
        let slots = match &self.purpose {
            Purpose::Train { optimizer, .. } => optimizer.slots(),
            _ => 0,
        };
        let floats = |shape: &Vec<usize>| 4 * self.batch * shape.iter().product::<usize>();
        Memory {
            weights: self.program.weights().iter().map(|p| 4 * p.weight.count()).sum(),
            optimizer: 4 * trainable * slots,
            buffers: 4 * self.layout.length(),
            // A batch in use and the next being read.
            photos: 2 * self.program.inputs.iter().map(|&v| floats(&self.program.shapes[v])).sum::<usize>(),
            scratch: 0,
        }
    }
}

/// Refuses sizes that can't be counted in bytes, so that nothing after this needs to look out for overflow.
fn check_countable(program: &Program, batch: usize) -> Result<()> {
    // Values, their gradients, further contributions and what is fed take at most this many times the values; weights,
    // gradients of shared ones and the optimizer's memory this many times the weights; 4 bytes each.
    const COPIES: usize = 8 * 4;
    let values = (0..program.shapes.len()).try_fold(0usize, |sum, value| sum.checked_add(program.size(value)));
    let weights = program.weights().iter().try_fold(0usize, |sum, param| sum.checked_add(param.weight.count()));
    let total = values.and_then(|values| values.checked_mul(batch)?.checked_add(weights?)?.checked_mul(COPIES));
    total.map(|_| ()).ok_or_else(|| {
        Error::because("plan", "this model and batch size need more memory than can be addressed")
            .hint("use smaller images or a smaller batch")
    })
}

fn single_output(model: &Model, program: &Program, loss: &Loss) -> Result<()> {
    match program.outputs[..] {
        [output] => loss.check(&program.shapes[output]),
        _ => Err(Error::new(format_args!("model `{}`", model.name()), "one output with a loss", program.outputs.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    fn small() -> Model {
        let x = Input::new([16, 16, 3]);
        let y = RandomFlip::horizontal().call(&x).unwrap();
        let y = Conv2D::new(8, 3).padding(Padding::Same).activation(Relu).named("conv1").call(&y).unwrap();
        let y = MaxPooling2D::new(2).call(&y).unwrap();
        let y = Conv2D::new(8, 3).padding(Padding::Same).activation(Relu).named("conv2").call(&y).unwrap();
        let y = Flatten::new().call(&y).unwrap();
        let y = Dense::new(10).activation(Relu).call(&y).unwrap();
        let y = Dense::new(3).activation(Softmax).named("top").call(&y).unwrap();
        Model::new(&x, &y).unwrap()
    }

    fn train(model: &Model) -> Plan {
        Plan::train(model, Adam::new(1e-3).into(), Loss::categorical_crossentropy(), 4, 0).unwrap()
    }

    #[test]
    fn nothing_below_the_lowest_trainable_layer_is_differentiated() {
        let model = small();
        let all = train(&model);
        for name in ["conv1", "conv2"] {
            model.get_layer(name).unwrap().set_trainable(false);
        }
        let head_only = train(&model);
        let count = |plan: &Plan| plan.differentiated.iter().filter(|&&d| d).count();
        // flip is below everything; softmax is the head; flatten carries a gradient only if something below wants it.
        assert_eq!((count(&all), count(&head_only)), (6, 2));
        assert!(head_only.memory().buffers < all.memory().buffers);
        assert!(head_only.memory().optimizer < all.memory().optimizer);
    }

    #[test]
    fn prediction_needs_no_more_than_its_widest_places() {
        let plan = Plan::predict(&small(), 4).unwrap();
        // conv1's output and the pooled one; conv2's and those of both Dense fit where conv1's stood.
        assert_eq!(plan.buffers().iter().sum::<usize>(), 4 * (16 * 16 * 8 + 8 * 8 * 8));
    }

    #[test]
    fn wide_steps_run_in_chunks_and_narrow_ones_for_the_whole_batch() {
        let conv = |name| Conv2D::new(8, 3).padding(Padding::Same).named(name);
        let layers = Sequential::new().add(Input::new([512, 512, 3])).add(conv("wide")).add(MaxPooling2D::new(2));
        let model = layers.add(conv("narrow")).add(GlobalMaxPooling2D::new()).build().unwrap();
        let plan = Plan::predict(&model, 4).unwrap();
        assert_eq!((plan.prefix(), plan.chunk()), (0..2, 3));
        // A chunk of the wide values, where what is narrow fits later; and what leaves it, of the whole batch.
        let lengths = [3 * 512 * 512 * 8, 4 * 256 * 256 * 8];
        assert_eq!(plan.buffers().iter().sum::<usize>(), lengths.iter().sum::<usize>());
        assert_eq!(plan.thrifty().chunk(), 1);
    }

    #[test]
    fn sizes_beyond_counting_are_refused() {
        for batch in [usize::MAX, usize::MAX / 1000, usize::MAX / (16 * 16 * 8 * 32)] {
            let error = Plan::predict(&small(), batch).unwrap_err().to_string();
            assert!(error.contains("more memory than can be addressed"), "{error}");
        }
    }

    #[test]
    fn features_end_at_the_layer() {
        let plan = Plan::features(&small(), "conv2", 1).unwrap();
        assert_eq!(plan.program().shapes[plan.program().outputs[0]], [8, 8, 8]);
        let error = Plan::features(&small(), "conv9", 1).unwrap_err().to_string();
        assert!(error.contains("no layer called `conv9`") && error.contains("conv2"), "{error}");
    }

    #[test]
    fn the_softmax_before_a_cross_entropy_becomes_the_head() {
        let plan = train(&small());
        assert_eq!(plan.head(), Head::Softmax);
        assert!(matches!(plan.program().steps.last().map(|s| &s.op), Some(Op::Dense)));
    }
}
