//! Output files: checks that they can be written, and replace nothing of value, before training or an export starts.

mod content;
mod free_space;

use std::path::{Path, PathBuf};

use engraft::formats::atomic::{self, AtomicError};
use engraft::{Error, ErrorKind, io_reason};

pub(crate) use self::content::{Content, first_line};
use self::free_space::free_space;
use crate::failure::Failure;
use crate::file_kind::FileKind;

/// The path of an output file whose folder exists and is writable.
#[derive(Debug)]
pub(crate) struct Destination(PathBuf);

/// The checks of all output files of a command.
///
/// An output replaces neither an input, nor another output, nor a photo, nor a folder, device or pipe. It replaces a file that
/// engraft didn't write only with `--force`. Where the path is a link, its target counts.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    /// Whether `--force` is given.
    force: bool,
    /// Argument and canonical path of each input and of each output so far.
    taken: Vec<(String, PathBuf)>,
}

impl Outputs {
    pub(crate) fn new(force: bool) -> Self {
        Self { force, taken: Vec::new() }
    }

    /// Adds files that the command reads, under the name of their argument.
    pub(crate) fn reads<'a>(mut self, argument: &str, paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        self.taken.extend(paths.into_iter().map(|path| (argument.to_owned(), identity(path))));
        self
    }

    /// Checks that `path` can be written and replaces nothing of value. `option` names the argument in errors.
    ///
    /// # Errors
    /// [`Failure::Usage`] if `path` is a folder, device or pipe, ends in `..`, or has the extension of another content.
    /// [`Failure::Failed`] if its folder is missing or not writable, or if an existing file must stay.
    pub(crate) fn check(&mut self, option: &str, path: &Path, content: Content) -> Result<Destination, Failure> {
        check_kind(option, path)?;
        self.check_taken(option, path, content)?;
        check_extension(option, path, content).map_err(Failure::Usage)?;
        self.check_existing(option, path, content)?;
        check_folder(path)?;
        self.taken.push((option.to_owned(), identity(path)));
        Ok(Destination(path.to_owned()))
    }

    /// Refuses a file that the command reads or writes already.
    fn check_taken(&self, option: &str, path: &Path, content: Content) -> Result<(), Error> {
        let identity = identity(path);
        match self.taken.iter().find(|(_, taken)| *taken == identity) {
            Some((other, _)) => {
                let error = Error::new(option, format_args!("another file than {other}"), path.display());
                Err(error.hint(format_args!("name a file such as {}", suggested(path, content).display())))
            }
            None => Ok(()),
        }
    }

    /// Refuses to replace a photo, and without `--force` a file that engraft didn't write.
    fn check_existing(&self, option: &str, path: &Path, content: Content) -> Result<(), Error> {
        let received = |what: &str| {
            let error =
                Error::new(option, "a new file, or one that engraft wrote", format_args!("{}, {what}", path.display()));
            error.with_kind(ErrorKind::InvalidArgument)
        };
        match FileKind::of(path) {
            FileKind::Photo => Err(received("a photo").hint("name another file; photos are never replaced")),
            FileKind::Missing | FileKind::Empty => Ok(()),
            _ if self.force || content.is_ours(path) => Ok(()),
            _ => Err(received("another file").hint("name another file, or add --force to replace this one")),
        }
    }
}

impl Destination {
    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Checks that the disk has room for `bytes` more. An existing file keeps its space until the new one is complete.
    ///
    /// # Errors
    /// There is less space.
    pub(crate) fn require_space(&self, bytes: u64) -> Result<(), Error> {
        let target = atomic::target(&self.0);
        match free_space(folder_of(&target)) {
            Some(free) if free < bytes => {
                let [needed, free] = [bytes, free].map(crate::cache::size);
                Err(Error::new(self.0.display(), format_args!("{needed} of free disk space"), free)
                    .with_kind(ErrorKind::Io)
                    .hint("make room on this disk, or name a file on another one"))
            }
            _ => Ok(()),
        }
    }
}

/// Adds what to do to the error of a file that could not be written; other errors stay.
pub(crate) fn advise(error: Error) -> Error {
    let is_of_writing = std::error::Error::source(&error).is_some_and(|source| source.is::<AtomicError>());
    match is_of_writing {
        true => error.hint("make room there or name another place, then run the command again"),
        false => error,
    }
}

