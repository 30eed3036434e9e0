//! One set of hostile strings, pushed through every sink: first through the function of each, then
//! through whole runs, by whatever can carry them. In none of them may one come out raw.

use super::pages;
use host_sim::cli::{self, Terminal, World};
use host_sim::escape;
use host_sim::output::json;
use host_sim::report::packets;
use host_sim::report::trace::Writer;
use host_sim::report::trace::proto::{self, Trace};
use host_sim::run;
use host_sim::saved::Saved;
use host_sim::scenario::plan::Plan;
use html5gum::{DefaultEmitter, Token};
use iced_x86::code_asm::{CodeAssembler, dword_ptr, r10, rax, rbx, rdi, rdx, rsi};
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use prost::Message;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

/// What somebody obeys or believes: terminals, build logs, browsers, spreadsheets, readers.
const PAYLOADS: [&str; 84] = [
    // Terminals: titles, clipboard, links, notifications, private modes, device control strings.
    "\x1b]0;title\x07",
    "\x1b]2;title\x1b\\",
    "\x1b]52;c;aGVsbG8=\x07",
    "\x1b]8;;http://x\x1b\\a\x1b]8;;\x1b\\",
    "\x1b]9;note\x07",
    "\x1b]777;notify;a;b\x07",
    "\x1b]1337;File=:AAAA\x07",
    "\x1b]4;1;?\x07",
    "\x1b[2J",
    "\x1b[H",
    "\x1b[1A",
    "\x1b[3J",
    "\x1b[?1049h",
    "\x1b[?25l",
    "\x1b[6n",
    "\x1b[c",
    "\x1b[>c",
    "\x1b[5i",
    "\x1b[20h",
    "\x1b[31mred\x1b[0m",
    "\x1b[8mhidden",
    "\x1b[200~paste\x1b[201~",
    "\x1bc",
    "\x1b#8",
    "\x1b(0",
    "\x1bP+q544e\x1b\\",
    "\x1bP$qm\x1b\\",
    "\x1b_G a\x1b\\",
    "\x1b^pm\x1b\\",
    "\x1bX sos\x1b\\",
    "\u{9b}2J",
    "\u{9d}0;x\u{9c}",
    "\u{90}q\u{9c}",
    "\x0e\x0f",
    "\x08\x08\x08",
    "PASS\rFAIL",
    "a\x0bb\x0cc",
    "line\nexit 0: all as expected",
    "line\r\n::error::x",
    "\x07",
    "\0",
    "a\0b",
    "\x7f\x7f",
    // Direction and look.
    "\u{202e}txt.exe",
    "\u{2066}a\u{2069}",
    "\u{200f}",
    "\u{61c}",
    "\u{feff}",
    "\u{2028}x",
    "\u{2029}x",
    // Build logs.
    "::add-mask::secret",
    "::error file=a::b",
    "::set-output name=a::b",
    "::stop-commands::x",
    "\n::debug::x",
    "##[error]x",
    "##[group]x",
    "a ##[endgroup]",
    "##vso[task.setvariable variable=a]b",
    "##teamcity[x]",
    "section_start:1:a\r\x1b[0K",
    "%0A::error::x",
    "%25",
    "title=a,file=b::c",
    // XML and HTML.
    "]]>",
    "<![CDATA[x",
    "<!ENTITY a SYSTEM \"file:///etc/passwd\">",
    "&amp;&lt;",
    "</testcase><testcase>",
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\" onmouseover=\"x",
    "' x='",
    "javascript:alert(1)",
    "<a href=javascript:x>",
    "\u{fffe}",
    "\u{ffff}",
    // Spreadsheets and Markdown.
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    " =1",
    "[x](javascript:a)",
];

