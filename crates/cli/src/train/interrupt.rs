//! Handles Ctrl-C: the first stops training after the current step, the second exits at once.

use engraft::recipe::Interrupt;

use crate::output::note;

/// Installs a handler of Ctrl-C, SIGTERM and SIGHUP. The first signal requests that training stops; the second ends the program.
/// The output file then holds what was saved before. The first signal prints `message`.
pub(super) fn watch(message: &'static str) -> Interrupt {
    let interrupt = Interrupt::new();
    let requested = interrupt.clone();
    let handler = move || {
        if requested.request() {
            std::process::exit(130);
        }
        note(format_args!("\n{message}"));
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        note(format_args!("warning: Ctrl-C will exit at once, with the epochs saved so far: {error}"));
    }
    interrupt
}
