//! Measures how fast a CSV file is decoded, without conforming or writing it.
//!
//! `cargo run --release -p hambar-decode --example csv_speed -- FILE [THREADS]`
#![expect(clippy::print_stdout, reason = "an example that prints its figures")]

use std::fs::File;
use std::time::Instant;

use hambar_decode::csv::CsvSource;
use hambar_decode::spec::{DecodeLimits, FormatSpec};
use hambar_decode::{Input, RecordSource};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: csv_speed FILE [THREADS]")?;
    let threads = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let file = File::open(&path)?;
    let megabytes = file.metadata()?.len() as f64 / 1e6;
    let spec: FormatSpec = serde_json::from_str(r#"{"kind": "csv"}"#)?;
    let limits = DecodeLimits { threads, ..DecodeLimits::default() };

    let started = Instant::now();
    let mut source = CsvSource::open(Input::File(file), &spec, None, &limits)?;
    let (mut rows, mut faults, mut batches, mut bytes, mut dictionaries) = (0, 0, 0, 0, 0);
    while let Some(batch) = source.next_batch()? {
        rows += batch.batch.num_rows();
        faults += batch.faults.len();
        bytes += batch.batch.get_array_memory_size();
        let columns = batch.batch.columns().iter();
        dictionaries +=
            columns.filter(|column| matches!(column.data_type(), arrow::datatypes::DataType::Dictionary(..))).count();
        batches += 1;
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{rows} rows, {faults} faults, {} columns, encoding {}", source.names().len(), source.encoding());
    println!("{batches} batches, {dictionaries} dictionary columns in them, {} MB of arrays", bytes / 1_000_000);
    println!("{megabytes:.0} MB in {seconds:.2} s with {threads} threads: {:.0} MB/s", megabytes / seconds);
    Ok(())
}