/// At least two hundred strings: the payloads, and each character that somebody might obey, alone
/// and between letters.
pub fn injections() -> Vec<String> {
    let single =
        (0_u32..0x20).chain(0x7f..0xa0).chain([0x61c, 0x200e, 0x200f, 0x2028, 0x2029, 0xfeff]);
    let single = single.chain([0xad, 0x34f, 0x180e, 0x200b, 0x2060, 0x3164, 0xe0041]);
    let marks = single.chain(0x202a..0x202f).chain(0x2066..0x206a).filter_map(char::from_u32);
    let around = marks.flat_map(|c| [c.to_string(), format!("a{c}b")]);
    PAYLOADS.iter().map(|text| (*text).to_owned()).chain(around).collect()
}

/// What no line of a terminal or a log may hold, whatever wrote it.
fn raw(text: &str) -> Option<String> {
    let active = |c: char| escape::is_active(c) && c != '\n';
    let found = text.chars().find(|c| active(*c)).map(|c| format!("{c:?}"));
    let commands = ["##[", "##vso[", "##teamcity["].iter().find(|word| text.contains(**word));
    found.or_else(|| commands.map(|word| (*word).to_owned()))
}

fn assert_inert(sink: &str, of: &str, text: &str) {
    assert_eq!(raw(text), None, "{sink} of {of:?}: {text:?}");
}

#[test]
fn there_are_at_least_two_hundred_of_them_and_all_but_the_tame_are_raw_as_they_are() {
    let all = injections();
    assert!(all.len() >= 200, "{}", all.len());
    let caught = all.iter().filter(|text| raw(text).is_some() || text.contains('\n')).count();
    // The others are about XML, HTML, spreadsheets, or the beginning of a line.
    assert!(all.len() - caught < 40, "{caught} of {}", all.len());
}

#[test]
fn no_string_comes_raw_out_of_a_terminals_or_a_logs_line() {
    for text in injections() {
        let shown = escape::terminal(&text);
        assert_inert("terminal", &text, &shown);
        assert!(!shown.contains('\n'), "{shown:?}");
        assert_inert("terminal_cut", &text, &escape::terminal_cut(&text, 7));
        assert_inert("terminal_bytes", &text, &escape::terminal_bytes(text.as_bytes()));
        let cut = [text.as_bytes(), b"\xff\xc3"].concat();
        assert_inert("terminal_bytes", &text, &escape::terminal_bytes(&cut));
        let line = escape::console_line(&text, &cut, 80);
        assert_inert("console_line", &text, &line);
        assert!(!line.contains('\n') && line.contains("| "), "{line:?}");
        let block = escape::block(&text);
        let kept = |c: char| !escape::is_active(c) || c == '\n' || c == '\t';
        assert!(block.chars().all(kept), "{block:?}");
        assert_eq!(block.chars().count(), text.chars().count(), "columns stay what they are");
    }
    assert!(escape::console_line("hvc0", b"::error::x", 80).starts_with("hvc0| "));
}

#[test]
fn no_string_ends_a_text_or_an_attribute_of_html() {
    for text in injections() {
        for (sink, shown) in
            [("html", escape::html(&text)), ("html_attribute", escape::html_attribute(&text))]
        {
            assert_inert(sink, &text, &shown);
            let inner = match sink {
                "html" => shown.as_str(),
                _ => {
                    shown.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).expect("quotes")
                }
            };
            assert!(!inner.contains(['<', '>', '"', '\'', '`']), "{sink}: {inner:?}");
            // Each `&` begins an entity of ours; undone, the text is what a terminal would show.
            let undone = inner.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
            let undone = undone.replace("&#39;", "'").replace("&#96;", "`").replace("&amp;", "&");
            assert_eq!(undone, escape::terminal(&text));
        }
    }
}

/// What a browser makes of a page: its elements with the names of their attributes, in order, and
/// the texts in them.
struct Markup {
    elements: Vec<(String, Vec<String>)>,
    text: String,
    scripts: Vec<String>,
}

