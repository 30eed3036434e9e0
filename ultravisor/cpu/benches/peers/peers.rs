//! The three programs that run the image, each as a process of its own, and what one run costs;
//! and the processor itself, where an engine could do no better.
#![expect(unsafe_code, reason = "asks the kernel what the children have cost")]

use crate::{Failure, image};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Who runs the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Uvsim,
    Qemu,
    Bochs,
    /// None: what [`crate::native`] has of a workload.
    Native,
}

const QEMU: &str = "qemu-system-x86_64";
const BOCHS: &str = "bochs";
const MKRESCUE: &str = "grub-mkrescue";

impl Engine {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uvsim => "uvsim",
            Self::Qemu => "QEMU TCG",
            Self::Bochs => "Bochs",
            Self::Native => "the processor",
        }
    }

    /// The first line of what it says of its version, or `None` where it is not installed.
    pub fn version(self) -> Option<String> {
        let program = match self {
            Self::Uvsim | Self::Native => return Some(env!("CARGO_PKG_VERSION").to_owned()),
            Self::Qemu => QEMU,
            Self::Bochs if answers(MKRESCUE) => BOCHS,
            Self::Bochs => return None,
        };
        let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.chars().any(|c| c.is_ascii_digit()))?;
        Some(line.trim_matches(|c: char| c == '=' || c.is_whitespace()).to_owned())
    }

    /// What to install where it is not.
    pub const fn package(self) -> &'static str {
        match self {
            Self::Uvsim | Self::Native => "nothing",
            Self::Qemu => "qemu-system-x86",
            Self::Bochs => "bochs bochs-term grub-pc-bin grub-common xorriso mtools",
        }
    }
}

fn answers(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

/// One run.
pub struct Run {
    /// User and system time of the process and all its threads.
    pub cpu_time: Duration,
    pub checksum: String,
    /// Told by this engine alone.
    pub instructions: Option<u64>,
}

/// The image on disk, and a folder for what the peers need.
pub struct Bench {
    folder: PathBuf,
    elf: PathBuf,
}

impl Bench {
    /// Writes the image into `folder`.
    pub fn new(folder: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let elf = folder.join("image.elf");
        fs::write(&elf, image::build()?)?;
        Ok(Self { folder: folder.to_owned(), elf })
    }

    /// Runs workload number `workload` for `rounds` rounds.
    pub fn run(&self, engine: Engine, workload: usize, rounds: u32) -> Result<Run, Failure> {
        let command_line = format!("@{workload},{rounds}");
        let com1 = self.folder.join("com1.txt");
        let mut command = match engine {
            Engine::Uvsim => self.uvsim(&command_line)?,
            Engine::Qemu => self.qemu(&command_line, &com1),
            Engine::Bochs => self.bochs(&command_line, &com1)?,
            Engine::Native => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("--native").args([workload.to_string(), rounds.to_string()]);
                command
            }
        };
        let before = children_cpu_time()?;
        let output = command.stdin(Stdio::null()).output()?;
        let cpu_time = children_cpu_time()?.saturating_sub(before);
        let told = match engine {
            Engine::Uvsim | Engine::Native => String::from_utf8_lossy(&output.stdout).into_owned(),
            Engine::Qemu | Engine::Bochs => fs::read_to_string(&com1)?,
        };
        let mut words = told.split_whitespace();
        let checksum = words.next().unwrap_or_default().to_owned();
        if checksum.len() != 16 {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("{} said {told:?} to {command_line}: {why}", engine.name()).into());
        }
        let instructions = words.next().and_then(|word| word.parse().ok());
        Ok(Run { cpu_time, checksum, instructions })
    }

    /// This program again, as the engine alone.
    fn uvsim(&self, command_line: &str) -> Result<Command, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--alone").arg(&self.elf).arg(command_line);
        Ok(command)
    }

    fn qemu(&self, command_line: &str, com1: &Path) -> Command {
        let mut command = Command::new(QEMU);
        command.args(["-accel", "tcg,thread=single", "-m", "128", "-display", "none"]);
        command.args(["-nodefaults", "-no-user-config", "-no-reboot"]);
        command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
        command.arg("-serial").arg(format!("file:{}", com1.display()));
        command.arg("-kernel").arg(&self.elf).args(["-append", command_line]);
        command
    }

    /// Debian's Bochs has its debugger compiled in, and waits to be told to go on; its display
    /// is a terminal that nobody looks at.
    fn bochs(&self, command_line: &str, com1: &Path) -> Result<Command, Failure> {
        let iso = self.iso(command_line)?;
        let (rc, go_on) = (self.folder.join("bochsrc"), self.folder.join("bochs.commands"));
        let lines = [
            "megs: 128".to_owned(),
            "display_library: term".to_owned(),
            "config_interface: textconfig".to_owned(),
            "romimage: file=/usr/share/bochs/BIOS-bochs-latest".to_owned(),
            "vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest".to_owned(),
            format!("ata0-master: type=cdrom, path={}, status=inserted", iso.display()),
            "boot: cdrom".to_owned(),
            format!("com1: enabled=1, mode=file, dev={}", com1.display()),
            format!("log: {}", self.folder.join("bochs.log").display()),
            "panic: action=fatal".to_owned(),
            "speaker: enabled=0".to_owned(),
        ];
        fs::write(&rc, lines.join("\n") + "\n")?;
        fs::write(&go_on, "continue\nquit\n")?;
        let mut command = Command::new(BOCHS);
        command.arg("-q").arg("-f").arg(rc).arg("-rc").arg(go_on).env("TERM", "vt100");
        Ok(command)
    }

    /// A bootable disc with GRUB, the image and one menu entry. Kept: making one takes longer than
    /// running some of them.
    fn iso(&self, command_line: &str) -> Result<PathBuf, Failure> {
        let name = command_line.replace(['@', ','], "-");
        let (iso, tree) = (self.folder.join(format!("run{name}.iso")), self.folder.join("tree"));
        let grub = tree.join("boot/grub");
        fs::create_dir_all(&grub)?;
        fs::copy(&self.elf, tree.join("boot/image.elf"))?;
        let menu = format!(
            "set timeout=0\nmenuentry image {{\n multiboot2 /boot/image.elf {command_line}\n boot\n}}\n"
        );
        fs::write(grub.join("grub.cfg"), menu)?;
        let output = Command::new(MKRESCUE).arg("-o").arg(&iso).arg(&tree).output()?;
        if output.status.success() {
            return Ok(iso);
        }
        Err(format!("{MKRESCUE}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// User and system time of all children that have ended.
fn children_cpu_time() -> Result<Duration, Failure> {
    // SAFETY: `rusage` is plain numbers, for which all zeros are a value.
    let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel writes one `rusage` to a place that is one.
    if unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    Ok(time(usage.ru_utime) + time(usage.ru_stime))
}
