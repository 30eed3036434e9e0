//! The verbs that run nothing: `explain`, `new`, `schema`.

use crate::escape::{self, shell_word};
use crate::help::{reference, templates, topics};
use crate::output::target;
use crate::scenario::diagnostics::{self, Fault};
use crate::streams::{Out, Style, Talk, exit};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// `uvsim explain`: one page, or the list of all words.
pub fn explain(words: &[String], out: &mut Out<'_>, talk: &mut Talk<'_>) -> u8 {
    if words.is_empty() {
        out.print(&topics::list());
        return exit::OK;
    }
    // A page's name may have blanks; else each word is one.
    let wanted = words.join(" ");
    let each = || words.iter().map(|word| topics::find(word)).collect::<Result<Vec<_>, _>>();
    match topics::find(&wanted).map(|page| vec![page]).or_else(|near| each().map_err(|_| near)) {
        Ok(pages) => {
            let pages: Vec<String> = pages.iter().map(|page| page.print()).collect();
            out.print(&pages.join("\n"));
            exit::OK
        }
        Err(near) => {
            let files = reference::Kind::with_word(wanted.trim());
            if !files.is_empty() {
                return word_of_files(&wanted, &files, talk);
            }
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let wanted = escape::terminal_cut(&wanted, 80);
            talk.say(&format!("error: there is no page on `{wanted}`{near}\n"));
            talk.say("  `uvsim explain` lists all words\n");
            exit::USAGE
        }
    }
}

/// A word that has no page, but stands in the reference of some kind of file.
fn word_of_files(word: &str, files: &[&str], talk: &mut Talk<'_>) -> u8 {
    let word = escape::terminal_cut(word, 80);
    talk.say(&format!("error: there is no page on `{word}`, which is a word of files:\n"));
    for kind in files {
        talk.say(&format!("  `uvsim schema {kind}` says what it means in a {kind}\n"));
    }
    exit::USAGE
}

/// `uvsim schema`.
pub fn schema(kind: reference::Kind, out: &mut Out<'_>) -> u8 {
    out.print(&kind.text());
    exit::OK
}

/// `uvsim new`: writes a template where nothing is yet, or to stdout.
pub fn new(
    kind: templates::Kind,
    file: &Path,
    style: Style,
    out: &mut Out<'_>,
    talk: &mut Talk<'_>,
) -> u8 {
    let text = kind.named_after(file);
    if file == Path::new("-") {
        out.print(&text);
        return exit::OK;
    }
    let shown = file.to_string_lossy();
    match create(file, &text) {
        Ok(()) => {
            let next = kind.next(&shell_word(file));
            talk.say(&escape::terminal(&format!("wrote {shown}; next: {next}")));
            talk.say("\n");
            exit::OK
        }
        Err(error) => {
            let fault = refused(file, &error);
            talk.say(&diagnostics::render(&fault, style.faults));
            exit::OUTPUT
        }
    }
}

/// Writes a file that must not be there yet; after a failure nothing is left behind.
fn create(file: &Path, text: &str) -> io::Result<()> {
    let mut new = OpenOptions::new().write(true).create_new(true).open(file)?;
    new.write_all(text.as_bytes()).inspect_err(|_| {
        fs::remove_file(file).ok();
    })
}

fn refused(file: &Path, error: &io::Error) -> Fault {
    let mut fault = target::fault(file, error);
    if error.kind() == io::ErrorKind::AlreadyExists {
        fault.message = "there is a file of that name already, and it is left as it is".to_owned();
        fault.help = Some("take another name, or `-` to print the template".to_owned());
    }
    fault
}
