//! Parquet: one column of a file, a page at a time.

use super::{Record, Records};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows read at a time.
const ROWS: usize = 64;

/// The texts of column `field`; `name` and a row number tell where a fault is.
pub(super) fn records(
    path: &Path,
    name: String,
    field: &str,
    count: &Arc<AtomicU64>,
) -> Records<'static> {
    match Column::open(path, name.clone(), field, count) {
        Ok(mut column) => Box::new(std::iter::from_fn(move || column.next())),
        Err(reason) => Box::new(std::iter::once(Record::bad("file unreadable", &name, reason))),
    }
}

struct Column {
    reader: SerializedFileReader<File>,
    name: String,
    place: usize,
    /// Of definition levels: below it a value is null.
    level: i16,
    group: usize,
    open: Option<ColumnReaderImpl<ByteArrayType>>,
    ready: VecDeque<Record>,
    row: u64,
    count: Arc<AtomicU64>,
}

impl Column {
    fn open(
        path: &Path,
        name: String,
        field: &str,
        count: &Arc<AtomicU64>,
    ) -> Result<Column, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let reader = guarded(|| SerializedFileReader::new(file))?;
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let columns = schema.columns();
        let is_it = |column: &&parquet::schema::types::ColumnDescPtr| {
            column.path().string() == field && column.max_rep_level() == 0
        };
        let Some(found) = columns.iter().find(is_it) else {
            let names: Vec<String> = columns.iter().map(|c| c.path().string()).collect();
            return Err(format!("it has no column {field:?}, but {}", names.join(", ")));
        };
        if found.physical_type() != parquet::basic::Type::BYTE_ARRAY {
            return Err(format!("its column {field:?} is of type {}", found.physical_type()));
        }
        let place = columns.iter().position(|column| column == found).unwrap_or(0);
        let level = found.max_def_level();
        let count = count.clone();
        let (group, open, ready, row) = (0, None, VecDeque::new(), 0);
        Ok(Column { reader, name, place, level, group, open, ready, row, count })
    }

    fn next(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Some(record);
            }
            if self.open.is_none() && self.group >= self.reader.num_row_groups() {
                return None;
            }
            if let Err(reason) = self.advance() {
                // What is left of this group of rows is lost; the next may be whole.
                self.open = None;
                let place = format!("{} row {}", self.name, self.row + 1);
                return Some(Record::bad("file broken off", &place, reason));
            }
        }
    }

    fn advance(&mut self) -> Result<(), String> {
        let mut column = match self.open.take() {
            Some(column) => column,
            None => self.next_group()?,
        };
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let read = guarded(|| column.read_records(ROWS, Some(&mut levels), None, &mut values))?;
        if read.0 == 0 {
            return Ok(());
        }
        self.open = Some(column);
        self.push(read.0, &levels, values);
        Ok(())
    }

    fn next_group(&mut self) -> Result<ColumnReaderImpl<ByteArrayType>, String> {
        let group = self.group;
        self.group += 1;
        let reader = guarded(|| self.reader.get_row_group(group))?;
        let bytes = reader.metadata().column(self.place).compressed_size();
        self.count.fetch_add(bytes.max(0) as u64, Ordering::Relaxed);
        match guarded(|| reader.get_column_reader(self.place))? {
            column @ ColumnReader::ByteArrayColumnReader(_) => Ok(get_typed_column_reader(column)),
            _ => Err("the column is of another type".into()),
        }
    }

    fn push(&mut self, records: usize, levels: &[i16], values: Vec<ByteArray>) {
        let mut values = values.into_iter();
        for index in 0..records {
            self.row += 1;
            let place = || format!("{} row {}", self.name, self.row);
            let null = self.level > 0 && levels.get(index).is_some_and(|l| *l < self.level);
            let record = match (if null { None } else { values.next() }, null) {
                (Some(value), _) => match std::str::from_utf8(value.data()) {
                    Ok(text) => Record::Text(text.to_owned()),
                    Err(error) => Record::bad("not UTF-8", &place(), error),
                },
                (None, _) => Record::bad("field missing", &place(), "the value is null"),
            };
            self.ready.push_back(record);
        }
    }
}

/// Bytes that are no Parquet make some of the library's decoders panic: here that is a fault of the file like any other.
fn guarded<T>(work: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("its bytes make no sense".into()),
    }
}
