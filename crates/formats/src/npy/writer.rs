//! A streaming writer of `.npy` files, for arrays whose values arrive in parts.

use std::io::{self, Write};

use super::header;
use crate::FloatType;

/// Number of values that are converted and written at a time, to avoid a second copy of the array.
const BLOCK: usize = 1 << 14;

/// Writes a `.npy` file of float32 in parts, so that the array never needs to be in memory as a whole.
///
/// ```
/// use engraft_formats::npy::{self, Writer};
///
/// let mut file = Vec::new();
/// let mut rows = Writer::new(&mut file, &[2, 3])?;
/// rows.write(&[0.0, 1.0, 2.0])?;
/// rows.write(&[3.0, 4.0, 5.0])?;
/// rows.finish()?;
/// assert_eq!(npy::read(&file)?.shape(), [2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    shape: Vec<usize>,
    written: usize,
}

impl<W: Write> Writer<W> {
    /// Writes the header of an array of this shape.
    ///
    /// # Errors
    /// The output refuses the bytes.
    pub fn new(mut to: W, shape: &[usize]) -> io::Result<Self> {
        to.write_all(&header::of_f32(shape))?;
        Ok(Self { to, shape: shape.to_vec(), written: 0 })
    }

    /// Writes the next values, in row-major order.
    ///
    /// # Errors
    /// The output refuses the bytes.
    pub fn write(&mut self, values: &[f32]) -> io::Result<()> {
        self.written += values.len();
        values.chunks(BLOCK).try_for_each(|values| self.to.write_all(&FloatType::F32.bytes(values)))
    }

    /// Ends the array and checks the number of values.
    ///
    /// # Errors
    /// Fewer or more values were written than the shape has.
    pub fn finish(self) -> io::Result<()> {
        if self.shape.iter().product::<usize>() == self.written {
            return Ok(());
        }
        let problem = format!("expected values for shape {:?}, received {}", self.shape, self.written);
        Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_must_fill_the_shape() {
        for count in [0, 5, 7] {
            let mut writer = Writer::new(Vec::new(), &[2, 3]).unwrap();
            writer.write(&vec![1.0; count]).unwrap();
            let error = writer.finish().unwrap_err().to_string();
            assert_eq!(error, format!("expected values for shape [2, 3], received {count}"));
        }
    }
}