/// Reads a page as a browser does. No attribute of it may be code or lead out of the page.
fn markup(page: &str) -> Markup {
    let mut found = Markup { elements: Vec::new(), text: String::new(), scripts: Vec::new() };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    let mut in_script = false;
    for token in html5gum::Tokenizer::new_with_emitter(page, emitter) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => {
                for (name, value) in &tag.attributes {
                    let (name, value) = (text(name), text(value));
                    assert!(!name.starts_with("on") && name != "src" && name != "style", "{name}");
                    assert!(name != "href" || value.starts_with('#'), "{value}");
                }
                in_script = **tag.name == *b"script";
                if in_script {
                    found.scripts.push(String::new());
                }
                let names = tag.attributes.keys().map(|name| text(name)).collect();
                found.elements.push((text(&tag.name), names));
            }
            Token::String(string) => match found.scripts.last_mut() {
                Some(script) if in_script => script.push_str(&text(&string)),
                Some(_) | None => found.text.push_str(&text(&string)),
            },
            Token::EndTag(_) => in_script = false,
            Token::Comment(text) => panic!("a comment in a page: {text:?}"),
            Token::Error(why) => panic!("{why:?} in a page"),
            Token::Doctype(_) => (),
        }
    }
    found
}

#[test]
fn no_string_comes_raw_out_of_a_trace_or_of_packets() {
    let saved = pages::ping_pong();
    for text in injections() {
        let Saved { mut head, records } = pages::carrying(&saved, &text);
        let mut file = Vec::new();
        Writer::default().run(&mut file, &head, &records).expect("a Vec");
        let mut trace = Trace::decode(&file[..]).expect("it is a trace");
        let mut texts = trace.packet.iter_mut().flat_map(proto::texts).peekable();
        assert!(texts.peek().is_some());
        texts.for_each(|found| assert_inert("trace", &text, found));

        head.facts.devices[0].kind = serde_json::json!({ "net": {} });
        let mut file = Vec::new();
        packets::write_run(&mut file, &head, &records).expect("a Vec");
        let mut reader = PcapNgReader::new(&file[..]).expect("a section");
        let told = format!("{:?}", reader.section().options);
        assert!(told.contains("run ") && !told.contains("\\u{1b}"), "{told}");
        while let Some(block) = reader.next_block() {
            let Ok(Block::InterfaceDescription(interface)) = block else { continue };
            for option in interface.options {
                if let InterfaceDescriptionOption::IfName(name) = option {
                    assert_inert("packets", &text, &name);
                }
            }
        }
    }
}

#[test]
fn no_string_becomes_markup_of_a_page_or_leaves_its_script() {
    let saved = pages::ping_pong();
    let tame = markup(&pages::saying(&saved, "tame"));
    assert!(tame.elements.len() > 1000, "{}", tame.elements.len());
    assert_eq!(tame.scripts.len(), 1);
    for texts in injections().chunks(60) {
        let text = texts.join(" ");
        let page = pages::saying(&saved, &text);
        assert_inert("html page", &text, &page.replace('\n', " "));
        let found = markup(&page);
        assert!(found.elements == tame.elements, "other elements with {text:?}");
        assert_eq!(found.scripts, tame.scripts);
        assert!(found.text.contains(&escape::terminal(&text)), "{text:?} is not shown");
    }
}

#[test]
fn no_string_ends_a_text_or_an_attribute_of_xml() {
    for text in injections() {
        let shown = escape::xml(&text, 600);
        assert_inert("xml", &text, &shown);
        let mut case =
            quick_junit::TestCase::new(shown.as_str(), quick_junit::TestCaseStatus::success());
        case.set_classname(shown.as_str());
        let mut suite = quick_junit::TestSuite::new(shown.as_str());
        suite.add_test_case(case);
        let mut report = quick_junit::Report::new("x");
        report.add_test_suite(suite);
        let document = report.to_string().expect("it can be written");
        let read = roxmltree::Document::parse(&document)
            .unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let cases: Vec<_> =
            read.descendants().filter(|node| node.has_tag_name("testcase")).collect();
        assert_eq!(cases.len(), 1, "{text:?}");
        assert_eq!(cases[0].attribute("name"), Some(shown.as_str()), "{text:?}");
        assert_inert("junit", &text, &document.replace('\n', " "));
    }
}

