//! Kernels that a file stores in several arrays: int8 with a scale, or a kernel and the low-rank product of LoRA.
//!
//! Reading merges the arrays to one kernel of f32. In a `.keras` file and a `.weights.h5`, Keras has merged LoRA itself.

use std::collections::HashMap;

use engraft_nn::{Error, ErrorKind, Layer, Result, Weight};

use super::legacy::LegacyLayer;

/// Divides each column of a kernel of int8 values by its scale, as Keras' quantization defines it.
pub(super) fn dequantize(kernel: &mut [f32], scale: &[f32]) {
    for row in kernel.chunks_mut(scale.len().max(1)) {
        row.iter_mut().zip(scale).for_each(|(value, scale)| *value /= scale);
    }
}

/// Adds `factor * a * b` to a kernel of shape `[.., outputs]`, where `a` is `[.., rank]` and `b` is `[rank, outputs]`.
fn add_product(kernel: &mut [f32], a: &[f32], b: &[f32], rank: usize, factor: f32) {
    let outputs = b.len() / rank.max(1);
    for (row, a) in kernel.chunks_mut(outputs.max(1)).zip(a.chunks(rank.max(1))) {
        for (a, b) in a.iter().zip(b.chunks(outputs.max(1))) {
            row.iter_mut().zip(b).for_each(|(value, b)| *value += factor * a * b);
        }
    }
}

/// A layer of an `.h5` without the arrays that are merged into its kernels.
pub(super) struct MergedLayer {
    /// The arrays that are weights of the layer.
    pub(super) weights: LegacyLayer,
    /// The arrays that are merged into each kernel; the key is the name of the kernel's array.
    pub(super) parts: HashMap<String, Vec<Part>>,
}

/// Arrays that are merged into a kernel.
pub(super) enum Part {
    /// The array of the scale of an int8 kernel.
    Scale(String),
    /// The arrays of the two factors of LoRA, and their rank.
    LowRank { a: String, b: String, rank: usize },
}

/// The ends of the names of arrays beside a kernel that is quantized in another way than int8, or beside quantized embeddings.
const UNSUPPORTED: [&str; 4] = ["kernel_zero", "kernel_amax_history", "g_idx", "embeddings_scale"];

/// The names of weights that other arrays are merged into. Those of the other arrays derive from them.
const MERGED: [&str; 2] = ["kernel", "embeddings"];

/// Separates the arrays that are merged into kernels from the weights of a layer, by their names.
///
/// # Errors
/// Arrays whose shapes don't fit the kernel, or a kernel that is quantized in another way than int8.
pub(super) fn split(layer: &LegacyLayer) -> Result<MergedLayer> {
    let shapes: HashMap<&str, &[usize]> =
        layer.weights.iter().map(|(name, shape)| (name.as_str(), &shape[..])).collect();
    let kernel_of = |array: &str, end: &str| {
        let of = |name: &&str| {
            let before = array.strip_suffix(&*end.replace("kernel", name))?;
            shapes.get_key_value(&*format!("{before}{name}"))
        };
        MERGED.iter().find_map(of).map(|(kernel, shape)| ((*kernel).to_owned(), *shape))
    };
    let refused = |array: &str, expected: String| {
        Error::new(format_args!("layer `{}`", layer.name), expected, format_args!("`{array}` {:?}", shapes.get(array)))
    };
    let mut parts: HashMap<String, Vec<Part>> = HashMap::new();
    let mut weights = Vec::new();
    for (array, shape) in &layer.weights {
        if UNSUPPORTED.iter().any(|end| kernel_of(array, end).is_some()) {
            return Err(refused(array, "weights of floats or int8".to_owned())
                .with_kind(ErrorKind::Unsupported)
                .hint("save the model before it is quantized (before `model.quantize(..)`)"));
        } else if let Some((kernel, of)) = kernel_of(array, "kernel_scale") {
            if of.last().map(std::slice::from_ref) != Some(shape) {
                return Err(refused(array, format!("a scale for each output of a kernel {of:?}")));
            }
            // The scale is that of the stored kernel, before anything is added to it.
            parts.entry(kernel).or_default().insert(0, Part::Scale(array.clone()));
        } else if let Some((kernel, of)) = kernel_of(array, "lora_kernel_a") {
            let b = format!("{}b", array.trim_end_matches('a'));
            let rank = shape.last().copied().unwrap_or(0);
            if !are_factors(of, shape, shapes.get(&*b).copied().unwrap_or_default()) {
                return Err(refused(array, format!("factors of a kernel {of:?}")));
            }
            parts.entry(kernel).or_default().push(Part::LowRank { a: array.clone(), b, rank });
        } else if kernel_of(array, "lora_kernel_b").is_none() {
            weights.push((array.clone(), shape.clone()));
        }
    }
    Ok(MergedLayer { weights: LegacyLayer { name: layer.name.clone(), weights }, parts })
}

