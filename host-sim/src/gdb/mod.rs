//! `uvsim gdb`: a debugger on a run, forward and back.
//!
//! Runs repeat to the byte, so going back is running again up to an earlier moment (`replay`);
//! nothing is ever undone. The debugger looks at the machine from outside: it reads memory without
//! converting a page, and it cannot write, because what it wrote would be gone after the next step
//! back. `target` is what gdb's protocol asks for, `monitor` our own commands, `serve` the
//! connection.

mod link;
mod monitor;
mod replay;
mod serve;
mod target;
mod watch;

pub use monitor::{EventBreak, View};
pub use replay::{Position, Replay, Stop};
pub use serve::Gdb;
pub use watch::{Kind as WatchKind, Watch};