#[test]
fn no_string_is_a_formula_or_ends_a_cell_of_csv() {
    for text in injections() {
        let shown = escape::csv(&text);
        assert_inert("csv", &text, &shown);
        assert!(!shown.trim_start().starts_with(['=', '+', '-', '@']), "{text:?}: {shown:?}");
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record([shown.as_str(), "next"]).expect("a Vec takes everything");
        let bytes = writer.into_inner().expect("a Vec takes everything");
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&bytes[..]);
        let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("CSV")).collect();
        assert_eq!(rows.len(), 1);
        assert_eq!((&rows[0][0], &rows[0][1]), (shown.as_str(), "next"));
    }
}

#[test]
fn no_string_ends_a_message_or_a_property_of_a_workflow_command() {
    for text in injections() {
        let message = escape::github_message(&[text.clone(), "second".to_owned()], 500);
        assert_inert("github_message", &text, &message);
        assert!(!message.contains(['\n', '\r']), "{message:?}");
        assert!(message.ends_with("%0Asecond"), "{message:?}");
        // Each `%` is one of ours.
        let escapes = ["%25", "%0A", "%0D"].map(|code| message.matches(code).count());
        assert_eq!(message.matches('%').count(), escapes.iter().sum::<usize>(), "{message:?}");
        let property = escape::github_property(&text, 200);
        assert_inert("github_property", &text, &property);
        assert!(!property.contains([':', ',', '\n', '\r']), "{property:?}");
    }
}

#[test]
fn no_string_ends_a_code_span_a_cell_or_a_line_of_markdown() {
    for text in injections() {
        let code = escape::markdown_code(&text, 600);
        assert_inert("markdown_code", &text, &code);
        let inner = code.trim_matches('`');
        assert!(!inner.contains(['`', '|', '\n']), "{code:?}");
        assert!(code == "(empty)" || code.len() == inner.len() + 2, "{code:?}");
        let plain = escape::markdown(&text);
        assert_inert("markdown", &text, &plain);
        for mark in ['<', '>', '[', ']', '|', '`', '*', '@', '#', '&'] {
            let bare = plain.match_indices(mark).any(|(at, _)| !plain[..at].ends_with('\\'));
            assert!(!bare, "{mark} in {plain:?}");
        }
    }
}

#[test]
fn no_string_comes_raw_out_of_json_and_each_keeps_its_meaning() {
    for text in injections() {
        let (mut line, mut pretty) = (Vec::new(), Vec::new());
        json::write_line(&mut line, &text).expect("a Vec takes everything");
        json::write_pretty(&mut pretty, &text).expect("a Vec takes everything");
        for out in [line, pretty] {
            let shown = String::from_utf8(out).expect("JSON is UTF-8");
            let line = shown.strip_suffix('\n').expect("a line");
            assert!(!line.chars().any(escape::is_active), "{text:?}: {line:?}");
            assert_eq!(serde_json::from_str::<String>(line).expect("JSON"), text);
        }
    }
}

