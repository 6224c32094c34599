//! The command line as it was typed, and corrected ones to copy.

use std::path::{Path, PathBuf};

/// The command line of this process with the arguments `a` and `b` exchanged, to copy into a shell.
pub(crate) fn with_exchanged(a: &Path, b: &Path) -> String {
    exchanged(&typed(), &a.to_string_lossy(), &b.to_string_lossy())
}

/// The command line of this process with other arguments in the place of `argument`, to copy into a shell.
pub(crate) fn with_replaced(argument: &Path, by: &[PathBuf]) -> String {
    let by: Vec<String> = by.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let argument = argument.to_string_lossy();
    let replaced = |typed: String| if typed == argument { by.clone() } else { vec![typed] };
    joined(&typed().into_iter().flat_map(replaced).collect::<Vec<_>>())
}

/// An option by all its names, such as `--output` and `-o`.
pub(crate) struct CommandOption {
    pub(crate) names: Vec<String>,
    pub(crate) takes_value: bool,
}

/// The command line with an option only once, with its last value.
pub(crate) fn with_one(option: &CommandOption, arguments: &[String]) -> String {
    let is_option = |argument: &String| {
        option.names.iter().any(|name| argument == name || argument.starts_with(&format!("{name}=")))
    };
    let last = arguments.iter().rposition(is_option);
    let mut kept = Vec::new();
    let mut position = 0;
    while let Some(argument) = arguments.get(position) {
        if is_option(argument) && Some(position) != last {
            // A value in an argument of its own goes with the name.
            position += if option.takes_value && option.names.contains(argument) { 2 } else { 1 };
        } else {
            kept.push(argument.clone());
            position += 1;
        }
    }
    joined(&kept)
}

fn typed() -> Vec<String> {
    std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into()).collect()
}

fn exchanged(arguments: &[String], a: &str, b: &str) -> String {
    let exchange = |argument: &String| match argument {
        argument if argument == a => b.to_owned(),
        argument if argument == b => a.to_owned(),
        argument => argument.clone(),
    };
    joined(&arguments.iter().map(exchange).collect::<Vec<_>>())
}

/// The command line of these arguments, to copy into a shell.
pub(crate) fn joined(arguments: &[String]) -> String {
    let quoted: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
    format!("engraft {}", quoted.join(" "))
}

/// An argument as a shell reads it.
fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=,:+%@".contains(c);
    match !argument.is_empty() && argument.chars().all(is_plain) {
        true => argument.to_owned(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn two_arguments_change_places_and_the_rest_stays() {
        let line = exchanged(&arguments("predict a.jpg m.keras --top 1"), "a.jpg", "m.keras");
        assert_eq!(line, "engraft predict m.keras a.jpg --top 1");
        assert_eq!(joined(&["my photo's.jpg".to_owned()]), r"engraft 'my photo'\''s.jpg'");
    }

    #[test]
    fn of_a_repeated_option_the_last_value_stays() {
        let option = |names: &[&str], takes_value| {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            CommandOption { names, takes_value }
        };
        let line = |text: &str| with_one(&option(&["--seed", "-s"], true), &arguments(text));
        assert_eq!(line("train p --seed 1 -o m.keras --seed 2"), "engraft train p -o m.keras --seed 2");
        assert_eq!(line("train p --seed=1 --seed=2"), "engraft train p --seed=2");
        assert_eq!(line("train p --seed 1 -s 2 --json"), "engraft train p -s 2 --json");
        let flag = option(&["--json"], false);
        assert_eq!(with_one(&flag, &arguments("summary --json m.keras --json")), "engraft summary m.keras --json");
    }
}
