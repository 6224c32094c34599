//! Files and URLs that detect access.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A named pipe that detects whether it is opened. A thread that opens it for writing blocks until a reader opens it.
#[cfg(unix)]
pub(crate) struct Pipe {
    path: PathBuf,
    opened: Arc<AtomicBool>,
    waiting: JoinHandle<()>,
}

#[cfg(unix)]
impl Pipe {
    /// Creates a pipe at `path`.
    pub(crate) fn create(path: &Path) -> Self {
        let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success(), "mkfifo {}", path.display());
        let opened = Arc::new(AtomicBool::new(false));
        let (flag, at) = (opened.clone(), path.to_owned());
        let waiting = std::thread::spawn(move || {
            let pipe = OpenOptions::new().write(true).open(at);
            flag.store(true, Ordering::SeqCst);
            drop(pipe);
        });
        Self { path: path.to_owned(), opened, waiting }
    }

    /// Asserts that the pipe wasn't opened.
    #[track_caller]
    pub(crate) fn assert_untouched(self) {
        let opened = self.opened.load(Ordering::SeqCst);
        // Unblocks the thread. Opening both ends never blocks.
        let both_ends = OpenOptions::new().read(true).write(true).open(&self.path).unwrap();
        self.waiting.join().unwrap();
        drop(both_ends);
        assert!(!opened, "{} was opened", self.path.display());
    }
}

/// A local TCP port that detects connections.
pub(crate) struct Port(TcpListener);

impl Port {
    pub(crate) fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    /// A URL with this port.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/file", self.0.local_addr().unwrap())
    }

    /// Asserts that there was no connection.
    #[track_caller]
    pub(crate) fn assert_untouched(self) {
        let untouched = self.0.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(untouched, "the port received a connection");
    }
}

#[cfg(unix)]
#[test]
#[should_panic(expected = "was opened")]
fn a_pipe_tells_who_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = Pipe::create(&folder.path().join("pipe"));
    std::fs::read(folder.path().join("pipe")).unwrap();
    while !pipe.opened.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    pipe.assert_untouched();
}

#[test]
#[should_panic(expected = "received a connection")]
fn a_port_tells_who_connects() {
    let port = Port::open();
    std::net::TcpStream::connect(port.0.local_addr().unwrap()).unwrap();
    port.assert_untouched();
}
