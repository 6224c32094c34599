//! NumPy files: a single array (`.npy`), or named arrays in a zip archive (`.npz`).
//!
//! ```
//! use engraft_formats::npy;
//! use engraft_nn::Tensor;
//!
//! let folder = tempfile::tempdir()?;
//! let x = Tensor::new([2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0])?;
//! npy::save(&folder.path().join("x.npy"), &x)?;
//! assert_eq!(npy::load(&folder.path().join("x.npy"))?, x);
//!
//! npy::save_npz(&folder.path().join("all.npz"), &[("x", &x)])?;
//! assert_eq!(npy::load_npz(&folder.path().join("all.npz"))?, [("x".to_owned(), x)]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod header;
mod writer;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;

use engraft_nn::strided::transpose;
use engraft_nn::{Error, Result, Tensor};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

pub(crate) use self::header::Header;
pub use self::writer::Writer;
use crate::archive::Zip;
use crate::atomic;
use crate::error::at;
use crate::failing_once::FailingOnce;

/// Reads the array in a `.npy` file, converted to f32.
///
/// ```
/// use engraft_formats::npy;
/// use engraft_nn::Tensor;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("x.npy");
/// let x = Tensor::new([2, 2], vec![1.0, 2.0, 3.0, 4.0])?;
/// npy::save(&path, &x)?;
/// assert_eq!(npy::load(&path)?, x);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be read, isn't a `.npy`, or has a type other than booleans and little-endian integers and floats.
pub fn load(path: &Path) -> Result<Tensor> {
    let bytes = std::fs::read(path).map_err(|error| Error::from_io(path.display(), error))?;
    read(&bytes).map_err(|error| error.within(path.display()))
}

/// Reads the array in the bytes of a `.npy` file, converted to f32.
///
/// ```
/// let error = engraft_formats::npy::read(b"no array").unwrap_err();
/// assert!(error.to_string().starts_with("array: "));
/// ```
///
/// # Errors
/// The bytes aren't a `.npy`, or have a type other than booleans and little-endian integers and floats.
pub fn read(bytes: &[u8]) -> Result<Tensor> {
    array(bytes).map_err(Error::into_invalid_data)
}

fn array(bytes: &[u8]) -> Result<Tensor> {
    let (Header { element_type, fortran_order, shape }, data) = parts(bytes)?;
    let values = element_type.to_f32(data);
    if !fortran_order {
        return Tensor::new(shape, values);
    }
    // Fortran order is the row-major order of the array with its axes reversed.
    let reversed: Vec<usize> = shape.iter().rev().copied().collect();
    let axes: Vec<usize> = (0..shape.len()).rev().collect();
    Tensor::new(shape, transpose(&values, &reversed, &axes))
}

/// Reads the header of a `.npy`, after checking that the values match its shape.
pub(crate) fn header(bytes: &[u8]) -> Result<Header> {
    parts(bytes).map(|(header, _)| header)
}

/// Splits a `.npy` into its header and its values; their number must match the shape.
fn parts(bytes: &[u8]) -> Result<(Header, &[u8])> {
    let (header, data) = Header::read(bytes)?;
    let count = header.shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
    if count.and_then(|count| count.checked_mul(header.element_type.size())) == Some(data.len()) {
        return Ok((header, data));
    }
    let received = format!("{} bytes of {}", data.len(), header.element_type);
    Err(Error::new(PLACE, format_args!("values for shape {:?}", header.shape), received))
}

/// The place named in errors about an array.
const PLACE: &str = "array";

/// Reads the arrays of a `.npz` file with their names, in file order.
///
/// ```
/// use engraft_formats::npy;
/// use engraft_nn::Tensor;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("all.npz");
/// npy::save_npz(&path, &[("images", &Tensor::zeros([2, 8, 8, 3])), ("labels", &Tensor::zeros([2]))])?;
/// let arrays = npy::load_npz(&path)?;
/// assert_eq!((arrays[1].0.as_str(), arrays[1].1.shape()), ("labels", &[2][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be read or isn't a `.npz`; an array (the error names it) isn't numeric; the arrays together
/// take more memory as f32 than 16 times the file's length (at least 64 MiB are allowed).
pub fn load_npz(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let file = File::open(path).map_err(|error| Error::from_io(path.display(), error))?;
    read_npz(BufReader::new(file)).map_err(|error| error.within(path.display()))
}

/// Like [`load_npz`], from any seekable reader.
///
/// ```
/// use engraft_formats::npy;
/// use engraft_nn::Tensor;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("all.npz");
/// let x = Tensor::new([2, 2], vec![1.0, 2.0, 3.0, 4.0])?;
/// npy::save_npz(&path, &[("x", &x)])?;
/// let bytes = std::fs::read(&path)?;
/// assert_eq!(npy::read_npz(std::io::Cursor::new(bytes))?, [("x".to_owned(), x)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`load_npz`].
pub fn read_npz(file: impl Read + Seek + Send + 'static) -> Result<Vec<(String, Tensor)>> {
    each(file, read).map_err(Error::into_invalid_data)
}

