//! Where in an event the values are that are looked up: a field, a path with dots, or the same behind `$.`.
//!
//! Names are found as rules find them: exactly, else in any case. A list on the way is entered, as `[*]` says in so many
//! words, and a list at the end stands for its elements.

use std::sync::Arc;

use crate::model::{Map, Value};

#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// As rules know it: without `$.`.
    name: Arc<str>,
    steps: Vec<Step>,
    /// It may be the name of one field, dots and all.
    bare: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Name(String),
    At(usize),
    All,
}

/// What a selector leads to.
#[derive(Default)]
pub(super) struct Selected<'e> {
    /// Scalars.
    pub(super) values: Vec<&'e Value>,
    /// There may be several, even where there is one.
    pub(super) many: bool,
}

impl Selector {
    pub fn parse(text: &str) -> Result<Selector, String> {
        let problem = || {
            format!(
                "`{text}` is no selector; write a field, a path such as `a.b` or `$.a.b`, or a field such as `p_any_emails`"
            )
        };
        let name = text.strip_prefix('$').map_or(text, |rest| rest.strip_prefix('.').unwrap_or(rest));
        let mut steps = Vec::new();
        let mut rest = name;
        while !rest.is_empty() {
            if let Some(inside) = rest.strip_prefix('[') {
                let (step, after) = inside.split_once(']').ok_or_else(problem)?;
                let quoted = |quote| step.strip_prefix(quote).and_then(|step: &str| step.strip_suffix(quote));
                steps.push(match (step, quoted('\'').or(quoted('"'))) {
                    ("*", _) => Step::All,
                    (_, Some(name)) => Step::Name(name.to_owned()),
                    (number, None) => Step::At(number.parse().map_err(|_| problem())?),
                });
                rest = after;
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                if end == 0 {
                    return Err(problem());
                }
                steps.push(Step::Name(rest[..end].to_owned()));
                rest = &rest[end..];
            }
            rest = match rest.strip_prefix('.') {
                Some("") => return Err(problem()),
                Some(further) => further,
                None => rest,
            };
        }
        if steps.is_empty() {
            return Err(problem());
        }
        Ok(Selector { name: name.into(), bare: name == text && steps.len() > 1, steps })
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn select<'e>(&self, event: &'e Map) -> Selected<'e> {
        let mut selected = Selected::default();
        match event.get(&self.name).filter(|_| self.bare) {
            Some(value) => selected.take(value),
            None => selected.below(event, &self.steps),
        }
        selected
    }
}

impl<'e> Selected<'e> {
    fn below(&mut self, map: &'e Map, steps: &[Step]) {
        if let Some((Step::Name(name), rest)) = steps.split_first()
            && let Some(value) = map.get_ignore_case(name)
        {
            self.walk(value, rest);
        }
    }

    /// As deep as the selector is long, or as the lists of an event are nested, which its parser bounds.
    fn walk(&mut self, value: &'e Value, steps: &[Step]) {
        match (value, steps.split_first()) {
            (value, None) => self.take(value),
            (Value::List(items), Some((Step::At(at), rest))) => {
                if let Some(item) = items.get(*at) {
                    self.walk(item, rest);
                }
            }
            (Value::List(items), Some((step, rest))) => {
                self.many = true;
                let steps = if *step == Step::All { rest } else { steps };
                items.iter().for_each(|item| self.walk(item, steps));
            }
            (Value::Map(map), Some((Step::Name(_), _))) => self.below(map, steps),
            _ => {}
        }
    }

    fn take(&mut self, value: &'e Value) {
        match value {
            Value::Null | Value::Map(_) => {}
            Value::List(items) => {
                self.many = true;
                items.iter().for_each(|item| self.take(item));
            }
            scalar => self.values.push(scalar),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(selector: &str) -> String {
        let event = r#"{"a":"x","A":"y","b":{"c":[{"d":1},{"d":[2,3]},4],"e f":true},"g.h":"whole","n":null,"l":[]}"#;
        let event: Map = serde_json::from_str(event).unwrap();
        let selected = Selector::parse(selector).unwrap();
        let Selected { values, many } = selected.select(&event);
        format!("{} {} {many}", selected.name(), serde_json::to_string(&values).unwrap())
    }

    #[test]
    fn paths_lead_to_scalars() {
        for (selector, expected) in [
            ("a", r#"a ["x"] false"#),
            ("$.A", r#"A ["y"] false"#),
            ("B.C.d", "B.C.d [1,2,3] true"),
            ("$.b.c[*].d", "b.c[*].d [1,2,3] true"),
            ("b.c[0].d", "b.c[0].d [1] false"),
            ("b.c[7].d", "b.c[7].d [] false"),
            ("b.c", "b.c [4] true"),
            ("$.b['e f']", "b['e f'] [true] false"),
            ("g.h", r#"g.h ["whole"] false"#),
            ("$.g.h", "g.h [] false"),
            ("n", "n [] false"),
            ("l", "l [] true"),
            ("a.b", "a.b [] false"),
            ("none", "none [] false"),
        ] {
            assert_eq!(selected(selector), expected, "{selector}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", "$", "$.", "a.", ".a", "a..b", "a[", "a[x]", "a[-1]"] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }
}
