//! Files: what the command line names, and what a scenario names beneath its own folder.

use super::beneath::{self, Entry, Unread};
use super::codes::Code;
use super::diagnostics::{Fault, SourceText};
use super::size::Size;
use crate::escape;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A RON file has at most this many bytes.
pub const TEXT_BYTES_MAX: u64 = 1 << 20;
/// And at most this many commas: each stands for a value that is read, checked and told on its own.
const COMMAS_MAX: usize = 20_000;
/// A guest image has at most this many bytes.
pub const IMAGE_BYTES_MAX: u64 = 64 << 20;
/// A disk's file has at most this many bytes.
pub const DISK_BYTES_MAX: u64 = 64 << 20;
/// The images, modules and disks of a selection have at most this many bytes together: they are kept
/// in memory. What several scenarios name counts once.
pub const FILES_BYTES_MAX: u64 = 512 << 20;
/// A selection has at most this many files.
pub const FILES_MAX: usize = 10_000;
/// Folders are searched this deep.
const FOLDERS_DEEP_MAX: usize = 32;

/// A folder that files are read from: one that the user named, and the way down from there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Folder {
    root: PathBuf,
    inside: PathBuf,
    /// How it is shown: empty, or ending in `/`.
    shown: String,
}

/// A RON file of the selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The folder that it is in.
    pub folder: Folder,
    name: OsString,
    /// How it is shown: relative, unless another file of the selection would be shown alike.
    pub shown: String,
    /// What the user can type to name it, from the current folder.
    pub typed: PathBuf,
    /// The user named this file, and no folder above it.
    pub is_named: bool,
    /// The user named a link to it.
    is_link: bool,
}

/// All RON files that `arguments` mean: files as they are, folders with every `*.ron` below them in
/// path order.
///
/// # Errors
/// A missing path, something that is neither a file nor a folder, too many files; `wanted` is what
/// the arguments should name.
pub fn find(arguments: &[PathBuf], wanted: &str) -> Result<Vec<Found>, Vec<Fault>> {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for argument in arguments {
        let shown = shown(argument);
        let mut refuse = |what: String| {
            let message = format!("`{shown}` {what}");
            let fault = Fault::of_file(Code::BAD_ARGUMENT, &shown, message);
            faults.push(fault.help(format!("name {wanted}, or folders of them")));
        };
        match fs::metadata(argument) {
            Ok(meta) if meta.is_file() => found.push(named(argument, shown)),
            Ok(meta) if meta.is_dir() => {
                let folder = Folder::new(argument, &shown);
                let mut walk = Walk { found: &mut found, faults: &mut faults };
                match beneath::root(argument) {
                    Ok(handle) => walk.folder(&handle, &folder, 0),
                    Err(why) => walk.refuse(&shown, &why),
                }
            }
            Ok(_) => refuse("is neither a regular file nor a folder".to_owned()),
            Err(error) => refuse(format!("cannot be read: {}", reason(&error))),
        }
    }
    // The same file named twice is one file.
    let mut seen = BTreeSet::new();
    found.retain(|file| {
        let path = file.path();
        seen.insert(fs::canonicalize(&path).unwrap_or(path))
    });
    tell_apart(&mut found);
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

/// Two files that would be shown alike are shown as they can be typed: no report may take one for
/// the other.
fn tell_apart(found: &mut [Found]) {
    let mut alike: BTreeMap<String, usize> = BTreeMap::new();
    for file in &*found {
        *alike.entry(file.shown.clone()).or_default() += 1;
    }
    for file in found.iter_mut().filter(|file| alike.get(&file.shown) != Some(&1)) {
        file.shown = escape::terminal_bytes(file.typed.as_os_str().as_bytes());
    }
}

/// What [`find`] is asked for, in words.
pub const SCENARIO_FILES: &str = "scenario files";

/// A file that the user named.
fn named(path: &Path, shown: String) -> Found {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let root = parent.unwrap_or(Path::new(".")).to_owned();
    let name = path.file_name().unwrap_or(path.as_os_str()).to_owned();
    let above = shown.rfind('/').map_or("", |at| &shown[..=at]).to_owned();
    let folder = Folder { root, inside: PathBuf::new(), shown: above };
    let is_link = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
    let typed = path.to_owned();
    Found { folder, name, shown, typed, is_named: true, is_link }
}

/// The RON files below one argument.
struct Walk<'f> {
    found: &'f mut Vec<Found>,
    faults: &'f mut Vec<Fault>,
}

