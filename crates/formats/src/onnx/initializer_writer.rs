//! The initializers of a graph to be written: their encoded lengths, and their bytes, one weight at a time.
//!
//! [`RawInitializer`](super::raw_initializer::RawInitializer) is the counterpart for reading.

use std::io::{self, Write};

use engraft_nn::Weight;
use engraft_nn::strided::transpose;
use half::f16;
use prost::Message;

use super::messages::{FLOAT, FLOAT16, INT64, RAW_DATA, TensorProto};
use super::protobuf::field_prefix;
use crate::FloatType;

/// An initializer to be written. A weight's values are read when it is written, not before.
#[derive(Debug)]
pub(super) struct Constant {
    name: String,
    dims: Vec<usize>,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Weight {
        weight: Weight,
        /// The order in which the weight's axes are written, as indices of the weight's axes.
        axes: Vec<usize>,
        float_type: FloatType,
    },
    Floats(Vec<f32>),
    Ints(Vec<i64>),
}

impl Constant {
    /// An initializer of shape `dims` with the weight's values, transposed by `axes`.
    ///
    /// `axes` are indices of the weight's axes: with `[3, 2, 0, 1]`, axis 3 of the weight becomes axis 0. The transposed shape
    /// may differ from `dims`: the values are then read as `dims` in row-major order.
    pub(super) fn weight(
        name: String,
        weight: &Weight,
        axes: &[usize],
        dims: Vec<usize>,
        float_type: FloatType,
    ) -> Self {
        Self { name, dims, data: Data::Weight { weight: weight.clone(), axes: axes.to_vec(), float_type } }
    }

    /// An initializer of f32 values with shape `dims`.
    pub(super) fn floats(name: String, dims: Vec<usize>, values: Vec<f32>) -> Self {
        Self { name, dims, data: Data::Floats(values) }
    }

    /// An initializer of 64-bit integers with one axis.
    pub(super) fn ints(name: String, values: Vec<i64>) -> Self {
        Self { name, dims: vec![values.len()], data: Data::Ints(values) }
    }

    /// The length of its encoded `TensorProto` in bytes.
    pub(super) fn encoded_len(&self) -> usize {
        self.header().len() + self.raw_len()
    }

    /// Encodes its `TensorProto` into `out`.
    ///
    /// # Errors
    /// The errors of `out`.
    pub(super) fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.header())?;
        match &self.data {
            Data::Floats(values) => write_values(values, FloatType::F32, out),
            Data::Ints(values) => values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes())),
            Data::Weight { weight, axes, float_type } => {
                let values = weight.values();
                if axes.is_sorted() {
                    write_values(&values, *float_type, out)
                } else {
                    write_values(&transpose(&values, weight.shape(), axes), *float_type, out)
                }
            }
        }
    }

    /// The encoded `TensorProto` up to the values.
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
            Data::Weight { float_type: FloatType::F16, .. } => FLOAT16,
            Data::Weight { float_type: FloatType::F32, .. } | Data::Floats(_) => FLOAT,
            Data::Ints(_) => INT64,
        }
    }

    fn raw_len(&self) -> usize {
        match &self.data {
            Data::Weight { weight, float_type: FloatType::F16, .. } => weight.count() * size_of::<f16>(),
            Data::Weight { weight, float_type: FloatType::F32, .. } => weight.count() * size_of::<f32>(),
            Data::Floats(values) => size_of_val(values.as_slice()),
            Data::Ints(values) => size_of_val(values.as_slice()),
        }
    }
}

/// Encodes values in chunks, so that a large weight isn't copied as a whole.
fn write_values(values: &[f32], float_type: FloatType, out: &mut impl Write) -> io::Result<()> {
    const CHUNK: usize = 1 << 14;
    values.chunks(CHUNK).try_for_each(|chunk| out.write_all(&float_type.bytes(chunk)))
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
            let tensor = Constant::weight("kernel".into(), &weight, &axes, vec![6], FloatType::F32);
            let found = decoded(&tensor);
            assert_eq!((found.name.as_str(), &found.dims[..], found.data_type), ("kernel", &[6][..], FLOAT));
            assert_eq!(found.raw_data, expected.map(f32::to_le_bytes).concat());
        }
    }

    #[test]
    fn f16_takes_half_the_bytes() {
        let tensor =
            Constant::weight("k".into(), &kernel(vec![1.0 / 3.0, -65504.0]), &[0, 1], vec![1, 2], FloatType::F16);
        let found = decoded(&tensor);
        assert_eq!(found.data_type, FLOAT16);
        assert_eq!(found.raw_data, [f16::from_f32(1.0 / 3.0), f16::MIN].map(f16::to_le_bytes).concat());
    }
}
