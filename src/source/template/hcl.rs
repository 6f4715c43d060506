//! Writes Terraform's language, laid out as `terraform fmt` wants it: the equal signs of neighbouring lines stand below
//! each other, and a value of several lines ends such a run.
//!
//! Source: HCL native syntax specification; Terraform, "Style conventions". No crate is used: those that write HCL
//! bring a parser of the whole language for these hundred lines.

use std::fmt;

use serde_json::Value;

#[derive(Clone, Debug)]
pub(super) struct Block {
    /// `resource "aws_iam_role" "reader"`
    head: String,
    entries: Vec<(String, Expression)>,
    blocks: Vec<Block>,
}

#[derive(Clone, Debug)]
enum Expression {
    Literal(Value),
    /// As `jsonencode` of it.
    Document(Value),
    /// Written as it is.
    Reference(String),
}

impl Block {
    pub(super) fn new(kind: &str, labels: &[&str]) -> Block {
        let labels: String = labels.iter().map(|label| format!(" {}", quoted(label))).collect();
        Block { head: format!("{kind}{labels}"), entries: Vec::new(), blocks: Vec::new() }
    }

    pub(super) fn resource(kind: &str, name: &str) -> Block {
        Block::new("resource", &[kind, name])
    }

    pub(super) fn literal(self, name: &str, value: impl Into<Value>) -> Block {
        self.with(name, Expression::Literal(value.into()))
    }

    pub(super) fn document(self, name: &str, value: Value) -> Block {
        self.with(name, Expression::Document(value))
    }

    pub(super) fn reference(self, name: &str, expression: impl Into<String>) -> Block {
        self.with(name, Expression::Reference(expression.into()))
    }

    pub(super) fn block(mut self, block: Block) -> Block {
        self.blocks.push(block);
        self
    }

    fn with(mut self, name: &str, expression: Expression) -> Block {
        self.entries.push((name.to_owned(), expression));
        self
    }

    fn lines(&self) -> Vec<String> {
        let mut inner = aligned(self.entries.iter().map(|(name, expression)| (name.clone(), expression.lines())));
        for block in &self.blocks {
            if !inner.is_empty() {
                inner.push(String::new());
            }
            inner.extend(block.lines());
        }
        around(format!("{} {{", self.head), inner, "}")
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Expression {
    fn lines(&self) -> Vec<String> {
        match self {
            Expression::Literal(value) => value_lines(value),
            Expression::Reference(text) => vec![text.clone()],
            Expression::Document(value) => {
                let mut lines = value_lines(value);
                lines[0].insert_str(0, "jsonencode(");
                lines.last_mut().expect("a value has a line").push(')');
                lines
            }
        }
    }
}

fn value_lines(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![quoted(text)],
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let items: Vec<String> = items.iter().flat_map(value_lines).collect();
            let line = format!("[{}]", items.join(", "));
            if line.len() <= 80 {
                return vec![line];
            }
            around("[".into(), items.into_iter().map(|item| format!("{item},")).collect(), "]")
        }
        Value::Array(items) => {
            let inner = items.iter().flat_map(|item| {
                let mut lines = value_lines(item);
                lines.last_mut().expect("a value has a line").push(',');
                lines
            });
            around("[".into(), inner.collect(), "]")
        }
        Value::Object(map) => {
            let key = |key: &str| if is_identifier(key) { key.to_owned() } else { quoted(key) };
            let entries = map.iter().map(|(name, value)| (key(name), value_lines(value)));
            around("{".into(), aligned(entries), "}")
        }
        plain => vec![plain.to_string()],
    }
}

/// `name = value`, one below the other.
fn aligned(entries: impl Iterator<Item = (String, Vec<String>)>) -> Vec<String> {
    let entries: Vec<(String, Vec<String>)> = entries.collect();
    let mut lines = Vec::new();
    for run in entries.chunk_by(|(_, one), (_, other)| one.len() == 1 && other.len() == 1) {
        let width = run.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        for (name, value) in run {
            lines.push(format!("{name:width$} = {}", value[0]));
            lines.extend(value[1..].iter().cloned());
        }
    }
    lines
}

fn around(open: String, inner: Vec<String>, close: &str) -> Vec<String> {
    let indented = inner.into_iter().map(|line| if line.is_empty() { line } else { format!("  {line}") });
    std::iter::once(open).chain(indented).chain([close.to_owned()]).collect()
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// In quotes, and no template: `${` and `%{` stand for themselves.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '$' | '%' if rest.peek() == Some(&'{') => out.extend([c, c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn neighbouring_lines_are_aligned_and_longer_values_stand_apart() {
        let block = Block::resource("a", "b")
            .literal("one", 1)
            .reference("longer", "aws_x.y.arn")
            .document("policy", json!({ "Version": "1", "a:b": [{ "Id": true }] }))
            .literal("x", json!(["p", "q"]))
            .block(Block::new("inner", &[]).literal("y", "z"));
        let wanted = r#"resource "a" "b" {
  one    = 1
  longer = aws_x.y.arn
  policy = jsonencode({
    Version = "1"
    "a:b" = [
      {
        Id = true
      },
    ]
  })
  x = ["p", "q"]

  inner {
    y = "z"
  }
}
"#;
        assert_eq!(block.to_string(), wanted);
    }

    #[test]
    fn a_text_is_no_template_and_ends_where_it_ends() {
        assert_eq!(quoted("a\"\\\n${b}%{c}$d\u{1}é"), r#""a\"\\\n$${b}%%{c}$d\u0001é""#);
    }
}