impl Walk<'_> {
    fn refuse(&mut self, shown: &str, why: &Unread) {
        let message = format!("`{shown}` cannot be read: {}", words(why));
        self.faults.push(Fault::of_file(Code::BAD_ARGUMENT, shown, message));
    }

    fn folder(&mut self, handle: &OwnedFd, folder: &Folder, depth: usize) {
        if depth > FOLDERS_DEEP_MAX {
            let message = format!("folders are nested deeper than {FOLDERS_DEEP_MAX}");
            let fault = Fault::of_file(Code::COUNT_LIMIT, &folder.shown, message);
            return self.faults.push(fault.help("name a folder further down"));
        }
        let is_ron = |name: &OsStr| {
            Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case("ron"))
        };
        let wanted = |name: &OsStr, entry| match entry {
            Entry::Folder | Entry::LinkToFolder => true,
            Entry::File | Entry::Other => is_ron(name),
        };
        let entries = match beneath::entries(handle, wanted) {
            Ok(entries) => entries,
            Err(why) => return self.refuse(&folder.shown, &why),
        };
        for (name, entry) in entries {
            let shown = format!("{}{}", folder.shown, name.to_string_lossy());
            match entry {
                Entry::Folder => match beneath::folder(handle, &name) {
                    Ok(handle) => self.folder(&handle, &folder.below(&name), depth + 1),
                    Err(why) => self.refuse(&shown, &why),
                },
                Entry::Other => {
                    let message = format!("`{shown}` is no regular file");
                    let help = "links, pipes and devices in a folder are not followed: put a copy \
                                there, or name the file itself";
                    let fault = Fault::of_file(Code::BAD_ARGUMENT, shown, message);
                    self.faults.push(fault.help(help));
                }
                // Passed over, what lies behind it would be left out without a word.
                Entry::LinkToFolder => {
                    let message = format!("`{shown}` is a link to a folder");
                    let help = "links in a folder are not followed: name that folder too, or take \
                                the link away";
                    let fault = Fault::of_file(Code::BAD_ARGUMENT, shown, message);
                    self.faults.push(fault.help(help));
                }
                Entry::File if self.found.len() == FILES_MAX => {
                    let message = format!("there are more than {FILES_MAX} files");
                    let help = "name the folders below it one after the other";
                    let fault = Fault::of_file(Code::COUNT_LIMIT, &folder.shown, message);
                    return self.faults.push(fault.help(help));
                }
                Entry::File => {
                    let folder = folder.clone();
                    let (is_named, is_link) = (false, false);
                    let typed = folder.root.join(&folder.inside).join(&name);
                    self.found.push(Found { folder, name, shown, typed, is_named, is_link });
                }
            }
        }
    }
}

impl Folder {
    /// `root`, which the user named.
    pub fn new(root: &Path, shown: &str) -> Self {
        let shown = if shown.is_empty() || shown.ends_with('/') {
            shown.to_owned()
        } else {
            format!("{shown}/")
        };
        Self { root: root.to_owned(), inside: PathBuf::new(), shown }
    }

    fn below(&self, name: &OsStr) -> Self {
        let shown = format!("{}{}/", self.shown, name.to_string_lossy());
        Self { root: self.root.clone(), inside: self.inside.join(name), shown }
    }

