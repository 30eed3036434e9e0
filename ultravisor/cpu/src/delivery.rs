//! Exceptions and interrupts: from what happened to the first instruction of its handler, through the
//! interrupt descriptor table (SDM volume 3, chapter 6): that of long mode with 16 bytes for a gate, or
//! that of protected mode with 8, whose task gates are our limit.
//!
//! A delivery is one work unit and no instruction: so a handler that faults again and again ends by
//! the budget. It happens whole or not at all, so where it meets a page that is away, what led to
//! it is done again. A guest that never loaded a table has its exceptions told as
//! [`Exit::Exception`], which names the instruction: a better diagnosis than a triple fault.

use crate::bus::Bus;
use crate::cpu::{Cpu, Progress, Stop, vector};
use crate::event::{Cause, Event, Interrupt, Then, then};
use crate::exit::Exit;
use crate::flags::bit;
use crate::mem::canonical;
use crate::regs::Reg;
use crate::segment::{Descriptor, Kind, Seg, Segment, System, selector};
use crate::uop::{Left, Uop};

/// A gate of the interrupt descriptor table.
struct Gate {
    /// Bytes of a word that is pushed.
    word: usize,
    selector: u16,
    target: u64,
    /// Which stack of the interrupt stack table, or 0.
    stack: u8,
    /// It clears IF.
    masks: bool,
}

/// Bits of the error codes of #GP, #NP, #SS and #TS (SDM volume 3, 6.13).
mod error {
    /// It came up while an event was delivered that no instruction had asked for.
    pub const EXTERNAL: u32 = 1;
    /// The index is one of the interrupt descriptor table.
    pub const IDT: u32 = 2;
}

impl Cpu {
    /// Presents the interrupt that the interrupt controllers have next, or none. It is taken at an
    /// instruction boundary, if RFLAGS.IF is set and the task priority lets it pass, which is told
    /// by [`Exit::Interrupt`]; it is then presented no more.
    pub fn present_interrupt(&mut self, interrupt: Option<Interrupt>) {
        self.pending.interrupt = interrupt;
    }

    /// A non-maskable interrupt; one more while one waits is the same one.
    pub fn raise_nmi(&mut self) {
        self.pending.nmi = true;
    }

    /// Whether something would be delivered if the CPU ran now: what ends a HLT.
    pub fn wakes(&self) -> bool {
        self.next_event().is_some()
    }

    /// Whether that is a non-maskable interrupt.
    pub fn wakes_by_nmi(&self) -> bool {
        self.next_event().is_some_and(|event| event.cause == Cause::NonMaskable)
    }

    /// LIDT.
    pub(crate) fn set_handlers(&mut self, base: u64, limit: u16) {
        self.regs.idtr = (base, limit);
        self.delivers |= limit != 0;
    }

    /// Whether the event marked at `mark` was the end of the last instruction that retired.
    fn is_now(&self, mark: Option<u64>) -> bool {
        mark == Some(self.total.instructions)
    }

    /// How many instructions will have retired when `uop` has.
    fn count_with(&self, uop: &Uop) -> u64 {
        self.retired_before_block() + u64::from(uop.before) + u64::from(uop.count())
    }

    /// `uop` loads the stack segment.
    pub(crate) fn shade_stack(&mut self, uop: &Uop) {
        self.pending.stack_shadow = Some(self.count_with(uop));
    }

    /// `uop` sets IF, which was clear.
    pub(crate) fn shade_interrupts(&mut self, uop: &Uop) {
        self.pending.interrupt_shadow = Some(self.count_with(uop));
    }

    /// `uop` stops between two iterations.
    pub(crate) fn pause_repeat(&mut self, uop: &Uop) {
        self.pending.inside_repeat = Some(self.retired_before_block() + u64::from(uop.before));
    }

    /// `uop` sets RF.
    pub(crate) fn resume_behind(&mut self, uop: &Uop) {
        self.pending.resumes = Some(self.count_with(uop));
    }

    /// Whether `rip` is at a repeated instruction that has begun.
    pub(crate) fn is_inside_repeat(&self) -> bool {
        self.is_now(self.pending.inside_repeat)
    }

    /// Whether the guest's breakpoints at the next instruction are passed.
    pub(crate) fn passes_breakpoints(&self) -> bool {
        self.resumes() || self.is_inside_repeat() || self.is_now(self.pending.stack_shadow)
    }

