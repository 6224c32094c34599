//! A file over HTTP, resumed where it broke off.

use std::io::Read;
use std::path::Path;
use std::thread;

use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use crate::limits::Limits;
use crate::part::Part;
use crate::{HubError, Wanted};

/// What became of an attempt that may be followed by another.
enum Attempt {
    Whole,
    Broken(HubError),
}

/// Brings `wanted` into `part`, going on from what is there already. `bytes` is its size, for `progress` where the server
/// doesn't tell.
pub(crate) fn download(
    wanted: &Wanted,
    part: &Path,
    bytes: Option<u64>,
    limits: &Limits,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<(), HubError> {
    let mut download = Download { wanted, bytes, limits, agent: limits.agent(), part: Part::open(part)? };
    let already = download.part.length();
    let mut failures = 0;
    loop {
        let before = download.part.length();
        let error = match download.attempt(progress)? {
            Attempt::Whole => return download.part.sync(),
            Attempt::Broken(error) => error,
        };
        let length = download.part.length();
        failures = if length >= before + limits.progress { 1 } else { failures + 1 };
        let offline = matches!(error, HubError::Offline { .. }) && length == already;
        if offline || failures >= limits.attempts {
            return Err(error);
        }
        thread::sleep(limits.pause * (1 << (failures - 1)));
    }
}

struct Download<'a> {
    wanted: &'a Wanted,
    bytes: Option<u64>,
    limits: &'a Limits,
    agent: Agent,
    part: Part<'a>,
}

impl Download<'_> {
    /// Asks for what is missing and takes what comes.
    fn attempt(&mut self, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<Attempt, HubError> {
        let mut request = self.agent.get(&self.wanted.url);
        if self.part.length() > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", self.part.length()));
        }
        let response = match request.call() {
            Ok(response) => response,
            Err(error) => {
                let (reason, source) = (error.to_string(), error.into());
                return Ok(Attempt::Broken(HubError::Offline { wanted: self.wanted(), reason, source }));
            }
        };
        let status = response.status();
        let range = content_range(&response);
        match status {
            StatusCode::OK => self.part.restart()?,
            StatusCode::PARTIAL_CONTENT if range.start == Some(self.part.length()) => {}
            // Nothing is missing.
            StatusCode::RANGE_NOT_SATISFIABLE if range.total == Some(self.part.length()) => return Ok(Attempt::Whole),
            // What is there doesn't go with what the server has.
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                self.part.restart()?;
                return Ok(Attempt::Broken(self.status(status)));
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                return Ok(Attempt::Broken(self.status(status)));
            }
            _ if status.is_server_error() => return Ok(Attempt::Broken(self.status(status))),
            _ => return Err(self.status(status)),
        }
        self.receive(response.into_body(), progress)
    }

    /// Appends `body` to what is there.
    fn receive(&mut self, body: Body, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<Attempt, HubError> {
        let announced = body.content_length().map(|length| length.saturating_add(self.part.length()));
        self.check_size(announced.unwrap_or(0))?;
        let mut body = body.into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            progress(self.part.length(), announced.or(self.bytes));
            let read = match body.read(&mut buffer) {
                Ok(0) if announced.is_none_or(|announced| self.part.length() >= announced) => {
                    return Ok(Attempt::Whole);
                }
                Ok(0) => return Ok(Attempt::Broken(self.truncated("the connection was closed".to_owned(), None))),
                Ok(read) => read,
                Err(error) => return Ok(Attempt::Broken(self.truncated(error.to_string(), Some(error)))),
            };
            self.check_size(self.part.length() + read as u64)?;
            self.part.append(&buffer[..read])?;
        }
    }

    fn check_size(&mut self, received: u64) -> Result<(), HubError> {
        let limit = self.limits.bytes;
        if received <= limit {
            return Ok(());
        }
        self.part.restart()?;
        Err(HubError::TooLarge { wanted: self.wanted(), limit, received })
    }

    fn status(&self, status: StatusCode) -> HubError {
        HubError::Status { wanted: self.wanted(), status: status.as_u16() }
    }

    fn truncated(&self, reason: String, source: Option<std::io::Error>) -> HubError {
        HubError::Truncated { wanted: self.wanted(), received: self.part.length(), reason, source }
    }

    fn wanted(&self) -> Box<Wanted> {
        Box::new(self.wanted.clone())
    }
}

