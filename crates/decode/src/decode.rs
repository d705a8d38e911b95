//! One body from its first byte to conformed rows: opens it, reads every member, conforms every batch.

use std::io::{self, Write};
use std::path::Path;

use crate::conform::Conformer;
use crate::error::DecodeError;
use crate::input::Input;
use crate::open::for_each_member;
use crate::record::{Conformed, DecodeReport};
use crate::spec::DecodeJob;
use crate::worker::{Failure, FrameWriter};

/// Decodes `input` as `job` says and hands each conformed batch to `sink`, in the order of the source.
///
/// When this returns `Ok`, every byte of every wanted member was read, and every record is either in a row or in a reject.
///
/// # Errors
/// The body is damaged, is not what the job says, breaks too many rules or a limit; and what `sink` returns.
pub fn decode(
    input: Input,
    job: &DecodeJob,
    spool_dir: &Path,
    sink: &mut dyn FnMut(Conformed) -> Result<(), DecodeError>,
) -> Result<DecodeReport, DecodeError> {
    let mut conformer = Conformer::new(job.clone())?;
    let opened = for_each_member(input, job, spool_dir, &mut |_, mut source| {
        while let Some(batch) = source.next_batch()? {
            let mut rest = Some(batch);
            while let Some(mut part) = rest {
                rest = part.split_off(conformer.rows_at_once(&part));
                sink(conformer.conform(part)?)?;
            }
        }
        Ok(())
    })?;
    let mut report = conformer.finish()?;
    report.decoded_bytes = opened.decoded_bytes;
    report.members = opened.members;
    report.encoding = opened.encoding;
    Ok(report)
}

/// Decodes `input` and writes frames to `out` (see [`crate::worker`]); a failed decode is a frame too. Archive members
/// that need random access are spooled into unnamed files in the system's temporary folder.
///
/// # Errors
/// Only those of `out`: the parent went away.
pub fn serve(input: Input, job: DecodeJob, out: Box<dyn Write + Send>) -> io::Result<()> {
    let mut writer = FrameWriter::new(out);
    let mut broken = None;
    let outcome = decode(input, &job, &std::env::temp_dir(), &mut |conformed| {
        writer.conformed(&conformed).map_err(|error| {
            broken = Some(error);
            DecodeError::Stopped
        })
    });
    match (broken, outcome) {
        (Some(error), _) => Err(error),
        (None, Ok(report)) => writer.done(&report),
        (None, Err(error)) => writer.failed(&Failure::of(&error)),
    }
}
