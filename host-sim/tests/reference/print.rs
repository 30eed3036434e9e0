//! Prints a type as an annotated file of RON.

use crate::notes::{MEANINGS, Used};
use crate::types::{Field, Held, Kind, Shape, Types, Variant};
use std::collections::BTreeSet;

const COLUMNS: usize = 100;
const INDENT: usize = 4;

pub struct Printer<'a> {
    types: &'a Types,
    used: &'a mut Used,
    /// Fields and enums that were explained already.
    told: BTreeSet<String>,
}

fn blanks(indent: usize) -> String {
    " ".repeat(indent)
}

/// `text` as comment lines.
fn comment(indent: usize, first: &str, text: &str) -> String {
    let mut out = String::new();
    let mut line = format!("{}// {first}", blanks(indent));
    let start = line.chars().count();
    for word in text.split_whitespace() {
        let is_first = line.chars().count() == start;
        if !is_first && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            out += line.trim_end();
            out.push('\n');
            line = format!("{}// {}", blanks(indent), blanks(first.len()));
        } else if !is_first {
            line.push(' ');
        }
        line += word;
    }
    out + line.trim_end() + "\n"
}

impl<'a> Printer<'a> {
    pub fn new(types: &'a Types, used: &'a mut Used) -> Self {
        Self { types, used, told: BTreeSet::new() }
    }

    /// The file whose root is the struct `name`.
    pub fn whole(&mut self, name: &str, about: &str) -> String {
        let head = comment(0, "", about)
            + &comment(
                0,
                "",
                "Fields marked with [] may be left out. Printed from the types that files are read into.",
            );
        let body = self.value(&Shape { name: name.to_owned(), is_list: false }, 0, name);
        format!("{head}{body}\n")
    }

    /// A value of this shape, its further lines indented by `indent`.
    fn value(&mut self, shape: &Shape, indent: usize, path: &str) -> String {
        if let Some(example) = self.used.example(path) {
            return example.to_owned();
        }
        let one = Shape { name: shape.name.clone(), is_list: false };
        match (self.types.get(&shape.name).cloned(), shape.is_list) {
            (None, true) if shape.name == "bool" => "[false, true]".to_owned(),
            (None, true) => format!("[{}]", scalar(&shape.name)),
            (None, false) => scalar(&shape.name).to_owned(),
            (Some(Kind::Struct(head, fields)), false) => {
                let head = head.unwrap_or_default();
                let fields = self.fields(&shape.name, &fields, indent + INDENT);
                format!("{head}(\n{fields}{})", blanks(indent))
            }
            (Some(Kind::Struct(..)), true) => {
                let inside = self.value(&one, indent + INDENT, path);
                let (outer, inner) = (blanks(indent), blanks(indent + INDENT));
                format!("[\n{inner}{inside},\n{outer}]")
            }
            (Some(Kind::Enum(variants)), true) => self.list(&shape.name, &variants, indent),
            (Some(Kind::Enum(variants)), false) => self.choice(&shape.name, &variants, indent),
        }
    }

    /// All variants, as a list.
    fn list(&mut self, name: &str, variants: &[Variant], indent: usize) -> String {
        if variants.iter().all(|variant| matches!(variant.held, Held::Nothing)) {
            let names: Vec<&str> = variants.iter().map(|variant| variant.name.as_str()).collect();
            let line = format!("[{}]", names.join(", "));
            if indent + line.len() < COLUMNS - 30 {
                return line;
            }
        }
        let mut out = "[\n".to_owned();
        for variant in variants {
            let inner = indent + INDENT;
            let doc = self.variant_doc(name, variant);
            if !doc.is_empty() {
                out += &comment(inner, "", &doc);
            }
            out += &format!("{}{},\n", blanks(inner), self.variant(name, variant, inner));
        }
        out + &blanks(indent) + "]"
    }

    /// One variant: the one that holds all others, else the first that holds something, else the
    /// first.
    fn choice(&mut self, name: &str, variants: &[Variant], indent: usize) -> String {
        let holds_all = variants.iter().find(|variant| match &variant.held {
            Held::Values(values) => values.iter().any(|value| value.name == name),
            Held::Nothing | Held::Fields(_) => false,
        });
        if let Some(all) = holds_all {
            let others: Vec<Variant> =
                variants.iter().filter(|variant| variant.name != all.name).cloned().collect();
            return format!("{}({})", all.name, self.list(name, &others, indent));
        }
        let full = variants.iter().find(|variant| !matches!(variant.held, Held::Nothing));
        let first = full.or(variants.first()).expect("an enum has variants");
        self.variant(name, first, indent)
    }

    fn variant(&mut self, name: &str, variant: &Variant, indent: usize) -> String {
        match &variant.held {
            Held::Nothing => variant.name.clone(),
            Held::Values(values) => {
                let path = format!("{name}.{}", variant.name);
                let values: Vec<String> =
                    values.iter().map(|value| self.value(value, indent, &path)).collect();
                format!("{}({})", variant.name, values.join(", "))
            }
            Held::Fields(fields) => {
                let owner = format!("{name}.{}", variant.name);
                let inside = self.fields(&owner, fields, indent + INDENT);
                let lines: Vec<&str> = inside.lines().map(str::trim).collect();
                let length: usize = lines.iter().map(|line| line.len() + 1).sum();
                let plain = !inside.contains("//") && !inside.contains("[\n");
                if plain && indent + variant.name.len() + length < COLUMNS {
                    let line = lines.join(" ");
                    return format!("{}({})", variant.name, line.trim_end_matches(','));
                }
                format!("{}(\n{inside}{})", variant.name, blanks(indent))
            }
        }
    }

