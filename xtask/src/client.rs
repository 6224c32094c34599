//! Clients of package registries, and whether it is the network that stopped one.

use std::process::{Command, Stdio};

use crate::TaskError;

/// What clients say as they give up on a connection: it was refused, broken or timed out, or the host's name wasn't found.
/// Everything else is their answer or ours: a version withdrawn, a full disk, another hash.
const NO_CONNECTION: &[&str] = &[
    // pip, older and newer.
    LAST_TRY,
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
    // cargo, of curl, whose errors are numbered: no such proxy, no such host, no connection, too slow, broken.
    "  [5] ",
    "  [6] ",
    "  [7] ",
    "  [28] ",
    "  [56] ",
];

/// In what pip says when it tries again, and when for the last time.
const TRIES_AGAIN: &str = "Retrying (Retry(total=";
const LAST_TRY: &str = "Retrying (Retry(total=0, ";

/// Lets a client bring something, and shows what it says of errors.
///
/// # Errors
/// [`TaskError::Unreachable`] when it says that its registry can't be reached; [`TaskError::Failed`] when it fails otherwise.
pub(crate) fn bring(what: &str, command: &mut Command) -> Result<(), TaskError> {
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output();
    let output = output.map_err(|error| TaskError::at(command.get_program().display(), error))?;
    let said = String::from_utf8_lossy(&output.stderr);
    eprint!("{said}");
    match output.status.success() {
        true => Ok(()),
        false if is_unreachable(&said) => {
            Err(TaskError::Unreachable(format!("{what}: the registry of `{}` can't be reached", shown(command))))
        }
        false => Err(TaskError::Failed(format!("{what}: `{}` failed, and says above why", shown(command)))),
    }
}

/// Whether a client that failed did so for want of a connection. A try that was followed by others tells nothing.
fn is_unreachable(said: &str) -> bool {
    let mut given_up = said.lines().filter(|line| !line.contains(TRIES_AGAIN) || line.contains(LAST_TRY));
    given_up.any(|line| NO_CONNECTION.iter().any(|sign| line.contains(sign)))
}

fn shown(command: &Command) -> String {
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
        for said in [
            [retrying(4), retrying(0), no_version("none")].concat(),
            "ReadTimeoutError: HTTPSConnectionPool(host='example.org', port=443): Read timed out.".into(),
            "error: connection-failed\n\n× Failed to connect to example.org".into(),
            "npm error code ENOTFOUND\nnpm error syscall getaddrinfo".into(),
            "npm ERR! code ECONNREFUSED".into(),
            "error: download of config.json failed\n\nCaused by:\n  [7] Could not connect to server (Failed to connect)".into(),
        ] {
            assert!(is_unreachable(&said), "{said}");
        }
        for said in [
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
            assert!(!is_unreachable(&said), "{said}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_error_says_what_failed_and_how() {
        let bring = |script: &str| bring("package.tgz", Command::new("sh").args(["-c", script])).unwrap_err();
        let unreachable = bring("echo 'npm error code ETIMEDOUT' >&2; exit 1");
        assert!(matches!(&unreachable, TaskError::Unreachable(text) if text.starts_with("package.tgz: the registry")));
        let failed = bring("echo 'npm error code ENOSPC' >&2; exit 1");
        assert!(matches!(&failed, TaskError::Failed(text) if text.contains("above why")), "{failed}");
        let missing = super::bring("package.tgz", &mut Command::new("no-such-client")).unwrap_err();
        assert!(matches!(missing, TaskError::Failed(_)), "{missing}");
    }
}
