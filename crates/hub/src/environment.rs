//! [`Hub::from_env`]: the cache, Keras' folder and the mirror from environment variables.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::{Hub, HubError};

impl Hub {
    /// Makes a hub from environment variables, with Keras' and the XDG specification's defaults.
    ///
    /// - cache: `$ENGRAFT_CACHE`, else `$XDG_CACHE_HOME/engraft`, else `~/.cache/engraft`
    /// - Keras' downloads: `$KERAS_HOME/models`, else `~/.keras/models`
    /// - mirror: `$ENGRAFT_WEIGHTS_URL`, if set
    ///
    /// An empty variable counts as unset.
    ///
    /// # Errors
    /// [`HubError::NoCache`] where no variable gives a cache and the home folder is unknown.
    ///
    /// ```
    /// use engraft_hub::Hub;
    /// let hub = Hub::from_env()?;
    /// match std::env::var_os("ENGRAFT_CACHE").filter(|folder| !folder.is_empty()) {
    ///     Some(folder) => assert_eq!(hub.cache, folder),
    ///     None => assert!(hub.cache.ends_with("engraft")),
    /// }
    /// # Ok::<(), engraft_hub::HubError>(())
    /// ```
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_variables(std::env::home_dir(), |name| std::env::var_os(name))
    }

    fn from_variables(home: Option<PathBuf>, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, HubError> {
        // The XDG Base Directory Specification treats an empty variable as unset, too.
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let folder = |name| set(name).map(PathBuf::from);
        let home = home.filter(|home| !home.as_os_str().is_empty());
        let in_home = |path| home.as_ref().map(|home| home.join(path));

        let cache = folder("ENGRAFT_CACHE")
            .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("engraft")))
            .or_else(|| in_home(".cache/engraft"))
            .ok_or(HubError::NoCache)?;
        // Without a home folder, the cache stands in for Keras' folder, and is searched twice.
        let keras = folder("KERAS_HOME").or_else(|| in_home(".keras")).map(|keras| keras.join("models"));
        let mirror = set("ENGRAFT_WEIGHTS_URL").map(|url| url.to_string_lossy().into_owned());
        Ok(Self { mirror, ..Self::new(cache.clone(), keras.unwrap_or(cache)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_environment_names_the_places() {
        let places = |home: Option<&str>, variables: &[(&str, &str)]| {
            let variables: HashMap<&str, &str> = variables.iter().copied().collect();
            let hub =
                Hub::from_variables(home.map(PathBuf::from), |name| variables.get(name).map(OsString::from)).ok()?;
            Some((hub.cache.to_str()?.to_owned(), hub.keras.to_str()?.to_owned(), hub.mirror))
        };
        let expected = |cache: &str, keras: &str, mirror: Option<&str>| {
            Some((cache.to_owned(), keras.to_owned(), mirror.map(str::to_owned)))
        };
        assert_eq!(places(Some("/me"), &[]), expected("/me/.cache/engraft", "/me/.keras/models", None));
        let empty = [("ENGRAFT_CACHE", ""), ("ENGRAFT_WEIGHTS_URL", "")];
        assert_eq!(places(Some("/me"), &empty), expected("/me/.cache/engraft", "/me/.keras/models", None));
        let some = [("XDG_CACHE_HOME", "/tmp"), ("KERAS_HOME", "/k"), ("ENGRAFT_WEIGHTS_URL", "http://m")];
        assert_eq!(places(Some("/me"), &some), expected("/tmp/engraft", "/k/models", Some("http://m")));
        let both = [("XDG_CACHE_HOME", "/tmp"), ("ENGRAFT_CACHE", "/c")];
        assert_eq!(places(None, &both), expected("/c", "/c", None));
        assert_eq!(places(None, &[]), None);
    }
}
