//! Automatic names and seeds, counted per thread as Keras counts them.

use std::cell::RefCell;
use std::collections::HashMap;

#[derive(Default)]
struct Session {
    names: HashMap<String, usize>,
    seed: u64,
    weights: u64,
}

thread_local! {
    static SESSION: RefCell<Session> = RefCell::default();
}

/// `dense`, then `dense_1`, `dense_2`, … for the class `Dense` (Keras' `auto_name`).
pub(crate) fn auto_name(class: &str) -> String {
    let base = snake_case(class);
    SESSION.with_borrow_mut(|session| {
        let uses = session.names.entry(base.clone()).or_insert(0);
        *uses += 1;
        match *uses - 1 {
            0 => base,
            earlier => format!("{base}_{earlier}"),
        }
    })
}

/// The seed of the next weight's initial values.
pub(crate) fn next_weight_seed() -> u64 {
    SESSION.with_borrow_mut(|session| {
        session.weights += 1;
        crate::random::mix(session.seed, session.weights)
    })
}

/// Seeds the initial values of every weight created from here on by this thread (Keras' `set_random_seed`).
///
/// Without a call the seed is 0: the same program gives the same numbers every time.
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
    SESSION.with_borrow_mut(|session| {
        session.seed = seed;
        session.weights = 0;
    });
}

/// Starts automatic names and seeds of this thread afresh (Keras' `clear_session`).
///
/// ```
/// use engraft_nn::prelude::*;
/// engraft_nn::clear_session();
/// assert_eq!(Dense::new(2).into_layer().name(), "dense");
/// assert_eq!(Dense::new(2).into_layer().name(), "dense_1");
/// ```
pub fn clear_session() {
    SESSION.with_borrow_mut(|session| *session = Session::default());
}

/// `MaxPooling2D` is `max_pooling2d` (Keras' `to_snake_case`).
///
/// ```
/// assert_eq!(engraft_nn::snake_case("MaxPooling2D"), "max_pooling2d");
/// ```
pub fn snake_case(class: &str) -> String {
    let letters: Vec<char> = class.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
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
        ] {
            assert_eq!(snake_case(class), name);
        }
    }
}