/// A guest that says `texts` on the console and reports them, from a function of each name, and
/// then uses its budget up in the last of them.
fn image(texts: &[String]) -> Vec<u8> {
    const BASE: u64 = 0x10_0000;
    let mut code = CodeAssembler::new(64).expect("64 bits");
    let put = |a: &mut CodeAssembler, bytes: &[u8]| {
        let mut words = [0; 16];
        words[..bytes.len()].copy_from_slice(bytes);
        let (low, high) = words.split_at(8);
        let word = |half: &[u8]| u64::from_le_bytes(half.try_into().expect("eight bytes"));
        a.mov(rdi, 0_u64).expect("encodable");
        a.mov(rsi, bytes.len() as u64).expect("encodable");
        a.mov(rdx, word(low)).expect("encodable");
        a.mov(r10, word(high)).expect("encodable");
        a.mov(rax, 0x58_u64).expect("encodable");
        a.vmcall().expect("encodable");
        a.mov(rsi, word(low)).expect("encodable");
        a.mov(rdx, word(high)).expect("encodable");
        a.mov(rax, 0xff0c_u64).expect("encodable");
        a.vmcall().expect("encodable");
    };
    for text in texts {
        text.as_bytes().chunks(16).for_each(|chunk| put(&mut code, chunk));
        // A notification, so that its call chain is told.
        code.mov(rbx, 0xd000_0050_u64).expect("encodable");
        code.mov(dword_ptr(rbx), 0).expect("encodable");
    }
    let mut again = code.create_label();
    code.set_label(&mut again).expect("free");
    code.jmp(again).expect("encodable");
    let code = code.assemble(BASE).expect("the guest assembles");
    // Each text names a stretch of the code, the last the loop.
    let step = (code.len() / texts.len().max(1)) as u64;
    let (mut symbols, mut names) = (vec![0_u8; 24], vec![0_u8]);
    for (at, text) in (0_u64..).zip(texts) {
        symbols.extend((names.len() as u32).to_le_bytes());
        symbols.extend([0x12, 0, 1, 0]);
        symbols.extend((BASE + at * step).to_le_bytes());
        symbols.extend(0_u64.to_le_bytes());
        names.extend(text.replace('\0', "\u{1}").bytes().chain([0]));
    }
    let quads = |list: &[u64]| list.iter().flat_map(|quad| quad.to_le_bytes()).collect::<Vec<u8>>();
    let symbols_at = 120 + code.len() as u64;
    let names_at = symbols_at + symbols.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    file.extend(quads(&[BASE, 64, names_at + names.len() as u64]));
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 3, 0, 0, 0]);
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    file.extend(quads(&[120, BASE, BASE, code.len() as u64, code.len() as u64, 1]));
    for part in [&code, &symbols, &names, &vec![0; 64]] {
        file.extend(part);
    }
    for (kind, at, bytes, link, entry) in
        [(2_u64, symbols_at, symbols.len(), 2_u64, 24_u64), (3, names_at, names.len(), 0, 0)]
    {
        file.extend(quads(&[kind << 32, 0, 0, at, bytes as u64, link, 1, entry]));
    }
    file
}

/// A RON string literal.
fn literal(text: &str) -> String {
    let escaped = text.chars().map(|c| format!("\\u{{{:x}}}", u32::from(c)));
    format!("\"{}\"", escaped.collect::<String>())
}

fn uvsim(arguments: &[OsString]) -> (u8, String, String) {
    let runner =
        |plan: &Plan, late: &AtomicBool| run::run_until(plan, late).map_err(|why| why.to_string());
    let (mut out, mut err, terminal) = (Vec::new(), Vec::new(), Terminal::default());
    let world = World { runner: &runner, out: &mut out, err: &mut err, terminal };
    let words = std::iter::once("uvsim".into()).chain(arguments.iter().cloned());
    let code = cli::main(words, world);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
    (code, text(out), text(err))
}

fn assert_tame(sink: &str, text: &str, commands: bool) {
    for line in text.lines() {
        assert_eq!(raw(line), None, "{sink}: {line:?}");
        let ours = commands && (line.starts_with("::error ") || line.starts_with("::warning "));
        assert!(ours || !line.trim_start().starts_with("::"), "{sink}: {line:?}");
    }
}

