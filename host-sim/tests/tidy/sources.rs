//! The workspace's own files.

use std::fs;
use std::path::{Path, PathBuf};

/// One Rust file.
pub struct Source {
    /// Relative to the workspace, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// The folders of the crates.
const CRATES: [&str; 4] = ["firmware", "ultravisor", "host-sim", "scenarios"];

/// The workspace's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file of the workspace, in path order.
pub fn all() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in CRATES {
        walk(&root().join(folder), folder, &mut found);
    }
    found.sort_by(|a: &Source, b: &Source| a.path.cmp(&b.path));
    assert!(found.len() > 100, "only {} files found", found.len());
    found
}

fn walk(folder: &Path, name: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        let file = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        let name = format!("{name}/{file}");
        if path.is_dir() && file != "target" {
            walk(&path, &name, found);
        } else if file.ends_with(".rs") {
            let text = fs::read_to_string(&path).expect("it is text");
            found.push(Source { path: name, text });
        }
    }
}

/// The README.
pub fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("there is a README")
}

/// (folder, Cargo.toml) of each crate.
pub fn manifests() -> Vec<(String, String)> {
    ["firmware", "ultravisor", "ultravisor/abi", "ultravisor/cpu", "host-sim"]
        .map(|folder| {
            let path = root().join(folder).join("Cargo.toml");
            (folder.to_owned(), fs::read_to_string(path).expect("each crate has a manifest"))
        })
        .into()
}

/// Rewrites the README's block `name`.
pub fn bless(name: &str, text: &str) {
    let readme = readme();
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let start = readme.find(&open).expect("the block is there") + open.len();
    let end = readme.find(&close).expect("the block ends");
    let blessed = format!("{}{text}{}", &readme[..start], &readme[end..]);
    fs::write(root().join("README.md"), blessed).expect("the README can be written");
}
