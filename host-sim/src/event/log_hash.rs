//! The hash over a log, fed record by record: the recorder's while a run is written, and a reader's
//! when it is read back.

use super::Record;

/// Records are hashed in batches of about this many bytes.
const BATCH: usize = 64 * 1024;

/// BLAKE3 over the binary records.
#[derive(Debug)]
pub struct LogHash {
    hasher: blake3::Hasher,
    batch: Vec<u8>,
}

impl Default for LogHash {
    fn default() -> Self {
        Self { hasher: blake3::Hasher::new(), batch: Vec::with_capacity(BATCH + 4096) }
    }
}

impl LogHash {
    /// Takes the next record.
    pub fn feed(&mut self, record: &Record) {
        record.encode(&mut self.batch);
        if self.batch.len() >= BATCH {
            self.hasher.update(&self.batch);
            self.batch.clear();
        }
    }

    /// The hash over all records that were fed.
    pub fn finish(mut self) -> [u8; 32] {
        self.hasher.update(&self.batch);
        *self.hasher.finalize().as_bytes()
    }
}
