//! One line of an event file: the first of a run, an event, or the last.

use super::Source;
use crate::event::{Event, Record};
use crate::image::Place;
use crate::verdict::Check;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// What the first line of a run is written in, whatever else it holds.
#[derive(Debug, Deserialize)]
pub struct Schema {
    pub schema: String,
}

/// The first line of a run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct First {
    pub schema: String,
    pub run: String,
    pub source: Source,
    pub places: Vec<Place>,
    pub plan: serde_json::Value,
}

/// The last line of a run, after the run's id and its end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Last {
    pub event_log_hash: String,
    pub checks: Vec<Check>,
    pub seal: String,
}

/// A line inside a run.
#[derive(Debug)]
pub enum InRun {
    Record(Record),
    End(String, Last),
}

/// Reads a line inside `run`.
pub fn parse(line: &[u8], run: &str) -> serde_json::Result<InRun> {
    let mut from = serde_json::Deserializer::from_slice(line);
    let parsed = Line { run }.deserialize(&mut from)?;
    from.end()?;
    Ok(parsed)
}

/// Reads a line whose keys are in the order in which they were written, so that no field has to be
/// kept before it is known what it is of.
struct Line<'r> {
    run: &'r str,
}

impl<'de> DeserializeSeed<'de> for Line<'_> {
    type Value = InRun;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<InRun, D::Error> {
        from.deserialize_map(self)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Key {
    Run,
    Seq,
    T,
    Schema,
    End,
    #[serde(other)]
    Other,
}

impl<'de> Visitor<'de> for Line<'_> {
    type Value = InRun;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an event of `{}`, or its end", self.run)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InRun, A::Error> {
        match map.next_key()? {
            Some(Key::Run) => (),
            Some(Key::Schema) => {
                return Err(A::Error::custom(format!(
                    "another run begins, and `{}` has not ended: the file was cut or joined",
                    self.run
                )));
            }
            Some(Key::Seq | Key::T | Key::End | Key::Other) | None => {
                return Err(A::Error::custom("the first key is not `run`"));
            }
        }
        if !map.next_value_seed(Same(self.run))? {
            return Err(A::Error::custom(format!("this is not of run `{}`", self.run)));
        }
        match map.next_key()? {
            Some(Key::Seq) => {
                let seq = map.next_value()?;
                let Some(Key::T) = map.next_key()? else {
                    return Err(A::Error::custom("`t` does not follow `seq`"));
                };
                let t_ns = map.next_value()?;
                let event = Event::deserialize(MapAccessDeserializer::new(map))?;
                Ok(InRun::Record(Record { seq, t_ns, event }))
            }
            Some(Key::End) => {
                let end = map.next_value()?;
                let last = Last::deserialize(MapAccessDeserializer::new(map))?;
                Ok(InRun::End(end, last))
            }
            Some(Key::Run | Key::T | Key::Schema | Key::Other) | None => {
                Err(A::Error::custom("neither `seq` nor `end` follows the run's id"))
            }
        }
    }
}

/// Whether a string is this one, without a copy of it.
struct Same<'r>(&'r str);

impl<'de> DeserializeSeed<'de> for Same<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Same<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a run id")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        Ok(text == self.0)
    }
}
