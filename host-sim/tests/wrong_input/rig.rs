//! The command as a test runs it, and messages as the tests keep them.

use host_sim::cli::{self, Terminal, World};
use host_sim::log::RunLog;
use host_sim::scenario::plan::Plan;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// How the command came out.
pub struct Ran {
    pub code: u8,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// As it is kept: the exit code and what was said.
    pub fn shown(&self) -> String {
        let lines: Vec<&str> = self.err.lines().map(str::trim_end).collect();
        format!("exit code {}\n{}\n", self.code, lines.join("\n"))
    }
}

/// Runs the command with no terminal; nothing of what these tests read may run.
pub fn uvsim(arguments: &[&str]) -> Ran {
    let never =
        |plan: &Plan, _: &AtomicBool| -> Result<RunLog, String> { panic!("{} runs", plan.id) };
    let words = std::iter::once("uvsim").chain(arguments.iter().copied()).map(OsString::from);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let world =
        World { runner: &never, out: &mut out, err: &mut err, terminal: Terminal::default() };
    let code = cli::main(words, world);
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    Ran { code, out: text(out), err: text(err) }
}

/// What differs between `found` and the text that is kept at `path`; BLESS=1 keeps `found`.
pub fn compare(path: &Path, found: &str) -> Option<String> {
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, found).expect("the message can be kept");
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    let hint = "BLESS=1 cargo test -p host-sim --test wrong_input rewrites it";
    (kept != found).then(|| format!("{}: {hint}\nkept:\n{kept}\nfound:\n{found}", path.display()))
}
