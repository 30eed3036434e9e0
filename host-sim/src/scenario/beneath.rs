//! Files beneath a folder: opened part by part by their folder's handle, never through a link.
//!
//! Whoever wrote the files may also have made the folder a trap: what a name leads to is asked of
//! the handle that was opened and of nothing else, so nothing can be put in its place in between.

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, open, openat, statat};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// Why a file beneath a folder was not read.
#[derive(Debug)]
pub enum Unread {
    /// The path goes up, begins at the root, or has signs that paths have elsewhere.
    Leaves,
    /// A part of the path is a link.
    Link,
    /// It is a pipe, a device, a folder, a socket.
    NotRegular,
    /// It has more bytes than it may have.
    TooLarge,
    /// The system says no.
    Failed(io::Error),
}

impl From<rustix::io::Errno> for Unread {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Failed(error.into())
    }
}

/// The folder `root` of the command line: the user named it, so links in its path are the user's.
///
/// # Errors
/// It cannot be opened.
pub fn root(root: &Path) -> Result<OwnedFd, Unread> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(open(root, flags, Mode::empty())?)
}

fn kind(folder: &OwnedFd, name: &OsStr) -> Result<FileType, Unread> {
    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn demand(found: FileType, wanted: FileType) -> Result<(), Unread> {
    if found == FileType::Symlink {
        return Err(Unread::Link);
    }
    if found == wanted { Ok(()) } else { Err(Unread::NotRegular) }
}

/// The folder `name` in `folder`.
///
/// # Errors
/// It is a link or no folder, or cannot be opened.
pub fn folder(folder: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Unread> {
    demand(kind(folder, name)?, FileType::Directory)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(folder, name, flags, Mode::empty())?)
}

/// The regular file `name` in `folder`.
fn file(folder: &OwnedFd, name: &OsStr) -> Result<File, Unread> {
    // Asked before opening: opening a device may do something.
    demand(kind(folder, name)?, FileType::RegularFile)?;
    // And if it has changed since: a link is not followed, a pipe not waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(openat(folder, name, flags | OFlags::CLOEXEC, Mode::empty())?.into())
}

/// The parts of a path that leads down and nowhere else.
///
/// # Errors
/// It does not.
pub fn parts(path: &Path) -> Result<Vec<&OsStr>, Unread> {
    let part = |component| match component {
        Component::Normal(part) => Some(Ok(part)),
        Component::CurDir => None,
        Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
            Some(Err(Unread::Leaves))
        }
    };
    path.components().filter_map(part).collect()
}

/// The folder at `path` beneath `root`.
///
/// # Errors
/// The path leaves it or goes through a link, or a part cannot be opened.
pub fn folder_at(root: OwnedFd, path: &Path) -> Result<OwnedFd, Unread> {
    parts(path)?.into_iter().try_fold(root, |here, part| folder(&here, part))
}

/// The bytes of the file at `path` beneath `root`, at most `bytes_max`.
///
/// # Errors
/// The path leaves it or goes through a link, it is no regular file, too large, or cannot be read.
pub fn read_at(root: OwnedFd, path: &Path, bytes_max: u64) -> Result<Vec<u8>, Unread> {
    let parts = parts(path)?;
    let Some((name, folders)) = parts.split_last() else { return Err(Unread::NotRegular) };
    let here = folders.iter().try_fold(root, |here, part| folder(&here, part))?;
    read(file(&here, name)?, bytes_max)
}

/// The bytes of `file`, at most `bytes_max`.
///
/// # Errors
/// It is no regular file, too large, or cannot be read.
pub fn read(file: File, bytes_max: u64) -> Result<Vec<u8>, Unread> {
    let meta = file.metadata().map_err(Unread::Failed)?;
    if !meta.is_file() {
        return Err(Unread::NotRegular);
    }
    if meta.len() > bytes_max {
        return Err(Unread::TooLarge);
    }
    // It may grow, or be one whose size the system does not know.
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(Unread::Failed)?;
    if bytes.len() as u64 > bytes_max { Err(Unread::TooLarge) } else { Ok(bytes) }
}

/// What lies in a folder, as far as it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// A folder.
    Folder,
    /// A regular file.
    File,
    /// A link whose other end is a folder.
    LinkToFolder,
    /// A link to something else, a pipe, a device.
    Other,
}

/// Whether the link `name` in `folder` leads to a folder: asked, not gone to.
fn leads_to_folder(folder: &OwnedFd, name: &OsStr) -> bool {
    let stat = statat(folder, name, AtFlags::empty());
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// What lies in `folder` and `is_wanted` by its name and kind, by name.
///
/// # Errors
/// It cannot be read.
pub fn entries(
    folder: &OwnedFd,
    is_wanted: impl Fn(&OsStr, Entry) -> bool,
) -> Result<Vec<(OsString, Entry)>, Unread> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let told = entry.file_type();
        let file_type = if told == FileType::Unknown { kind(folder, name)? } else { told };
        let is = |wanted| file_type == wanted;
        let entry = if is(FileType::Directory) {
            Entry::Folder
        } else if is(FileType::RegularFile) {
            Entry::File
        } else if is(FileType::Symlink) && leads_to_folder(folder, name) {
            Entry::LinkToFolder
        } else {
            Entry::Other
        };
        if is_wanted(name, entry) {
            found.push((name.to_owned(), entry));
        }
    }
    found.sort();
    Ok(found)
}
