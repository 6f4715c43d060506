//! CloudTrail events, one by one or in their `{"Records": […]}` envelope.

use super::{Each, Entry, Memory};
use crate::logtype::json::Raw;

pub(super) fn parse(entry: &Entry<'_>, _: &mut Memory, each: Each<'_>) -> Result<(), String> {
    let record = entry.object()?;
    let Some(Raw::List(events)) = record.get("Records") else { return each(record) };
    for (index, event) in events.iter().enumerate() {
        each(event).map_err(|reason| format!("Records[{index}]: {reason}"))?;
    }
    Ok(())
}
