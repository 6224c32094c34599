//! An HTTP server for tests, which can drop connections, ignore ranges and send wrong headers.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A response, after which the server closes the connection.
pub(crate) struct Reply {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self { head: format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n"), body: Vec::new() }
    }

    /// Status 200 with all of `content`.
    pub(crate) fn full(content: &[u8]) -> Self {
        Self { head: format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", content.len()), body: content.to_vec() }
    }

    /// The correct response to a range request from byte `start`, or to a request without a range.
    pub(crate) fn from(content: &[u8], start: Option<usize>) -> Self {
        let total = content.len();
        let Some(start) = start else { return Self::full(content) };
        if start >= total {
            let head = format!(
                "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{total}\r\nContent-Length: 0\r\n"
            );
            return Self { head, body: Vec::new() };
        }
        let range =
            format!("Content-Range: bytes {start}-{}/{total}\r\nContent-Length: {}\r\n", total - 1, total - start);
        Self { head: format!("HTTP/1.1 206 Partial Content\r\n{range}"), body: content[start..].to_vec() }
    }

    /// Sends only the first `bytes` of the body, fewer than the announced length.
    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        self.body.truncate(bytes);
        self
    }
}

/// The path of a request, and the first byte of its range if it has one.
struct Request {
    path: String,
    start: Option<usize>,
}

/// A server that handles one connection after the other until the test process ends.
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server that responds to request number `n` (from 0) with `reply(n, start)`, where `start` is the range's first
    /// byte.
    pub(crate) fn start(reply: impl Fn(usize, Option<usize>) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let request = read_request(&stream);
                let start = request.start;
                seen.lock().unwrap().push(request);
                let Reply { head, body } = reply(number, start);
                // The client may close the connection before the end.
                let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes());
                let _ = stream.write_all(&body);
            }
        });
        Self { url, requests }
    }

    /// The first byte of the requested range, request by request.
    pub(crate) fn starts(&self) -> Vec<Option<usize>> {
        self.requests.lock().unwrap().iter().map(|request| request.start).collect()
    }

    /// The requested paths, request by request.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|request| request.path.clone()).collect()
    }
}

fn read_request(stream: &TcpStream) -> Request {
    let lines: Vec<String> =
        BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let range = lines.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    Request { path, start: range.map(|range| range.trim_end_matches('-').parse().unwrap()) }
}