/// Calls `read` with the bytes of each `.npy` in a `.npz` file; returns names and results.
///
/// All arrays together must fit the file's expansion limit as f32, even if `read` doesn't convert them.
pub(crate) fn each<T>(
    file: impl Read + Seek + Send + 'static,
    read: impl Fn(&[u8]) -> Result<T>,
) -> Result<Vec<(String, T)>> {
    let mut zip = Zip::new(file, "a .npz file (a zip archive of .npy files)")?;
    let mut left = zip.expansion_limit();
    let mut arrays = Vec::new();
    for entry in zip.names() {
        let bytes = zip.read(&entry, left)?.unwrap_or_default();
        let name = entry.strip_suffix(".npy").unwrap_or(&entry);
        let within = |error: Error| error.within(format_args!("`{name}`"));
        let size = header(&bytes).map_err(within)?.bytes_as_f32().max(bytes.len() as u64);
        left = left.checked_sub(size).ok_or_else(|| {
            let expected = format!("at most {left} bytes as f32, which are left of the budget for this file");
            within(Error::new(PLACE, expected, size).hint("if the file can be trusted, save this array as a .npy"))
        })?;
        arrays.push((name.to_owned(), read(&bytes).map_err(within)?));
    }
    Ok(arrays)
}

/// Writes an array to a `.npy` file that NumPy loads as float32.
///
/// ```
/// use engraft_formats::npy;
/// use engraft_nn::Tensor;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("x.npy");
/// let x = Tensor::new([2, 2], vec![1.0, 2.0, 3.0, 4.0])?;
/// npy::save(&path, &x)?;
/// let bytes = std::fs::read(&path)?;
/// assert!(bytes.starts_with(b"\x93NUMPY"));
/// assert_eq!(npy::read(&bytes)?, x);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be written. Then the old one, if there is one, is unchanged.
pub fn save(path: &Path, tensor: &Tensor) -> Result<()> {
    atomic::write(path, |file| write(tensor, file)).map_err(|error| at("array", error))
}

/// Writes named arrays to a `.npz` file, like `numpy.savez`.
///
/// ```
/// use engraft_formats::npy;
/// use engraft_nn::Tensor;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("all.npz");
/// let x = Tensor::new([2, 2], vec![1.0, 2.0, 3.0, 4.0])?;
/// npy::save_npz(&path, &[("x", &x), ("y", &x)])?;
/// assert_eq!(npy::load_npz(&path)?.len(), 2);
/// assert!(npy::save_npz(&path, &[("x", &x), ("x", &x)]).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file can't be written; two arrays have the same name.
pub fn save_npz(path: &Path, arrays: &[(&str, &Tensor)]) -> Result<()> {
    atomic::write(path, |file| {
        let mut zip = ZipWriter::new(FailingOnce::new(file));
        for (name, tensor) in arrays {
            let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
            zip.start_file(format!("{name}.npy"), options.large_file(tensor.data().len() >= 1 << 29))?;
            write(tensor, &mut zip)?;
        }
        zip.finish().map(|_| ()).map_err(Into::into)
    })
    .map_err(|error| at("arrays", error))
}

fn write(tensor: &Tensor, to: &mut impl Write) -> io::Result<()> {
    let mut writer = Writer::new(to, tensor.shape())?;
    writer.write(tensor.data())?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `.npy` of version 1 with this header.
    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn header(descr: &str, fortran: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n")
    }

    #[test]
    fn both_orders_and_other_widths_are_read() {
        let fortran = npy(&header("|i1", "True", "(2, 3)"), &[0, 3, 1, 4, 2, 5]);
        assert_eq!(read(&fortran).unwrap(), Tensor::new([2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap());
        let scalar = npy(&header("<f2", "False", "()"), &[0, 0x3c]);
        assert_eq!(read(&scalar).unwrap(), Tensor::new([], vec![1.0]).unwrap());
    }

    #[test]
    fn values_must_fill_the_shape() {
        for shape in ["(2,)", "(4611686018427387904, 8)", "(0,)"] {
            let error = read(&npy(&header("<f4", "False", shape), &[0; 7])).unwrap_err().to_string();
            assert!(error.contains("array: expected values for shape ["), "{error}");
        }
    }

    #[test]
    fn truncated_anywhere_it_is_an_error() {
        let bytes = npy(&header("<f4", "False", "(2,)"), &[0; 8]);
        assert!(read(&bytes).is_ok());
        assert!((0..bytes.len()).all(|len| read(&bytes[..len]).is_err()));
    }

    #[test]
    fn arrays_beyond_the_budget_are_refused() {
        let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
        let zeros = npy(&header("<f4", "False", "(10485760,)"), &vec![0; 40 << 20]);
        for name in ["a.npy", "b.npy"] {
            zip.start_file(name, SimpleFileOptions::default()).unwrap();
            zip.write_all(&zeros).unwrap();
        }
        let error = read_npz(zip.finish().unwrap()).unwrap_err().to_string();
        assert!(error.contains("entry `b.npy`: expected at most"), "{error}");
    }
}
