//! What a plan is for.

use engraft_ir::ValueId;
use engraft_nn::{Loss, Optimizer};

/// What a plan is for.
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
    Gradients {
        /// Whether gradients with respect to the inputs are wanted.
        inputs: bool,
        /// Further values that are wanted, with the gradients with respect to them.
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

    /// Values that the caller reads beside the outputs.
    pub(crate) fn wanted_values(&self) -> &[ValueId] {
        match self {
            Self::Gradients { values, .. } => values,
            _ => &[],
        }
    }
}

/// Which gradients are wanted of a model's outputs, weighted and summed.
///
/// ```
/// use engraft_plan::GradientRequest;
/// // What Grad-CAM asks for: the values of a layer, and the gradients with respect to them.
/// let request = GradientRequest { layers: vec!["block5_conv3".into()], ..GradientRequest::default() };
/// assert!(!request.inputs && !request.weights);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GradientRequest {
    /// Whether random layers act and batch normalization uses the batch's statistics.
    pub training: bool,
    /// Decides what random layers draw.
    pub seed: u64,
    /// With respect to the inputs.
    pub inputs: bool,
    /// With respect to the weights that are trainable.
    pub weights: bool,
    /// With respect to the outputs of these layers, nested ones included.
    pub layers: Vec<String>,
}
