//! Ctrl-C: once to stop in good order, twice to stop at once.

use engraft::recipe::Interrupt;

use crate::output::note;

/// From here on Ctrl-C, and the signal to terminate, only ask to stop. The second time they end the program.
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
