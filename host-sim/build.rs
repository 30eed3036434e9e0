//! Builds the guest images `slof` and `guest` freestanding and puts them where
//! `src/image/builtin.rs` includes them; and lists the shipped scenarios, designs and policies for
//! `src/shipped.rs`.
//!
//! They are built by a cargo of their own, in a target folder of their own (two cargos in one
//! folder wait for each other for ever), with flags that nothing of the host's may see.
//! `UVSIM_SLOF_ELF` and `UVSIM_GUEST_ELF` name prebuilt images instead; with both set, nothing
//! is built.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Image, variable that names a prebuilt one.
const IMAGES: [(&str, &str); 2] = [("slof", "UVSIM_SLOF_ELF"), ("guest", "UVSIM_GUEST_ELF")];

/// What the images depend on, from the workspace's root.
const INPUTS: [&str; 11] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "firmware/Cargo.toml",
    "firmware/build.rs",
    "firmware/guest.ld",
    "firmware/slof.ld",
    "firmware/sections.ld",
    "firmware/src",
    "ultravisor/abi/Cargo.toml",
    "ultravisor/abi/src",
];

fn main() {
    list_shipped();
    let root = path("CARGO_MANIFEST_DIR").parent().expect("the crate has a parent").to_owned();
    let out = path("OUT_DIR");
    for input in INPUTS {
        // Relative: two checkouts may share one target folder.
        println!("cargo::rerun-if-changed=../{input}");
    }
    let prebuilt = IMAGES.map(|(_, variable)| {
        println!("cargo::rerun-if-env-changed={variable}");
        env::var_os(variable).map(PathBuf::from)
    });
    for image in prebuilt.iter().flatten() {
        println!("cargo::rerun-if-changed={}", image.display());
    }
    let built = if prebuilt.iter().any(Option::is_none) { build(&root, &out) } else { out.clone() };
    for ((image, _), prebuilt) in IMAGES.into_iter().zip(prebuilt) {
        let from = prebuilt.unwrap_or_else(|| built.join(image));
        let to = out.join(format!("{image}.elf"));
        fs::copy(&from, &to)
            .unwrap_or_else(|error| panic!("cannot copy {}: {error}", from.display()));
    }
}

/// Writes `shipped.rs`: each `*.ron` below `scenarios/`, in path order, with its text.
fn list_shipped() {
    println!("cargo::rerun-if-changed=../scenarios");
    let folder = path("CARGO_MANIFEST_DIR").join("../scenarios");
    let mut files = Vec::new();
    collect(&folder, "", &mut files);
    files.sort();
    let mut text = String::from("[\n");
    for (name, file) in files {
        text += &format!("    ({name:?}, include_str!({file:?})),\n");
    }
    text += "]\n";
    fs::write(path("OUT_DIR").join("shipped.rs"), text).expect("OUT_DIR can be written");
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) {
    println!("cargo::rerun-if-changed=../scenarios/{prefix}");
    let entries = fs::read_dir(folder).expect("the scenarios are there");
    for entry in entries {
        let entry = entry.expect("the folder can be read");
        let name = entry.file_name().into_string().expect("our file names are UTF-8");
        let path = entry.path();
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), files);
        } else if name.ends_with(".ron") {
            files.push((format!("{prefix}{name}"), path));
        }
    }
}

/// Builds both images; returns the folder they are in.
fn build(root: &Path, out: &Path) -> PathBuf {
    // Inside the outer profile's folder, but with a name that is none of a binary's.
    let target_dir =
        out.ancestors().nth(3).expect("OUT_DIR lies deep in target").join("guest-image-build");
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it for build scripts"));
    cargo
        .current_dir(root)
        .args(["build", "--locked", "--package", "firmware", "--bins"])
        .args(["--profile", "guest", "--target", TARGET, "--target-dir"])
        .arg(&target_dir);
    for (name, _) in env::vars_os().filter(|(name, _)| belongs_to_the_outer_build(name)) {
        cargo.env_remove(name);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rustflags(root));
    let output = cargo.output().expect("cargo, which started this, can be started");
    assert!(
        output.status.success(),
        "building the guest images failed ({}):\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    target_dir.join(TARGET).join("guest")
}

/// Flags of the images, with the separator that keeps blanks in paths whole.
fn rustflags(root: &Path) -> OsString {
    let mut flags: Vec<OsString> = [
        "--cfg",
        "uv_guest",
        "-Crelocation-model=static",
        // Leaves three SSE mnemonics, all moves and one xor: what compiled code needs anyway.
        "-Cno-vectorize-loops",
        "-Cno-vectorize-slp",
        "-Cforce-unwind-tables=no",
        // Call chains are read from the frame pointers.
        "-Cforce-frame-pointers=yes",
    ]
    .map(OsString::from)
    .into();
    // No path of this machine in panic locations, the workspace's as well as the registry's.
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home =
        cargo_home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let prefixes = [(Some(root.to_owned()), "uvsim"), (cargo_home, "cargo")];
    for (prefix, name) in prefixes {
        if let Some(prefix) = prefix {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(prefix);
            flag.push("=");
            flag.push(name);
            flags.push(flag);
        }
    }
    flags.join(OsStr::new("\u{1f}"))
}

/// Whether the nested build must not see a variable: flags, wrappers (clippy's too) and facts of
/// the outer build. Where cargo keeps and fetches things it must know.
fn belongs_to_the_outer_build(name: &OsStr) -> bool {
    const KEPT: [&str; 5] =
        ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_"];
    const REMOVED: [&str; 16] = [
        "CARGO",
        "RUSTFLAGS",
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_LINKER",
        "RUSTDOC",
        "RUSTDOCFLAGS",
        "OUT_DIR",
        "TARGET",
        "HOST",
        "PROFILE",
        "OPT_LEVEL",
        "DEBUG",
        "NUM_JOBS",
        "MAKEFLAGS",
    ];
    let name = name.to_string_lossy();
    let kept = KEPT.iter().any(|kept| name.starts_with(kept));
    let removed = REMOVED.contains(&name.as_ref())
        || name.starts_with("CARGO_")
        || name.starts_with("DEP_")
        || name.starts_with("CLIPPY_");
    removed && !kept
}

fn path(variable: &str) -> PathBuf {
    env::var_os(variable).map(PathBuf::from).expect("cargo sets it for build scripts")
}
