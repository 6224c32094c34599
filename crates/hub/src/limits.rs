//! Limits on downloads: size, failed attempts, delays between attempts, timeouts.

use std::time::Duration;

use ureq::Agent;

/// Limits on one download.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The largest file that is accepted, in bytes.
    pub(crate) max_bytes: u64,
    /// The download fails after this many consecutive attempts that each receive fewer than `min_progress` bytes.
    pub(crate) max_attempts: u32,
    /// An attempt that receives this many bytes counts as a success and resets the count of failures.
    pub(crate) min_progress: u64,
    /// Delay before the second attempt; it doubles with every further failure.
    pub(crate) retry_delay: Duration,
    /// Timeout of each step: connecting, waiting for the response, reading the next bytes.
    pub(crate) timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The largest known file, VGG16 with its top, has 553 MB.
            max_bytes: 1 << 30,
            max_attempts: 5,
            min_progress: 1 << 20,
            retry_delay: Duration::from_millis(500),
            timeout: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// An HTTP client with these timeouts.
    pub(crate) fn agent(&self) -> Agent {
        Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(self.timeout))
            .timeout_recv_response(Some(self.timeout))
            .timeout_per_read(Some(self.timeout))
            .user_agent(concat!("engraft/", env!("CARGO_PKG_VERSION")))
            // Without compression, so that ranges and lengths count bytes of the file itself.
            .accept_encoding("identity")
            .build()
            .into()
    }
}
