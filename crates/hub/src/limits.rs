//! Limits on downloads: size, failed attempts, delays between attempts, timeouts.

use std::time::Duration;

use ureq::Agent;

/// Limits on one download.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The largest file that is accepted, in bytes.
    pub(crate) max_bytes: u64,
    /// The download fails after this many failed attempts in a row.
    pub(crate) max_attempts: u32,
    /// If a failed attempt received at least this many bytes, the count of failed attempts starts again, with this attempt as 1.
    pub(crate) min_progress: u64,
    /// Delay after the first failed attempt. It doubles with every further one in a row.
    pub(crate) retry_delay: Duration,
    /// Timeout of each step: connecting, waiting for the response, reading the next bytes.
    pub(crate) timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The largest known file, ConvNeXtXLarge with its top, has 1.4 GB.
            max_bytes: 2 << 30,
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
