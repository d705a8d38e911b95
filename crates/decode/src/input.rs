//! The bytes of one body: a landed file, or a stream out of an archive or decompressor.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Bytes to decode.
pub enum Input {
    /// A regular file, readable at any offset and from several threads.
    File(File),
    /// A stream, for instance an archive member.
    Stream(Box<dyn Read + Send>),
}

impl std::fmt::Debug for Input {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(file) => formatter.debug_tuple("File").field(file).finish(),
            Self::Stream(_) => formatter.write_str("Stream"),
        }
    }
}

impl Input {
    /// Turns it into a stream from the first byte.
    pub fn into_read(self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::File(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                Box::new(file)
            }
            Self::Stream(stream) => stream,
        })
    }

    /// Turns it into a file that can be read at any offset; a stream is spooled into the unnamed file `spool`.
    pub fn into_file(self, spool: impl FnOnce() -> io::Result<File>) -> io::Result<File> {
        match self {
            Self::File(file) => Ok(file),
            Self::Stream(mut stream) => {
                let mut file = spool()?;
                io::copy(&mut stream, &mut file)?;
                file.flush()?;
                file.seek(SeekFrom::Start(0))?;
                Ok(file)
            }
        }
    }
}
