//! Wrong places: folders, links and pipes where files should be. Each is built in a temporary
//! folder, and its message is kept.
#![cfg(unix)]

use crate::rig::{self, Ran, compare};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const FOLDER: &str = "tests/wrong_input/places";

/// A scenario of the name `name` with these fields.
fn scenario(name: &str, fields: &str) -> String {
    format!(
        "Scenario(\n    format: 1,\n    name: \"{name}\",\n    about: \"A test.\",\n    {fields}\n)\n"
    )
}

fn with_image(path: &str) -> String {
    scenario("wrong/place", &format!("guest: (image: File(\"{path}\")), expect: [],"))
}

const DESIGN: &str = "Design(format: 1, name: \"d99-secret\", about: \"x\", proposed: (by: \"b\", when: \"w\", \
                      source: \"s\"), decides: Init, guest: (virtio: HookedOps, ops: Swiotlb), changes: [])";

fn pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.is_ok_and(|status| status.success()), "a pipe can be made");
}

/// A name, what builds the folder `case`, and what `uvsim check` is given of it.
type Case = (&'static str, fn(&Path), &'static [&'static str]);

const CASES: &[Case] = &[
    ("missing", |_| (), &["nowhere.ron"]),
    ("missing-folder", |_| (), &["no/such/folder"]),
    ("pipe", |case| pipe(&case.join("pipe.ron")), &["pipe.ron"]),
    ("pipe-in-a-folder", |case| pipe(&case.join("pipe.ron")), &[""]),
    (
        "socket-in-a-folder",
        |case| {
            std::os::unix::net::UnixListener::bind(case.join("socket.ron"))
                .map(drop)
                .expect("a socket");
        },
        &[""],
    ),
    (
        "link-in-a-folder",
        |case| symlink("/etc/passwd", case.join("users.ron")).expect("a link"),
        &[""],
    ),
    (
        "link-to-a-good-file-in-a-folder",
        |case| {
            fs::write(case.join("good.ron"), scenario("good", "expect: [],")).expect("a file");
            symlink("good.ron", case.join("alias.ron")).expect("a link");
        },
        &[""],
    ),
    (
        "link-to-a-folder-in-a-folder",
        |case| {
            symlink("/etc", case.join("etc.ron")).expect("a link");
        },
        &[""],
    ),
    (
        "link-that-leads-to-something-else",
        |case| {
            fs::write(case.join("secret.txt"), "password: hunter2\n").expect("a file");
            symlink("secret.txt", case.join("mine.ron")).expect("a link");
        },
        &["mine.ron"],
    ),
    (
        "link-that-leads-nowhere",
        |case| symlink("gone", case.join("mine.ron")).expect("a link"),
        &["mine.ron"],
    ),
    (
        "link-in-a-ring",
        |case| symlink("ring.ron", case.join("ring.ron")).expect("a link"),
        &["ring.ron"],
    ),
    (
        "file-that-is-no-scenario",
        |case| {
            fs::write(case.join("notes.txt"), "buy milk\n").expect("a file");
        },
        &["notes.txt"],
    ),
    (
        "folder-without-a-file",
        |case| fs::create_dir(case.join("empty")).expect("a folder"),
        &["empty"],
    ),
    (
        "folder-without-a-ron-file",
        |case| {
            fs::write(case.join("scenario.yaml"), "name: a\n").expect("a file");
        },
        &[""],
    ),
    (
        "folder-named-like-a-file",
        |case| {
            fs::create_dir(case.join("a.ron")).expect("a folder");
        },
        &["a.ron"],
    ),
    (
        "image-is-a-link",
        |case| {
            symlink("/bin/sh", case.join("guest.elf")).expect("a link");
            fs::write(case.join("a.ron"), with_image("guest.elf")).expect("a file");
        },
        &["a.ron"],
    ),
    (
        "image-behind-a-link",
        |case| {
            symlink("/bin", case.join("images")).expect("a link");
            fs::write(case.join("a.ron"), with_image("images/sh")).expect("a file");
        },
        &["a.ron"],
    ),
    (
        "image-is-a-pipe",
        |case| {
            pipe(&case.join("guest.elf"));
            fs::write(case.join("a.ron"), with_image("guest.elf")).expect("a file");
        },
        &["a.ron"],
    ),
    (
        "image-is-a-folder",
        |case| {
            fs::create_dir(case.join("guest.elf")).expect("a folder");
            fs::write(case.join("a.ron"), with_image("guest.elf")).expect("a file");
        },
        &["a.ron"],
    ),
    (
        "image-below-a-file",
        |case| {
            fs::write(case.join("a.ron"), with_image("a.ron/guest.elf")).expect("a file");
        },
        &["a.ron"],
    ),
    (
        "image-above-by-a-detour",
        |case| {
            fs::create_dir(case.join("sub")).expect("a folder");
            fs::write(case.join("a.ron"), with_image("sub/../../guest.elf")).expect("a file");
        },
        &["a.ron"],
    ),
    (
        "image-larger-than-its-limit",
        |case| {
            let image = fs::File::create(case.join("guest.elf")).expect("a file");
            image.set_len((64 << 20) + 1).expect("a hole");
            fs::write(case.join("a.ron"), with_image("guest.elf")).expect("a file");
        },
        &["a.ron"],
    ),
    (
        "disk-larger-than-its-limit",
        |case| {
            let disk = fs::File::create(case.join("disk.img")).expect("a file");
            disk.set_len(1 << 40).expect("a hole");
            let devices =
                "devices: [Blk(id: \"disk\", sectors: 4096, contents: File(\"disk.img\"))],";
            fs::write(case.join("a.ron"), scenario("a", devices)).expect("a file");
        },
        &["a.ron"],
    ),
    (
        "scenario-larger-than-its-limit",
        |case| {
            let file = fs::File::create(case.join("a.ron")).expect("a file");
            file.set_len((1 << 20) + 1).expect("a hole");
        },
        &["a.ron"],
    ),
    (
        "scenario-of-too-many-values",
        |case| {
            let list = "X,".repeat(20_001);
            fs::write(case.join("a.ron"), scenario("a", &format!("expect: [{list}]")))
                .expect("a file");
        },
        &["a.ron"],
    ),
    (
        "scenario-of-zeros",
        |case| fs::write(case.join("a.ron"), [0; 100]).expect("a file"),
        &["a.ron"],
    ),
    (
        "scenario-in-utf-16",
        |case| {
            let text: Vec<u8> =
                scenario("a", "").encode_utf16().flat_map(u16::to_le_bytes).collect();
            fs::write(case.join("a.ron"), [b"\xff\xfe".as_slice(), &text].concat())
                .expect("a file");
        },
        &["a.ron"],
    ),
    (
        "scenario-in-latin-1",
        |case| {
            let text = scenario("a", "// the next is no UTF-8: ").replace("no", "n\u{f6}");
            let bytes: Vec<u8> = text.chars().map(|c| c as u8).collect();
            fs::write(case.join("a.ron"), bytes).expect("a file");
        },
        &["a.ron"],
    ),
    (
        "scenario-is-an-elf-file",
        |case| {
            fs::write(case.join("a.ron"), b"\x7fELF\x02\x01\x01\0\0\0\0\0").expect("a file");
        },
        &["a.ron"],
    ),
    (
        "name-of-a-file-speaks-to-a-terminal",
        |case| {
            fs::write(case.join("\u{1b}[2J\u{202e}.ron"), "Scenari(").expect("a file");
        },
        &[""],
    ),
    (
        "name-twice",
        |case| {
            fs::write(case.join("a.ron"), scenario("same", "expect: [],")).expect("a file");
            fs::write(case.join("b.ron"), scenario("same", "expect: [],")).expect("a file");
        },
        &[""],
    ),
    (
        "name-of-a-design-and-a-scenario",
        |case| {
            fs::write(case.join("a.ron"), scenario("d99-secret", "expect: [],")).expect("a file");
            fs::write(case.join("b.ron"), DESIGN).expect("a file");
        },
        &[""],
    ),
    (
        "findings-that-disagree",
        |case| {
            for (name, finding) in [("a", "Supported"), ("b", "Refuted")] {
                let fields = format!(
                    "expect: [Outcome(id: \"x\", is: Clean)],\n    claim: (number: 6, by: \"somebody\", says: \"It \
                 ping-pongs.\", finding: {finding}),"
                );
                fs::write(case.join(name).with_extension("ron"), scenario(name, &fields))
                    .expect("a file");
            }
        },
        &[""],
    ),
    (
        "designs-beside-it-is-a-link",
        |case| {
            fs::create_dir(case.join("elsewhere")).expect("a folder");
            fs::write(case.join("elsewhere/d99.ron"), DESIGN).expect("a file");
            fs::create_dir(case.join("here")).expect("a folder");
            symlink("../elsewhere", case.join("here/designs")).expect("a link");
            let fields = "design: \"d99-secret\", expect: [],";
            fs::write(case.join("here/a.ron"), scenario("a", fields)).expect("a file");
        },
        &["here/a.ron"],
    ),
    (
        "design-beside-it-is-wrong",
        |case| {
            fs::create_dir(case.join("designs")).expect("a folder");
            fs::write(case.join("designs/d99.ron"), DESIGN.replace("Init", "Inti"))
                .expect("a file");
            fs::write(case.join("a.ron"), scenario("a", "expect: [],")).expect("a file");
        },
        &["a.ron"],
    ),
    (
        "policy-that-is-missing",
        |case| {
            fs::write(case.join("a.ron"), scenario("a", "expect: [],")).expect("a file");
        },
        &["a.ron", "--policy", "nowhere.ron"],
    ),
    (
        "policy-that-is-a-scenario",
        |case| {
            fs::write(case.join("a.ron"), scenario("a", "expect: [],")).expect("a file");
        },
        &["a.ron", "--policy", "a.ron"],
    ),
    (
        "policies-in-an-empty-folder",
        |case| {
            fs::create_dir(case.join("none")).expect("a folder");
            fs::write(case.join("a.ron"), scenario("a", "expect: [],")).expect("a file");
        },
        &["a.ron", "--policy", "none"],
    ),
];

/// What `uvsim check` says of a case.
fn told((_, build, words): &Case) -> Ran {
    let folder = TempDir::new().expect("a temporary folder");
    let case = folder.path().join("case");
    fs::create_dir(&case).expect("a folder");
    build(&case);
    let place = |word: &&str| match *word {
        "" => case.to_string_lossy().into_owned(),
        word if word.starts_with("--") => word.to_owned(),
        word => case.join(word).to_string_lossy().into_owned(),
    };
    let places: Vec<String> = words.iter().map(place).collect();
    let words: Vec<&str> =
        std::iter::once("check").chain(places.iter().map(String::as_str)).collect();
    let ran = rig::uvsim(&words);
    assert!(!ran.err.contains(&*folder.path().to_string_lossy()), "no absolute path: {}", ran.err);
    ran
}

#[test]
fn every_wrong_place_gets_the_message_that_was_read_aloud() {
    let mut wrong = Vec::new();
    for case in CASES {
        let told = told(case);
        assert!(matches!(told.code, 3 | 4), "{}: exit {}: {}", case.0, told.code, told.err);
        for secret in ["hunter2", "root:x:", "buy milk"] {
            assert!(
                !told.err.contains(secret) || case.0 == "file-that-is-no-scenario",
                "{}",
                told.err
            );
        }
        wrong.extend(compare(&Path::new(FOLDER).join(format!("{}.txt", case.0)), &told.shown()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_message_belongs_to_a_place() {
    for entry in fs::read_dir(FOLDER).expect("the messages are there") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        assert!(CASES.iter().any(|case| case.0 == stem), "{} has no place", path.display());
    }
}

#[test]
fn a_folder_that_is_full_of_traps_is_left_as_it_was() {
    let folder = TempDir::new().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    pipe(&at("pipe.ron"));
    symlink("/", at("root")).expect("a link");
    symlink("..", at("up.ron")).expect("a link");
    fs::write(at("a.ron"), with_image("root/etc/hostname")).expect("a file");
    let before: Vec<_> = fs::read_dir(folder.path()).expect("it is there").flatten().collect();
    let paths = ["", "a.ron"].map(|name| at(name).to_string_lossy().into_owned());
    let ran = paths.map(|path| rig::uvsim(&["check", &path]));
    let after: Vec<_> = fs::read_dir(folder.path()).expect("it is there").flatten().collect();
    assert_eq!([ran[0].code, ran[1].code], [3, 3]);
    assert!(ran[1].err.contains("goes through a link"), "{}", ran[1].err);
    assert_eq!(before.len(), after.len());
}
