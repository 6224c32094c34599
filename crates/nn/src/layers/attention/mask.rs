//! Masks: which keys each query attends to.

use crate::{Error, ErrorKind, Result};

use super::call_options::ConstantMask;

/// Limit on the pairs of a query and a key in a mask, which is stored for each pair: 2048 queries with as many keys.
const MAX_PAIRS: usize = 1 << 22;

/// Which keys each query attends to, the same for all samples and heads.
#[derive(Clone, Debug)]
pub(in crate::layers) struct Mask {
    keys: usize,
    /// For each pair of a query and a key, keys fastest, whether the query attends to the key.
    pub(super) attends: Vec<bool>,
}

impl Mask {
    /// Whether some query attends to no key.
    pub(super) fn leaves_a_query_alone(&self) -> bool {
        self.attends.chunks(self.keys.max(1)).any(|keys| keys.iter().all(|&attends| !attends))
    }
}

/// The options that a mask is made of; a query attends to the keys that all of them allow.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::layers) struct MaskOptions<'a> {
    /// Query `i` attends to the keys `0..=i`.
    pub(in crate::layers) causal: bool,
    /// Query `i` attends to the keys less than so many places away.
    pub(in crate::layers) window: Option<usize>,
    /// A mask among the arguments of the call.
    pub(in crate::layers) constant: Option<&'a ConstantMask>,
}

impl MaskOptions<'_> {
    /// The mask for so many queries and keys; `None` if every query attends to every key.
    ///
    /// # Errors
    /// A mask of too many pairs, or a constant mask that doesn't fit the queries and keys.
    pub(in crate::layers) fn mask(&self, queries: usize, keys: usize) -> Result<Option<Mask>> {
        if !self.causal && self.window.is_none() && self.constant.is_none() {
            return Ok(None);
        }
        let pairs = queries.checked_mul(keys).filter(|&pairs| pairs <= MAX_PAIRS);
        if pairs.is_none() {
            let received = format!("{queries} queries and {keys} keys");
            return Err(Error::new("attention mask", format_args!("at most {MAX_PAIRS} pairs"), received)
                .with_kind(ErrorKind::Unsupported));
        }
        let constant = self.constant.map(|constant| constant.pairs(queries, keys)).transpose()?;
        let allowed = |query: usize, key: usize| {
            (!self.causal || key <= query)
                && self.window.is_none_or(|window| query.abs_diff(key) < window)
                && constant.as_ref().is_none_or(|constant| constant[query * keys + key])
        };
        let attends = (0..queries).flat_map(|query| (0..keys).map(move |key| (query, key)));
        Ok(Some(Mask { keys, attends: attends.map(|(query, key)| allowed(query, key)).collect() }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(options: MaskOptions<'_>, queries: usize, keys: usize) -> Vec<String> {
        let mask = options.mask(queries, keys).unwrap().unwrap();
        let row = |keys: &[bool]| keys.iter().map(|&attends| if attends { '1' } else { '0' }).collect();
        mask.attends.chunks(keys).map(row).collect()
    }

    #[test]
    fn all_options_must_allow_a_key() {
        let causal = MaskOptions { causal: true, ..MaskOptions::default() };
        assert_eq!(rows(causal, 3, 4), ["1000", "1100", "1110"]);
        let window = MaskOptions { window: Some(2), ..MaskOptions::default() };
        assert_eq!(rows(window, 3, 4), ["1100", "1110", "0111"]);
        let constant: ConstantMask = serde_json::from_value(json!({
            "class_name": "__tensor__", "config": {"value": [[[true, false, true]]], "dtype": "bool"},
        }))
        .unwrap();
        let all = MaskOptions { causal: true, window: Some(2), constant: Some(&constant) };
        assert_eq!(rows(all, 3, 3), ["100", "100", "001"]);
        assert!(MaskOptions::default().mask(3, 3).unwrap().is_none());
    }

    #[test]
    fn masks_have_a_limit() {
        let causal = MaskOptions { causal: true, ..MaskOptions::default() };
        for (queries, keys) in [(1 << 20, 1 << 20), (usize::MAX, 2)] {
            assert!(causal.mask(queries, keys).unwrap_err().to_string().contains("at most"));
        }
    }

    #[test]
    fn a_window_can_leave_a_query_without_keys() {
        let window = MaskOptions { window: Some(1), ..MaskOptions::default() };
        assert!(window.mask(3, 2).unwrap().unwrap().leaves_a_query_alone());
        assert!(!window.mask(2, 3).unwrap().unwrap().leaves_a_query_alone());
    }
}
