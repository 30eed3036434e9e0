//! Link arguments of the guest images. An ordinary host build (no `--cfg uv_guest`) gets none.

use std::path::Path;

/// What both images are linked with: nothing of the host's, at fixed addresses.
const ARGUMENTS: [&str; 5] =
    ["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"];

fn main() {
    for input in ["build.rs", "slof.ld", "guest.ld", "sections.ld"] {
        emit(&format!("rerun-if-changed={input}"));
    }
    if std::env::var_os("CARGO_CFG_UV_GUEST").is_none() {
        return;
    }
    let here = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
    for image in ["slof", "guest"] {
        for argument in ARGUMENTS {
            emit(&format!("rustc-link-arg-bin={image}={argument}"));
        }
        // The scripts include each other by name, so the linker must search here.
        emit(&format!("rustc-link-arg-bin={image}=-L{here}"));
        let script = Path::new(&here).join(format!("{image}.ld"));
        emit(&format!("rustc-link-arg-bin={image}=-Wl,-T,{}", script.display()));
    }
}

fn emit(line: &str) {
    println!("cargo::{line}");
}