#[test]
fn no_string_comes_raw_out_of_a_whole_run_whoever_carries_it() {
    let folder = TempDir::new().expect("a temporary folder");
    let mut reports = 0;
    for (number, texts) in injections().chunks(40).enumerate() {
        // What a file says, what the guest prints, reports and is made of.
        let elf = format!("g{number}.elf");
        fs::write(folder.path().join(&elf), image(texts)).expect("an image");
        let said = literal(&texts.concat());
        // A name on the disk carries one of them, as far as a file system takes it.
        let name = texts[0].replace(['/', '\0'], "_").replace("..", "_");
        let path = folder.path().join(format!("{number}{name}.ron"));
        let scenario = format!(
            "Scenario(format: 1, name: \"hostile/{number}\", about: {said}, design: \"d0-legacy-bypass\", \
             guest: (image: File(\"{elf}\"), budget: 100_000), \
             devices: [Blk(id: \"disk\", sectors: 8)], \
             expect: [Says(id: \"says\", text: {said}), Outcome(id: \"clean\", is: Clean), \
             Reports(id: \"reports\", report: Failed, name: {said})])"
        );
        fs::write(&path, scenario).expect("a scenario");
        let kinds = ["json", "events", "junit", "md", "csv", "html", "github"];
        let mut arguments: Vec<OsString> =
            ["run".into(), path.clone().into(), "--console".into()].to_vec();
        for kind in kinds {
            let mut report = OsString::from(format!("{kind}="));
            report.push(folder.path().join(format!("out.{kind}")));
            arguments.extend(["--report".into(), report]);
        }
        let (code, out, err) = uvsim(&arguments);
        assert_eq!(code, 1, "{out}{err}");
        assert!(out.contains("hvc0|") && out.contains("E401"), "{out}");
        assert_tame("stdout", &out, true);
        assert_tame("stderr", &err, false);
        for kind in kinds {
            let text =
                fs::read_to_string(folder.path().join(format!("out.{kind}"))).expect("a report");
            let sink: &dyn Fn(&str) -> bool = &|line| line.chars().any(escape::is_active);
            assert!(!text.lines().any(sink), "{kind}: {text:?}");
            if kind == "html" {
                assert_eq!(markup(&text).scripts.len(), 1);
            }
            if kind != "json" && kind != "events" {
                assert_tame(kind, &text, false);
            }
            assert!(text.contains("hostile/"), "{kind}: {text}");
            if kind == "junit" {
                roxmltree::Document::parse(&text).expect("XML");
            }
            reports += 1;
        }
        assert_other_verbs_tame(&path, folder.path());
        let told = monitored(&path);
        assert!(told.contains("budget(work-units)") && told.contains("monitor why"), "{told}");
        assert_tame("monitor", &told, false);
    }
    assert!(reports > 30, "{reports}");
}

/// All that other verbs say of the scenario at `path` and of its saved events in `folder`.
fn assert_other_verbs_tame(path: &Path, folder: &Path) {
    let page = folder.join("late.html").into_os_string();
    let late = [folder.join("out.events").into_os_string(), "-o".into(), page.clone()];
    let verbs: [(&[&str], &[OsString]); 7] = [
        (&["check"], &[path.into()]),
        (&["list"], &[path.into()]),
        (&["compare"], &[path.into()]),
        (&["compare", "--format", "md"], &[path.into()]),
        (&["compare", "--format", "json"], &[path.into()]),
        (&["demo", "--plain"], &[path.into()]),
        (&["report"], &late),
    ];
    for (words, files) in verbs {
        let words: Vec<OsString> =
            words.iter().map(OsString::from).chain(files.iter().cloned()).collect();
        let (code, out, err) = uvsim(&words);
        assert!(code <= 1 && out.len() + err.len() > 0, "{words:?}: {code} {out}{err}");
        assert_tame(&format!("{words:?}"), &out, false);
        assert_tame(&format!("{words:?}"), &err, false);
    }
    let page = fs::read_to_string(page).expect("a page");
    assert_eq!(markup(&page).scripts.len(), 1);
    assert_tame("a page of saved events", &page, false);
}