/// Whether the product of arrays of the shapes `[.., rank]` and `[rank, outputs]` has the shape of a kernel.
fn are_factors(kernel: &[usize], a: &[usize], b: &[usize]) -> bool {
    match (kernel.split_last(), a.split_last(), b) {
        (Some((outputs, rows)), Some((rank, first)), [rank_of_b, columns]) => {
            *rank > 0 && rows == first && rank == rank_of_b && outputs == columns
        }
        _ => false,
    }
}

impl Part {
    /// Merges the arrays into the values of a kernel, a weight of `layer` or of a layer nested in it.
    pub(super) fn merge(
        &self,
        kernel: &mut [f32],
        layer: &Layer,
        weight: &Weight,
        read: impl Fn(&str) -> Result<Vec<f32>>,
    ) -> Result<()> {
        match self {
            Self::Scale(scale) => dequantize(kernel, &read(scale)?),
            Self::LowRank { a, b, rank } => {
                add_product(kernel, &read(a)?, &read(b)?, *rank, factor(layer, weight, *rank));
            }
        }
        Ok(())
    }
}

/// The factor of the low-rank product, `lora_alpha / rank`, by the config of the layer that owns the kernel.
fn factor(layer: &Layer, kernel: &Weight, rank: usize) -> f32 {
    let owns = |leaf: &Layer| leaf.own_weights().iter().any(|weight| weight.id() == kernel.id());
    // When Keras builds an Embedding with LoRA, it ignores the option `lora_alpha` and takes the rank.
    let owner = layer.leaves().into_iter().find(owns).filter(|owner| owner.class_name() != "Embedding");
    let alpha = owner.and_then(|owner| owner.def().config().get("lora_alpha")?.as_f64());
    alpha.map_or(1.0, |alpha| (alpha / rank as f64) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(arrays: &[(&str, &[usize])]) -> LegacyLayer {
        let weights = arrays.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect();
        LegacyLayer { name: "d".into(), weights }
    }

    #[test]
    fn a_scale_divides_the_columns() {
        let mut kernel = [2.0, -9.0, 4.0, 6.0];
        dequantize(&mut kernel, &[2.0, 3.0]);
        assert_eq!(kernel, [1.0, -3.0, 2.0, 2.0]);
    }

    #[test]
    fn a_low_rank_product_is_added() {
        // [2, 3] + 0.5 * [2, 1] x [1, 3]
        let mut kernel = [1.0; 6];
        add_product(&mut kernel, &[2.0, 4.0], &[1.0, 2.0, 3.0], 1, 0.5);
        assert_eq!(kernel, [2.0, 3.0, 4.0, 3.0, 5.0, 7.0]);
    }

    #[test]
    fn arrays_beside_a_kernel_are_no_weights() {
        let saved = layer(&[
            ("m/d/bias", &[4]),
            ("m/d/lora_kernel_a", &[3, 2]),
            ("m/d/lora_kernel_b", &[2, 4]),
            ("m/d/kernel", &[3, 4]),
            ("m/d/kernel_scale", &[4]),
        ]);
        let merged = split(&saved).unwrap();
        assert_eq!(merged.weights, layer(&[("m/d/bias", &[4]), ("m/d/kernel", &[3, 4])]));
        let parts = &merged.parts["m/d/kernel"];
        assert!(matches!(&parts[..], [Part::Scale(_), Part::LowRank { rank: 2, .. }]));
        let embeddings =
            layer(&[("e/embeddings", &[5, 4]), ("e/lora_embeddings_a", &[5, 2]), ("e/lora_embeddings_b", &[2, 4])]);
        let Part::LowRank { a, b, rank: 2 } = &split(&embeddings).unwrap().parts["e/embeddings"][0] else { panic!() };
        assert_eq!((a.as_str(), b.as_str()), ("e/lora_embeddings_a", "e/lora_embeddings_b"));
        let plain = layer(&[("a/kernel", &[3, 4]), ("b/lora_kernel_a", &[3, 2])]);
        assert_eq!(split(&plain).unwrap().weights, plain, "no kernel beside it");
    }

    #[test]
    fn arrays_that_do_not_fit_the_kernel_are_refused() {
        for (arrays, expected) in [
            (&[("kernel", &[3, 4][..]), ("kernel_scale", &[3])][..], "expected a scale for each output"),
            (&[("kernel", &[3, 4]), ("lora_kernel_a", &[3, 2])], "expected factors of a kernel [3, 4]"),
            (&[("kernel", &[3, 4]), ("lora_kernel_a", &[3, 0]), ("lora_kernel_b", &[0, 4])], "expected factors"),
            (&[("kernel", &[3, 2]), ("kernel_scale", &[1, 2]), ("kernel_zero", &[1, 2])], "expected a scale"),
            (&[("embeddings", &[2, 2]), ("embeddings_scale", &[2])], "expected weights of floats or int8"),
            (
                &[("kernel", &[3, 2]), ("kernel_zero", &[1, 2])],
                "expected weights of floats or int8, received `kernel_zero`",
            ),
        ] {
            let error = split(&layer(arrays)).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