    /// RF.
    pub(crate) fn resumes(&self) -> bool {
        self.is_now(self.pending.resumes)
    }

    /// A handler begins: what held for the instruction that it interrupts is over.
    pub(crate) fn begin_handler(&mut self) {
        self.pending.interrupt_shadow = None;
        self.pending.stack_shadow = None;
        self.pending.inside_repeat = None;
        self.pending.resumes = None;
        self.pending.steps = false;
        self.pending.touched = 0;
        self.supplied = None;
    }

    /// What waits to be delivered, the most urgent first (SDM volume 3, table 6-2).
    fn waiting(&self) -> Option<Event> {
        let pending = &self.pending;
        if pending.traps != 0 {
            return Some(Event::new(vector::DEBUG, Cause::Trap));
        }
        if pending.nmi && !self.nmi_blocked {
            return Some(Event::new(vector::NMI, Cause::NonMaskable));
        }
        let interrupt = pending.interrupt?;
        let passes = match interrupt {
            Interrupt::Local(vector) => vector >> 4 > self.regs.task_priority >> 4,
            Interrupt::External(_) => true,
        };
        let open = self.system_flags & bit::IF != 0 && passes;
        open.then_some(Event::new(interrupt.vector(), Cause::Interrupt))
    }

    /// Whether the instruction to come holds off `event`.
    fn holds_off(&self, event: &Event) -> bool {
        let maskable = event.cause == Cause::Interrupt;
        // An instruction that waits for its answer has begun, and a breakpoint that was told is
        // passed before anything comes between.
        self.supplied.is_some()
            || self.is_now(self.pending.stack_shadow)
            || maskable
                && (self.is_now(self.pending.interrupt_shadow)
                    || self.passing == Some(self.regs.rip))
    }

    /// What is to be delivered before the next instruction.
    pub(crate) fn next_event(&self) -> Option<Event> {
        self.waiting().filter(|event| !self.holds_off(event))
    }

