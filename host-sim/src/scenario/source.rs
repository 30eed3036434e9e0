//! Files: what the command line names, and what a scenario names beneath its own folder.

use super::codes::Code;
use super::diagnostics::{Fault, SourceText};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// A RON file has at most this many bytes.
pub const TEXT_BYTES_MAX: u64 = 1 << 20;
/// A guest image has at most this many bytes.
pub const IMAGE_BYTES_MAX: u64 = 16 << 20;
/// A disk's file has at most this many bytes.
pub const DISK_BYTES_MAX: u64 = 64 << 20;
/// A selection has at most this many files.
pub const FILES_MAX: usize = 10_000;
/// Folders are searched this deep.
const FOLDERS_DEEP_MAX: usize = 32;

/// A RON file of the selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// How it is shown: relative, never absolute.
    pub shown: String,
}

/// All RON files that `arguments` mean: files as they are, folders with every `*.ron` below them in
/// path order.
///
/// # Errors
/// A missing path, something that is neither a file nor a folder, too many files.
pub fn find(arguments: &[PathBuf]) -> Result<Vec<Found>, Vec<Fault>> {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for argument in arguments {
        let shown = shown(argument);
        match fs::metadata(argument) {
            Ok(meta) if meta.is_file() => found.push(Found { path: argument.clone(), shown }),
            Ok(meta) if meta.is_dir() => {
                walk(argument, &shown, 0, &mut found, &mut faults);
            }
            Ok(_) => {
                let message = format!("`{shown}` is neither a regular file nor a folder");
                faults.push(Fault::bare(Code::BAD_ARGUMENT, message));
            }
            Err(error) => {
                let message = format!("`{shown}` cannot be read: {}", reason(&error));
                faults.push(Fault::bare(Code::BAD_ARGUMENT, message));
            }
        }
    }
    // The same file named twice is one file.
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|file| seen.insert(fs::canonicalize(&file.path).unwrap_or(file.path.clone())));
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

fn walk(folder: &Path, shown: &str, depth: usize, found: &mut Vec<Found>, faults: &mut Vec<Fault>) {
    let mut refuse = |code, message| faults.push(Fault::bare(code, message));
    if depth > FOLDERS_DEEP_MAX {
        return refuse(
            Code::COUNT_LIMIT,
            format!("folders are nested deeper than {FOLDERS_DEEP_MAX}"),
        );
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let message = format!("`{shown}` cannot be read: {}", reason(&error));
            return refuse(Code::BAD_ARGUMENT, message);
        }
    };
    let mut names: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        let path = folder.join(&name);
        let text = format!("{}/{}", shown.trim_end_matches('/'), name.to_string_lossy());
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        let is_ron = path.extension().is_some_and(|extension| extension == "ron");
        if meta.is_dir() {
            walk(&path, &text, depth + 1, found, faults);
        } else if is_ron && !meta.is_file() {
            let message = format!("`{text}` is no regular file (links are not followed)");
            faults.push(Fault::bare(Code::BAD_ARGUMENT, message));
        } else if is_ron && found.len() == FILES_MAX {
            let message = format!("there are more than {FILES_MAX} files");
            return faults.push(Fault::bare(Code::COUNT_LIMIT, message));
        } else if is_ron {
            found.push(Found { path, shown: text });
        }
    }
}

/// `path` for people and reports: relative to the current folder where it lies below that, else
/// without the folders above it.
fn shown(path: &Path) -> String {
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
pub fn reason(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::NotFound {
        return "not found".to_owned();
    }
    error.kind().to_string()
}

/// The text of a RON file.
///
/// # Errors
/// It cannot be read, is too large or is not UTF-8.
pub fn read_text(file: &Found) -> Result<Arc<SourceText>, Fault> {
    let bytes = read_limited(&file.path, TEXT_BYTES_MAX).map_err(|why| match why {
        Unread::TooLarge => {
            let message = format!("`{}` is larger than {TEXT_BYTES_MAX} bytes", file.shown);
            Fault::bare(Code::TOO_LARGE, message)
        }
        Unread::Failed(why) => {
            Fault::bare(Code::BAD_ARGUMENT, format!("`{}` cannot be read: {why}", file.shown))
        }
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Arc::new(SourceText { path: file.shown.clone(), text })),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let message =
                format!("`{}` is not UTF-8: the byte at offset {at} is wrong", file.shown);
            Err(Fault::bare(Code::NOT_TEXT, message))
        }
    }
}

enum Unread {
    TooLarge,
    Failed(String),
}

fn read_limited(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Unread> {
    let failed = |error: std::io::Error| Unread::Failed(reason(&error));
    // Asked before opening: opening a FIFO would wait for a writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Unread::Failed("it is no regular file".to_owned()));
    }
    let file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(Unread::Failed("it is no regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max { Err(Unread::TooLarge) } else { Ok(bytes) }
}

/// The bytes of a file that a scenario in `folder` names as `path`.
///
/// # Errors
/// It leaves the folder, goes through a link, is no regular file, cannot be read or is too large.
pub fn read_beneath(folder: &Path, path: &str, bytes_max: u64) -> Result<Vec<u8>, (Code, String)> {
    let leaves = || (Code::LEAVES_FOLDER, "this path leaves the scenario's folder".to_owned());
    if path.is_empty() || path.contains(['\0', '\\', ':']) {
        let message = "a path is relative, with `/` between its parts, without `\\` or `:`";
        return Err((Code::LEAVES_FOLDER, message.to_owned()));
    }
    let mut full = folder.to_path_buf();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(part) => full.push(part),
            Component::CurDir => continue,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(leaves());
            }
        }
        let meta = fs::symlink_metadata(&full).map_err(|error| {
            (Code::UNREADABLE, format!("this file cannot be read: {}", reason(&error)))
        })?;
        if meta.is_symlink() {
            let message = "this path goes through a link, and links are not followed";
            return Err((Code::LEAVES_FOLDER, message.to_owned()));
        }
    }
    read_limited(&full, bytes_max).map_err(|why| match why {
        Unread::TooLarge => {
            (Code::FILE_LIMIT, format!("this file is larger than {bytes_max} bytes"))
        }
        Unread::Failed(why) => (Code::UNREADABLE, format!("this file cannot be read: {why}")),
    })
}
