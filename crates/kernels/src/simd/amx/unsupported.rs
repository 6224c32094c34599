//! Stubs for targets without AMX or without Linux's system call that enables it. `detect` returns `false`.

#![expect(unsafe_code, reason = "the signatures of the instructions' functions")]

use super::BlockProduct;

pub(super) fn detect() -> bool {
    false
}

/// # Safety
/// Never called: without a token from `detect`, no caller exists.
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
pub(super) unsafe fn multiply_block(operands: BlockProduct) {
    let BlockProduct { right, .. } = operands;
    unreachable!("there are no tiles to multiply with {right:?}");
}
