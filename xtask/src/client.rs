//! Runs clients of package registries (pip, npm, cargo) and recognises network errors in their output.

use std::process::{Command, Stdio};

use crate::TaskError;

/// Error texts of clients for a connection that was refused, broken or timed out, or a host name that wasn't found.
///
/// Other errors are real failures, such as a withdrawn version, a full disk or another hash.
const NO_CONNECTION: &[&str] = &[
    // pip, older and newer.
    LAST_RETRY,
    "Max retries exceeded with url",
    "Read timed out",
    "Connection aborted",
    "error: connection-failed",
    "error: connection-timeout",
    "error: proxy-connection-failed",
    // npm, of Node.js.
    "code ENOTFOUND",
    "code EAI_AGAIN",
    "code ECONNREFUSED",
    "code ECONNRESET",
    "code ETIMEDOUT",
    "code ENETUNREACH",
    "code EHOSTUNREACH",
    "code ERR_SOCKET_TIMEOUT",
    // cargo, which prints curl's error numbers: unknown proxy, unknown host, no connection, timeout, broken connection.
    "  [5] ",
    "  [6] ",
    "  [7] ",
    "  [28] ",
    "  [56] ",
];

/// Part of pip's message before each retry.
const RETRY: &str = "Retrying (Retry(total=";

/// Part of pip's message before its last retry.
const LAST_RETRY: &str = "Retrying (Retry(total=0, ";

/// Runs a client that downloads `name`, and prints its standard error.
///
/// # Errors
/// [`TaskError::Unreachable`] if the client reports that its registry can't be reached. [`TaskError::Failed`] if it fails for
/// another reason.
pub(crate) fn run(name: &str, command: &mut Command) -> Result<(), TaskError> {
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output();
    let output = output.map_err(|error| TaskError::at(command.get_program().display(), error))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    eprint!("{errors}");
    match output.status.success() {
        true => Ok(()),
        false if is_unreachable(&errors) => {
            Err(TaskError::Unreachable(format!("{name}: the registry of `{}` can't be reached", command_line(command))))
        }
        false => Err(TaskError::Failed(format!("{name}: `{}` failed; see its output above", command_line(command)))),
    }
}

/// Whether a client failed because of the network. Errors before the last retry are ignored.
fn is_unreachable(errors: &str) -> bool {
    let mut final_errors = errors.lines().filter(|line| !line.contains(RETRY) || line.contains(LAST_RETRY));
    final_errors.any(|line| NO_CONNECTION.iter().any(|text| line.contains(text)))
}

fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_connection_is_unreachable() {
        let retrying = |left| {
            format!(
                "WARNING: Retrying (Retry(total={left}, connect=None, read=None, redirect=None, status=None)) after \
                 connection broken by 'ReadTimeoutError(\"HTTPSConnectionPool(host='example.org', port=443): Read timed \
                 out. (read timeout=15)\")': /simple/keras/\n"
            )
        };
        let no_version = |found| {
            format!(
                "ERROR: Could not find a version that satisfies the requirement keras==9 (from versions: {found})\n"
            )
        };
        for errors in [
            [retrying(4), retrying(0), no_version("none")].concat(),
            "ReadTimeoutError: HTTPSConnectionPool(host='example.org', port=443): Read timed out.".into(),
            "error: connection-failed\n\n× Failed to connect to example.org".into(),
            "npm error code ENOTFOUND\nnpm error syscall getaddrinfo".into(),
            "npm ERR! code ECONNREFUSED".into(),
            "error: download of config.json failed\n\nCaused by:\n  [7] Could not connect to server (Failed to connect)".into(),
        ] {
            assert!(is_unreachable(&errors), "{errors}");
        }
        for errors in [
            String::new(),
            [retrying(4), no_version("3.15.0, 3.15.1")].concat(),
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.".into(),
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device".into(),
            "npm error code ETARGET\nnpm error notarget No matching version found for pictures@99.0.1.".into(),
            "npm error code ENOSPC".into(),
            "npm error code EINTEGRITY".into(),
            "warning: spurious network error (3 tries remaining): [7] Could not connect to server\n\
             error: could not find `cargo-deny` in registry `crates-io` with version `=99.0.0`"
                .into(),
        ] {
            assert!(!is_unreachable(&errors), "{errors}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_error_says_what_failed_and_how() {
        let run_script = |script: &str| run("package.tgz", Command::new("sh").args(["-c", script])).unwrap_err();
        let unreachable = run_script("echo 'npm error code ETIMEDOUT' >&2; exit 1");
        assert!(matches!(&unreachable, TaskError::Unreachable(text) if text.starts_with("package.tgz: the registry")));
        let failed = run_script("echo 'npm error code ENOSPC' >&2; exit 1");
        assert!(matches!(&failed, TaskError::Failed(text) if text.contains("see its output above")), "{failed}");
        let missing = run("package.tgz", &mut Command::new("no-such-client")).unwrap_err();
        assert!(matches!(missing, TaskError::Failed(_)), "{missing}");
    }
}
