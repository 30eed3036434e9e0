//! A story on a terminal of 80 columns and 24 lines or more.
//!
//! Nothing is told by colour alone: each state has a glyph, the page in focus and the one who acts
//! have marks. Colours are blue, orange and white (told apart by people who see no red or no green,
//! and in grey), each with a foreground of its own, so that the terminal's background does not
//! matter.

use super::browser::{Browser, Page};
use super::scene::{Actor, Cell, GRID, Scene, glyph};
use super::table;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell as TableCell, Paragraph, Row, Table, Wrap};
use ultravisor::PageState;

/// The terminal that everything fits on: columns and lines.
pub const SIZE: (u16, u16) = (80, 24);
/// Wider text is hard to read.
const WIDTH_MAX: u16 = 100;

/// What the terminal can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether to use colour.
    pub color: bool,
    /// Whether it takes more than ASCII.
    pub unicode: bool,
}

const ASCII_BORDER: border::Set<'_> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

const HELP: [&str; 20] = [
    "space, right, enter   the next step",
    "b, left, backspace    the step before",
    "n                     the next step at which the page in focus (*) has moved",
    "d                     the same step in the next run: another design",
    "home, end             the first step; the comparison at the end",
    "p                     pause and go on, where steps go by themselves (--auto)",
    "?                     this page             q   quit",
    "",
    "A page is   S  secure: the guest's alone",
    "            =  shared: guest and host both see it",
    "            #  paged out: the host holds its ciphertext",
    "            .  normal: the host's to see",
    "            *  before it: the step is about it;  !  it has just changed",
    "",
    "A secure guest's page is encrypted before the host may touch it (page-out).",
    "It is verified and decrypted when the guest touches it again (page-in).",
    "A page-out that a touch caused, and its page-in, are one round trip.",
    "=> at the code is the guest's next instruction. Time is modelled, not measured.",
    "",
    "Any key goes back.",
];

/// Draws where the reader is.
pub fn draw(frame: &mut Frame<'_>, browser: &Browser<'_>, look: Look) {
    let area = frame.area();
    if area.width < SIZE.0 || area.height < SIZE.1 {
        let (columns, lines) = SIZE;
        let text = format!(
            "The demo needs {columns} columns and {lines} lines; this is {} x {}. Make the window \
             larger, or use --plain. q: quit",
            area.width, area.height
        );
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let area = Rect { width: area.width.min(WIDTH_MAX), height: area.height.min(40), ..area };
    match browser.page() {
        Page::Step => draw_step(frame, area, &browser.scene(), browser.note(), look),
        Page::End => draw_end(frame, area, browser, look),
        Page::Help => draw_help(frame, area, look),
    }
}

fn block<'t>(title: &'t str, look: Look) -> Block<'t> {
    let set = if look.unicode { border::PLAIN } else { ASCII_BORDER };
    Block::bordered().border_set(set).title(title)
}

fn strong() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn bar(left: &str, right: &str, width: u16) -> Line<'static> {
    let room = usize::from(width).saturating_sub(right.chars().count() + 1);
    let left: String = left.chars().take(room).collect();
    let text = format!("{left:<room$} {right}");
    Line::styled(text, Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD))
}

fn draw_step(frame: &mut Frame<'_>, area: Rect, scene: &Scene, note: Option<&str>, look: Look) {
    let heights = [1, 1, 9, 1, 4, 1].map(Constraint::Length);
    let [top, run, boxes, focus, code, _, says, keys] =
        Layout::vertical(heights.into_iter().chain([Constraint::Min(6), Constraint::Length(1)]))
            .areas(area);
    let (number, steps) = scene.step;
    let title = format!(" {}  {number}/{steps}  {}", scene.story, scene.title);
    frame.render_widget(bar(&title, &format!("t = {} ", scene.time), area.width), top);
    let (name, of_runs, runs) = &scene.run;
    let others =
        if *runs > 1 { format!("(run {of_runs} of {runs}; d: the next)") } else { String::new() };
    frame.render_widget(
        Line::from(vec![
            Span::raw(" in this run: "),
            Span::styled(name.clone(), strong()),
            Span::raw(format!("  {others}")),
        ]),
        run,
    );
    let [left, right] =
        Layout::horizontal([Constraint::Length(41), Constraint::Min(30)]).areas(boxes);
    draw_grid(frame, left, scene, look);
    draw_actors(frame, right, scene, look);
    let text = scene.focus.clone().unwrap_or_default();
    frame.render_widget(Line::styled(format!(" {text}"), strong()), focus);
    draw_code(frame, code, scene);
    let inner = Rect { x: says.x + 1, width: says.width - 2, ..says };
    frame.render_widget(Paragraph::new(scene.says.clone()).wrap(Wrap { trim: true }), inner);
    draw_keys(frame, keys, note);
}

fn draw_grid(frame: &mut Frame<'_>, area: Rect, scene: &Scene, look: Look) {
    let shown = scene.grid.len();
    let title = match scene.pages > shown {
        true => format!(" {shown} of {} pages of {} KiB ", scene.pages, scene.unit / 1024),
        false => format!(" the pages ({} KiB each) ", scene.unit / 1024),
    };
    let rows = scene.grid.chunks(GRID.0).map(|row| {
        let first = row.first().map_or(0, |cell| cell.gfn);
        let label = Span::raw(format!("{first:>5x} "));
        Line::from_iter(std::iter::once(label).chain(row.iter().map(|cell| span(cell, look))))
    });
    let mut lines: Vec<Line<'_>> = rows.collect();
    // A story of few pages has room to say what the glyphs are.
    if lines.len() + 4 <= GRID.1 {
        lines.push(Line::default());
        let legend = [
            (PageState::Secure, "secure: the guest's alone"),
            (PageState::PagedOut, "paged out: ciphertext"),
            (PageState::Shared, "shared: the host sees it too"),
        ];
        lines.extend(legend.map(|(state, text)| {
            let cell = Cell { gfn: 0, state, in_focus: false, moved: false };
            Line::from(vec![Span::raw("      "), span(&cell, look), Span::raw(format!(" {text}"))])
        }));
    }
    let title = title.as_str();
    frame.render_widget(Paragraph::new(lines).block(block(title, look)), area);
}

