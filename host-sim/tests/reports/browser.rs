//! Chromium over its debugging pipe, and what the page is like in it.
//!
//! Where there is no Chromium these tests say so and pass: CI installs it.

use super::pages;
use super::sinks::injections;
use host_sim::escape;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// Names under which the browser is installed.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
];

/// Says that something was not tested, past the test runner, which would keep it to itself.
pub fn skipped(why: &str) {
    std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).ok();
}

/// A browser with one tab.
struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    next: u64,
    session: Option<String>,
    /// What the page said that it should not have to say.
    complaints: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts it, if it is installed.
    fn start() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .flat_map(|folder| NAMES.map(|name| folder.join(name)))
            .find(|file| file.is_file());
        let Some(program) = found else {
            skipped("there is no Chromium on this machine, so no page was opened");
            return None;
        };
        let profile = TempDir::new().expect("a temporary folder");
        // The browser reads commands from file 3 and answers on file 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null"])
            .arg(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let to = child.stdin.take().expect("it is piped");
        let from = BufReader::new(child.stdout.take().expect("it is piped"));
        let (next, session, complaints) = (0, None, Vec::new());
        let mut browser = Self { child, to, from, next, session, complaints, _profile: profile };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", target);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.size(1280, 900);
        Some(browser)
    }

    /// Sends one command and waits for its answer.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let mut command = json!({"id": self.next, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{command}\0").as_bytes()).expect("the browser listens");
        loop {
            let message = self.message();
            if message["id"] == self.next {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }

    /// The next message; complaints are kept.
    fn message(&mut self) -> Value {
        let mut text = Vec::new();
        self.from.read_until(0, &mut text).expect("the browser talks");
        assert_eq!(text.pop(), Some(0), "the browser went away");
        let message: Value = serde_json::from_slice(&text).expect("it is JSON");
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded") => {
                self.complaints.push(params.to_string());
            }
            Some("Network.requestWillBeSent") => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                if !url.starts_with("file://") && !url.starts_with("data:") {
                    self.complaints.push(format!("asked the network for {url}"));
                }
            }
            _ => (),
        }
        message
    }

    fn open(&mut self, file: &Path) {
        self.call("Page.navigate", json!({"url": format!("file://{}", file.display())}));
        while self.evaluate("document.readyState") != "complete" {}
        assert_eq!(self.evaluate("location.protocol"), "file:");
    }

    fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", asked);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    fn key(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key});
            if key.len() == 1 && kind == "keyDown" {
                event["text"] = json!(key);
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    fn size(&mut self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    fn media(&mut self, media: &str, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"media": media, "features": features}));
    }

    /// How many characters the base64 of a picture of the window has.
    fn screenshot(&mut self) -> usize {
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"}));
        shot["data"].as_str().map_or(0, str::len)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It goes when nobody holds the other end of its pipe; if not, it is made to.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs `uvsim` in a temporary folder.
pub fn uvsim(folder: &Path, arguments: &[&OsStr]) -> String {
    let ran = Command::new(env!("CARGO_BIN_EXE_uvsim"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("uvsim starts");
    let text = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(0), "{text}");
    text
}

/// A page of a shipped scenario's runs, made of saved events.
fn page(folder: &Path, scenario: &str, more: &[&str]) -> PathBuf {
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(scenario);
    let scenario = fs::canonicalize(scenario).expect("it ships");
    let run = ["run".as_ref(), scenario.as_os_str()];
    let run: Vec<&OsStr> =
        run.into_iter().chain(["--report", "events=e.ndjson"].map(OsStr::new)).collect();
    uvsim(folder, &run);
    let report = ["report", "e.ndjson", "-o", "r.html"].into_iter().chain(more.iter().copied());
    uvsim(folder, &report.map(OsStr::new).collect::<Vec<_>>());
    folder.join("r.html")
}

#[test]
fn a_page_opens_from_disk_and_its_slider_keys_filter_and_links_work() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = page(folder.path(), "basics/04-unsealed-legacy.ron", &[]);
    assert!(fs::metadata(&file).expect("it is there").len() < 3_000_000);
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&file);
    let sentence = "document.querySelector('.sentence').textContent";
    let start = browser.evaluate(sentence);
    assert!(start.as_str().is_some_and(|text| text.starts_with("1. ")), "{start}");
    browser.key("n");
    let second = browser.evaluate(sentence);
    assert!(second.as_str().is_some_and(|text| text.starts_with("2. ")), "{second}");
    browser.key("b");
    assert_eq!(browser.evaluate(sentence), start);
    browser.key("N");
    let converts = "document.querySelector('.steps li.now').dataset.converts";
    assert_eq!(browser.evaluate(converts), "1");
    browser.evaluate("{ const s = document.querySelector('.slider'); s.focus(); s.value = '7'; s.dispatchEvent(new Event('input')); }");
    browser.key("n");
    let ninth = browser.evaluate(sentence);
    assert!(ninth.as_str().is_some_and(|text| text.starts_with("9. ")), "{ninth}");
    let rows =
        "Array.from(document.querySelectorAll('.runs tbody tr')).filter(r => !r.hidden).length";
    assert_eq!(browser.evaluate(rows), 4);
    browser.evaluate("{ const f = document.querySelector('.filter'); f.value = 'rings=apart'; f.dispatchEvent(new Event('input')); }");
    assert_eq!(browser.evaluate(rows), 2);
    // From a number in the table of runs to its events, and to one of them.
    browser.evaluate("document.querySelector('.runs tbody a[href*=round_trips]').click()");
    browser.evaluate(
        "document.querySelector(location.hash.replaceAll('.', '\\\\.') + ' .seqs a').click()",
    );
    let shown = "document.querySelector(':target').closest('details').open && document.querySelector(':target').textContent";
    let event = browser.evaluate(shown);
    assert!(event.as_str().is_some_and(|text| text.contains("\"kind\":\"uv.page\"")), "{event}");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn no_link_of_a_page_leads_nowhere() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = page(folder.path(), "basics/06-mixed-swiotlb.ron", &[]);
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&file);
    let links = browser.evaluate("document.querySelectorAll('a').length");
    assert!(links.as_u64().is_some_and(|links| links > 50), "{links}");
    let lost = "Array.from(document.querySelectorAll('a')).filter(a => !document.getElementById(a.getAttribute('href').slice(1))).map(a => a.outerHTML)";
    assert_eq!(browser.evaluate(lost), json!([]));
    assert!(browser.evaluate("document.querySelector('svg.slots') !== null") == true);
}

