//! Where a scenario's expectations stand: reports point there.

use super::diagnostics::SourceText;
use super::file::ScenarioFile;
use super::reading::Reader;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Line and column, both from 1, of each expectation, by its id.
pub type Places = BTreeMap<String, (usize, usize)>;

/// The places of a scenario that was read without a fault.
pub fn of_checks(source: &Arc<SourceText>) -> Places {
    let mut reader = Reader::new(source);
    let mut places = Places::new();
    let file: Option<ScenarioFile<'_>> = reader.whole();
    let list = file.and_then(|file| reader.take_if(file.expect));
    for item in list.into_iter().flat_map(|list| list.value) {
        let Some(at) = reader.take(item) else { continue };
        let ((id, _), _) = at.value.split();
        let Some(id) = reader.take(id) else { continue };
        places.extend(source.position(at.span.start).map(|place| (id.value, place)));
    }
    places
}
