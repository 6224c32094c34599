//! Writes answers to a Parquet file. The only user of the crate `parquet`.

use std::path::Path;
use std::sync::Arc;

use engraft::formats::atomic::AtomicFile;
use engraft::{Error, Result};
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, FloatType};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{ColumnPath, Type};

use super::table::{Cell, Column, Kind};

/// Rows of a row group. Readers such as DuckDB read row groups in parallel, and take about as many rows for their own.
const GROUP_ROWS: usize = 100_000;

/// The most bytes of cells that are buffered for a row group. Larger row groups make a smaller index at the end of the file.
const GROUP_BYTES: usize = 64 << 20;

/// A Parquet file that grows row by row. It appears under its name when it is [finished](Self::finish): a Parquet file can be read
/// only with the index at its end.
pub(super) struct ParquetFile {
    path: String,
    writer: SerializedFileWriter<AtomicFile>,
    waiting: Vec<Waiting>,
    bytes: usize,
}

/// The cells of a column that wait for the end of their row group.
#[derive(Debug)]
struct Waiting {
    values: Values,
    /// For each row: 1 if it has a value, 0 if its cell is empty.
    levels: Vec<i16>,
}

#[derive(Debug)]
enum Values {
    Text(Vec<ByteArray>),
    Number(Vec<f32>),
    Flag(Vec<bool>),
}

impl ParquetFile {
    /// Starts a file with these columns, of which the first has a value in each row.
    ///
    /// # Errors
    /// Its folder can't be written.
    pub(super) fn create(path: &Path, columns: &[Column]) -> Result<Self> {
        let file = AtomicFile::create(path).map_err(|error| Error::from_source(path.display(), error))?;
        let path = path.display().to_string();
        let writer = schema(columns).and_then(|schema| SerializedFileWriter::new(file, schema, properties(columns)));
        let writer = writer.map_err(|error| failed(&path, error))?;
        Ok(Self { path, writer, waiting: columns.iter().map(|column| Waiting::new(column.kind)).collect(), bytes: 0 })
    }

    /// Adds a row: a cell for each column.
    ///
    /// # Errors
    /// The disk is full.
    pub(super) fn add(&mut self, row: Vec<Cell>) -> Result<()> {
        self.bytes += row.iter().map(Cell::bytes).sum::<usize>();
        self.waiting.iter_mut().zip(row).for_each(|(column, cell)| column.add(cell));
        let rows = self.waiting.first().map_or(0, |column| column.levels.len());
        match rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
            true => self.write_group().map_err(|error| failed(&self.path, error)),
            false => Ok(()),
        }
    }

    /// Writes the last rows and the index, and gives the file its name.
    ///
    /// # Errors
    /// The disk is full, or the file can't be replaced.
    pub(super) fn finish(mut self) -> Result<()> {
        let file = self.write_group().and_then(|()| self.writer.into_inner());
        let file = file.map_err(|error| failed(&self.path, error))?;
        file.commit().map_err(|error| Error::from_source(&self.path, error))
    }

    fn write_group(&mut self) -> std::result::Result<(), ParquetError> {
        self.bytes = 0;
        if self.waiting.first().is_none_or(|column| column.levels.is_empty()) {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for (index, column) in self.waiting.iter_mut().enumerate() {
            let is_required = index == 0;
            if let Some(writer) = group.next_column()? {
                column.write(writer, is_required)?;
            }
        }
        group.close().map(|_| ())
    }
}

impl Waiting {
    fn new(kind: Kind) -> Self {
        let values = match kind {
            Kind::Text | Kind::Category => Values::Text(Vec::new()),
            Kind::Number => Values::Number(Vec::new()),
            Kind::Flag => Values::Flag(Vec::new()),
        };
        Self { values, levels: Vec::new() }
    }

    fn add(&mut self, cell: Cell) {
        self.levels.push(i16::from(cell != Cell::Empty));
        match (&mut self.values, cell) {
            (Values::Text(values), Cell::Text(text)) => values.push(text.into_bytes().into()),
            (Values::Number(values), Cell::Number(number)) => values.push(number),
            (Values::Flag(values), Cell::Flag(flag)) => values.push(flag),
            (_, cell) => debug_assert_eq!(cell, Cell::Empty, "a cell of another column"),
        }
    }

    /// Writes the waiting cells, and leaves none.
    fn write(
        &mut self,
        mut writer: SerializedColumnWriter<'_>,
        is_required: bool,
    ) -> std::result::Result<(), ParquetError> {
        let levels = (!is_required).then_some(&self.levels[..]);
        match &mut self.values {
            Values::Text(values) => write_batch::<ByteArrayType>(&mut writer, values, levels)?,
            Values::Number(values) => write_batch::<FloatType>(&mut writer, values, levels)?,
            Values::Flag(values) => write_batch::<BoolType>(&mut writer, values, levels)?,
        }
        self.levels.clear();
        writer.close()
    }
}

