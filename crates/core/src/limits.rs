//! Limits with names and units: the defaults of `reliability.md` §3.3 that several crates share.

/// One kibibyte.
pub const KIB: u64 = 1024;
/// One mebibyte.
pub const MIB: u64 = 1024 * KIB;
/// One gibibyte.
pub const GIB: u64 = 1024 * MIB;

/// Bytes of one answer on the wire.
pub const FETCH_WIRE_BYTES_MAX: u64 = 20 * GIB;
/// Bytes of one answer or archive after decompression.
pub const DECODED_BYTES_MAX: u64 = 100 * GIB;
/// Decompressed bytes per compressed byte, once [`RATIO_FREE_BYTES`] are out.
pub const DECOMPRESSION_RATIO_MAX: u64 = 200;
/// Decompressed bytes for which the ratio is not looked at.
pub const RATIO_FREE_BYTES: u64 = 10 * MIB;
/// Members of an archive.
pub const ARCHIVE_MEMBERS_MAX: usize = 10_000;
/// Bytes of a path inside an archive.
pub const ARCHIVE_PATH_BYTES_MAX: usize = 512;
/// Columns of a table or file.
pub const COLUMNS_MAX: usize = 4_096;
/// Bytes of one cell.
pub const CELL_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one record.
pub const ROW_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of a raw record that a reject keeps.
pub const REJECT_RAW_BYTES_MAX: usize = 8 * 1024;
/// Rows that a decoder puts into one batch.
pub const BATCH_ROWS: usize = 65_536;
/// Bytes at which a decoder closes a batch before [`BATCH_ROWS`].
pub const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Cells at which a decoder closes a batch before [`BATCH_ROWS`]; empty ones count, they take memory too.
pub const BATCH_CELLS: usize = 4 * 1024 * 1024;
/// Address space of a decode worker.
pub const DECODE_WORKER_BYTES_MAX: u64 = 2 * GIB;
/// CPU seconds of a decode worker.
pub const DECODE_WORKER_CPU_SECONDS_MAX: u64 = 30 * 60;
