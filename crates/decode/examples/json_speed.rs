//! Measures how fast NDJSON is decoded, without conforming or writing it.
//!
//! `cargo run --release -p hambar-decode --example json_speed -- FILE [THREADS]`
#![expect(clippy::print_stdout, reason = "an example that prints its figures")]

use std::fs::File;
use std::time::Instant;

use hambar_decode::spec::DecodeJob;
use hambar_decode::{Input, for_each_member};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: json_speed FILE [THREADS]")?;
    let threads = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let file = File::open(&path)?;
    let megabytes = file.metadata()?.len() as f64 / 1e6;
    let mut job = DecodeJob::new(serde_json::from_str(r#"{"kind": "ndjson"}"#)?, Vec::new());
    job.limits.threads = threads;
    let started = Instant::now();
    let (mut rows, mut faults) = (0, 0);
    for_each_member(Input::File(file), &job, &std::env::temp_dir(), &mut |_, mut source| {
        while let Some(batch) = source.next_batch()? {
            rows += batch.batch.num_rows();
            faults += batch.faults.len();
        }
        Ok(())
    })?;
    let seconds = started.elapsed().as_secs_f64();
    println!("{rows} rows, {faults} faults");
    println!("{megabytes:.0} MB in {seconds:.2} s with {threads} threads: {:.0} MB/s", megabytes / seconds);
    Ok(())
}
