//! Ctrl-C: once to stop in good order, twice to stop at once.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::output::note;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From here on Ctrl-C, and the signal to terminate, only ask to stop. The second time they end the program.
pub(super) fn watch() {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        note("\nStopping after this step, then saving; Ctrl-C again stops at once, without saving");
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        note(format_args!("warning: Ctrl-C will end training without saving: {error}"));
    }
}

/// Whether the user asked to stop.
pub(super) fn requested() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