fn write_batch<T: DataType>(
    writer: &mut SerializedColumnWriter<'_>,
    values: &mut Vec<T::T>,
    levels: Option<&[i16]>,
) -> std::result::Result<(), ParquetError> {
    writer.typed::<T>().write_batch(values, levels, None)?;
    values.clear();
    Ok(())
}

impl Cell {
    /// Bytes in memory, about.
    fn bytes(&self) -> usize {
        size_of::<i16>()
            + match self {
                Self::Text(text) => size_of::<ByteArray>() + text.len(),
                Self::Number(_) => size_of::<f32>(),
                Self::Flag(_) | Self::Empty => 1,
            }
    }
}

fn schema(columns: &[Column]) -> std::result::Result<Arc<Type>, ParquetError> {
    let column = |(index, column): (usize, &Column)| {
        let (physical, logical) = match column.kind {
            Kind::Text | Kind::Category => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Number => (Physical::FLOAT, None),
            Kind::Flag => (Physical::BOOLEAN, None),
        };
        let repetition = if index == 0 { Repetition::REQUIRED } else { Repetition::OPTIONAL };
        let column = Type::primitive_type_builder(&column.name, physical);
        column.with_logical_type(logical).with_repetition(repetition).build().map(Arc::new)
    };
    let fields = columns.iter().enumerate().map(column).collect::<std::result::Result<_, _>>()?;
    Type::group_type_builder("answers").with_fields(fields).build().map(Arc::new)
}

fn properties(columns: &[Column]) -> Arc<WriterProperties> {
    let properties = WriterProperties::builder()
        .set_created_by(format!("engraft version {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        // Paths and probabilities hardly repeat.
        .set_dictionary_enabled(false);
    let categories = columns.iter().filter(|column| column.kind == Kind::Category);
    let enable = |properties: parquet::file::properties::WriterPropertiesBuilder, column: &Column| {
        properties.set_column_dictionary_enabled(ColumnPath::from(column.name.as_str()), true)
    };
    Arc::new(categories.fold(properties, enable).build())
}

/// The error of the system where there is one, as for other outputs.
fn failed(path: &str, error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => Error::from_io(path, *source),
            Err(source) => Error::because(path, &source).caused_by(source),
        },
        other => Error::from_source(path, other),
    }
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::{Field, Row};

    use super::*;

    fn columns() -> Vec<Column> {
        let column = |name: &str, kind| Column { name: name.to_owned(), kind };
        vec![column("image", Kind::Text), column("class", Kind::Category), column("p", Kind::Number)]
    }

    /// The row of a photo; every seventh can't be read.
    fn cells(number: usize) -> Vec<Cell> {
        let image = Cell::Text(format!("{number}.jpg"));
        match number % 7 {
            0 => vec![image, Cell::Empty, Cell::Empty],
            _ => vec![image, Cell::Text("cat".to_owned()), Cell::Number(number as f32 / 8.0)],
        }
    }

    fn fields(row: Row) -> Vec<Field> {
        row.into_columns().into_iter().map(|(_, field)| field).collect()
    }

    #[test]
    fn rows_are_in_groups_and_empty_cells_are_null() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.parquet");
        let mut file = ParquetFile::create(&path, &columns()).unwrap();
        (0..GROUP_ROWS + 3).for_each(|number| file.add(cells(number)).unwrap());
        assert!(!path.exists());
        file.finish().unwrap();
        let reader = SerializedFileReader::try_from(path.as_path()).unwrap();
        assert!(reader.metadata().file_metadata().created_by().unwrap().starts_with("engraft version "));
        let rows = reader.metadata().row_groups().iter().map(|group| group.num_rows());
        assert_eq!(Vec::from_iter(rows), [GROUP_ROWS as i64, 3]);
        for (number, row) in reader.get_row_iter(None).unwrap().enumerate() {
            let expected = match number % 7 {
                0 => [Field::Null, Field::Null],
                _ => [Field::Str("cat".to_owned()), Field::Float(number as f32 / 8.0)],
            };
            let image = Field::Str(format!("{number}.jpg"));
            assert_eq!(fields(row.unwrap()), [&[image], &expected[..]].concat(), "{number}");
        }
    }

    #[test]
    fn a_table_without_rows_has_its_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.parquet");
        ParquetFile::create(&path, &columns()).unwrap().finish().unwrap();
        let reader = SerializedFileReader::try_from(path.as_path()).unwrap();
        let file = reader.metadata().file_metadata();
        assert_eq!((file.num_rows(), file.schema_descr().num_columns()), (0, 3));
    }
}
