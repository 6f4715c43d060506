//! An answer as it comes: rows while they are read, each query within its limits.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::{Limits, SearchError};

/// Rows, all of one schema.
#[derive(Debug)]
pub struct Answer {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    /// There were more rows than the limits.
    pub is_cut: bool,
    /// What who asks should know.
    pub warnings: Vec<String>,
}

impl Answer {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// Rows that are still being read. Dropping them stops the query.
pub struct Rows {
    schema: SchemaRef,
    warnings: Vec<String>,
    source: Source,
    is_cut: bool,
}

enum Source {
    /// Read before.
    Made(std::vec::IntoIter<RecordBatch>),
    Plan(Box<Running>),
}

struct Running {
    stream: SendableRecordBatchStream,
    plan: Arc<dyn ExecutionPlan>,
    limits: Limits,
    deadline: Instant,
    rows: usize,
    bytes: u64,
}

impl Rows {
    pub(super) fn start(
        plan: Arc<dyn ExecutionPlan>,
        task: Arc<TaskContext>,
        limits: &Limits,
        deadline: Instant,
        warnings: Vec<String>,
    ) -> Result<Rows> {
        let stream = execute_stream(plan.clone(), task)?;
        let schema = as_given_out(&plan.schema());
        let running = Running { stream, plan, limits: *limits, deadline, rows: 0, bytes: 0 };
        Ok(Rows { schema, warnings, source: Source::Plan(Box::new(running)), is_cut: false })
    }

    pub(super) fn of(answer: Answer) -> Rows {
        let Answer { schema, batches, is_cut, warnings } = answer;
        Rows { schema, warnings, source: Source::Made(batches.into_iter()), is_cut }
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether there were more rows than the limits; known when there is no next.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The next rows; `None` at the end, or where a limit of rows or bytes is reached.
    pub async fn next(&mut self) -> std::result::Result<Option<RecordBatch>, SearchError> {
        let running = match &mut self.source {
            Source::Made(batches) => return Ok(batches.next()),
            Source::Plan(running) => running,
        };
        if self.is_cut {
            return Ok(None);
        }
        let next = timeout_at(running.deadline, running.stream.next()).await;
        let Some(batch) = next.map_err(|_| too_slow(&running.limits))?.transpose()? else { return Ok(None) };
        let room = running.limits.rows - running.rows;
        self.is_cut = batch.num_rows() > room;
        let batch = batch.slice(0, batch.num_rows().min(room));
        running.rows += batch.num_rows();
        let columns = self.schema.fields().iter().zip(batch.columns());
        let columns = columns.map(|(field, column)| cast(column, field.data_type()));
        let columns = columns.collect::<std::result::Result<Vec<ArrayRef>, ArrowError>>();
        let columns = columns.map_err(|error| SearchError::new(error.to_string()))?;
        running.bytes += columns.iter().map(|column| size(column)).sum::<u64>();
        // What comes after it is not looked for: there may be nothing.
        self.is_cut |= running.bytes > running.limits.bytes;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let named = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options);
        named.map(Some).map_err(|error| SearchError::new(error.to_string()))
    }

    /// Bytes of files that were read so far.
    pub fn bytes_read(&self) -> u64 {
        match &self.source {
            Source::Made(_) => 0,
            Source::Plan(running) => bytes_scanned(&*running.plan),
        }
    }

    pub(super) async fn collect(mut self) -> std::result::Result<Answer, SearchError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await? {
            batches.push(batch);
        }
        Ok(Answer { schema: self.schema, batches, is_cut: self.is_cut, warnings: self.warnings })
    }
}

/// Of what the rows of a column take, where buffers are shared with others.
fn size(column: &dyn Array) -> u64 {
    column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size()) as u64
}

fn bytes_scanned(plan: &dyn ExecutionPlan) -> u64 {
    let own = plan.metrics().and_then(|metrics| metrics.sum_by_name("bytes_scanned")).map_or(0, |sum| sum.as_usize());
    own as u64 + plan.children().into_iter().map(|child| bytes_scanned(&**child)).sum::<u64>()
}

/// Joins give two columns one name, of which JSON keeps one: the second `a` is `a_2`. Text is plain, however it was read.
fn as_given_out(schema: &SchemaRef) -> SchemaRef {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let field = |field: &Arc<Field>| {
        let count = seen.entry(field.name().clone()).and_modify(|count| *count += 1).or_insert(1);
        let plain = plain(field);
        if *count == 1 {
            plain
        } else {
            Arc::new(plain.as_ref().clone().with_name(format!("{}_{count}", field.name())))
        }
    };
    let fields: Vec<Arc<Field>> = schema.fields().iter().map(field).collect();
    Arc::new(Schema::new(fields))
}

fn plain(field: &Arc<Field>) -> Arc<Field> {
    let data_type = match field.data_type() {
        DataType::Utf8View => DataType::Utf8,
        DataType::List(item) => DataType::List(plain(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain).collect()),
        _ => return field.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

pub(super) fn too_slow(limits: &Limits) -> SearchError {
    SearchError::new(format!(
        "the query took longer than {} s and was stopped; narrow its time range (p_occurs_since('1 day'))",
        limits.time.as_secs()
    ))
}
