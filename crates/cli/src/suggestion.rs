//! Suggestions for misspelled commands and options.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

use crate::command_line::{CommandOption, with_one};

/// Names that differ from the typed one by more edits than this, as counted by [`nearest`], are not suggested.
const MAX_EDITS: usize = 3;

/// Adds the nearest command or option to an error about an unknown one.
///
/// clap itself suggests nothing for short names, and may list less similar names first.
pub(crate) fn suggest(mut error: Error, program: &Command, arguments: &[String]) -> Error {
    if let Some(option) = repeated(&error) {
        let line = with_one(&named(&option, program, arguments), arguments);
        let tip = format!("give {option} once: {line}").into();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
        return error;
    }
    let (typed, kind) = match error.kind() {
        ErrorKind::InvalidSubcommand => (ContextKind::InvalidSubcommand, ContextKind::SuggestedSubcommand),
        ErrorKind::UnknownArgument => (ContextKind::InvalidArg, ContextKind::SuggestedArg),
        _ => return error,
    };
    let Some(ContextValue::String(typed)) = error.get(typed) else { return error };
    let names: Vec<String> = match kind {
        ContextKind::SuggestedSubcommand => {
            program.get_subcommands().map(|command| command.get_name().into()).collect()
        }
        _ => options(program, arguments),
    };
    let Some(nearest) = nearest(typed, names) else { return error };
    let suggestion = match kind {
        ContextKind::SuggestedSubcommand => ContextValue::Strings(vec![nearest]),
        _ => ContextValue::String(nearest),
    };
    error.insert(kind, suggestion);
    // For an unknown option, clap may suggest to pass it as a value. That doesn't help where the name of an option is this close.
    error.remove(ContextKind::Suggested);
    error
}

/// The option that is given twice, such as `--seed`; `None` if that isn't the error.
fn repeated(error: &Error) -> Option<String> {
    let conflict = |kind| match error.get(kind) {
        Some(ContextValue::String(argument)) => Some(argument),
        _ => None,
    };
    let (invalid, prior) = (conflict(ContextKind::InvalidArg)?, conflict(ContextKind::PriorArg)?);
    let is_repeated = error.kind() == ErrorKind::ArgumentConflict && invalid == prior;
    is_repeated.then(|| invalid.split(' ').next().unwrap_or_default().to_owned())
}

/// The option of this long name, with its short name if it has one.
fn named(long: &str, program: &Command, arguments: &[String]) -> CommandOption {
    let command = arguments.iter().find_map(|argument| program.find_subcommand(argument));
    let mut all = command.into_iter().chain([program]).flat_map(Command::get_arguments);
    let found = all.find(|argument| argument.get_long() == long.strip_prefix("--"));
    let short = found.and_then(|found| found.get_short()).map(|short| format!("-{short}"));
    let names = std::iter::once(long.to_owned()).chain(short).collect();
    CommandOption { names, takes_value: found.is_some_and(|found| found.get_action().takes_values()) }
}

/// The options of the command that `arguments` name, and the global options.
fn options(program: &Command, arguments: &[String]) -> Vec<String> {
    let command = arguments.iter().find_map(|argument| program.find_subcommand(argument));
    let all = command.into_iter().chain([program]).flat_map(Command::get_arguments);
    all.filter_map(|argument| Some(format!("--{}", argument.get_long()?))).collect()
}

/// The name with the fewest edits (insertion, deletion, replacement, swap of neighbours), fewer than half of its length.
fn nearest(typed: &str, names: Vec<String>) -> Option<String> {
    let edits = |name: &String| strsim::osa_distance(typed, name);
    let close =
        |name: &String| edits(name) <= MAX_EDITS && 2 * edits(name) < name.trim_start_matches('-').chars().count();
    names.into_iter().filter(close).min_by_key(edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_with_the_fewest_edits_is_nearest() {
        let names = || ["features", "evaluate", "export"].map(str::to_owned).to_vec();
        assert_eq!(nearest("evalute", names()).as_deref(), Some("evaluate"));
        assert_eq!(nearest("exprot", names()).as_deref(), Some("export"));
        assert_eq!(nearest("banana", names()), None);
        assert_eq!(nearest("--tpo", vec!["--top".into(), "--json".into()]).as_deref(), Some("--top"));
    }
}