    /// Whether something is to be delivered once one more instruction has retired.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting().is_some()
    }

    /// Delivers what was waiting.
    #[cold]
    pub(crate) fn take_event(&mut self, bus: &mut dyn Bus, event: Event) -> Progress {
        if event.vector == vector::DEBUG && !self.delivers {
            self.tell_traps();
            self.raise(vector::DEBUG, None);
            return Progress::default();
        }
        let done = self.deliver(bus, event);
        if self.stop.is_some() {
            return done;
        }
        match event.cause {
            Cause::NonMaskable => {
                self.pending.nmi = false;
                self.nmi_blocked = true;
            }
            Cause::Interrupt => {
                self.pending.interrupt = None;
                self.leave(Exit::Interrupt { vector: event.vector });
            }
            Cause::Fault | Cause::Trap | Cause::Software => self.tell_traps(),
        }
        done
    }

    /// DR6 says what the debug exceptions that waited were about.
    fn tell_traps(&mut self) {
        self.regs.dr6 |= core::mem::take(&mut self.pending.traps);
    }

    /// The flags, or the priority, have changed: leaves the block once the instruction has
    /// happened if it is to be followed by something else than the next instruction.
    pub(crate) fn look_for_events(&mut self) {
        let interrupt = self.pending.interrupt.is_some() && self.system_flags & bit::IF != 0;
        if interrupt || self.pending.nmi || self.system_flags & bit::TF != 0 {
            self.leave = true;
        }
    }

    /// Whether an exception stops the instruction.
    pub(crate) fn is_stopped_by_fault(&self) -> bool {
        matches!(self.stop, Some(Stop::Exit(Exit::Exception { .. }) | Stop::NonCanonical))
    }

    /// RFLAGS as POPF and IRET set them, those bits of `mask`: IOPL in ring 0 only, IF as IOPL
    /// allows.
    pub(crate) fn restore_flags(&mut self, value: u64, mask: u64) {
        let mut mask = mask;
        if self.cpl > 0 {
            mask &= !bit::IOPL;
        }
        if !self.has_io_privilege() {
            mask &= !bit::IF;
        }
        let kept = self.rflags() & !mask;
        self.set_rflags(kept | value & mask);
        self.look_for_events();
    }

    /// Delivers `first`, or what its delivery leads to. If neither can be, why is what ends the
    /// run, and the CPU is as it was.
    pub(crate) fn deliver(&mut self, bus: &mut dyn Bus, first: Event) -> Progress {
        let mut event = first;
        while let Err(Left) = self.enter_handler(bus, &event) {
            let Some(mut second) = self.take_fault() else {
                return Progress::default();
            };
            if let (vector::TASK_SEGMENT..=vector::PROTECTION, Some(error)) =
                (second.vector, &mut second.error)
            {
                *error |= error::EXTERNAL;
            }
            event = match then(event.class(), second.class()) {
                Then::Second => second,
                Then::DoubleFault => Event::fault(vector::DOUBLE_FAULT, Some(0), None),
                Then::Shutdown => {
                    let Event { vector, error, address, .. } = first;
                    self.leave(Exit::Shutdown { vector, error, address });
                    return Progress::default();
                }
            };
        }
        self.total.units += 1;
        Progress { units: 1, instructions: 0 }
    }

    /// What stopped the instruction or the delivery, if it is an exception.
    pub(crate) fn take_fault(&mut self) -> Option<Event> {
        let event = match self.stop? {
            Stop::Exit(Exit::Exception { vector, error, address }) => {
                Event::fault(vector, error, address)
            }
            Stop::NonCanonical => Event::fault(vector::PROTECTION, Some(0), None),
            Stop::Exit(_) | Stop::Unsupported => return None,
        };
        self.take_stop();
        Some(event)
    }

    /// Goes to the handler of `event`, to come back to `rip`. If that cannot be, why is what the
    /// caller finds as it finds an instruction's exception, and nothing has changed.
    pub(crate) fn enter_handler(&mut self, bus: &mut dyn Bus, event: &Event) -> Result<(), Left> {
        let gate = self.gate(bus, event)?;
        let code = self.handler_code(bus, gate.selector)?;
        self.valid_target(code.attributes, code.limit, gate.target)?;
        if self.is_long_mode() {
            self.push_long_frame(bus, event, &gate, selector::rpl(code.selector))?;
        } else {
            self.push_frame(bus, event, &gate, selector::rpl(code.selector))?;
        }
        let cleared = bit::TF | bit::NT | if gate.masks { bit::IF } else { 0 };
        self.system_flags &= !cleared;
        self.go_far(code, gate.target);
        self.begin_handler();
        if event.vector == vector::DEBUG {
            self.allow_debugging();
        }
        Ok(())
    }

    /// Pushes what long mode pushes, in any case with the stack pointer, and switches stacks.
    fn push_long_frame(
        &mut self,
        bus: &mut dyn Bus,
        event: &Event,
        gate: &Gate,
        level: u8,
    ) -> Result<(), Left> {
        let inward = level < self.cpl;
        let rsp = self.regs.gpr[Reg::Rsp];
        let top = match (gate.stack, inward) {
            (0, false) => rsp,
            (0, true) => self.stack_of(bus, level)?,
            (number, _) => self.interrupt_stack(bus, number)?,
        };
        if !canonical(top) {
            return Err(self.raise(vector::STACK, Some(0)));
        }
        let frame = self.frame(event);
        let words = if event.error.is_some() { 6 } else { 5 };
        // Whatever the stack pointer was, the frame is aligned (SDM volume 3, 6.14.2).
        let bottom = self.push_words(bus, top & !15, &frame[..words], gate.word, level)?;
        self.regs.gpr[Reg::Rsp] = bottom;
        if inward {
            self.regs.set_segment(Seg::Ss, Segment::null(level.into()));
        }
        Ok(())
    }

    /// Pushes what protected mode pushes: the stack pointer only if the stack is another (SDM volume 3,
    /// 6.12.1).
    fn push_frame(
        &mut self,
        bus: &mut dyn Bus,
        event: &Event,
        gate: &Gate,
        level: u8,
    ) -> Result<(), Left> {
        let inward = level < self.cpl;
        let old = self.regs.segment(Seg::Ss);
        let esp = self.regs.gpr[Reg::Rsp];
        let (stack, top) = if inward { self.inner_stack(bus, level)? } else { (old, esp) };
        let frame = self.frame(event);
        let first = if inward { 0 } else { 2 };
        let last = if event.error.is_some() { 6 } else { 5 };
        let esp = self.push_on(bus, &stack, top, &frame[first..last], gate.word, level)?;
        self.regs.set_segment(Seg::Ss, stack);
        self.regs.gpr[Reg::Rsp] = esp;
        Ok(())
    }

    /// What a handler may find on its stack, the highest first: SS and stack pointer, flags, CS and
    /// instruction pointer, error code.
    fn frame(&self, event: &Event) -> [u64; 6] {
        [
            self.regs.selector(Seg::Ss).into(),
            self.regs.gpr[Reg::Rsp],
            self.flags_to_push(event.cause),
            self.regs.selector(Seg::Cs).into(),
            self.regs.rip,
            event.error.unwrap_or(0).into(),
        ]
    }

    /// RFLAGS as a handler finds them pushed: with RF, if the instruction to come back to has been
    /// begun, so that no breakpoint on it is told twice (SDM volume 3, 17.3.1.1).
    fn flags_to_push(&self, cause: Cause) -> u64 {
        let resumes = match cause {
            Cause::Fault => true,
            Cause::Trap | Cause::Interrupt | Cause::NonMaskable => {
                self.is_inside_repeat() || self.resumes()
            }
            Cause::Software => false,
        };
        self.rflags() | if resumes { bit::RF } else { 0 }
    }

    /// The gate of the event's vector (SDM volume 3, 6.14.1); what is wrong with it has the vector
    /// in its error code.
    fn gate(&mut self, bus: &mut dyn Bus, event: &Event) -> Result<Gate, Left> {
        let told = Some(u32::from(event.vector) << 3 | error::IDT);
        let (base, limit) = self.regs.idtr;
        let long = self.is_long_mode();
        let bytes = if long { 16 } else { 8 };
        let offset = u64::from(event.vector) * bytes;
        if offset + bytes - 1 > u64::from(limit) {
            return Err(self.raise(vector::PROTECTION, told));
        }
        let at = base.wrapping_add(offset);
        let low = Descriptor(self.table_word(bus, at)?);
        let high = if long { self.table_word(bus, at.wrapping_add(8))? } else { 0 };
        let (masks, short) = match low.system(long) {
            Some(System::InterruptGate) => (true, false),
            Some(System::TrapGate) => (false, false),
            Some(System::InterruptGate16) => (true, true),
            Some(System::TrapGate16) => (false, true),
            Some(System::TaskGate) => return Err(self.unsupported()),
            _ => return Err(self.raise(vector::PROTECTION, told)),
        };
        let attributes = low.attributes();
        if event.cause == Cause::Software && attributes.dpl() < self.cpl {
            return Err(self.raise(vector::PROTECTION, told));
        }
        if !attributes.present() {
            return Err(self.raise(vector::NOT_PRESENT, told));
        }
        let target = low.gate_target(high);
        Ok(Gate {
            word: if long {
                8
            } else if short {
                2
            } else {
                4
            },
            selector: low.gate_selector(),
            target: if short { target & 0xffff } else { target },
            stack: (low.0 >> 32) as u8 & 7,
            masks,
        })
    }

    /// The handler's code segment: not less privileged than what it interrupts; in long mode 64-bit
    /// code.
    fn handler_code(&mut self, bus: &mut dyn Bus, selector: u16) -> Result<Segment, Left> {
        if selector::is_null(selector) {
            return Err(self.raise(vector::PROTECTION, Some(0)));
        }
        let descriptor = self.required(bus, selector)?;
        let attributes = descriptor.attributes();
        let dpl = attributes.dpl();
        let level = match attributes.kind() {
            Kind::Code { conforming: true, .. } => self.cpl,
            Kind::Code { conforming: false, .. } => dpl,
            Kind::Data { .. } | Kind::System(_) => {
                return Err(self.raise_for(vector::PROTECTION, selector));
            }
        };
        let elsewhere = self.is_long_mode() && (!attributes.long() || attributes.big());
        if dpl > self.cpl || elsewhere {
            return Err(self.raise_for(vector::PROTECTION, selector));
        }
        if !attributes.present() {
            return Err(self.raise_for(vector::NOT_PRESENT, selector));
        }
        self.is_64_bit_code(selector, attributes)?;
        let segment = self.accessed(bus, selector, descriptor)?;
        Ok(Segment { selector: selector & !selector::RPL | u16::from(level), ..segment })
    }
}
