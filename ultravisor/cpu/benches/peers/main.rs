//! The engine against QEMU's TCG and Bochs: the same guest image on each, in turn, by CPU time.
//!
//! `cargo bench -p ultravisor-cpu` runs whatever of them is installed and prints the ratios; where
//! none is, the engine's own times. A run's time is that of the whole process less that of a run
//! that does nothing.

mod engine;
mod image;
mod native;
mod peers;
mod table;
mod workloads;

use clap::Parser;
use peers::{Bench, Engine, Run};
use std::path::PathBuf;
use std::time::Duration;
use table::Row;
use workloads::{WORKLOADS, Workload};

/// What takes less than this part of the start-up is lost in its noise.
const NOISE: u32 = 10;

/// Why there is no table.
type Failure = Box<dyn std::error::Error>;

/// Runs one guest image on this engine, on QEMU's TCG and on Bochs, and compares CPU times.
#[derive(Parser)]
struct Arguments {
    /// Runs of each; medians are compared.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Only against this one: qemu or bochs.
    #[arg(long, value_name = "NAME", value_parser = ["qemu", "bochs"])]
    peer: Option<String>,
    /// Only workloads whose name has this in it.
    #[arg(long, value_name = "WORD", default_value = "")]
    only: String,
    /// Runs the image at PATH with this command line on this engine alone.
    #[arg(long, num_args = 2, value_names = ["PATH", "COMMAND"])]
    alone: Option<Vec<String>>,
    /// Runs what a workload has without an engine.
    #[arg(long, num_args = 2, value_names = ["WORKLOAD", "ROUNDS"])]
    native: Option<Vec<u32>>,
    /// What `cargo bench` says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    if let Some([path, command]) = arguments.alone.as_deref() {
        let outcome = engine::run(&std::fs::read(path)?, command);
        return say(&format!("{} {}", outcome.checksum, outcome.instructions));
    }
    if let Some([workload, rounds]) = arguments.native.as_deref() {
        let program = WORKLOADS.get(*workload as usize - 1).and_then(|workload| workload.native);
        return say(&format!("{:016x}", program.ok_or("it has none")?(*rounds)));
    }
    let bench = Bench::new(&PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("peers"))?;
    say(&table::machine())?;
    let mut compared = false;
    for peer in [Engine::Qemu, Engine::Bochs] {
        let wanted = arguments.peer.as_ref();
        if wanted.is_some_and(|name| !peer.name().to_lowercase().contains(name.as_str())) {
            continue;
        }
        match peer.version() {
            Some(version) => {
                let rows = compare(&bench, Some(peer), &arguments)?;
                say(&table::table(peer, &version, arguments.runs, &rows))?;
                compared = true;
            }
            None => say(&format!(
                "\n{} is not installed: no comparison (apt-get install {})",
                peer.name(),
                peer.package()
            ))?,
        }
    }
    if !compared {
        let rows = compare(&bench, None, &arguments)?;
        say(&table::alone(arguments.runs, &rows))?;
    }
    Ok(())
}

/// To stdout.
fn say(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Times of two engines, run by run, and of the processor itself where the workload is `native`;
/// without a peer, of one.
#[derive(Default)]
struct Pair {
    ours: Vec<Duration>,
    theirs: Vec<Duration>,
    native: Vec<Duration>,
}

/// Median times of a [`Pair`].
struct Medians {
    ours: Duration,
    theirs: Duration,
    native: Option<Duration>,
}

impl Pair {
    /// One more run of each. Their checksums must be the same: else they did not do the same.
    fn run(
        &mut self,
        bench: &Bench,
        peer: Option<Engine>,
        native: bool,
        what: (usize, u32),
    ) -> Result<Run, Failure> {
        let ours = bench.run(Engine::Uvsim, what.0, what.1)?;
        self.ours.push(ours.cpu_time);
        let natively = native.then_some((Engine::Native, &mut self.native));
        for (other, times) in peer.map(|peer| (peer, &mut self.theirs)).into_iter().chain(natively)
        {
            let run = bench.run(other, what.0, what.1)?;
            if ours.checksum != run.checksum {
                let (a, b) = (&ours.checksum, &run.checksum);
                return Err(format!("{what:?}: uvsim says {a}, {} says {b}", other.name()).into());
            }
            times.push(run.cpu_time);
        }
        Ok(ours)
    }

    fn medians(mut self) -> Medians {
        Medians {
            ours: median(&mut self.ours),
            theirs: median(&mut self.theirs),
            native: (!self.native.is_empty()).then(|| median(&mut self.native)),
        }
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn compare(
    bench: &Bench,
    peer: Option<Engine>,
    arguments: &Arguments,
) -> Result<Vec<Row>, Failure> {
    let chosen: Vec<(usize, &Workload)> = (1..)
        .zip(&WORKLOADS)
        .filter(|(_, workload)| workload.name.contains(&arguments.only))
        .collect();
    let mut idle = Pair::default();
    let mut pairs: Vec<Pair> = chosen.iter().map(|_| Pair::default()).collect();
    let mut instructions = vec![0; chosen.len()];
    let mut at_start = 0;
    for _ in 0..arguments.runs {
        at_start = idle.run(bench, peer, false, (0, 0))?.instructions.unwrap_or_default();
        for (at, &(number, workload)) in chosen.iter().enumerate() {
            let rounds =
                if peer == Some(Engine::Bochs) { workload.rounds_bochs } else { workload.rounds };
            let native = workload.native.is_some();
            let run = pairs[at].run(bench, peer, native, (number, rounds))?;
            instructions[at] = run.instructions.unwrap_or_default();
        }
    }
    let start = idle.medians();
    let rows = chosen.into_iter().zip(pairs).zip(instructions);
    Ok(rows
        .map(|(((_, workload), pair), instructions)| {
            let medians = pair.medians();
            let ours = medians.ours.saturating_sub(start.ours);
            let theirs = medians.theirs.saturating_sub(start.theirs);
            Row {
                workload,
                ours,
                theirs,
                native: medians.native,
                tells: ours > start.ours / NOISE
                    && (peer.is_none() || theirs > start.theirs / NOISE),
                instructions: instructions - at_start,
            }
        })
        .collect())
}