/// What a `Content-Range` header tells: `bytes 100-199/200`, or `bytes */200` beside status 416.
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
    use std::fs;
    use std::time::Duration;
    use tempfile::TempDir;

    /// Larger than any buffer on the way.
    fn content() -> Vec<u8> {
        (0..300_000u32).flat_map(|i| i.to_le_bytes()).collect()
    }

    /// A folder with the `.part` of a download in it, and where it comes from.
    struct Setting {
        folder: TempDir,
        server: Server,
        limits: Limits,
        progress: Vec<(u64, Option<u64>)>,
    }

    impl Setting {
        fn new(reply: impl Fn(usize, Option<usize>) -> Reply + Send + 'static) -> Self {
            let limits = Limits { bytes: 2_000_000, pause: Duration::from_millis(1), ..Limits::default() };
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
            let wanted =
                Wanted { url: format!("{}/file", self.server.url), name: "file", md5: "", folders, rejected: vec![] };
            let progress = &mut |done, total| self.progress.push((done, total));
            download(&wanted, &self.folder.path().join("part"), Some(7), &self.limits, progress)
        }
    }

    #[test]
    fn a_whole_file_arrives_and_progress_counts_its_bytes() {
        let mut setting = Setting::new(|_, start| Reply::from(&content(), start));
        setting.download().unwrap();
        assert_eq!(setting.part(), content());
        assert_eq!(setting.progress.first(), Some(&(0, Some(1_200_000))));
        assert_eq!(setting.progress.last(), Some(&(1_200_000, Some(1_200_000))));
        assert!(setting.progress.is_sorted());
    }

    #[test]
    fn where_the_length_is_not_announced_the_known_one_stands_in() {
        let mut setting = Setting::new(|_, _| Reply { head: "HTTP/1.1 200 OK\r\n".to_owned(), body: content() });
        setting.download().unwrap();
        assert_eq!(setting.part(), content());
        assert_eq!(setting.progress.last(), Some(&(1_200_000, Some(7))));
    }

    #[test]
    fn a_dropped_connection_is_resumed_where_it_broke() {
        let mut setting = Setting::new(|number, start| match number {
            0 => Reply::from(&content(), start).cut(500_000),
            1 => Reply::from(&content(), start).cut(100_000),
            _ => Reply::from(&content(), start),
        });
        setting.download().unwrap();
        assert_eq!(setting.part(), content());
        assert_eq!(setting.server.starts(), [None, Some(500_000), Some(600_000)]);
    }

    #[test]
    fn a_server_that_ignores_ranges_sends_all_again() {
        let mut setting = Setting::new(|_, _| Reply::whole(&content())).with_part(b"an old beginning");
        setting.download().unwrap();
        assert_eq!(setting.part(), content());
        assert_eq!(setting.server.starts(), [Some(16)]);
    }

    #[test]
    fn what_stays_truncated_is_kept_for_the_next_call() {
        let mut setting = Setting::new(|_, start| match start {
            None => Reply::from(&content(), start).cut(1000),
            Some(_) => Reply::from(&content(), start).cut(0),
        });
        let error = setting.download().unwrap_err();
        assert!(matches!(error, HubError::Truncated { received: 1000, .. }), "{error}");
        assert_eq!(setting.server.starts(), [None, Some(1000), Some(1000), Some(1000), Some(1000)]);
        assert_eq!(setting.part(), content()[..1000]);

        setting.server = Server::start(|_, start| Reply::from(&content(), start));
        setting.download().unwrap();
        assert_eq!(setting.part(), content());
        assert_eq!(setting.server.starts(), [Some(1000)]);
    }

    #[test]
    fn a_server_that_gets_on_may_drop_the_connection_any_number_of_times() {
        let mut setting = Setting::new(|_, start| Reply::from(&content(), start).cut(100_000));
        setting.limits.progress = 100_000;
        setting.download().unwrap();
        assert_eq!(setting.part(), content());
        assert_eq!(setting.server.starts().len(), 12);
    }

    #[test]
    fn a_complete_part_needs_nothing_more() {
        let mut setting = Setting::new(|_, start| Reply::from(&content(), start)).with_part(&content());
        setting.download().unwrap();
        assert_eq!(setting.part(), content());
        assert_eq!(setting.server.starts(), [Some(1_200_000)]);
    }

    #[test]
    fn a_part_longer_than_the_file_is_begun_anew() {
        let mut setting = Setting::new(|_, start| Reply::from(&content(), start)).with_part(&[0; 1_200_001]);
        setting.download().unwrap();
        assert_eq!(setting.part(), content());
        assert_eq!(setting.server.starts(), [Some(1_200_001), None]);
    }

    #[test]
    fn another_range_than_the_one_asked_for_is_not_appended() {
        let mut setting = Setting::new(|number, start| match number {
            0 => Reply::from(&content(), Some(5)),
            _ => Reply::from(&content(), start),
        });
        setting = setting.with_part(&content()[..10]);
        setting.download().unwrap();
        assert_eq!(setting.part(), content());
        assert_eq!(setting.server.starts(), [Some(10), None]);
    }

    #[test]
    fn a_missing_file_is_asked_for_once_and_a_busy_server_again() {
        let mut missing = Setting::new(|_, _| Reply::status(404));
        let error = missing.download().unwrap_err();
        assert!(matches!(error, HubError::Status { status: 404, .. }), "{error}");
        assert_eq!(missing.server.starts(), [None]);

        let mut busy =
            Setting::new(|number, start| if number == 0 { Reply::status(503) } else { Reply::from(&content(), start) });
        busy.download().unwrap();
        assert_eq!(busy.part(), content());

        let mut broken = Setting::new(|_, _| Reply::status(500));
        let error = broken.download().unwrap_err();
        assert!(matches!(error, HubError::Status { status: 500, .. }), "{error}");
        assert_eq!(broken.server.starts(), [None; 5]);
    }

    #[test]
    fn more_than_the_limit_is_refused_announced_or_not() {
        let announced =
            |_, _| Reply { head: "HTTP/1.1 200 OK\r\nContent-Length: 2000001\r\n".to_owned(), body: vec![] };
        let endless = |_, _| Reply { head: "HTTP/1.1 200 OK\r\n".to_owned(), body: vec![0; 3_000_000] };
        for mut setting in [Setting::new(announced), Setting::new(endless)] {
            let error = setting.download().unwrap_err();
            assert!(matches!(error, HubError::TooLarge { limit: 2_000_000, .. }), "{error}");
            assert_eq!(setting.part(), []);
        }
    }
}
