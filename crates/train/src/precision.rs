//! What models are computed with.

use std::sync::atomic::{AtomicBool, Ordering};

use engraft_nn::Result;
use engraft_nn::plan::Precision;

use crate::train::default_executor;

static IN_BF16: AtomicBool = AtomicBool::new(false);

/// Sets what all models are computed with from now on, as Keras' `set_dtype_policy("mixed_bfloat16")` does; f32 unless called.
/// Weights and files stay in f32.
///
/// ```
/// use engraft_nn::plan::Precision;
/// use engraft_train::{precision, set_precision};
/// match set_precision(Precision::Bf16) {
///     Ok(()) => assert_eq!(precision(), Precision::Bf16),
///     Err(error) => assert!(error.to_string().contains("bf16")),
/// }
/// set_precision(Precision::F32)?;
/// # Ok::<(), engraft_nn::Error>(())
/// ```
///
/// # Errors
/// This CPU can't, or `ENGRAFT_ISA` asks for an instruction set that can't.
pub fn set_precision(precision: Precision) -> Result<()> {
    default_executor()?.check(precision)?;
    IN_BF16.store(precision == Precision::Bf16, Ordering::Relaxed);
    Ok(())
}

/// What models are computed with.
pub fn precision() -> Precision {
    if IN_BF16.load(Ordering::Relaxed) { Precision::Bf16 } else { Precision::F32 }
}