#[test]
fn a_page_is_drawn_in_light_in_dark_and_on_paper_and_says_it_all_without_scripts() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = page(folder.path(), "basics/04-unsealed-legacy.ron", &["--id", "*rings=apart"]);
    let Some(mut browser) = Browser::start() else { return };
    let blank = browser.screenshot();
    browser.open(&file);
    for (media, scheme, dark) in
        [("screen", "light", false), ("screen", "dark", true), ("print", "dark", false)]
    {
        browser.media(media, scheme);
        let shot = browser.screenshot();
        assert!(shot > 4 * blank, "{media} {scheme}: {shot} characters, blank are {blank}");
        let paper = browser.evaluate("getComputedStyle(document.documentElement).backgroundColor");
        assert_eq!(paper != "rgb(255, 255, 255)", dark, "{media} {scheme}: {paper}");
    }
    browser.media("screen", "light");
    browser.call("Emulation.setScriptExecutionDisabled", json!({"value": true}));
    browser.open(&file);
    assert!(browser.screenshot() > 4 * blank);
    let hidden = "Array.from(document.querySelectorAll('.controls')).every(c => c.hidden)";
    assert_eq!(browser.evaluate(hidden), true);
    let figures = "Array.from(document.querySelectorAll('figure')).map(f => f.querySelectorAll('svg').length > 0 && f.querySelectorAll('details table tr').length > 1)";
    let figures = browser.evaluate(figures);
    let figures = figures.as_array().expect("a list");
    assert!(figures.len() >= 7 && figures.iter().all(|whole| *whole == true), "{figures:?}");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn a_hostile_name_stays_text_with_scripts_and_without() {
    let saved = pages::ping_pong();
    let folder = TempDir::new().expect("a temporary folder");
    let Some(mut browser) = Browser::start() else { return };
    let elements = |browser: &mut Browser, text: &str, disabled: bool| {
        let file = folder.path().join("hostile.html");
        fs::write(&file, pages::saying(&saved, text)).expect("it can be written");
        browser.call("Emulation.setScriptExecutionDisabled", json!({"value": disabled}));
        browser.open(&file);
        let about = browser.evaluate("document.querySelector('p.about').textContent");
        assert_eq!(about, escape::terminal(text), "it is shown as it is");
        browser.evaluate("Array.from(document.querySelectorAll('*'), e => e.localName).join()")
    };
    for disabled in [false, true] {
        let tame = elements(&mut browser, "tame", disabled);
        for texts in injections().chunks(60) {
            assert_eq!(elements(&mut browser, &texts.join(" "), disabled), tame, "{texts:?}");
        }
    }
    assert_eq!(browser.complaints, Vec::<String>::new());
}