    /// What leads to the file that is called `name` in it, from the current folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(&self.inside).join(name)
    }

    /// How the file that is called `name` in it is shown.
    pub fn shown(&self, name: &str) -> String {
        format!("{}{name}", self.shown)
    }

    /// The RON files in the folder `name` of this one; none if there is no such folder.
    ///
    /// # Errors
    /// It is a link or no folder, or as [`find`].
    pub fn files_of(&self, name: &str) -> Result<Vec<Found>, Vec<Fault>> {
        let (mut found, mut faults) = (Vec::new(), Vec::new());
        let folder = self.below(OsStr::new(name));
        let handle =
            beneath::root(&self.root).and_then(|root| beneath::folder_at(root, &folder.inside));
        let mut walk = Walk { found: &mut found, faults: &mut faults };
        match handle {
            Ok(handle) => walk.folder(&handle, &folder, 0),
            Err(Unread::Failed(error)) if error.kind() == io::ErrorKind::NotFound => (),
            // A file of that name is nothing to us.
            Err(Unread::NotRegular) => (),
            Err(why) => {
                let message = format!("`{}` cannot be read: {}", self.shown(name), words(&why));
                faults.push(Fault::of_file(Code::LEAVES_FOLDER, self.shown(name), message));
            }
        }
        if faults.is_empty() { Ok(found) } else { Err(faults) }
    }

    /// The bytes of a file that a scenario in this folder names as `path`.
    ///
    /// # Errors
    /// It leaves the folder, goes through a link, is no regular file, cannot be read or is too
    /// large.
    pub fn read(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, (Code, String)> {
        if path.is_empty() {
            return Err((Code::LEAVES_FOLDER, "this path is empty".to_owned()));
        }
        if path.contains(['\0', '\\', ':']) || path.ends_with('/') {
            let message = "a path is relative, with `/` between its parts and not behind them, without `\\`, `:` or NUL";
            return Err((Code::LEAVES_FOLDER, message.to_owned()));
        }
        let read = beneath::parts(Path::new(path)).and_then(|_| {
            beneath::read_at(beneath::root(&self.root)?, &self.inside.join(path), bytes_max)
        });
        read.map_err(|why| match why {
            Unread::Leaves => {
                (Code::LEAVES_FOLDER, "this path leaves the scenario's folder".to_owned())
            }
            Unread::Link => {
                let message = "this path goes through a link, and links are not followed";
                (Code::LEAVES_FOLDER, message.to_owned())
            }
            Unread::TooLarge => too_large(bytes_max),
            Unread::NotRegular | Unread::Failed(_) => {
                (Code::UNREADABLE, format!("this file cannot be read: {}", words(&why)))
            }
        })
    }
}

fn too_large(bytes_max: u64) -> (Code, String) {
    (Code::FILE_LIMIT, format!("this file is larger than {bytes_max} bytes"))
}

/// The files that the scenarios of a selection name, each read once.
#[derive(Debug)]
pub struct Files {
    read: BTreeMap<PathBuf, Arc<[u8]>>,
    /// How many bytes more may be read.
    room: u64,
}

impl Default for Files {
    fn default() -> Self {
        Self { read: BTreeMap::new(), room: FILES_BYTES_MAX }
    }
}

impl Files {
    /// The bytes of the file at `path` below `folder`.
    ///
    /// # Errors
    /// As [`Folder::read`]; past [`FILES_BYTES_MAX`] as for a file that is too large.
    pub fn read(
        &mut self,
        folder: &Folder,
        path: &str,
        bytes_max: u64,
    ) -> Result<Arc<[u8]>, (Code, String)> {
        let place = folder.path(path);
        if let Some(bytes) = self.read.get(&place) {
            let fits = bytes.len() as u64 <= bytes_max;
            return fits.then(|| bytes.clone()).ok_or_else(|| too_large(bytes_max));
        }
        let read = folder.read(path, bytes_max.min(self.room)).map_err(|(code, message)| {
            if code == Code::FILE_LIMIT && self.room < bytes_max {
                let most = Size(FILES_BYTES_MAX);
                (code, format!("with this file those of the selection come to more than {most}"))
            } else {
                (code, message)
            }
        });
        let bytes: Arc<[u8]> = read?.into();
        self.room -= bytes.len() as u64;
        self.read.insert(place, bytes.clone());
        Ok(bytes)
    }

    /// Where they are.
    pub fn into_paths(self) -> impl Iterator<Item = PathBuf> {
        self.read.into_keys()
    }
}

/// `path` for people and reports: relative to the current folder where it lies below that, else
/// without the folders above it.
pub fn shown(path: &Path) -> String {
    let path =
        path.strip_prefix(".").ok().filter(|rest| !rest.as_os_str().is_empty()).unwrap_or(path);
    if path.is_relative() {
        return path.to_string_lossy().into_owned();
    }
    let here = std::env::current_dir().ok();
    let below = here.as_deref().and_then(|here| path.strip_prefix(here).ok());
    match below.filter(|below| !below.as_os_str().is_empty()) {
        Some(below) => below.to_string_lossy().into_owned(),
        None => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
    }
}

/// An I/O error without paths.
pub fn reason(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        return "not found".to_owned();
    }
    let kind = error.kind().to_string();
    if error.raw_os_error().is_none() || !kind.starts_with("uncategorized") {
        return kind;
    }
    // The system has words of its own, and then a number.
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&kind).to_lowercase()
}

