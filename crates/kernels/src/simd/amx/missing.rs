//! Where there are no such instructions, or no way to ask the system for them.

#![expect(unsafe_code, reason = "the signatures of the instructions' functions")]

use super::Blocks;

pub(super) fn detect() -> bool {
    false
}

/// # Safety
/// It can't be called: there is no proof.
pub(super) unsafe fn configure() {
    unreachable!("there are no tiles");
}

/// # Safety
/// As [`configure`].
pub(super) unsafe fn release() {
    unreachable!("there are no tiles");
}

/// # Safety
/// As [`configure`].
pub(super) unsafe fn multiply_block(blocks: Blocks) {
    let Blocks { right, .. } = blocks;
    unreachable!("there are no tiles to multiply with {right:?}");
}
