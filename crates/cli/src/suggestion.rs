//! Suggestions for misspelled commands and options.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

/// Names that differ from the typed one by more edits than this, as counted by [`nearest`], are not suggested.
const MAX_EDITS: usize = 3;

/// Adds the nearest command or option to an error about an unknown one.
///
/// clap itself suggests nothing for short names, and may list less similar names first.
pub(crate) fn suggest(mut error: Error, program: &Command, arguments: &[String]) -> Error {
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
