//! The worker's side: what `hambar decode-worker` does. It reads one request from its standard input, opens the body,
//! confines itself for good, and only then looks at the first untrusted byte.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use hambar_core::ErrorClass;
use hambar_decode::Input;
use hambar_decode::spec::DecodeJob;
use hambar_decode::worker::{Failure, FrameWriter};
use hambar_sandbox::{Confinement, Network, confine};
use serde::{Deserialize, Serialize};

/// Bytes of a request; the columns of the widest table need a few.
const REQUEST_BYTES_MAX: u64 = 64 * hambar_core::limits::MIB;

/// Decodes an input as the job says and writes frames (`hambar_decode::worker`). An `Err` means that the frames could
/// not be written; a failed decode is a frame.
pub type Serve = fn(Input, DecodeJob, Box<dyn Write + Send>) -> io::Result<()>;

/// What the parent asks of a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WorkerRequest {
    pub(super) body: PathBuf,
    pub(super) job: DecodeJob,
    pub(super) limits: WorkerLimits,
}

/// The operating system's limits on a worker.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct WorkerLimits {
    pub(super) memory_bytes_max: u64,
    pub(super) cpu_seconds_max: u64,
    pub(super) file_bytes_max: u64,
    pub(super) descriptors_max: u64,
}

/// Runs the worker: request on standard input, frames on standard output, exit code 0 once the last frame is out.
pub fn child_main(serve: Serve) -> ExitCode {
    // The descriptor itself: the library's standard output looks for line ends in everything it writes.
    let Ok(out) = io::stdout().as_fd().try_clone_to_owned().map(File::from) else {
        return ExitCode::FAILURE;
    };
    match prepare() {
        Ok((input, job)) => match serve(input, job, Box::new(BufWriter::new(out))) {
            Ok(()) => ExitCode::SUCCESS,
            // The parent went away, or its pipe broke: nobody is there to be told.
            Err(_) => ExitCode::FAILURE,
        },
        Err(message) => {
            let failure = Failure { class: ErrorClass::Internal.name().to_owned(), message, hint: None };
            match FrameWriter::new(out).failed(&failure) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn prepare() -> Result<(Input, DecodeJob), String> {
    let mut text = Vec::new();
    let read = io::stdin().take(REQUEST_BYTES_MAX).read_to_end(&mut text);
    read.map_err(|error| format!("read the request of the decode worker: {error}"))?;
    let request: WorkerRequest =
        serde_json::from_slice(&text).map_err(|error| format!("the request of the decode worker: {error}"))?;
    let body = File::open(&request.body).map_err(|error| format!("open `{}`: {error}", request.body.display()))?;
    let confinement = Confinement {
        memory_bytes_max: request.limits.memory_bytes_max,
        cpu_seconds_max: request.limits.cpu_seconds_max,
        file_bytes_max: request.limits.file_bytes_max,
        descriptors_max: request.limits.descriptors_max,
        network: Network::Denied,
    };
    confine(&confinement).map_err(|error| error.to_string())?;
    Ok((Input::File(body), request.job))
}