/// A page: its mark and its glyph.
fn span(cell: &Cell, look: Look) -> Span<'static> {
    let mark = match (cell.in_focus, cell.moved) {
        (true, _) => '*',
        (false, true) => '!',
        (false, false) => ' ',
    };
    let style = match (look.color, cell.state) {
        (false, _) | (true, PageState::Normal) => Style::new(),
        (true, PageState::Secure) => Style::new().fg(Color::Indexed(231)).bg(Color::Indexed(25)),
        (true, PageState::PagedOut) => Style::new().fg(Color::Indexed(16)).bg(Color::Indexed(231)),
        (true, PageState::Shared | PageState::SharedInv) => {
            Style::new().fg(Color::Indexed(16)).bg(Color::Indexed(214))
        }
        (
            true,
            PageState::HvSharing
            | PageState::HvShared
            | PageState::HvSharedInv
            | PageState::HvUnsharing
            | PageState::HvUnsharingInv
            | PageState::HvUnshared,
        ) => Style::new().fg(Color::Indexed(16)).bg(Color::Indexed(250)),
    };
    let style = if cell.in_focus { style.add_modifier(Modifier::BOLD) } else { style };
    Span::styled(format!("{mark}{}", glyph(cell.state)), style)
}

fn draw_actors(frame: &mut Frame<'_>, area: Rect, scene: &Scene, look: Look) {
    let mut lines: Vec<Line<'_>> = Actor::ALL
        .into_iter()
        .map(|actor| {
            let text = format!("{:<11}{}", actor.name(), actor.role());
            if actor == scene.acting {
                let style = Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD);
                return Line::styled(format!("=> {text:<33} "), style);
            }
            Line::raw(format!("   {text}"))
        })
        .collect();
    lines.extend(scene.counts.chunks(2).map(|pair| {
        let text: Vec<String> =
            pair.iter().map(|(name, count)| format!("{count:>3} {name:<16}")).collect();
        Line::raw(text.concat())
    }));
    frame.render_widget(Paragraph::new(lines).block(block(" who acts ", look)), area);
}

fn draw_code(frame: &mut Frame<'_>, area: Rect, scene: &Scene) {
    // Of a long name the end tells most.
    let room = usize::from(area.width).saturating_sub(21);
    let length = scene.function.chars().count();
    let name: String = scene.function.chars().skip(length.saturating_sub(room)).collect();
    let dots = if length > room { "..." } else { "" };
    let mut lines = vec![Line::raw(format!(" guest code, in {dots}{name}"))];
    lines.extend(scene.code.iter().map(|line| {
        let mark = if line.is_next { "=>" } else { "  " };
        let text = format!("  {mark} {:#x}  {}", line.address, line.text);
        if line.is_next { Line::styled(text, strong()) } else { Line::raw(text) }
    }));
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_keys(frame: &mut Frame<'_>, area: Rect, note: Option<&str>) {
    let keys = " space next   b back   n this page's next   d other run   ? help   q quit";
    let text = match note {
        Some(note) => format!(" ({note})   ? help   q quit"),
        None => keys.to_owned(),
    };
    frame.render_widget(bar(&text, "", area.width), area);
}

fn draw_end(frame: &mut Frame<'_>, area: Rect, browser: &Browser<'_>, look: Look) {
    let story = browser.story();
    let [top, body, says, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(10),
        Constraint::Length(7),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(bar(&format!(" {}  the comparison", story.name), "", area.width), top);
    let all = table::rows(story);
    // Head and border take three lines.
    let room = usize::from(body.height).saturating_sub(3);
    let has_room = 2 * all.len() <= room;
    let asked = all.iter().any(|row| !row.acting.is_empty());
    let more = all.len().saturating_sub(room);
    let rows = all.into_iter().take(room).flat_map(|row| {
        let acting = (has_room && !row.acting.is_empty()).then(|| {
            // It spans the table: the first column alone would cut it.
            Row::new([TableCell::from(format!("    {}", row.acting)).column_span(6)])
        });
        std::iter::once(Row::new(row.cells)).chain(acting)
    });
    let widths = [27, 15, 7, 12, 7, 10].map(Constraint::Length);
    let head = Row::new(table::HEADS.map(TableCell::from)).style(strong());
    let table = Table::new(rows, widths).header(head).column_spacing(0);
    let title = match more {
        0 if asked => " the same work, each way; below each: who must act ".to_owned(),
        0 => " how they came out ".to_owned(),
        more => format!(" the same work, each way; {more} more: --plain shows all "),
    };
    frame.render_widget(table.block(block(&title, look)), body);
    let inner = Rect { x: says.x + 1, width: says.width - 2, ..says };
    frame.render_widget(Paragraph::new(story.ends.clone()).wrap(Wrap { trim: true }), inner);
    draw_keys(frame, keys, browser.note());
}

fn draw_help(frame: &mut Frame<'_>, area: Rect, look: Look) {
    let text = HELP.join("\n");
    frame.render_widget(Paragraph::new(text).block(block(" help ", look)), area);
}
