//! The platform predicate of the thread's first two proposals: is there an ultravisor's node in
//! the device tree? It walks the tree in memory node by node, as `of_find_compatible_node` does,
//! and keeps nothing: what it costs each time is what the thread argued about (facts 1.3, 14).

/// First word of a flattened device tree (Devicetree Specification 0.4, section 5.2).
const MAGIC: u32 = 0xd00d_feed;
const STRUCTURE_OFFSET: usize = 8;
const STRINGS_OFFSET: usize = 12;

/// Tokens of the structure block (section 5.4.1).
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;

/// The property that is compared, with its terminator.
const COMPATIBLE: &[u8] = b"compatible\0";

fn word(tree: &[u8], at: usize) -> Option<u32> {
    let bytes = tree.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(*bytes.first_chunk()?))
}

/// Whether a node of the flattened tree `tree` is compatible with `wanted`. What is no tree has
/// no nodes.
pub fn has_compatible(tree: &[u8], wanted: &str) -> bool {
    search(tree, wanted).unwrap_or(false)
}

/// `None` where the tree ends without saying so.
fn search(tree: &[u8], wanted: &str) -> Option<bool> {
    if word(tree, 0)? != MAGIC {
        return None;
    }
    let strings = tree.get(word(tree, STRINGS_OFFSET)? as usize..)?;
    let mut at = word(tree, STRUCTURE_OFFSET)? as usize;
    loop {
        let token = word(tree, at)?;
        at += 4;
        match token {
            BEGIN_NODE => {
                let name = tree.get(at..)?;
                let bytes = name.iter().position(|byte| *byte == 0)? + 1;
                at += bytes.next_multiple_of(4);
            }
            PROPERTY => {
                let (bytes, name) = (word(tree, at)? as usize, word(tree, at + 4)? as usize);
                let value = tree.get(at + 8..(at + 8).checked_add(bytes)?)?;
                if strings.get(name..)?.starts_with(COMPATIBLE) && lists(value, wanted) {
                    return Some(true);
                }
                at += 8 + bytes.next_multiple_of(4);
            }
            END_NODE | NOP => (),
            _ => return Some(false),
        }
    }
}

/// Whether one of the strings in `value` is `wanted`.
fn lists(value: &[u8], wanted: &str) -> bool {
    value.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of these nodes below the root, each with one property.
    fn tree(nodes: &[(&str, &str, &[u8])]) -> Vec<u8> {
        let mut strings: Vec<u8> = Vec::new();
        let mut structure: Vec<u8> = Vec::new();
        let push = |out: &mut Vec<u8>, word: u32| out.extend(word.to_be_bytes());
        let text = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.extend(bytes);
            out.resize(out.len().next_multiple_of(4), 0);
        };
        push(&mut structure, BEGIN_NODE);
        text(&mut structure, b"\0");
        for (name, property, value) in nodes {
            push(&mut structure, NOP);
            push(&mut structure, BEGIN_NODE);
            text(&mut structure, format!("{name}\0").as_bytes());
            push(&mut structure, PROPERTY);
            push(&mut structure, value.len() as u32);
            push(&mut structure, strings.len() as u32);
            text(&mut structure, value);
            strings.extend_from_slice(format!("{property}\0").as_bytes());
            push(&mut structure, END_NODE);
        }
        push(&mut structure, END_NODE);
        push(&mut structure, 9);
        let mut out = Vec::new();
        let total = 16 + structure.len() + strings.len();
        for word in [MAGIC, total as u32, 16, 16 + structure.len() as u32] {
            push(&mut out, word);
        }
        out.extend(structure);
        out.extend(strings);
        out
    }

    #[test]
    fn a_node_is_found_by_any_of_its_compatible_strings() {
        let tree = tree(&[
            ("cpus", "name", b"ibm,ultravisor\0"),
            ("uv", "compatible", b"acme,uv\0ibm,ultravisor\0"),
        ]);
        assert!(has_compatible(&tree, "ibm,ultravisor"));
        assert!(has_compatible(&tree, "acme,uv"));
    }

    #[test]
    fn neither_other_properties_nor_parts_of_strings_count() {
        let tree = tree(&[
            ("ibm,ultravisor", "name", b"ibm,ultravisor\0"),
            ("uv", "compatible", b"ibm,ultravisor-2\0"),
            ("vu", "compatible-with", b"ibm,ultravisor\0"),
        ]);
        assert!(!has_compatible(&tree, "ibm,ultravisor"));
    }

    #[test]
    fn a_tree_cut_anywhere_is_searched_to_its_end_and_no_further() {
        let whole = tree(&[("uv", "compatible", b"ibm,ultravisor\0")]);
        for end in 0..whole.len() {
            let _ = has_compatible(&whole[..end], "ibm,ultravisor");
        }
        assert!(!has_compatible(&whole[..20], "ibm,ultravisor"));
        assert!(!has_compatible(b"no tree at all, whatever it lists", "no"));
    }
}
