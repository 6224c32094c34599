//! Downloads a file over HTTP into a `.part` file, and resumes interrupted transfers by range requests.
//!
//! [`Hub::fetch`](crate::Hub::fetch) uses it. The content is not verified here.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::thread;

use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use crate::limits::Limits;
use crate::partial_file::PartialFile;
use crate::{HubError, RequestedFile};

/// The outcome of one HTTP request.
enum Attempt {
    /// The file has been received to its end.
    Complete,
    /// The transfer failed in a way that another request may repair.
    Failed(HubError),
}

/// Downloads the file at `requested.url` to the path `part`, after the bytes that `part` holds already.
///
/// `bytes` is the expected size, which `progress` receives as the total if the server sends no length.
///
/// # Errors
/// The last attempt's error once `limits.max_attempts` attempts in a row have failed. An error at once where retrying is
/// pointless: the server is unreachable before any byte is received or responds with a client error such as 404, the file is too
/// large, or `part` can't be written. A `part` without a byte is deleted.
pub(crate) fn download(
    requested: &RequestedFile,
    part: &Path,
    bytes: Option<u64>,
    limits: &Limits,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<(), HubError> {
    let partial = PartialFile::open(part)?;
    let mut download = Download { requested, bytes, limits, agent: limits.agent(), partial };
    let downloaded = download.run(progress);
    if downloaded.is_err() && download.partial.length() == 0 {
        _ = fs::remove_file(part);
    }
    downloaded
}

/// Why a server can't be reached, in words.
fn reason(url: &str, error: &ureq::Error) -> String {
    let text = error.to_string();
    if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
        "its address doesn't begin with http:// or https://".to_owned()
    } else if text.contains("lookup") || matches!(error, ureq::Error::HostNotFound) {
        "its name can't be found; is this machine connected to a network?".to_owned()
    } else {
        text
    }
}

struct Download<'a> {
    requested: &'a RequestedFile,
    bytes: Option<u64>,
    limits: &'a Limits,
    agent: Agent,
    partial: PartialFile<'a>,
}

impl Download<'_> {
    /// Attempts to download the file until that succeeds, or is pointless.
    fn run(&mut self, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<(), HubError> {
        let initial = self.partial.length();
        let mut failures = 0;
        loop {
            let before = self.partial.length();
            let error = match self.attempt(progress)? {
                Attempt::Complete => return self.partial.sync(),
                Attempt::Failed(error) => error,
            };
            let length = self.partial.length();
            failures = if length >= before + self.limits.min_progress { 1 } else { failures + 1 };
            let offline = matches!(error, HubError::Offline { .. }) && length == initial;
            if offline || failures >= self.limits.max_attempts {
                return Err(error);
            }
            thread::sleep(self.limits.retry_delay * (1 << (failures - 1)));
        }
    }

    /// Requests the missing bytes and appends the response to the partial file.
    fn attempt(&mut self, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<Attempt, HubError> {
        let mut request = self.agent.get(&self.requested.url);
        if self.partial.length() > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", self.partial.length()));
        }
        let response = match request.call() {
            Ok(response) => response,
            Err(error) => {
                let (reason, source) = (reason(&self.requested.url, &error), error.into());
                return Ok(Attempt::Failed(HubError::Offline { requested: self.requested(), reason, source }));
            }
        };
        let status = response.status();
        let range = content_range(&response);
        match status {
            StatusCode::OK => self.partial.restart()?,
            StatusCode::PARTIAL_CONTENT if range.start == Some(self.partial.length()) => {}
            // The partial file already has the server's length.
            StatusCode::RANGE_NOT_SATISFIABLE if range.total == Some(self.partial.length()) => {
                return Ok(Attempt::Complete);
            }
            // The partial file doesn't match the server's file: start again.
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                self.partial.restart()?;
                return Ok(Attempt::Failed(self.status(status)));
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                return Ok(Attempt::Failed(self.status(status)));
            }
            _ if status.is_server_error() => return Ok(Attempt::Failed(self.status(status))),
            _ => return Err(self.status(status)),
        }
        self.receive(response.into_body(), progress)
    }

    /// Appends `body` to the partial file.
    fn receive(&mut self, body: Body, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<Attempt, HubError> {
        let announced = body.content_length().map(|length| length.saturating_add(self.partial.length()));
        self.check_size(announced.unwrap_or(0))?;
        let mut body = body.into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            progress(self.partial.length(), announced.or(self.bytes));
            let read = match body.read(&mut buffer) {
                Ok(0) if announced.is_none_or(|announced| self.partial.length() >= announced) => {
                    return Ok(Attempt::Complete);
                }
                Ok(0) => return Ok(Attempt::Failed(self.truncated("the connection was closed".to_owned(), None))),
                Ok(read) => read,
                Err(error) => return Ok(Attempt::Failed(self.truncated(error.to_string(), Some(error)))),
            };
            self.check_size(self.partial.length() + read as u64)?;
            self.partial.append(&buffer[..read])?;
        }
    }

    /// An error if `received` bytes exceed the limit; deletes the partial file's content then.
    fn check_size(&mut self, received: u64) -> Result<(), HubError> {
        let limit = self.limits.max_bytes;
        if received <= limit {
            return Ok(());
        }
        self.partial.restart()?;
        Err(HubError::TooLarge { requested: self.requested(), limit, received })
    }

    fn status(&self, status: StatusCode) -> HubError {
        HubError::Status { requested: self.requested(), status: status.as_u16() }
    }

    fn truncated(&self, reason: String, source: Option<std::io::Error>) -> HubError {
        HubError::Truncated { requested: self.requested(), received: self.partial.length(), reason, source }
    }

    fn requested(&self) -> Box<RequestedFile> {
        Box::new(self.requested.clone())
    }
}