/// The file that a path stands for, whatever links and dots are in it.
fn identity(path: &Path) -> PathBuf {
    let target = atomic::target(path);
    let folder = folder_of(&target);
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    // The file may not exist yet, so only its folder has a canonical path.
    target.canonicalize().unwrap_or_else(|_| folder.join(target.file_name().unwrap_or_default()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A name like that of `path`, for this content, that no file has.
fn suggested(path: &Path, content: Content) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split_once('.').map_or(&*name, |(stem, _)| stem);
    let names = std::iter::once(String::new()).chain((2..).map(|number| format!("-{number}")));
    let mut paths = names.map(|number| path.with_file_name(format!("{stem}{number}.{}", content.extension())));
    paths.find(|path| FileKind::of(path) == FileKind::Missing).unwrap_or_default()
}

/// Refuses folders, devices and pipes. A rename would replace a device or pipe by a file.
fn check_kind(option: &str, path: &Path) -> Result<(), Failure> {
    let usage = |received: &dyn std::fmt::Display, hint: &str| {
        Err(Failure::Usage(Error::new(option, "the name of a file to write", received).hint(hint)))
    };
    match FileKind::of(path) {
        FileKind::Special => {
            usage(&format_args!("{}, a device or pipe", path.display()), "write to a file, and copy it from there")
        }
        FileKind::Folder => usage(&path.display(), "add a file name, such as model.keras"),
        _ if path.file_name().is_none() => usage(&path.display(), "add a file name, such as model.keras"),
        _ => Ok(()),
    }
}

/// Refuses a name whose extension promises other content. The hint has the option or the command that writes such content.
fn check_extension(option: &str, path: &Path, content: Content) -> Result<(), Error> {
    if content.fits(path) {
        return Ok(());
    }
    let expected = format!("a name that ends in .{}, for {}", content.extension(), content.words());
    let error = Error::new(option, expected, path.display());
    let fitting = suggested(path, content);
    let fitting = fitting.display();
    Err(match (content, Content::exported(path)) {
        (Content::Keras, Some(format)) => error.hint(format_args!(
            "use {option} {fitting}, then convert it: engraft export {fitting} --to {}",
            format.extension()
        )),
        (Content::H5 | Content::WeightsH5 | Content::Onnx | Content::Safetensors, Some(format)) => {
            error.hint(format_args!("use --to {}, or {option} {fitting}", format.extension()))
        }
        (Content::Text | Content::JsonLines | Content::Csv, _) if option == "--output" => {
            match Content::answers(path) {
                Some(Content::Parquet) => {
                    error.hint(format_args!("use --parquet {}, or {option} {fitting}", path.display()))
                }
                Some(Content::Csv) => error.hint(format_args!("use --csv, or {option} {fitting}")),
                Some(_) => error.hint(format_args!("use --json, or {option} {fitting}")),
                None => error.hint(format_args!("use {option} {fitting}")),
            }
        }
        _ => error.hint(format_args!("use {option} {fitting}")),
    })
}

/// Checks that a file can be created where `path` leads.
fn check_folder(path: &Path) -> Result<(), Error> {
    let target = atomic::target(path);
    let folder = folder_of(&target);
    match tempfile::Builder::new().prefix(".engraft").tempfile_in(folder) {
        // The temporary file of the check is deleted when dropped.
        Ok(_) => Ok(()),
        Err(error) if !folder.is_dir() => Err(Error::because(folder.display(), "there is no such folder")
            .with_kind(ErrorKind::NotFound)
            .caused_by(error)
            .hint("create the folder first")),
        // The error's own text names the temporary file of the check, which means nothing to the user.
        Err(error) => Err(Error::because(path.display(), format_args!("can't be written: {}", io_reason(&error)))
            .with_kind(error.kind().into())
            .caused_by(error)
            .hint("give yourself write access to its folder, make room there, or name another place")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(path: &Path) -> Failure {
        Outputs::default().check("--output", path, Content::Keras).unwrap_err()
    }

    #[test]
    fn a_good_place_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.keras");
        assert_eq!(Outputs::default().check("--output", &path, Content::Keras).unwrap().path(), path);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_bad_place_is_known_before() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(failure(folder.path()), Failure::Usage(_)));
        assert!(matches!(failure(Path::new("..")), Failure::Usage(_)));
        let Failure::Failed(error) = failure(&folder.path().join("absent/model.keras")) else { panic!() };
        assert!(
            error.to_string().contains("absent: there is no such folder\nhint: create the folder first"),
            "{error}"
        );
    }

    #[test]
    fn one_file_under_two_names_is_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.keras");
        let other = folder.path().join("./x/../model.keras");
        std::fs::create_dir(folder.path().join("x")).unwrap();
        let mut outputs = Outputs::default();
        outputs.check("--output", &path, Content::Keras).unwrap();
        let Failure::Failed(error) = outputs.check("--best", &other, Content::Keras).unwrap_err() else { panic!() };
        assert!(error.to_string().contains("--best: expected another file than --output"), "{error}");
    }

    #[test]
    fn more_space_than_a_disk_has_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let destination = Destination(folder.path().join("model.keras"));
        assert!(destination.require_space(1).is_ok());
        #[cfg(unix)]
        assert!(destination.require_space(u64::MAX).is_err_and(|error| error.to_string().contains("free disk space")));
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_never_replaced() {
        let Failure::Usage(error) = failure(Path::new("/dev/null")) else { panic!() };
        assert!(error.to_string().contains("received /dev/null, a device or pipe"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_that_cannot_be_written_is_known_before() {
        let Failure::Failed(error) = failure(Path::new("/proc/self/model.keras")) else { panic!() };
        let error = error.to_string();
        assert!(
            error.starts_with("/proc/self/model.keras: can't be written: ") && !error.contains(".engraft"),
            "{error}"
        );
    }
}
