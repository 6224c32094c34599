//! The key of a network in the feature cache.

use sha2::{Digest, Sha256};

use crate::Program;
use crate::data::DECODER_VERSION;
use crate::runtime::Runtime;

/// The digest of everything that determines the bits of a network's outputs, except the photo.
///
/// `programs` run one after the other. Names of layers don't count: they depend on how many models a process has built.
pub(super) fn network_key<'a>(programs: impl Iterator<Item = &'a Program>, runtime: &Runtime) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let (executor, precision) = (runtime.executor().name(), runtime.plan_options().precision);
    // Another version or instruction set may round in another way.
    let version = env!("CARGO_PKG_VERSION");
    hasher.update(format!("engraft {version}, {executor}, {precision}, decoder {DECODER_VERSION}\n"));
    programs.for_each(|program| add(&mut hasher, program));
    hasher.finalize().into()
}

fn add(hasher: &mut Sha256, program: &Program) {
    // `Debug` prints the shortest decimal number that reads back as the same f32.
    hasher.update(format!("{:?} {:?} {:?}\n", program.shapes, program.inputs, program.outputs));
    for step in &program.steps {
        hasher.update(format!("{:?} {:?} {:?} {}\n", step.op, step.activation, step.inputs, step.output));
        for param in step.all_weights() {
            hasher.update(format!("{:?}\n", param.weight.shape()));
            for values in param.weight.values().chunks(4096) {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                hasher.update(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Model;
    use crate::prelude::*;

    fn network(size: usize, scale: f32, seed: u64) -> Model {
        let kernel = crate::Initializer::RandomUniform { minval: -0.3, maxval: 0.3, seed: Some(seed) };
        let conv = Conv2D::new(2, 3).kernel_initializer(kernel);
        Sequential::new().add(Input::new([size, size, 3])).add(Rescaling::new(scale)).add(conv).build().unwrap()
    }

    #[test]
    fn a_key_follows_from_preprocessing_size_weights_and_numbers() {
        let runtime = Runtime::cpu(Some(1)).unwrap();
        let key = |model: &Model| network_key([Program::of(model, false, 0).unwrap()].iter(), &runtime);
        let first = key(&network(8, 0.5, 1));
        // Another model of the same layers, with other automatic names.
        assert_eq!(key(&network(8, 0.5, 1)), first);
        for other in [network(9, 0.5, 1), network(8, 0.25, 1), network(8, 0.5, 2)] {
            assert_ne!(key(&other), first);
        }
        let model = network(8, 0.5, 1);
        let bias = &model.weights()[1];
        bias.values_mut()[0] = -0.0;
        assert_ne!(key(&model), first, "0 and -0 have other bits");
        bias.values_mut()[0] = 0.0;
        assert_eq!(key(&model), first);
        if let Ok(bf16) = runtime.clone().precision(Precision::Bf16) {
            assert_ne!(network_key([Program::of(&model, false, 0).unwrap()].iter(), &bf16), first);
        }
    }
}