/// A parsed `Content-Range` header: `bytes 100-199/200`, or `bytes */200` with status 416.
#[derive(Default)]
struct ContentRange {
    start: Option<u64>,
    total: Option<u64>,
}

fn content_range(response: &Response<Body>) -> ContentRange {
    let value = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let Some((range, total)) = value.and_then(|value| value.strip_prefix("bytes ")?.split_once('/')) else {
        return ContentRange::default();
    };
    let start = range.split_once('-').and_then(|(start, _)| start.parse().ok());
    ContentRange { start, total: total.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_server::{Reply, Server};
    use std::time::Duration;
    use tempfile::TempDir;

    /// 1.2 MB: larger than every buffer between server and file.
    fn content() -> Vec<u8> {
        (0..300_000u32).flat_map(|i| i.to_le_bytes()).collect()
    }

    /// A test server, and a folder for the partial file.
    struct Fixture {
        folder: TempDir,
        server: Server,
        limits: Limits,
        progress: Vec<(u64, Option<u64>)>,
    }

    impl Fixture {
        fn new(reply: impl Fn(usize, Option<usize>) -> Reply + Send + 'static) -> Self {
            let limits = Limits { max_bytes: 2_000_000, retry_delay: Duration::from_millis(1), ..Limits::default() };
            Self { folder: tempfile::tempdir().unwrap(), server: Server::start(reply), limits, progress: Vec::new() }
        }

        fn with_part(self, part: &[u8]) -> Self {
            fs::write(self.folder.path().join("part"), part).unwrap();
            self
        }

        fn part(&self) -> Vec<u8> {
            fs::read(self.folder.path().join("part")).unwrap()
        }

        fn download(&mut self) -> Result<(), HubError> {
            let folders = [self.folder.path().to_owned(), self.folder.path().to_owned()];
            let url = format!("{}/file", self.server.url);
            let requested = RequestedFile { url, name: "file".into(), hash: None, folders, rejected: vec![] };
            let progress = &mut |done, total| self.progress.push((done, total));
            download(&requested, &self.folder.path().join("part"), Some(7), &self.limits, progress)
        }
    }

    #[test]
    fn a_file_arrives_completely_and_progress_counts_its_bytes() {
        let mut fixture = Fixture::new(|_, start| Reply::from(&content(), start));
        fixture.download().unwrap();
        assert_eq!(fixture.part(), content());
        assert_eq!(fixture.progress.first(), Some(&(0, Some(1_200_000))));
        assert_eq!(fixture.progress.last(), Some(&(1_200_000, Some(1_200_000))));
        assert!(fixture.progress.is_sorted());
    }

    #[test]
    fn where_the_length_is_not_announced_the_known_one_stands_in() {
        let mut fixture = Fixture::new(|_, _| Reply { head: "HTTP/1.1 200 OK\r\n".to_owned(), body: content() });
        fixture.download().unwrap();
        assert_eq!(fixture.part(), content());
        assert_eq!(fixture.progress.last(), Some(&(1_200_000, Some(7))));
    }

    #[test]
    fn a_dropped_connection_is_resumed_where_it_broke() {
        let mut fixture = Fixture::new(|number, start| match number {
            0 => Reply::from(&content(), start).cut(500_000),
            1 => Reply::from(&content(), start).cut(100_000),
            _ => Reply::from(&content(), start),
        });
        fixture.download().unwrap();
        assert_eq!(fixture.part(), content());
        assert_eq!(fixture.server.starts(), [None, Some(500_000), Some(600_000)]);
    }

    #[test]
    fn a_server_that_ignores_ranges_sends_all_again() {
        let mut fixture = Fixture::new(|_, _| Reply::full(&content())).with_part(b"an old beginning");
        fixture.download().unwrap();
        assert_eq!(fixture.part(), content());
        assert_eq!(fixture.server.starts(), [Some(16)]);
    }

    #[test]
    fn a_truncated_download_is_kept_for_the_next_call() {
        let mut fixture = Fixture::new(|_, start| match start {
            None => Reply::from(&content(), start).cut(1000),
            Some(_) => Reply::from(&content(), start).cut(0),
        });
        let error = fixture.download().unwrap_err();
        assert!(matches!(error, HubError::Truncated { received: 1000, .. }), "{error}");
        assert_eq!(fixture.server.starts(), [None, Some(1000), Some(1000), Some(1000), Some(1000)]);
        assert_eq!(fixture.part(), content()[..1000]);

        fixture.server = Server::start(|_, start| Reply::from(&content(), start));
        fixture.download().unwrap();
        assert_eq!(fixture.part(), content());
        assert_eq!(fixture.server.starts(), [Some(1000)]);
    }

    #[test]
    fn a_server_that_makes_progress_may_drop_the_connection_any_number_of_times() {
        let mut fixture = Fixture::new(|_, start| Reply::from(&content(), start).cut(100_000));
        fixture.limits.min_progress = 100_000;
        fixture.download().unwrap();
        assert_eq!(fixture.part(), content());
        assert_eq!(fixture.server.starts().len(), 12);
    }

    #[test]
    fn a_complete_part_needs_nothing_more() {
        let mut fixture = Fixture::new(|_, start| Reply::from(&content(), start)).with_part(&content());
        fixture.download().unwrap();
        assert_eq!(fixture.part(), content());
        assert_eq!(fixture.server.starts(), [Some(1_200_000)]);
    }

    #[test]
    fn a_part_longer_than_the_file_is_begun_anew() {
        let mut fixture = Fixture::new(|_, start| Reply::from(&content(), start)).with_part(&[0; 1_200_001]);
        fixture.download().unwrap();
        assert_eq!(fixture.part(), content());
        assert_eq!(fixture.server.starts(), [Some(1_200_001), None]);
    }

    #[test]
    fn another_range_than_the_requested_one_is_not_appended() {
        let mut fixture = Fixture::new(|number, start| match number {
            0 => Reply::from(&content(), Some(5)),
            _ => Reply::from(&content(), start),
        });
        fixture = fixture.with_part(&content()[..10]);
        fixture.download().unwrap();
        assert_eq!(fixture.part(), content());
        assert_eq!(fixture.server.starts(), [Some(10), None]);
    }

    #[test]
    fn a_missing_file_is_requested_once_and_a_busy_server_again() {
        let mut missing = Fixture::new(|_, _| Reply::status(404));
        let error = missing.download().unwrap_err();
        assert!(matches!(error, HubError::Status { status: 404, .. }), "{error}");
        assert_eq!(missing.server.starts(), [None]);

        let mut busy =
            Fixture::new(|number, start| if number == 0 { Reply::status(503) } else { Reply::from(&content(), start) });
        busy.download().unwrap();
        assert_eq!(busy.part(), content());

        let mut broken = Fixture::new(|_, _| Reply::status(500));
        let error = broken.download().unwrap_err();
        assert!(matches!(error, HubError::Status { status: 500, .. }), "{error}");
        assert_eq!(broken.server.starts(), [None; 5]);
    }

    #[test]
    fn more_than_the_limit_is_refused_announced_or_not() {
        let announced =
            |_, _| Reply { head: "HTTP/1.1 200 OK\r\nContent-Length: 2000001\r\n".to_owned(), body: vec![] };
        let endless = |_, _| Reply { head: "HTTP/1.1 200 OK\r\n".to_owned(), body: vec![0; 3_000_000] };
        for mut fixture in [Fixture::new(announced), Fixture::new(endless)] {
            let error = fixture.download().unwrap_err();
            assert!(matches!(error, HubError::TooLarge { limit: 2_000_000, .. }), "{error}");
            assert!(!fixture.folder.path().join("part").exists());
        }
    }
}
