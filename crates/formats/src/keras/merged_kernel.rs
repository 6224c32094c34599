//! Kernels that a file stores in several arrays: int8 with a scale, or a kernel and the low-rank product of LoRA.
//!
//! Reading merges the arrays to one kernel of f32. In a `.keras` file and a `.weights.h5`, Keras has merged LoRA itself.

use std::collections::HashMap;

use engraft_nn::{Error, ErrorKind, Layer, Result, Weight};

use super::int8::Scales;
use super::legacy::LegacyLayer;
use super::weights::UNQUANTIZED;

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
    /// The array of the scales of an int8 kernel, and its shape.
    Scale { array: String, shape: Vec<usize> },
    /// The arrays of the two factors of LoRA, and their rank.
    LowRank { a: String, b: String, rank: usize },
}

/// The ends of the names of arrays that only a kernel has which is quantized in another way than int8, and that way.
const UNSUPPORTED: [(&str, &str); 4] = [
    ("quantized_kernel", "gptq or awq"),
    ("kernel_amax_history", "float8"),
    ("kernel_zero", "int4"),
    ("embeddings_zero", "int4"),
];

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
    for (array, _) in &layer.weights {
        if let Some((_, mode)) = UNSUPPORTED.iter().find(|(end, _)| array.ends_with(end)) {
            let received = format!("`{array}`, as of a kernel quantized to {mode}");
            return Err(Error::new(format_args!("layer `{}`", layer.name), "weights of floats or int8", received)
                .with_kind(ErrorKind::Unsupported)
                .hint(UNQUANTIZED));
        }
    }
    let mut parts: HashMap<String, Vec<Part>> = HashMap::new();
    let mut weights = Vec::new();
    for (array, shape) in &layer.weights {
        if let Some((kernel, _)) = kernel_of(array, "kernel_scale") {
            // The scale is that of the stored kernel, before anything is added to it.
            parts.entry(kernel).or_default().insert(0, Part::Scale { array: array.clone(), shape: shape.clone() });
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
    /// Checks that the arrays fit the kernel, a weight of `layer` or of a layer nested in it.
    ///
    /// # Errors
    /// Scales of another shape.
    pub(super) fn check(&self, layer: &Layer, weight: &Weight) -> Result<()> {
        let Self::Scale { array, shape } = self else { return Ok(()) };
        let scales = owner(layer, weight).and_then(|owner| Scales::of(&owner, weight));
        match scales.as_ref().is_some_and(|scales| scales.fit(shape)) {
            true => Ok(()),
            false => {
                let expected = match scales {
                    Some(scales) => format!("scales {:?} of a kernel {:?}", scales.sizes(), weight.shape()),
                    None => "weights of floats".to_owned(),
                };
                let place = format!("layer `{}`", layer.name());
                Err(Error::new(place, expected, format_args!("`{array}` {shape:?}")))
            }
        }
    }

    /// Merges the arrays into the values of a kernel, a weight of `layer` or of a layer nested in it.
    pub(super) fn merge(
        &self,
        kernel: &mut [f32],
        layer: &Layer,
        weight: &Weight,
        read: impl Fn(&str) -> Result<Vec<f32>>,
    ) -> Result<()> {
        match self {
            Self::Scale { array, .. } => {
                if let Some(scales) = owner(layer, weight).and_then(|owner| Scales::of(&owner, weight)) {
                    scales.dequantize(kernel, &read(array)?);
                }
            }
            Self::LowRank { a, b, rank } => {
                add_product(kernel, &read(a)?, &read(b)?, *rank, factor(layer, weight, *rank));
            }
        }
        Ok(())
    }
}

/// The layer that has the weight: `layer` or one nested in it.
fn owner(layer: &Layer, weight: &Weight) -> Option<Layer> {
    let owns = |leaf: &Layer| leaf.own_weights().iter().any(|own| own.id() == weight.id());
    layer.leaves().into_iter().find(owns)
}

/// The factor of the low-rank product, `lora_alpha / rank`, by the config of the layer that owns the kernel.
fn factor(layer: &Layer, kernel: &Weight, rank: usize) -> f32 {
    // When Keras builds an Embedding with LoRA, it ignores the option `lora_alpha` and takes the rank.
    let owner = owner(layer, kernel).filter(|owner| owner.class_name() != "Embedding");
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
        assert!(matches!(&parts[..], [Part::Scale { .. }, Part::LowRank { rank: 2, .. }]));
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
            (&[("kernel", &[3, 4][..]), ("lora_kernel_a", &[3, 2])][..], "expected factors of a kernel [3, 4]"),
            (&[("kernel", &[3, 4]), ("lora_kernel_a", &[3, 0]), ("lora_kernel_b", &[0, 4])], "expected factors"),
            (
                &[("kernel", &[3, 2]), ("kernel_scale", &[1, 2]), ("kernel_zero", &[1, 2])],
                "expected weights of floats or int8, received `kernel_zero`, as of a kernel quantized to int4",
            ),
            (&[("embeddings", &[2, 2]), ("embeddings_zero", &[2])], "quantized to int4"),
            (&[("kernel", &[3, 2]), ("kernel_amax_history", &[1024])], "quantized to float8"),
            (&[("bias", &[2]), ("quantized_kernel", &[1, 3])], "quantized to gptq or awq"),
        ] {
            let error = split(&layer(arrays)).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
