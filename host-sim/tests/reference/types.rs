//! The types that files are read into, with their comments, read from our own sources.

#![expect(clippy::wildcard_enum_match_arm, reason = "syn may add kinds of syntax at any time")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Expr, Fields, GenericArgument, Ident, Item, Lit, Meta, PathArguments, Token, Type,
};

/// Where the types are, from the workspace's root.
const SOURCES: [&str; 18] = [
    "host-sim/src/scenario/file.rs",
    "host-sim/src/scenario/limits.rs",
    "host-sim/src/scenario/design.rs",
    "host-sim/src/scenario/policy.rs",
    "host-sim/src/scenario/expect.rs",
    "host-sim/src/scenario/chapter.rs",
    "host-sim/src/scenario/known.rs",
    "host-sim/src/scenario/argument.rs",
    "host-sim/src/scenario/plan.rs",
    "host-sim/src/scenario/words.rs",
    "host-sim/src/scenario/matrix.rs",
    "host-sim/src/outcome.rs",
    "host-sim/src/event/words.rs",
    "host-sim/src/view.rs",
    "firmware/src/bootargs.rs",
    "firmware/src/kernel.rs",
    "firmware/src/workload.rs",
    "ultravisor/src/page_state.rs",
];

/// A type without the wrappers that say where it stands in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The innermost name.
    pub name: String,
    /// Whether it is a list of these.
    pub is_list: bool,
}

/// A field of a struct or of a variant.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What its comment says.
    pub doc: String,
    /// Its type.
    pub shape: Shape,
    /// Whether it may be left out.
    pub is_optional: bool,
}

/// What a variant holds.
#[derive(Clone, Debug)]
pub enum Held {
    Nothing,
    Values(Vec<Shape>),
    Fields(Vec<Field>),
}

#[derive(Clone, Debug)]
pub struct Variant {
    pub name: String,
    pub doc: String,
    pub held: Held,
}

#[derive(Clone, Debug)]
pub enum Kind {
    /// The head word, if the struct has one, and its fields.
    Struct(Option<String>, Vec<Field>),
    Enum(Vec<Variant>),
}

pub type Types = BTreeMap<String, Kind>;

/// Reads all types of the sources.
pub fn read() -> Types {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut types = Types::new();
    let mut words = Vec::new();
    for source in SOURCES {
        let text = fs::read_to_string(root.join(source)).expect("the source is there");
        let file = syn::parse_file(&text).expect("the source is Rust");
        for item in file.items {
            match item {
                Item::Struct(item) => {
                    let head =
                        rename(&item.attrs).filter(|head| head.starts_with(char::is_uppercase));
                    types.insert(item.ident.to_string(), Kind::Struct(head, fields(&item.fields)));
                }
                Item::Enum(item) => {
                    let variants = item.variants.iter().map(variant).collect();
                    types.insert(item.ident.to_string(), Kind::Enum(variants));
                }
                Item::Macro(item) if item.mac.path.is_ident("words") => {
                    words.extend(item.mac.parse_body::<Words>().expect("the table of words").0);
                }
                Item::Macro(item) if item.mac.path.is_ident("axes") => {
                    let axes = item.mac.parse_body::<Axes>().expect("the table of axes").0;
                    types.insert("AxisFile".to_owned(), Kind::Enum(axes));
                }
                _ => (),
            }
        }
    }
    for (word, meaning, names) in words {
        let docs = match types.get(&meaning) {
            Some(Kind::Enum(variants)) => variants.clone(),
            _ => Vec::new(),
        };
        let variants = names.into_iter().map(|name| {
            let known = docs.iter().find(|variant| variant.name == name);
            Variant {
                doc: known.map_or_else(String::new, |v| v.doc.clone()),
                name,
                held: Held::Nothing,
            }
        });
        types.insert(word, Kind::Enum(variants.collect()));
    }
    types
}

fn variant(variant: &syn::Variant) -> Variant {
    let held = match &variant.fields {
        Fields::Unit => Held::Nothing,
        Fields::Named(_) => Held::Fields(fields(&variant.fields)),
        Fields::Unnamed(values) => {
            Held::Values(values.unnamed.iter().map(|value| shape(&value.ty)).collect())
        }
    };
    Variant { name: variant.ident.to_string(), doc: doc(&variant.attrs), held }
}

fn fields(fields: &Fields) -> Vec<Field> {
    fields
        .iter()
        .filter_map(|field| {
            let name = field.ident.as_ref()?.to_string();
            let is_option = outer(&field.ty).is_some_and(|(name, _)| name == "Option");
            let is_optional = is_option || has_default(&field.attrs);
            Some(Field { name, doc: doc(&field.attrs), shape: shape(&field.ty), is_optional })
        })
        .collect()
}

/// The name of a type and the last of its arguments that is a type.
fn outer(ty: &Type) -> Option<(String, Option<&Type>)> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return Some((last.ident.to_string(), None));
    };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    Some((last.ident.to_string(), types.last()))
}

fn shape(ty: &Type) -> Shape {
    match outer(ty) {
        Some((wrapper, Some(inner)))
            if ["Option", "Located", "Box", "Vec"].contains(&wrapper.as_str()) =>
        {
            let inner = shape(inner);
            Shape { is_list: inner.is_list || wrapper == "Vec", name: inner.name }
        }
        Some((name, _)) => Shape { name, is_list: false },
        // Tuples and arrays: no file has them, and the printer refuses them.
        None => Shape { name: "?".to_owned(), is_list: false },
    }
}

fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let lines = lines.filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) => match &pair.value {
            Expr::Lit(value) => match &value.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ")
}

fn serde_says(attributes: &[Attribute], word: &str) -> Option<String> {
    let serde = attributes.iter().filter(|attribute| attribute.path().is_ident("serde"));
    let mut texts = serde.filter_map(|attribute| match &attribute.meta {
        Meta::List(list) => Some(list.tokens.to_string()),
        Meta::Path(_) | Meta::NameValue(_) => None,
    });
    texts.find(|text| text.contains(word))
}

fn has_default(attributes: &[Attribute]) -> bool {
    serde_says(attributes, "default").is_some()
}

fn rename(attributes: &[Attribute]) -> Option<String> {
    let text = serde_says(attributes, "rename =")?;
    text.split('"').nth(1).map(str::to_owned)
}

/// The body of `words!`: word, meaning, variants.
struct Words(Vec<(String, String, Vec<String>)>);

impl Parse for Words {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut all = Vec::new();
        while !input.is_empty() {
            let word: Ident = input.parse()?;
            input.parse::<Token![=>]>()?;
            let meaning: Ident = input.parse()?;
            let inner;
            syn::braced!(inner in input);
            let names = Punctuated::<Ident, Token![,]>::parse_terminated(&inner)?;
            let names = names.iter().map(Ident::to_string).collect();
            all.push((word.to_string(), meaning.to_string(), names));
        }
        Ok(Self(all))
    }
}

/// The body of `axes!`: each axis is a variant that holds a list.
struct Axes(Vec<Variant>);

impl Parse for Axes {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut all = Vec::new();
        while !input.is_empty() {
            let name: Ident = input.parse()?;
            input.parse::<Token![:]>()?;
            let ty: Type = input.parse()?;
            input.parse::<Token![=]>()?;
            input.parse::<syn::LitStr>()?;
            input.parse::<Token![,]>()?;
            let doc: syn::LitStr = input.parse()?;
            input.parse::<Token![;]>()?;
            let held = Held::Values(vec![Shape { is_list: true, ..shape(&ty) }]);
            all.push(Variant { name: name.to_string(), doc: doc.value(), held });
        }
        Ok(Self(all))
    }
}
