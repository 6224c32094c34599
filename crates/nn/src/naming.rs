//! Automatic names of layers and seeds of weights, counted per thread as in Keras.

use std::cell::RefCell;
use std::collections::HashMap;

/// The counters of one thread.
#[derive(Default)]
struct Counters {
    /// Number of automatic names given so far, by the class name in snake case.
    names: HashMap<String, usize>,
    seed: u64,
    /// Number of weights that got a seed since `seed` was set.
    weights: u64,
}

thread_local! {
    static COUNTERS: RefCell<Counters> = RefCell::default();
}

/// The next automatic name of a class (Keras' `auto_name`): `dense`, then `dense_1`, `dense_2`, … for `Dense`.
pub(crate) fn auto_name(class: &str) -> String {
    let base = snake_case(class);
    COUNTERS.with_borrow_mut(|counters| {
        let count = counters.names.entry(base.clone()).or_insert(0);
        *count += 1;
        match *count - 1 {
            0 => base,
            earlier => format!("{base}_{earlier}"),
        }
    })
}

/// The seed of the next weight's initial values.
pub(crate) fn next_weight_seed() -> u64 {
    COUNTERS.with_borrow_mut(|counters| {
        counters.weights += 1;
        crate::random::mix(counters.seed, counters.weights)
    })
}

/// Seeds the initial values of every weight that this thread creates afterwards (Keras' `set_random_seed`).
///
/// Without a call the seed is 0, so that a program gives the same values in every run.
///
/// ```
/// use engraft_nn::{prelude::*, set_random_seed};
/// let kernel = || -> engraft_nn::Result<Vec<f32>> {
///     set_random_seed(42);
///     let y = Dense::new(2).call(&Input::new([3]))?;
///     Ok(y.layer().weights()[0].values().clone())
/// };
/// assert_eq!(kernel()?, kernel()?);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub fn set_random_seed(seed: u64) {
    COUNTERS.with_borrow_mut(|counters| {
        counters.seed = seed;
        counters.weights = 0;
    });
}

/// Resets the automatic names and the seed of this thread (Keras' `clear_session`).
///
/// ```
/// use engraft_nn::prelude::*;
/// engraft_nn::clear_session();
/// assert_eq!(Dense::new(2).into_layer().name(), "dense");
/// assert_eq!(Dense::new(2).into_layer().name(), "dense_1");
/// ```
pub fn clear_session() {
    COUNTERS.with_borrow_mut(|counters| *counters = Counters::default());
}

/// Converts a class name to snake case: `MaxPooling2D` to `max_pooling2d` (Keras' `to_snake_case`).
///
/// ```
/// assert_eq!(engraft_nn::snake_case("MaxPooling2D"), "max_pooling2d");
/// ```
pub fn snake_case(class: &str) -> String {
    let letters: Vec<char> = python_class(class).chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut name = String::new();
    for (i, &letter) in letters.iter().enumerate() {
        let previous = i.checked_sub(1).map(|i| letters[i]);
        let next = letters.get(i + 1);
        let starts_word = letter.is_uppercase()
            && previous.is_some_and(|p| p.is_lowercase() || (p != '_' && next.is_some_and(|n| n.is_lowercase())));
        if starts_word {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

/// The name of a class in Keras' source, from which Keras derives names and which its summary shows.
///
/// Files have the name under which Keras exports the class, which differs for one class alone.
pub(crate) fn python_class(class: &str) -> &str {
    if class == "GroupQueryAttention" { "GroupedQueryAttention" } else { class }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_keras() {
        for (class, name) in [
            ("Dense", "dense"),
            ("Conv2D", "conv2d"),
            ("MaxPooling2D", "max_pooling2d"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("ReLU", "re_lu"),
            ("BatchNormalization", "batch_normalization"),
            ("InputLayer", "input_layer"),
            ("ZeroPadding2D", "zero_padding2d"),
            ("VGG16", "vgg16"),
            ("GroupQueryAttention", "grouped_query_attention"),
        ] {
            assert_eq!(snake_case(class), name);
        }
    }
}