/// Why something could not be read, without paths.
fn words(why: &Unread) -> String {
    match why {
        Unread::Leaves => "it lies outside".to_owned(),
        Unread::Link => "it is a link, and links are not followed".to_owned(),
        Unread::NotRegular => "it is no regular file".to_owned(),
        Unread::TooLarge => "it is too large".to_owned(),
        Unread::Failed(error) => reason(error),
    }
}

impl Found {
    fn path(&self) -> PathBuf {
        self.folder.root.join(&self.folder.inside).join(&self.name)
    }

    /// Its bytes, at most `bytes_max`.
    fn read(&self, bytes_max: u64) -> Result<Vec<u8>, Unread> {
        if self.is_link {
            // The user named the link. What it leads to was a regular file when it was found.
            return beneath::read(File::open(self.path()).map_err(Unread::Failed)?, bytes_max);
        }
        let root = beneath::root(&self.folder.root)?;
        beneath::read_at(root, &self.folder.inside.join(&self.name), bytes_max)
    }

    /// `fault`, without a text that is no scenario: a link may lead to anything, and what it leads
    /// to is not printed.
    pub fn without_strange_text(&self, fault: Fault) -> Fault {
        if !self.is_link {
            return fault;
        }
        let message = format!("`{}` is a link to something that is no file of ours", self.shown);
        Fault::of_file(fault.code, &self.shown, message).help("name the file itself")
    }
}

/// The text of a RON file.
///
/// # Errors
/// It cannot be read, is too large or is not UTF-8.
pub fn read_text(file: &Found) -> Result<Arc<SourceText>, Fault> {
    let bytes = file.read(TEXT_BYTES_MAX).map_err(|why| match why {
        Unread::TooLarge => {
            let message = format!("`{}` is larger than {TEXT_BYTES_MAX} bytes", file.shown);
            Fault::of_file(Code::TOO_LARGE, &file.shown, message)
                .help("make several scenarios of it")
        }
        Unread::Leaves | Unread::Link | Unread::NotRegular | Unread::Failed(_) => {
            let message = format!("`{}` cannot be read: {}", file.shown, words(&why));
            Fault::of_file(Code::BAD_ARGUMENT, &file.shown, message)
        }
    })?;
    match String::from_utf8(bytes) {
        Ok(text) if text.matches(',').count() > COMMAS_MAX => {
            let message = format!("`{}` has more than {COMMAS_MAX} commas", file.shown);
            let fault = Fault::of_file(Code::COUNT_LIMIT, &file.shown, message);
            Err(fault.help("make several files of it: each value costs time and memory"))
        }
        Ok(text) => {
            // Some editors write a byte order mark, which says nothing in UTF-8.
            let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
            Ok(Arc::new(SourceText { path: file.shown.clone(), text }))
        }
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            let message =
                format!("`{}` is not UTF-8: line {line}, byte {at} of the file", file.shown);
            Err(Fault::of_file(Code::NOT_TEXT, &file.shown, message).help("save it as UTF-8"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_selection_have_a_limit_together_and_what_is_named_twice_counts_once() {
        let place = tempfile::tempdir().expect("a temporary folder");
        for (name, bytes) in [("a", 60), ("b", 40), ("c", 1)] {
            fs::write(place.path().join(name), vec![0; bytes]).expect("a file");
        }
        let folder = Folder::new(place.path(), "");
        let mut files = Files { room: 100, ..Files::default() };
        for name in ["a", "a", "b", "a"] {
            assert!(files.read(&folder, name, 64).is_ok(), "{name}");
        }
        let (code, message) = files.read(&folder, "c", 64).expect_err("there is no room");
        assert_eq!((code, message.contains("come to more than")), (Code::FILE_LIMIT, true));
        let (code, message) = files.read(&folder, "a", 59).expect_err("it is too large there");
        assert_eq!((code, message.contains("larger than 59")), (Code::FILE_LIMIT, true));
        assert_eq!(files.into_paths().count(), 2);
    }

    #[test]
    fn an_error_without_a_kind_is_told_in_the_words_of_the_system() {
        let no_reader = io::Error::from(rustix::io::Errno::NXIO);
        assert_eq!(reason(&no_reader), "no such device or address");
        assert_eq!(reason(&io::Error::from(rustix::io::Errno::NOENT)), "not found");
    }
}
