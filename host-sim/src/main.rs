//! The binary: the process's own arguments, streams and environment put around [`host_sim::cli`].

use host_sim::cli::{self, Terminal, World};
use host_sim::scenario::plan::Plan;
use std::io;
use std::panic;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let terminal = Terminal::of_process();
    let (mut out, mut err) = (io::stdout().lock(), io::stderr());
    start_log(terminal);
    // Panics are told once, by whoever catches them, with the seed and the command to repeat.
    panic::set_hook(Box::new(|_| ()));
    let world = World {
        runner: &|plan: &Plan, late: &AtomicBool| {
            host_sim::run::run_until(plan, late).map_err(|why| why.to_string())
        },
        out: &mut out,
        err: &mut err,
        terminal,
    };
    ExitCode::from(cli::guarded(std::env::args_os().collect(), world))
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