/// What `uvsim gdb` says of the run at `path` when it has ended, to a client that speaks gdb's protocol
/// as far as that takes.
fn monitored(path: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uvsim"));
    command.arg("gdb").arg(path).env_remove("UVSIM_ID").stdin(Stdio::null());
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("uvsim starts");
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut lines = String::new();
    for _ in 0..2 {
        out.read_line(&mut lines).expect("it says where");
    }
    let address = lines.split("target remote ").nth(1).expect("the line to paste");
    let address = address.trim_end().trim_end_matches('\'').trim_start_matches("tcp:");
    let mut link = TcpStream::connect(address.trim_start_matches(':')).expect("it listens");
    let mut told = lines.clone();
    let mut ask = |packet: &str| {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        write!(link, "${packet}#{sum:02x}").expect("it reads");
        // Console output comes in packets that begin with an O, and then the answer.
        loop {
            let answer = packet_from(&mut link);
            match answer.strip_prefix('O').filter(|text| *text != "K") {
                Some(hex) => told.push_str(&from_hex(hex)),
                None => return,
            }
        }
    };
    ask("c");
    for command in ["why", "where", "pages", "page 0x10", "breaks", "help"] {
        let hex: String = command.bytes().map(|byte| format!("{byte:02x}")).collect();
        ask(&format!("qRcmd,{hex}"));
    }
    write!(link, "$D#44").expect("it reads");
    child.wait().expect("it ends");
    told
}

/// The next packet's text, acknowledged.
fn packet_from(link: &mut TcpStream) -> String {
    let mut byte = [0];
    let mut text = String::new();
    let mut next = |link: &mut TcpStream| {
        link.read_exact(&mut byte).expect("it answers");
        char::from(byte[0])
    };
    while next(link) != '$' {}
    loop {
        match next(link) {
            '#' => break,
            // The last character again, so often and 29 times (gdb's manual, "Overview").
            '*' => {
                let times = u32::from(next(link)) as usize - 29;
                let last = text.chars().last().expect("a character");
                text.extend(std::iter::repeat_n(last, times));
            }
            c => text.push(c),
        }
    }
    let _sum = [next(link), next(link)];
    link.write_all(b"+").expect("it reads");
    text
}

fn from_hex(text: &str) -> String {
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(pair, 16).expect("two hex digits")
    };
    let bytes = text.as_bytes().chunks(2).map(byte).collect();
    String::from_utf8(bytes).expect("its texts are UTF-8")
}

#[test]
fn no_string_comes_raw_out_of_an_error_about_a_file() {
    let folder = TempDir::new().expect("a temporary folder");
    for (number, text) in injections().iter().enumerate() {
        let name = text.replace(['/', '\0'], "_").replace("..", "_");
        let path = folder.path().join(format!("{number}{name}.ron"));
        let said = literal(text);
        let whole = format!(
            "Scenario(format: 1, name: {said}, about: {said}, design: {said}, /* {text} */ \
             guest: (image: File({said})), devices: [Console(id: {said})], \
             matrix: [Memory([{said}])], expect: [Count(id: {said}, counter: {said}, must: Exactly(0))])"
        );
        fs::write(&path, whole).expect("a scenario");
        for look in [&["--plain"][..], &[]] {
            let look = look.iter().map(OsString::from);
            let words: Vec<OsString> = look
                .chain(["run".into(), path.clone().into(), "--report".into(), "github".into()])
                .collect();
            let (code, out, err) = uvsim(&words);
            assert!(code == 3 || code == 2, "{code} {out}{err}");
            assert_tame("stdout", &out, true);
            assert_tame("stderr", &err, false);
        }
        // What the command line itself says of a word that it does not know.
        for verb in ["explain", "list"].into_iter().filter(|_| number % 30 == 0) {
            let (_, out, err) = uvsim(&[verb.into(), text.replace('\0', " ").into()]);
            assert_tame("stdout", &out, false);
            assert_tame("stderr", &err, false);
        }
    }
}
