//! [`Purpose`] and [`GradientRequest`]: what a plan computes.

use engraft_ir::ValueId;
use engraft_nn::{Loss, Optimizer};

/// What a plan computes: predictions, a loss, a training step, or gradients.
///
/// ```
/// use engraft_nn::Program;
/// use engraft_nn::prelude::*;
/// use engraft_plan::{Plan, PlanOptions, Purpose};
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(3)).add(Dense::new(2)).build()?;
/// let loss = Loss::categorical_crossentropy().from_logits(true);
/// let purpose = Purpose::Train { optimizer: Sgd::new(0.1).into(), loss };
/// let plan = Plan::new(Program::of(&model, true, 0)?, purpose, 8, &PlanOptions::default())?;
/// assert!(plan.purpose().has_backward() && !Purpose::Predict.has_backward());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Purpose {
    /// Outputs only.
    Predict,
    /// Outputs and their loss, in inference mode.
    Evaluate {
        /// The loss to compute.
        loss: Loss,
    },
    /// A loss, its gradients, and the update of the weights by the optimizer.
    Train {
        /// The optimizer that updates the weights.
        optimizer: Optimizer,
        /// The loss to minimise.
        loss: Loss,
    },
    /// Outputs, and gradients of a weighted sum of the outputs. The gradients are with respect to the trainable weights, and to
    /// the inputs and values that the fields name. The caller reads outputs and gradients.
    Gradients {
        /// Whether to compute gradients with respect to the inputs.
        inputs: bool,
        /// Intermediate values to return, together with the gradients with respect to them.
        values: Vec<ValueId>,
    },
}

impl Purpose {
    /// Whether there is a backward pass.
    pub fn has_backward(&self) -> bool {
        matches!(self, Self::Train { .. } | Self::Gradients { .. })
    }

    /// The loss, where there is one.
    pub fn loss(&self) -> Option<&Loss> {
        match self {
            Self::Train { loss, .. } | Self::Evaluate { loss } => Some(loss),
            Self::Predict | Self::Gradients { .. } => None,
        }
    }

    /// The values that the caller reads in addition to the outputs.
    pub(crate) fn requested_values(&self) -> &[ValueId] {
        match self {
            Self::Gradients { values, .. } => values,
            _ => &[],
        }
    }
}

/// A request for gradients of a weighted sum of a model's outputs: with respect to its inputs, its trainable weights, or the
/// outputs of some layers.
///
/// The caller gives the weights of the sum at each run, as `upstream` of `Session::gradients`.
///
/// ```
/// use engraft_plan::GradientRequest;
/// // Grad-CAM needs the outputs of a layer and the gradients with respect to them.
/// let request = GradientRequest { layers: vec!["block5_conv3".into()], ..GradientRequest::default() };
/// assert!(!request.inputs && !request.weights);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GradientRequest {
    /// Whether layers run in training mode: random layers act, and batch normalization uses the batch's statistics.
    pub training: bool,
    /// Seed of the random layers that have none of their own.
    pub seed: u64,
    /// Whether to compute gradients with respect to the inputs.
    pub inputs: bool,
    /// Whether to compute gradients with respect to the trainable weights.
    pub weights: bool,
    /// Layers whose outputs to return, together with the gradients with respect to these outputs. The layers may be inside nested
    /// models. If a layer is called several times, its first call counts. For any other value of the graph, make the plan with
    /// [`Purpose::Gradients`].
    pub layers: Vec<String>,
}
