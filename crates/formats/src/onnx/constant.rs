//! The constants of a graph: how long they are in a file, and their bytes, one weight at a time.

use std::io::{self, Write};

use engraft_nn::Weight;
use engraft_nn::strided::transpose;
use half::f16;
use prost::Message;

use super::file::field_prefix;
use super::proto::{FLOAT, FLOAT16, INT64, RAW_DATA, TensorProto};
use crate::Precision;

/// An initializer to be written. The values of a weight are read when its turn comes.
#[derive(Debug)]
pub(super) struct Constant {
    name: String,
    dims: Vec<usize>,
    data: Data,
}

#[derive(Debug)]
enum Data {
    /// The weight's axes in the order in which they are written.
    Weight {
        weight: Weight,
        axes: Vec<usize>,
        precision: Precision,
    },
    Floats(Vec<f32>),
    Ints(Vec<i64>),
}

impl Constant {
    /// A weight as `dims`, its axes in another order: `[3, 2, 0, 1]` puts the last of four first.
    pub(super) fn weight(
        name: String,
        weight: &Weight,
        axes: &[usize],
        dims: Vec<usize>,
        precision: Precision,
    ) -> Self {
        Self { name, dims, data: Data::Weight { weight: weight.clone(), axes: axes.to_vec(), precision } }
    }

    /// Numbers of this shape.
    pub(super) fn floats(name: String, dims: Vec<usize>, values: Vec<f32>) -> Self {
        Self { name, dims, data: Data::Floats(values) }
    }

    /// A list of sizes or positions.
    pub(super) fn ints(name: String, values: Vec<i64>) -> Self {
        Self { name, dims: vec![values.len()], data: Data::Ints(values) }
    }

    /// Bytes of its message.
    pub(super) fn encoded_len(&self) -> usize {
        self.header().len() + self.raw_len()
    }

    /// Writes its message.
    ///
    /// # Errors
    /// What can't be written.
    pub(super) fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.header())?;
        match &self.data {
            Data::Floats(values) => write_values(values, Precision::F32, out),
            Data::Ints(values) => values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes())),
            Data::Weight { weight, axes, precision } => {
                let values = weight.values();
                if axes.is_sorted() {
                    write_values(&values, *precision, out)
                } else {
                    write_values(&transpose(&values, weight.shape(), axes), *precision, out)
                }
            }
        }
    }

    /// The message up to its numbers.
    fn header(&self) -> Vec<u8> {
        let header = TensorProto {
            name: self.name.clone(),
            dims: self.dims.iter().map(|&size| size as i64).collect(),
            data_type: self.data_type(),
            ..TensorProto::default()
        };
        let mut bytes = header.encode_to_vec();
        bytes.extend(field_prefix(RAW_DATA, self.raw_len()));
        bytes
    }

    fn data_type(&self) -> i32 {
        match &self.data {
            Data::Weight { precision: Precision::F16, .. } => FLOAT16,
            Data::Weight { precision: Precision::F32, .. } | Data::Floats(_) => FLOAT,
            Data::Ints(_) => INT64,
        }
    }

    fn raw_len(&self) -> usize {
        match &self.data {
            Data::Weight { weight, precision: Precision::F16, .. } => weight.count() * size_of::<f16>(),
            Data::Weight { weight, precision: Precision::F32, .. } => weight.count() * size_of::<f32>(),
            Data::Floats(values) => size_of_val(values.as_slice()),
            Data::Ints(values) => size_of_val(values.as_slice()),
        }
    }
}

/// Converts a few numbers at a time: the largest weights never stand in memory twice.
fn write_values(values: &[f32], precision: Precision, out: &mut impl Write) -> io::Result<()> {
    const CHUNK: usize = 1 << 14;
    values.chunks(CHUNK).try_for_each(|chunk| out.write_all(&precision.bytes(chunk)))
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;

    use super::*;

    fn kernel(values: Vec<f32>) -> Weight {
        let layer = Dense::new(2).named("dense").into_layer();
        layer.call(&Input::new([values.len() / 2])).unwrap();
        layer.weights()[0].set(values).unwrap();
        layer.weights()[0].clone()
    }

    fn decoded(tensor: &Constant) -> TensorProto {
        let mut bytes = Vec::new();
        tensor.write_to(&mut bytes).unwrap();
        assert_eq!(bytes.len(), tensor.encoded_len());
        TensorProto::decode(&bytes[..]).unwrap()
    }

    #[test]
    fn a_weight_is_written_with_its_axes_in_order() {
        let weight = kernel(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        for (axes, expected) in [([0, 1], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), ([1, 0], [1.0, 3.0, 5.0, 2.0, 4.0, 6.0])] {
            let tensor = Constant::weight("kernel".into(), &weight, &axes, vec![6], Precision::F32);
            let found = decoded(&tensor);
            assert_eq!((found.name.as_str(), &found.dims[..], found.data_type), ("kernel", &[6][..], FLOAT));
            assert_eq!(found.raw_data, expected.map(f32::to_le_bytes).concat());
        }
    }

    #[test]
    fn f16_takes_half_the_bytes() {
        let tensor =
            Constant::weight("k".into(), &kernel(vec![1.0 / 3.0, -65504.0]), &[0, 1], vec![1, 2], Precision::F16);
        let found = decoded(&tensor);
        assert_eq!(found.data_type, FLOAT16);
        assert_eq!(found.raw_data, [f16::from_f32(1.0 / 3.0), f16::MIN].map(f16::to_le_bytes).concat());
    }
}
