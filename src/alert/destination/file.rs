//! Lines of JSON at the end of a file. The file is opened for each alert, so that it may be moved away meanwhile.

use std::io::Write;
use std::path::PathBuf;

use async_trait::async_trait;

use super::{Destination, SendError};
use crate::alert::message::Message;
use crate::alert::render;
use crate::model::Taken;
use crate::runtime::blocking;

pub struct JsonFile {
    name: String,
    path: PathBuf,
}

impl JsonFile {
    pub fn new(name: String, path: PathBuf) -> JsonFile {
        JsonFile { name, path }
    }
}

#[async_trait]
impl Destination for JsonFile {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, message: &Message<'_>) -> Result<Taken, SendError> {
        let (line, path) = (render::json_line(message.alert), self.path.clone());
        let written = blocking(move || {
            // One write of the whole line: the end of the file is where it goes, whoever else writes.
            std::fs::File::options().create(true).append(true).open(path)?.write_all(line.as_bytes())
        });
        let failed = |error| SendError::unavailable(format!("could not write to {}: {error}", self.path.display()));
        written.await.map(|()| Taken::default()).map_err(failed)
    }
}
