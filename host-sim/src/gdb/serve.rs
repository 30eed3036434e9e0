//! `uvsim gdb`: one run, one client, on this machine alone.

use super::link::Link;
use super::replay::{Replay, Stop};
use super::target::{Debugged, Wanted};
use crate::arguments::GdbArgs;
use crate::escape;
use crate::run::Prepared;
use crate::scenario::select::{self, Filter};
use crate::streams::{Out, Style, Talk, exit, nothing_selected};
use gdbstub::common::Signal;
use gdbstub::conn::ConnectionExt;
use gdbstub::stub::run_blocking::{BlockingEventLoop, Event, WaitForStopReasonError};
use gdbstub::stub::{BaseStopReason, DisconnectReason, GdbStub, SingleThreadStopReason};
use gdbstub::target::Target;
use gdbstub::target::ext::base::reverse_exec::ReplayLogPosition;
use gdbstub::target::ext::breakpoints::WatchKind;
use std::io;
use std::marker::PhantomData;
use std::net::TcpListener;

/// So many work units are done before the client is asked whether it wants to interrupt.
const UNITS_AT_ONCE: u64 = 2_000_000;

/// One `uvsim gdb`.
pub struct Gdb<'a> {
    /// Its arguments.
    pub arguments: &'a GdbArgs,
    /// How it looks.
    pub style: Style,
}

impl Gdb<'_> {
    /// Waits for a client and serves it; says what to exit with.
    pub fn run(&self, out: &mut Out<'_>, talk: &mut Talk<'_>) -> u8 {
        let GdbArgs { chosen, listen } = self.arguments;
        if !listen.ip().is_loopback() {
            talk.say(
                "error: --listen: a debugger is served on this machine alone: 127.0.0.1 or [::1]\n",
            );
            return exit::USAGE;
        }
        let mut selection = match select::select(&chosen.paths, chosen.seed) {
            Ok(selection) => selection,
            Err(faults) => {
                talk.faults(&faults, self.style.faults);
                talk.say_unless_json("exit 3: there is nothing to debug\n", self.style.faults);
                return exit::INPUT;
            }
        };
        let id = chosen.id.as_ref().map(|glob| glob.0.clone());
        selection.keep(&Filter { design: chosen.design.clone(), id });
        let run = match selection.runs.as_slice() {
            [] => return nothing_selected(chosen, &selection, talk),
            [run] => run,
            several => {
                talk.say("error: one run can be debugged; choose one by --id:\n");
                for run in several.iter().take(20) {
                    talk.say(&format!("  {}\n", escape::terminal(&run.plan.id)));
                }
                return exit::USAGE;
            }
        };
        let served = Prepared::new(&run.plan).map_err(|why| why.to_string()).and_then(|prepared| {
            let replay = Replay::new(&prepared).map_err(|why| why.to_string())?;
            self.serve(Debugged::new(replay), out, talk).map_err(|error| error.kind().to_string())
        });
        match served {
            Ok(code) => code,
            Err(why) => {
                talk.say(&format!("error: {}\n", escape::terminal_cut(&why, 400)));
                exit::OUTPUT
            }
        }
    }

    fn serve(
        &self,
        mut debugged: Debugged<'_>,
        out: &mut Out<'_>,
        talk: &mut Talk<'_>,
    ) -> io::Result<u8> {
        let listener = TcpListener::bind(self.arguments.listen)?;
        let address = listener.local_addr()?;
        let id = escape::terminal(&debugged.replay.prepared().plan().id);
        out.print(&format!("stopped before the first instruction of {id}; in another terminal:\n"));
        out.print(&format!("  gdb -ex 'target remote {address}'\n"));
        let (stream, _) = listener.accept()?;
        // One client: nobody else gets in.
        drop(listener);
        talk.say("connected; in gdb, `monitor help` tells of pages and conversions\n");
        let stub = GdbStub::new(Link::new(stream));
        match stub.run_blocking::<Loop<'_>>(&mut debugged) {
            Ok(DisconnectReason::Disconnect) => talk.say("the debugger has left\n"),
            Ok(_) => talk.say("the debugger has ended the run\n"),
            // It went away without a word: a killed gdb does.
            Err(error) if error.is_connection_error() => talk.say("the connection has ended\n"),
            Err(error) => {
                let why = escape::terminal_cut(&error.to_string(), 200);
                let why = why.split('!').next().unwrap_or_default();
                talk.say(&format!("error: what the debugger sent is not gdb's protocol ({why})\n"));
                return Ok(exit::OUTPUT);
            }
        }
        Ok(exit::OK)
    }
}

/// How the stub waits for the run.
struct Loop<'p>(PhantomData<&'p ()>);

type Reason = SingleThreadStopReason<u64>;

impl<'p> BlockingEventLoop for Loop<'p> {
    type Target = Debugged<'p>;
    type Connection = Link;
    type StopReason = Reason;

    fn wait_for_stop_reason(
        debugged: &mut Debugged<'p>,
        link: &mut Link,
    ) -> Result<Event<Reason>, WaitForStopReasonError<&'static str, io::Error>> {
        let gone = |_| WaitForStopReasonError::Target("the machine cannot be powered on again");
        debugged.stop = match debugged.wanted {
            Wanted::Step => debugged.replay.step(),
            Wanted::StepBack => debugged.replay.step_back().map_err(gone)?,
            Wanted::ResumeBack => debugged.replay.resume_back().map_err(gone)?,
            Wanted::Resume => loop {
                let stop = debugged.replay.resume(UNITS_AT_ONCE);
                if stop != Stop::Nothing {
                    break stop;
                }
                if link.peek().map_err(WaitForStopReasonError::Connection)?.is_some() {
                    debugged.stop = Stop::Nothing;
                    let byte = link.read().map_err(WaitForStopReasonError::Connection)?;
                    return Ok(Event::IncomingData(byte));
                }
            },
        };
        Ok(Event::TargetStopped(reason(&debugged.stop)))
    }

    fn on_interrupt(
        _: &mut Debugged<'p>,
    ) -> Result<Option<Reason>, <Debugged<'p> as Target>::Error> {
        Ok(Some(BaseStopReason::Signal(Signal::SIGINT)))
    }
}

/// A stop in gdb's words. A run that has ended is the end of a recording: one can go back.
fn reason(stop: &Stop) -> Reason {
    match stop {
        Stop::Stepped => BaseStopReason::DoneStep,
        Stop::Breakpoint => BaseStopReason::SwBreak(()),
        Stop::Watch(watch) => {
            let kind = match watch.kind {
                super::watch::Kind::Write => WatchKind::Write,
                super::watch::Kind::Read => WatchKind::Read,
                super::watch::Kind::Any => WatchKind::ReadWrite,
            };
            BaseStopReason::Watch { tid: (), kind, addr: watch.address }
        }
        Stop::Event { .. } | Stop::Nothing => BaseStopReason::Signal(Signal::SIGTRAP),
        Stop::Start => BaseStopReason::ReplayLog { tid: None, pos: ReplayLogPosition::Begin },
        Stop::Ended(_) => BaseStopReason::ReplayLog { tid: None, pos: ReplayLogPosition::End },
    }
}
