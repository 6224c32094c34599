//! The models of the examples, by the names of the golden summaries.
#![expect(dead_code, reason = "the examples' own main functions")]
#![expect(clippy::duplicate_mod, reason = "examples include each other, too")]

use engraft::prelude::Model;

#[path = "../../examples/augment_functional.rs"]
mod augment_functional;
#[path = "../../examples/freeze_all.rs"]
mod freeze_all;
#[path = "../../examples/freeze_first_15.rs"]
mod freeze_first_15;
#[path = "../../examples/functional_vgg16.rs"]
mod functional_vgg16;
#[path = "../../examples/layer_names.rs"]
pub(crate) mod layer_names;
#[path = "../../examples/sequential_freeze_15.rs"]
mod sequential_freeze_15;
#[path = "../../examples/sequential_vgg16.rs"]
mod sequential_vgg16;

/// Builds the model of the example for `program` with random weights. Returns the model and its VGG16 base.
///
/// Automatic layer names are reset first, as in a new process.
pub(crate) fn build(program: &str) -> (Model, Model) {
    engraft::clear_session();
    let model = match program {
        "program1" => functional_vgg16::model,
        "program2" => freeze_all::model,
        "program3" => freeze_first_15::model,
        "program5" => sequential_vgg16::model,
        "program6" => sequential_freeze_15::model,
        "program7" => augment_functional::model,
        other => panic!("no example builds {other}"),
    };
    model("none").expect("random weights need no download")
}
