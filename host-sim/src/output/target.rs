//! Report files: written beside their place and moved there whole, or not at all.

use crate::scenario::codes::Code;
use crate::scenario::diagnostics::Fault;
use crate::scenario::source::{reason, shown};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A report being written. Dropping it without [`Target::finish`] leaves nothing behind.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    temporary: PathBuf,
    out: Option<BufWriter<File>>,
    moved: bool,
}

fn refused(path: &Path, why: &str) -> Fault {
    Fault::bare(Code::OUTPUT, format!("`{}` could not be written: {why}", shown(path)))
}

/// What to say after writing to `path` failed.
pub fn fault(path: &Path, error: &io::Error) -> Fault {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent {
        Some(parent) if error.kind() == io::ErrorKind::NotFound && !parent.exists() => {
            refused(path, &format!("there is no folder `{}`", shown(parent)))
        }
        Some(_) | None => refused(path, &reason(error)),
    }
}

/// What a command reads and where it writes: no report takes the place of a file that was read, or
/// of another report.
#[derive(Debug, Default)]
pub struct Taken {
    read: BTreeSet<PathBuf>,
    /// The same files, whatever their names: a file may have several (hard links).
    inodes: BTreeSet<(u64, u64)>,
    written: BTreeSet<PathBuf>,
}

impl Taken {
    /// For a command that reads these files.
    pub fn by(read: impl IntoIterator<Item = PathBuf>) -> Self {
        let read: BTreeSet<PathBuf> =
            read.into_iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
        let inodes = read.iter().filter_map(|path| inode(path)).collect();
        Self { read, inodes, written: BTreeSet::new() }
    }

    /// Takes the place `path` for a report.
    ///
    /// # Errors
    /// Something else of the command is there.
    pub fn take(&mut self, path: &Path) -> Result<(), Fault> {
        // A folder that is not there is told when the report is opened.
        let Some(place) = place(path) else { return Ok(()) };
        let is_read = inode(&place).is_some_and(|inode| self.inodes.contains(&inode));
        let what = if is_read || self.read.contains(&place) {
            "this command reads it"
        } else if !self.written.insert(place) {
            "another report of this command is to be written there"
        } else {
            return Ok(());
        };
        Err(refused(path, what).help("take another name"))
    }
}

/// Which file is there: its device and its number.
fn inode(path: &Path) -> Option<(u64, u64)> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

/// Where `path` lies, however it is spelt: that file, or where in its folder it would be.
fn place(path: &Path) -> Option<PathBuf> {
    if let Ok(there) = fs::canonicalize(path) {
        return Some(there);
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = fs::canonicalize(parent.unwrap_or(Path::new("."))).ok()?;
    Some(folder.join(path.file_name()?))
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
            return Err(refused(path, "something that is no regular file is in its place"));
        }
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
            return Err(refused(path, "the path has no file name"));
        };
        // Another uvsim may be writing the same report; what it left is never touched.
        for attempt in 0..100 {
            let temporary = path.with_file_name(format!(".{name}.{attempt}.part"));
            match OpenOptions::new().write(true).create_new(true).open(&temporary) {
                Ok(file) => {
                    let out = Some(BufWriter::new(file));
                    return Ok(Self { path: path.to_owned(), temporary, out, moved: false });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
                Err(error) => return Err(fault(path, &error)),
            }
        }
        Err(refused(path, "too many unfinished reports lie beside it"))
    }

    /// Where to write.
    pub fn writer(&mut self) -> &mut BufWriter<File> {
        self.out.as_mut().expect("`finish` consumes the target, so the file is open until then")
    }

    /// What to say after writing failed.
    pub fn failed(&self, error: &io::Error) -> Fault {
        fault(&self.path, error)
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
        self.moved = written.is_ok();
        written.map_err(|error| self.failed(&error))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Once moved, that name may be another uvsim's.
        if !self.moved {
            fs::remove_file(&self.temporary).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn no_report_takes_the_place_of_what_was_read_or_of_another_one_however_it_is_spelt() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("m.ron"), "Scenario(").expect("a file");
        std::os::unix::fs::symlink(at("m.ron"), at("link")).expect("a link");
        let mut taken = Taken::by([at("./m.ron"), at("gone")]);
        let mut told = |name: &str| taken.take(&at(name)).err().map(|fault| fault.message);
        assert!(told("m.ron").expect("refused").contains("reads it"));
        assert!(told("link").expect("refused").contains("reads it"));
        assert_eq!(told("r.json"), None);
        assert!(told("./r.json").expect("refused").contains("another report"));
        assert_eq!(told("none/r.json"), None, "told when it is opened");
    }

    #[test]
    fn a_report_is_there_whole_or_not_at_all() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let path = folder.path().join("result.json");
        let names = || fs::read_dir(folder.path()).expect("it is there").count();
        let mut dropped = Target::open(&path).expect("a new file");
        dropped.writer().write_all(b"half").expect("written");
        assert_eq!((names(), path.exists()), (1, false));
        drop(dropped);
        assert_eq!(names(), 0);
        let mut whole = Target::open(&path).expect("a new file");
        whole.writer().write_all(b"whole").expect("written");
        whole.finish().expect("moved");
        assert_eq!((names(), fs::read(&path).expect("the report")), (1, b"whole".to_vec()));
    }
}
