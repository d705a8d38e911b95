//! How fast SDMX-ML generic messages become Arrow rows: reads a generated message of the given number of MB (512 when
//! absent) from memory-sized pieces, on one thread, and prints MB/s. Nothing is written to disk.
//!
//! `cargo run --release -p hambar-decode --example sdmx_speed -- 512`

use std::io::{self, Read};
use std::time::Instant;

use hambar_decode::spec::DecodeJob;
use hambar_decode::{Input, sdmx};

const HEAD: &str = "<message:GenericData xmlns:message=\"m\" xmlns:generic=\"g\"><message:DataSet>";
const TAIL: &str = "</message:DataSet></message:GenericData>";
const MEGABYTE: u64 = 1_000_000;

/// A message that is made while it is read: series of 40 observations, indented as the ECB does it.
struct Generated {
    piece: Vec<u8>,
    taken: usize,
    series: u64,
    series_max: u64,
}

impl Generated {
    fn new(bytes: u64) -> Self {
        let series_max = bytes / series_text(1).len() as u64;
        Self { piece: HEAD.as_bytes().to_vec(), taken: 0, series: 0, series_max }
    }
}

fn series_text(number: u64) -> String {
    let mut text = String::from("    <generic:Series>\n      <generic:SeriesKey>\n");
    let area = ["BG", "RO", "GR", "HR"][(number % 4) as usize];
    for (id, value) in [
        ("FREQ", "M"),
        ("REF_AREA", area),
        ("CURRENCY", "EUR"),
        ("INDICATOR", &format!("IND{number:06}")),
        ("SUFFIX", "A"),
    ] {
        text.push_str(&format!("        <generic:Value id=\"{id}\" value=\"{value}\"/>\n"));
    }
    text.push_str("      </generic:SeriesKey>\n      <generic:Attributes>\n");
    text.push_str(
        "        <generic:Value id=\"UNIT\" value=\"EUR\"/>\n        <generic:Value id=\"DECIMALS\" value=\"4\"/>\n",
    );
    text.push_str("      </generic:Attributes>\n");
    for month in 0..40 {
        text.push_str("      <generic:Obs>\n");
        text.push_str(&format!(
            "        <generic:ObsDimension value=\"{}-{:02}\"/>\n",
            2000 + month / 12,
            month % 12 + 1
        ));
        text.push_str(&format!(
            "        <generic:ObsValue value=\"{}.{:04}\"/>\n",
            number % 1_000,
            (number * 7 + month) % 10_000
        ));
        text.push_str("        <generic:Attributes>\n          <generic:Value id=\"OBS_STATUS\" value=\"A\"/>\n");
        text.push_str("          <generic:Value id=\"OBS_CONF\" value=\"F\"/>\n        </generic:Attributes>\n      </generic:Obs>\n");
    }
    text.push_str("    </generic:Series>\n");
    text
}

impl Read for Generated {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.piece.len() {
            self.taken = 0;
            self.piece.clear();
            if self.series < self.series_max {
                // One text for 64 series: making it must not be what is measured.
                let text = series_text(self.series / 64);
                self.piece.extend_from_slice(text.as_bytes());
                self.series += 1;
                for _ in 1..64 {
                    if self.series < self.series_max {
                        self.piece.extend_from_slice(text.as_bytes());
                        self.series += 1;
                    }
                }
            } else if self.series == self.series_max {
                self.piece.extend_from_slice(TAIL.as_bytes());
                self.series += 1;
            }
        }
        let length = into.len().min(self.piece.len() - self.taken);
        into[..length].copy_from_slice(&self.piece[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}

#[expect(clippy::print_stdout, reason = "the example's result")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let megabytes: u64 = std::env::args().nth(1).map_or(Ok(512), |text| text.parse())?;
    let job = DecodeJob::new(serde_json::from_str(r#"{"kind":"sdmx_ml"}"#)?, Vec::new());
    let started = Instant::now();
    io::copy(&mut Generated::new(megabytes * MEGABYTE), &mut io::sink())?;
    let generating = started.elapsed();
    let started = Instant::now();
    let mut source = sdmx::open(Input::Stream(Box::new(Generated::new(megabytes * MEGABYTE))), &job, None)?;
    let (mut rows, mut batches) = (0, 0);
    while let Some(batch) = source.next_batch()? {
        rows += batch.batch.num_rows();
        batches += 1;
    }
    let elapsed = started.elapsed();
    let seconds = elapsed.saturating_sub(generating).as_secs_f64();
    println!(
        "{megabytes} MB, {rows} rows in {batches} batches: {:.0} MB/s ({:.2} s, generating it took {:.2} s more)",
        megabytes as f64 / seconds,
        seconds,
        generating.as_secs_f64()
    );
    Ok(())
}
