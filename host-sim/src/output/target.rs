//! Report files: written beside their place and moved there whole, or not at all.

use crate::scenario::codes::Code;
use crate::scenario::diagnostics::Fault;
use crate::scenario::source::reason;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A report being written. Dropping it without [`Target::finish`] leaves nothing behind.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    temporary: PathBuf,
    out: Option<BufWriter<File>>,
}

fn fault(path: &Path, why: &str) -> Fault {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    Fault::bare(Code::OUTPUT, format!("the report `{name}` could not be written: {why}"))
}

impl Target {
    /// Opens a temporary file beside `path`.
    ///
    /// # Errors
    /// The folder cannot be written to, or something that is no regular file is in the way.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        if let Ok(meta) = fs::symlink_metadata(path)
            && !meta.is_file()
        {
            return Err(fault(path, "something that is no regular file is in its place"));
        }
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
            return Err(fault(path, "the path has no file name"));
        };
        // Another uvsim may be writing the same report; what it left is never touched.
        for attempt in 0..100 {
            let temporary = path.with_file_name(format!(".{name}.{attempt}.part"));
            match OpenOptions::new().write(true).create_new(true).open(&temporary) {
                Ok(file) => {
                    let out = Some(BufWriter::new(file));
                    return Ok(Self { path: path.to_owned(), temporary, out });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
                Err(error) => return Err(fault(path, &reason(&error))),
            }
        }
        Err(fault(path, "too many unfinished reports lie beside it"))
    }

    /// Where to write.
    pub fn writer(&mut self) -> &mut impl Write {
        self.out.as_mut().expect("`finish` consumes the target, so the file is open until then")
    }

    /// What to say after writing failed.
    pub fn failed(&self, error: &io::Error) -> Fault {
        fault(&self.path, &reason(error))
    }

    /// Moves the report to its place.
    ///
    /// # Errors
    /// The last bytes could not be written, or the file not be moved.
    pub fn finish(mut self) -> Result<(), Fault> {
        let out = self.out.take().expect("only `finish` takes it, and consumes the target");
        let written = out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&self.temporary, &self.path));
        written.map_err(|error| self.failed(&error))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // After `finish` it has another name; then, as after any failure here, nothing is lost.
        fs::remove_file(&self.temporary).ok();
    }
}
