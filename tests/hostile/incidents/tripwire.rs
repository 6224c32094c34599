//! Files and addresses that tell when they are touched.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A named pipe. A thread waits to write into it, which goes on as soon as anybody opens it to read.
#[cfg(unix)]
pub(crate) struct Pipe {
    path: PathBuf,
    opened: Arc<AtomicBool>,
    waiting: JoinHandle<()>,
}

#[cfg(unix)]
impl Pipe {
    /// Lays a pipe at `path`.
    pub(crate) fn lay(path: &Path) -> Self {
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

    /// Asserts that nobody opened it.
    #[track_caller]
    pub(crate) fn assert_untouched(self) {
        let opened = self.opened.load(Ordering::SeqCst);
        // What the thread waits for; to open both ends waits for nobody.
        let both_ends = OpenOptions::new().read(true).write(true).open(&self.path).unwrap();
        self.waiting.join().unwrap();
        drop(both_ends);
        assert!(!opened, "{} was opened", self.path.display());
    }
}

/// A port of this machine.
pub(crate) struct Port(TcpListener);

impl Port {
    pub(crate) fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    /// An address there.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/file", self.0.local_addr().unwrap())
    }

    /// Asserts that nobody connected.
    #[track_caller]
    pub(crate) fn assert_untouched(self) {
        let nobody = self.0.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(nobody, "somebody connected");
    }
}

#[cfg(unix)]
#[test]
#[should_panic(expected = "was opened")]
fn a_pipe_tells_who_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = Pipe::lay(&folder.path().join("pipe"));
    std::fs::read(folder.path().join("pipe")).unwrap();
    while !pipe.opened.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    pipe.assert_untouched();
}

#[test]
#[should_panic(expected = "somebody connected")]
fn a_port_tells_who_connects() {
    let port = Port::open();
    std::net::TcpStream::connect(port.0.local_addr().unwrap()).unwrap();
    port.assert_untouched();
}