    /// Fields, each with its comment where it is met first; optional ones only there.
    fn fields(&mut self, owner: &str, fields: &[Field], indent: usize) -> String {
        let mut out = String::new();
        let mut again: Vec<&str> = Vec::new();
        for field in fields {
            let path = format!("{owner}.{}", field.name);
            let note = self.note(owner, field, &path);
            let is_new = self.told.insert(format!("{} {:?} {note}", field.name, field.shape));
            if !is_new && field.is_optional {
                again.push(&field.name);
                continue;
            }
            if is_new {
                let mark = if field.is_optional { "[] " } else { "" };
                out += &comment(indent, mark, &note);
                out += &self.words(&field.shape, indent);
            }
            let value = self.value(&field.shape, indent, &path);
            out += &format!("{}{}: {value},\n", blanks(indent), field.name);
        }
        if !again.is_empty() {
            out += &comment(indent, "[] ", &format!("{}: as above.", again.join(", ")));
        }
        out
    }

    fn note(&mut self, owner: &str, field: &Field, path: &str) -> String {
        if let Some(note) = self.used.own_note(path) {
            return note.to_owned();
        }
        if !field.doc.is_empty() {
            return unlinked(&field.doc);
        }
        let meaning = MEANINGS.iter().find(|(file, _)| *file == owner).map(|(_, meaning)| *meaning);
        let doc = match meaning.and_then(|meaning| self.types.get(meaning)) {
            Some(Kind::Struct(_, fields)) => fields.iter().find(|other| other.name == field.name),
            Some(Kind::Enum(_)) | None => None,
        };
        let doc = doc.map(|field| field.doc.as_str()).filter(|doc| !doc.is_empty());
        let doc = doc.or_else(|| self.used.note(path));
        unlinked(doc.unwrap_or_else(|| panic!("nothing says what `{path}` is")))
    }

    fn variant_doc(&mut self, name: &str, variant: &Variant) -> String {
        if let Some(note) = self.used.own_note(&format!("{name}.{}", variant.name)) {
            return note.to_owned();
        }
        if !variant.doc.is_empty() {
            return unlinked(&variant.doc);
        }
        let meaning = MEANINGS.iter().find(|(file, _)| *file == name).map(|(_, meaning)| *meaning);
        match meaning.and_then(|meaning| self.types.get(meaning)) {
            Some(Kind::Enum(others)) => {
                let other = others.iter().find(|other| other.name == variant.name);
                other.map_or_else(String::new, |other| unlinked(&other.doc))
            }
            Some(Kind::Struct(..)) | None => String::new(),
        }
    }

    /// All forms of an enum of which a field takes one, as a comment.
    fn commented(&mut self, name: &str, variants: &[Variant], indent: usize) -> String {
        let inside = format!("{}// ", blanks(indent));
        let list = self.list(name, variants, inside.len());
        let lines = list.lines().filter(|line| !matches!(line.trim(), "[" | "]"));
        let lines =
            lines.map(|line| format!("{inside}{}\n", line.get(inside.len()..).unwrap_or(line)));
        format!("{}// One of:\n{}", blanks(indent), lines.collect::<String>())
    }

    /// The words that a field of this shape takes, if it takes one of several.
    fn words(&mut self, shape: &Shape, indent: usize) -> String {
        let Some(Kind::Enum(variants)) = self.types.get(&shape.name).cloned() else {
            return String::new();
        };
        let lists_all = variants.iter().any(|variant| matches!(variant.held, Held::Fields(_)));
        let is_told = !self.told.insert(format!("enum {}", shape.name));
        // Lists and choices of all variants say it themselves.
        if is_told
            || (shape.is_list && lists_all)
            || shape.name == "AxisFile"
            || shape.name == "WorkloadFile"
        {
            return String::new();
        }
        if lists_all {
            return self.commented(&shape.name, &variants, indent);
        }
        let docs: Vec<String> =
            variants.iter().map(|variant| self.variant_doc(&shape.name, variant)).collect();
        if docs.iter().all(String::is_empty) {
            let names: Vec<&str> = variants.iter().map(|variant| variant.name.as_str()).collect();
            return comment(indent, "  ", &format!("One of {}.", names.join(", ")));
        }
        let mut out = String::new();
        for (variant, doc) in variants.iter().zip(docs) {
            let form = self.variant(&shape.name, variant, indent);
            out += &comment(indent, "  ", &format!("{}: {doc}", one_line(&form)));
        }
        out
    }
}

/// `form` without line breaks and comments.
fn one_line(form: &str) -> String {
    let lines = form.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    lines.collect::<Vec<_>>().join(" ").replace("( ", "(").replace(", )", ")").replace(",)", ")")
}

/// A comment without the brackets and paths of its links.
fn unlinked(doc: &str) -> String {
    let mut out = String::new();
    for (at, part) in doc.split("[`").enumerate() {
        let linked = part.split_once("`]").filter(|_| at > 0);
        match linked {
            Some((link, rest)) => {
                out += &format!("`{}`{rest}", link.rsplit("::").next().unwrap_or(link));
            }
            None => out += part,
        }
    }
    out
}

/// A value of a type that is no struct and no enum of ours.
fn scalar(name: &str) -> &'static str {
    match name {
        "String" => "\"text\"",
        "bool" => "false",
        "u8" | "u16" | "u32" | "u64" => "1",
        "Size" => "\"64KiB\"",
        "Time" => "\"3us\"",
        other => panic!("nothing says how a value of type `{other}` looks"),
    }
}
