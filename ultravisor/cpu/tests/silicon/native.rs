//! The processor as the test sees it: batches of records to a child process and back.

use crate::child;
use crate::record::Record;
use std::io::{self, BufReader, BufWriter, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The child process.
pub struct Processor {
    child: Child,
    to: Option<BufWriter<ChildStdin>>,
    from: BufReader<ChildStdout>,
}

impl Processor {
    pub fn new() -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(child::ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let missing = || io::Error::other("the child has no pipes");
        let to = child.stdin.take().map(BufWriter::new);
        let from = child.stdout.take().map(BufReader::new).ok_or_else(missing)?;
        Ok(Self { child, to, from })
    }

    /// Runs each record natively; what each left.
    ///
    /// # Errors
    /// The child is gone: one of the snippets did what it must not.
    pub fn run(&mut self, starts: &[Record]) -> io::Result<Vec<Record>> {
        if let Some(to) = &mut self.to {
            to.write_all(&(starts.len() as u32).to_le_bytes())?;
            starts.iter().try_for_each(|start| start.write(to))?;
            to.flush()?;
        }
        starts.iter().map(|_| Record::read(&mut self.from)).collect()
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        // Without input it ends by itself.
        self.to = None;
        if self.child.wait().is_err() {
            self.child.kill().ok();
        }
    }
}
