//! Handles Ctrl-C: the first stops the work after its current step, the second exits at once.

use engraft::recipe::Interrupt;

use crate::output::note;

/// Installs a handler of Ctrl-C, SIGTERM and SIGHUP. The first signal requests that the work stops; the second ends the program.
/// The output file then holds what was saved before. The first signal prints `message`;
/// `left` says what a second one leaves.
pub(crate) fn watch(message: &'static str, left: &'static str) -> Interrupt {
    let interrupt = Interrupt::new();
    let requested = interrupt.clone();
    let handler = move || {
        if requested.request() {
            std::process::exit(130);
        }
        note(format_args!("\n{message}; Ctrl-C again exits at once, {left}"));
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        note(format_args!("warning: Ctrl-C will exit at once, {left}: {error}"));
    }
    interrupt
}
