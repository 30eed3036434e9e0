//! The JSON Schema of `--report json=FILE`. A test holds real reports against it, both ways:
//! nothing in them may be unknown here.

use crate::counters::{Counter, Phase};
use crate::event::Part;
use crate::outcome::Outcome;
use crate::output::json::{SCHEMA, write_pretty};
use crate::verdict::Verdict;
use serde_json::{Map, Value, json};

/// A field: name, schema, what it is.
type Field = (&'static str, Value, &'static str);

/// An object of these fields, all of them there. Later versions may add others.
fn object(about: &str, fields: Vec<Field>) -> Value {
    let required: Vec<&str> = fields.iter().map(|(name, _, _)| *name).collect();
    let mut properties = Map::new();
    for (name, mut schema, what) in fields {
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), what.into());
        }
        properties.insert(name.to_owned(), schema);
    }
    json!({
        "type": "object",
        "description": about,
        "properties": properties,
        "required": required,
    })
}

/// The object with fields that may be absent.
fn with_optional(mut object: Value, fields: Vec<Field>) -> Value {
    for (name, mut schema, what) in fields {
        schema["description"] = what.into();
        object["properties"][name] = schema;
    }
    object
}

fn day() -> Value {
    json!({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn text_or_null() -> Value {
    json!({"type": ["string", "null"]})
}

fn number() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn list(of: &Value) -> Value {
    json!({"type": "array", "items": of})
}

fn one_of(names: &[&str]) -> Value {
    json!({"enum": names})
}

fn hash() -> Value {
    json!({"type": "string", "pattern": "^[0-9a-f]{64}$"})
}

fn verdict() -> Value {
    let all = [Verdict::Pass, Verdict::Fail, Verdict::ExpectedFailure, Verdict::None];
    one_of(&all.map(Verdict::name))
}

fn outcome() -> Value {
    one_of(&Outcome::ALL.map(Outcome::name))
}

fn counters() -> Value {
    let mut names = Map::new();
    for counter in Counter::ALL {
        let mut schema = number();
        schema["description"] = counter.sentence().into();
        names.insert(counter.name().to_owned(), schema);
    }
    let phase = json!({
        "type": "object",
        "properties": names,
        "additionalProperties": {"type": "integer", "minimum": 0},
    });
    let phases = Phase::ALL.map(|phase| phase.name());
    let properties: Map<String, Value> =
        phases.iter().map(|name| ((*name).to_owned(), phase.clone())).collect();
    json!({"type": "object", "properties": properties, "required": phases})
}

fn touches() -> Value {
    let parts: Vec<&str> = Part::ALL.iter().map(|part| part.name()).collect();
    object(
        "Touches of one kind.",
        vec![
            ("device", text_or_null(), "The device's id; null: the hypervisor."),
            ("queue", json!({"type": ["integer", "null"], "minimum": 0}), "The queue."),
            ("part", one_of(&parts), "What was touched."),
            ("state", text(), "The unit's page state before."),
            ("direction", one_of(&["read", "write"]), "Which way."),
            ("count", number(), "Touches."),
            ("bytes", number(), "Bytes."),
        ],
    )
}

fn check() -> Value {
    let fields = vec![
        ("id", text(), "Its id in the scenario."),
        ("verdict", verdict(), "Whether it holds."),
        ("expected", text(), "What was expected, in words."),
        ("found", text(), "What was found, in words."),
    ];
    let known = ("known", text(), "Why it is listed as a known failure, if it is.");
    with_optional(object("One expectation, judged.", fields), vec![known])
}

fn rule() -> Value {
    let waiver = object(
        "A waiver.",
        vec![
            ("runs", text(), "The runs that it is about."),
            ("until", day(), "Its last day."),
            ("expired", json!({"type": "boolean"}), "Whether that day is past."),
            ("reason", text(), "Why."),
            ("owner", text(), "Who answers for it."),
        ],
    );
    let waiver = json!({"anyOf": [waiver, {"type": "null"}]});
    let fields = vec![
        ("policy", text(), "The policy's name."),
        ("rule", text(), "The rule's id."),
        ("title", text(), "What it demands."),
        ("level", one_of(&["deny", "warn"]), "What follows if it does not hold."),
        ("verdict", verdict(), "Whether it holds; expected_failure if it is waived."),
        ("expected", text(), "What was expected, in words."),
        ("found", text(), "What was found, in words."),
        ("waiver", waiver, "The waiver that is about this rule and run, if the rule fails."),
    ];
    let help = ("help", text(), "What to do about it.");
    with_optional(object("What a policy's rule says about the run.", fields), vec![help])
}

fn run() -> Value {
    let stuck = (
        "stuck",
        list(&text()),
        "If it got stuck: what was used up, what everybody was doing, where the guest spent its time.",
    );
    let fields = object(
        "One run.",
        vec![
            ("id", text(), "The run id: name/axis=value/..."),
            ("verdict", verdict(), "Its verdict."),
            ("outcome", outcome(), "The first that holds."),
            ("findings", list(&outcome()), "All that hold, worst first."),
            ("ended", text(), "What stopped it."),
            ("needs_reset", list(&text()), "Ids of devices left in DEVICE_NEEDS_RESET."),
            ("what_if", json!({"type": "boolean"}), "Whether it says what would follow."),
            ("counters", counters(), "Counters by phase; what is absent is 0."),
            ("touches", list(&touches()), "Touches of guest memory by the host side."),
            ("checks", list(&check()), "The scenario's expectations, judged."),
            ("policy", list(&rule()), "The policies' rules, judged."),
            ("event_log_hash", hash(), "BLAKE3 over the binary event records."),
        ],
    );
    with_optional(fields, vec![stuck])
}

fn claim() -> Value {
    let findings = ["supported", "refuted", "qualified", "not_measurable"];
    object(
        "What was found about a claim of the thread.",
        vec![
            ("number", json!({"type": "integer", "minimum": 1, "maximum": 25}), "Which claim."),
            ("finding", one_of(&findings), "What was found."),
            ("condition", text_or_null(), "Under which condition, or why not measurable."),
            ("holds", json!({"type": "boolean"}), "Whether every selected run bears it out."),
            ("by", text(), "Who said it, and when."),
            ("says", text(), "The claim."),
            ("scenarios", list(&text()), "The scenarios that settle it."),
        ],
    )
}

/// The schema.
pub fn schema() -> Value {
    let inputs = json!({"type": "object", "additionalProperties": hash()});
    let exits = [0, 1, 5, 6, 70];
    let mut schema = object(
        "The result of `uvsim run --report json=FILE`. Changes only add to it.",
        vec![
            ("schema", json!({"const": SCHEMA}), "This format."),
            ("tool_version", text(), "The version of uvsim."),
            ("seed", number(), "The seed of every run."),
            ("inputs", inputs, "Each input file with its BLAKE3."),
            ("exit_code", json!({"enum": exits}), "What the process exits with, see the README."),
            ("runs", list(&run()), "The runs in the order of the selection."),
            ("claims", list(&claim()), "Findings about the thread's claims, by number."),
        ],
    );
    let warnings = "What was told beside the runs, if anything was.";
    let today = "The day by which waivers were judged, if a policy was applied.";
    schema =
        with_optional(schema, vec![("today", day(), today), ("warnings", list(&text()), warnings)]);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["$id"] = "urn:uvsim:result:1".into();
    schema["title"] = SCHEMA.into();
    schema
}

/// The schema as text.
pub fn print() -> String {
    let mut text = Vec::new();
    write_pretty(&mut text, &schema()).expect("a Vec takes everything");
    String::from_utf8(text).expect("JSON is UTF-8")
}
