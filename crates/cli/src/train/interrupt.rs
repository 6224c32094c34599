//! Handles Ctrl-C: the first stops training after the current step and saves the model, the second exits at once.

use engraft::recipe::Interrupt;

use crate::output::note;

/// Installs a handler of Ctrl-C, SIGTERM and SIGHUP. The first signal requests that training stops and the model is saved; the
/// second ends the program without saving.
pub(super) fn watch() -> Interrupt {
    let interrupt = Interrupt::new();
    let requested = interrupt.clone();
    let handler = move || {
        if requested.request() {
            std::process::exit(130);
        }
        note("\nStopping after this step, then saving; Ctrl-C again stops at once, without saving");
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        note(format_args!("warning: Ctrl-C will end training without saving: {error}"));
    }
    interrupt
}
