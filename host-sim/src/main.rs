//! The binary: the process's own arguments, streams and environment put around [`host_sim::cli`].

use host_sim::cli::{self, Terminal, World};
use host_sim::scenario::plan::Plan;
use host_sim::suite;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let terminal = Terminal::of_process();
    let (mut out, mut err) = (io::stdout().lock(), io::stderr());
    start_log(terminal);
    // Panics are told once, by whoever catches them, with the seed and the command to repeat.
    panic::set_hook(Box::new(|_| ()));
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        let world = World {
            runner: &|plan: &Plan| host_sim::run::run(plan).map_err(|why| why.to_string()),
            out: &mut out,
            err: &mut err,
            terminal,
        };
        cli::main(std::env::args_os(), world)
    }));
    match result {
        Ok(code) => ExitCode::from(code),
        Err(payload) => {
            let why = suite::panic_text(payload.as_ref());
            let arguments: Vec<String> =
                std::env::args().map(|word| host_sim::output::human::shell_word(&word)).collect();
            let text = format!(
                "bug in uvsim: {why}\n  repeat: {}\n",
                host_sim::escape::terminal(&arguments.join(" "))
            );
            err.write_all(text.as_bytes()).ok();
            ExitCode::from(cli::exit::BUG)
        }
    }
}

/// The tool's own log, by `UVSIM_LOG`; what happens in a run is not a log but data.
fn start_log(terminal: Terminal) {
    let Ok(filter) = std::env::var("UVSIM_LOG") else { return };
    let color = terminal.err_is_tty && !terminal.no_color;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_ansi(color)
        .without_time()
        .init();
}
