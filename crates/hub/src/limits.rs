//! What is borne from a server, and for how long.

use std::time::Duration;

use ureq::Agent;

/// How much is borne from a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The most bytes of a file.
    pub(crate) bytes: u64,
    /// Attempts in a row that bring less than `progress` bytes.
    pub(crate) attempts: u32,
    /// An attempt that brings so many bytes shows that the server is of use.
    pub(crate) progress: u64,
    /// Pause after the first of them; it doubles with each.
    pub(crate) pause: Duration,
    /// The longest silence: while connecting, before the answer, between two reads.
    pub(crate) silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The largest of Keras' files that are pinned here, VGG16 with its top, has 553 MB.
            bytes: 1 << 30,
            attempts: 5,
            progress: 1 << 20,
            pause: Duration::from_millis(500),
            silence: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// A client that keeps within them.
    pub(crate) fn agent(&self) -> Agent {
        Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(self.silence))
            .timeout_recv_response(Some(self.silence))
            .timeout_per_read(Some(self.silence))
            .user_agent(concat!("engraft/", env!("CARGO_PKG_VERSION")))
            // Ranges and lengths count the bytes of the file itself.
            .accept_encoding("identity")
            .build()
            .into()
    }
}
