//! InceptionV3 and its preprocessing.

use super::body::Body;
use super::imagenet_arguments::ImageSizes;
use super::inception::{Branch, branch, inception, pooled_branch, reduction, stem};
use super::weights::keras_file;
use super::{Architecture, Network, Preprocessing};
use crate::Result;
use crate::prelude::*;

pub(super) static INCEPTION_V3: Architecture = Architecture {
    name: "inception-v3",
    keras: Some("InceptionV3"),
    model_name: "inception_v3",
    sizes: ImageSizes { default: 299, min: 75, also_pretrained: &[] },
    preprocessing: Preprocessing::Tf,
    layers,
    weights: |network, _| {
        let md5 = ["9a0d58056eeedaa3f26cb7ebd46da564", "bcbd6486424b2319ff4ef7d526e38f63"];
        Some(keras_file(network, "inception_v3", "inception_v3_weights_tf_dim_ordering_tf_kernels", md5))
    },
    parameters: 21_802_784,
    macs: 5_713_216_096,
    top_1: Some(77.9),
    last_blocks: &["mixed7", "mixed2"],
    // Layers with weights have automatic names. So fine-tuning trains the last two blocks, and not the reduction before.
    last_block: "mixed8",
    ..Architecture::DEFAULT
};

/// InceptionV3 (Szegedy et al. 2015, "Rethinking the Inception architecture for computer vision",
/// <https://arxiv.org/abs/1512.00567>; Keras' `applications.InceptionV3`): eleven blocks of parallel convolutions.
///
/// The blocks are `mixed0` to `mixed10`, in which the base ends; all other layers have automatic names such as `conv2d_7`. The
/// ImageNet weights expect images of 299 x 299 pixels, preprocessed by [`preprocess_input`].
///
/// ```
/// assert_eq!(engraft::applications::inception_v3().architecture().parameters(), 21_802_784);
/// ```
pub fn inception_v3() -> Network {
    Network::new(&INCEPTION_V3)
}

/// Adds the preprocessing of InceptionV3 to a model: RGB (0 to 255) becomes `x / 127.5 - 1`.
///
/// ```
/// use engraft::{applications::inception_v3, prelude::*};
/// let photo = Input::new([1, 1, 3]);
/// let model = Model::new(&photo, &inception_v3::preprocess_input(&photo)?)?;
/// let pixel = Tensor::new([1, 1, 1, 3], vec![0.0, 127.5, 255.0])?;
/// assert_eq!(model.predict(&pixel, 1)?.data(), [-1.0, 0.0, 1.0]);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// None: it takes any number of channels.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    INCEPTION_V3.preprocessing.call(x)
}

fn layers(network: &Network, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    let mut x = stem(body, x)?;
    for (block, pooled) in (0..).zip([32, 64, 64]) {
        let branches: [&Branch; 3] =
            [&[(64, [1, 1])], &[(48, [1, 1]), (64, [5, 5])], &[(64, [1, 1]), (96, [3, 3]), (96, [3, 3])]];
        x = inception(body, &x, &branches, pooled, &format!("mixed{block}"))?;
    }
    x = reduction(body, &x, &[&[(384, [3, 3])], &[(64, [1, 1]), (96, [3, 3]), (96, [3, 3])]], "mixed3")?;
    for (block, c) in (4..).zip([128, 160, 160, 192]) {
        // A 7x7 convolution is factorized into one of 1x7 and one of 7x1.
        let branches: [&Branch; 3] = [
            &[(192, [1, 1])],
            &[(c, [1, 1]), (c, [1, 7]), (192, [7, 1])],
            &[(c, [1, 1]), (c, [7, 1]), (c, [1, 7]), (c, [7, 1]), (192, [1, 7])],
        ];
        x = inception(body, &x, &branches, 192, &format!("mixed{block}"))?;
    }
    let branches: [&Branch; 2] =
        [&[(192, [1, 1]), (320, [3, 3])], &[(192, [1, 1]), (192, [1, 7]), (192, [7, 1]), (192, [3, 3])]];
    x = reduction(body, &x, &branches, "mixed8")?;
    for block in 0..2 {
        x = expanded_block(body, &x, block)?;
    }
    if network.include_top { body.pooled_top(network, &x) } else { body.pool(network, &x) }
}

/// A block with the expanded filter banks of the paper's figure 7: two branches end in a 1x3 and a 3x1 convolution side by side.
fn expanded_block(body: &mut Body, x: &SymbolicTensor, block: usize) -> Result<SymbolicTensor> {
    let branch_1 = branch(body, x, &[(320, [1, 1])])?;
    let branch_3 = branch(body, x, &[(384, [1, 1])])?;
    let split = row_and_column(body, &branch_3)?;
    let branch_3 = body.call(&split[..], Concatenate::new().named(format!("mixed9_{block}")))?;
    let branch_3_3 = branch(body, x, &[(448, [1, 1]), (384, [3, 3])])?;
    let split = row_and_column(body, &branch_3_3)?;
    let branch_3_3 = body.call(&split[..], Concatenate::new())?;
    let pooled = pooled_branch(body, x, 192)?;
    body.call([&branch_1, &branch_3, &branch_3_3, &pooled], Concatenate::new().named(format!("mixed{}", 9 + block)))
}

/// A 1x3 and a 3x1 convolution of the same input.
fn row_and_column(body: &mut Body, x: &SymbolicTensor) -> Result<[SymbolicTensor; 2]> {
    Ok([branch(body, x, &[(384, [1, 3])])?, branch(body, x, &[(384, [3, 1])])?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untrained() -> Network {
        inception_v3().weights("none")
    }

    #[test]
    fn with_its_top_it_has_the_published_size() {
        let model = untrained().input_shape([75, 75, 3]).build().unwrap();
        assert_eq!((model.name(), model.count_params()), ("inception_v3", 23_851_784));
    }

    #[test]
    fn the_smallest_and_odd_sizes_leave_pixels_at_its_end() {
        for (size, end) in [([75, 75, 3], [1, 1, 2048]), ([299, 140, 3], [8, 3, 2048])] {
            let base = untrained().include_top(false).input_shape(size).build().unwrap();
            assert_eq!((base.output_shape(), base.layers().last().unwrap().name()), (&end.to_vec(), "mixed10"));
            assert!(base.layers()[1..].iter().all(Layer::in_base));
        }
    }

    #[test]
    fn arguments_that_do_not_fit_are_refused_by_name() {
        let error = untrained().input_shape([74, 75, 3]).build().unwrap_err().to_string();
        assert!(
            error.contains("InceptionV3: expected images of at least 75 by 75 pixels, received [74, 75, 3]"),
            "{error}"
        );
        let error = untrained().alpha(0.5).build().unwrap_err().to_string();
        assert!(error.contains("no arguments of other networks, received alpha"), "{error}");
    }
}
