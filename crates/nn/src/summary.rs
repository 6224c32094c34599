//! Keras' `summary()`.
use std::fmt;
use crate::Model;
/// The table.
pub struct Summary<'a> { model: &'a Model }
impl<'a> Summary<'a> { pub(crate) fn new(model: &'a Model) -> Self { Self { model } } }
impl fmt::Display for Summary<'_> { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{}", self.model.name()) } }
