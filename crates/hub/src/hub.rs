//! The places where a weight file may be, in the order they are asked.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{HubError, WeightFile};

/// Where weight files are found, and where they are kept.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Folder that downloads go to.
    pub cache: PathBuf,
    /// Folder of Keras' own downloads; only read.
    pub keras: PathBuf,
    /// Address of a directory to download from instead of a file's own.
    pub mirror: Option<String>,
}

impl Hub {
    /// The places that the environment names.
    ///
    /// - cache: `ENGRAFT_CACHE`, else `XDG_CACHE_HOME/engraft`, else `~/.cache/engraft`
    /// - Keras' downloads: `KERAS_HOME/models`, else `~/.keras/models`
    /// - mirror: `ENGRAFT_WEIGHTS_URL`, if set
    ///
    /// # Errors
    /// [`HubError::NoCache`] where there is no home folder and no variable stands in for it.
    pub fn from_env() -> Result<Self, HubError> {
        todo!()
    }

    /// The path of `file`: in the cache, else in Keras' folder, else downloaded into the cache.
    ///
    /// A file is good if its MD5 is the pinned one, or else if `accept` finds its content to be the same (tensors stored
    /// in another layout, say); `accept` tells otherwise why not. `progress` is called during a download with the bytes
    /// that have arrived and, where known, how many there are.
    ///
    /// A download that breaks off is resumed, in this call and the next. Processes that want one file wait for each other.
    ///
    /// # Errors
    /// One variant of [`HubError`] per cause.
    pub fn fetch(
        &self,
        file: &WeightFile,
        accept: &dyn Fn(&Path) -> Result<(), String>,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<PathBuf, HubError> {
        todo!()
    }
}
