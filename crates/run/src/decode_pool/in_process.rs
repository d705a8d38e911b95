//! Decoding on a thread of this process, through the same frames as a worker's pipe. No containment: a decoder that
//! aborts takes the process with it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, PipeReader};
use std::sync::Arc;

use async_trait::async_trait;
use hambar_decode::Input;
use hambar_decode::worker::FrameReader;
use tokio::sync::{Semaphore, mpsc};

use super::child::Serve;
use super::{DecodeFailure, DecodeFrames, DecodePool, DecodeTask, Decoded, FRAMES_AHEAD_MAX, StopOnDrop, decoded};

/// Decodes on threads of this process.
#[derive(Debug)]
pub struct InProcess {
    serve: Serve,
    free: Arc<Semaphore>,
}

impl InProcess {
    /// Decodes at most `workers_max` bodies at a time with `serve`.
    pub fn new(serve: Serve, workers_max: usize) -> Self {
        Self { serve, free: Arc::new(Semaphore::new(workers_max.max(1))) }
    }
}

#[async_trait]
impl DecodePool for InProcess {
    async fn decode(&self, task: DecodeTask) -> Result<DecodeFrames, DecodeFailure> {
        let permit = Arc::clone(&self.free).acquire_owned().await.map_err(|closed| start(io::Error::other(closed)))?;
        let file = File::open(&task.path).map_err(start)?;
        let (reader, writer) = io::pipe().map_err(start)?;
        let (sender, receiver) = mpsc::channel(FRAMES_AHEAD_MAX);
        let serve = self.serve;
        tokio::task::spawn_blocking(move || {
            // A broken pipe means that the consumer went away; any other end is in the frames.
            if let Err(error) = serve(Input::File(file), task.job, Box::new(BufWriter::new(writer))) {
                tracing::debug!(%error, "decoder stopped");
            }
            drop((permit, task.keep));
        });
        tokio::task::spawn_blocking(move || forward(reader, &sender));
        Ok(DecodeFrames::new(receiver, StopOnDrop::nothing()))
    }
}

fn start(source: io::Error) -> DecodeFailure {
    DecodeFailure::Start { source }
}

fn forward(pipe: PipeReader, sender: &mpsc::Sender<Result<Decoded, DecodeFailure>>) {
    let mut frames = FrameReader::new(BufReader::new(pipe));
    loop {
        let result = match frames.next_frame() {
            Ok(None) => return,
            Ok(Some(frame)) => decoded(frame),
            Err(error) => Err(DecodeFailure::Died { how: format!("ended early: {error}"), stderr: String::new() }),
        };
        let is_last = result.is_err();
        if sender.blocking_send(result).is_err() || is_last {
            return;
        }
    }
}
