//! CloudTrail events, one by one or in their `{"Records": […]}` envelope.

use super::{Each, Entry, Memory};
use crate::logtype::json::{Form, Raw};

pub(super) const RECORDS: &str = "Records";

pub(super) fn parse(entry: &Entry<'_>, _: &mut Memory, each: Each<'_>) -> Result<(), String> {
    let record = entry.object()?;
    let Some(Form::List(events)) = record.get(RECORDS).map(Raw::form) else { return each(record) };
    for (index, (_, event)) in events.enumerate() {
        each(event).map_err(|reason| format!("{RECORDS}[{index}]: {reason}"))?;
    }
    Ok(())
}
