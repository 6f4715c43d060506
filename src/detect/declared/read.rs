//! The YAML of the declared parts -> their types. Every problem is told, with the place in the YAML.

use serde_json::{Map as Object, Value as Json};

use super::Declared;
use super::condition::{Condition, Quantity};
use super::field::{Field, Step};
use super::operator::Test;
use super::text::Template;
use crate::detect::spec::RuleSpec;
use crate::model::{Severity, Value};

/// Steps into the YAML. Each becomes some levels of the JSON that a worker reads, which has a limit for all rules together:
/// one rule must not come near it.
const DEPTH: usize = 32;

/// Something of the YAML, and where it stands, such as `Detection[0].Any[1]`.
struct At<'a> {
    place: String,
    json: &'a Json,
    depth: usize,
}

type Read<T> = Result<T, String>;

impl Declared {
    /// What `spec` declares. Keys of it that stand beside a Python function are read as well; the function wins.
    pub fn read(spec: &RuleSpec) -> Result<Declared, Vec<String>> {
        let mut problems = Vec::new();
        let declared = Declared {
            filters: keep(&mut problems, spec.inline_filters.as_ref().map(|list| filters(list))).flatten(),
            detection: keep(&mut problems, spec.detection.as_ref().map(detection)),
            title: keep(&mut problems, spec.alert_title.as_ref().map(title)),
            context: keep(&mut problems, spec.alert_context.as_ref().map(context)),
            severities: keep(&mut problems, spec.dynamic_severities.as_ref().map(severities)).unwrap_or_default(),
            group_by: keep(&mut problems, spec.group_by.as_ref().map(group_by)),
        };
        if problems.is_empty() { Ok(declared) } else { Err(problems) }
    }
}

fn keep<T>(problems: &mut Vec<String>, read: Option<Read<T>>) -> Option<T> {
    read?.map_err(|problem| problems.push(problem)).ok()
}

/// `None` for filters that let everything through, which is nearly all there are.
fn filters(list: &[Json]) -> Read<Option<Condition>> {
    let conditions: Vec<Condition> = list
        .iter()
        .enumerate()
        .map(|(index, json)| {
            let at = At { place: format!("InlineFilters[{index}]"), json, depth: 0 };
            match json.get("statement") {
                Some(json) => at.below(".statement", json).statement(),
                None => at.condition(),
            }
        })
        .collect::<Read<_>>()?;
    let no_op = |condition: &Condition| *condition == Condition::Several(Quantity::All, Vec::new());
    Ok(Some(conditions).filter(|all| !all.iter().all(no_op)).map(|all| Condition::Several(Quantity::All, all)))
}

fn detection(json: &Json) -> Read<Condition> {
    let at = At { place: "Detection".into(), json, depth: 0 };
    let conditions = at.conditions()?;
    if conditions.is_empty() {
        return Err("`Detection` is empty; give it a condition, or `Condition: AlwaysTrue`".into());
    }
    Ok(Condition::Several(Quantity::All, conditions))
}

fn title(json: &Json) -> Read<Template> {
    let text = json.as_str().ok_or("`AlertTitle` must be a text")?;
    Template::parse(text).map_err(|problem| format!("AlertTitle: {problem}"))
}

fn context(json: &Json) -> Read<Vec<(String, Field)>> {
    let at = At { place: "AlertContext".into(), json, depth: 0 };
    at.each(|at| {
        let name = at.text("KeyName")?.ok_or_else(|| at.problem("`KeyName` is missing"))?;
        let value = at.json.get("KeyValue").ok_or_else(|| at.problem("`KeyValue` is missing"))?;
        let value = at.below(".KeyValue", value);
        Ok((name.to_owned(), value.field()?.ok_or_else(|| value.problem(NO_FIELD))?))
    })
}

fn severities(json: &Json) -> Read<Vec<(Severity, Condition)>> {
    let at = At { place: "DynamicSeverities".into(), json, depth: 0 };
    at.each(|at| {
        let severity = at.text("ChangeTo")?.ok_or_else(|| at.problem("`ChangeTo` is missing"))?;
        let severity = severity.parse().map_err(|problem| at.problem(&format!("ChangeTo: {problem}")))?;
        let conditions = at.json.get("Conditions").ok_or_else(|| at.problem("`Conditions` is missing"))?;
        let conditions = at.below(".Conditions", conditions).conditions()?;
        Ok((severity, Condition::Several(Quantity::All, conditions)))
    })
}

/// A list of fields, each as elsewhere or as the text of a path.
fn group_by(json: &Json) -> Read<Vec<Field>> {
    let at = At { place: "GroupBy".into(), json, depth: 0 };
    at.each(|at| match at.json {
        Json::String(path) => at.told(Field::parse(path)),
        _ => at.field()?.ok_or_else(|| at.problem(NO_FIELD)),
    })
}

const NO_FIELD: &str = "names no field; use `Key`, `DeepKey`, `KeyPath` or `Enrichment`";

impl<'a> At<'a> {
    fn problem(&self, said: &str) -> String {
        format!("{}: {said}", self.place)
    }

    fn told<T>(&self, read: Read<T>) -> Read<T> {
        read.map_err(|problem| self.problem(&problem))
    }

    fn below(&self, step: &str, json: &'a Json) -> At<'a> {
        At { place: format!("{}{step}", self.place), json, depth: self.depth + 1 }
    }

    fn each<T>(&self, read: impl Fn(&At<'a>) -> Read<T>) -> Read<Vec<T>> {
        if self.depth > DEPTH {
            return Err(self.problem("conditions are nested too deeply; split the rule"));
        }
        let list = self.json.as_array().ok_or_else(|| self.problem("must be a list"))?;
        list.iter().enumerate().map(|(index, json)| read(&self.below(&format!("[{index}]"), json))).collect()
    }

    fn conditions(&self) -> Read<Vec<Condition>> {
        self.each(At::condition)
    }

    fn object(&self) -> Read<&'a Object<String, Json>> {
        self.json.as_object().ok_or_else(|| self.problem("must be a mapping"))
    }

    fn text(&self, key: &str) -> Read<Option<&'a str>> {
        match self.object()?.get(key) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.problem(&format!("`{key}` must be a text"))),
        }
    }

    /// Refuses keys that mean nothing here.
    fn only(&self, known: &[&str]) -> Read<()> {
        match self.object()?.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(self.problem(&format!("`{key}` is no key here; known are {}", known.join(", ")))),
            None => Ok(()),
        }
    }

    fn condition(&self) -> Read<Condition> {
        let object = self.object()?;
        let combined = [
            ("All", Quantity::All),
            ("Any", Quantity::Any),
            ("OnlyOne", Quantity::ExactlyOne),
            ("None", Quantity::None),
        ];
        for (key, quantity) in combined {
            if let Some(json) = object.get(key) {
                self.only(&[key])?;
                return Ok(Condition::Several(quantity, self.below(&format!(".{key}"), json).conditions()?));
            }
        }
        const KEYS: [&str; 8] =
            ["Key", "DeepKey", "KeyPath", "Enrichment", "Condition", "Value", "Values", "Expressions"];
        self.only(&KEYS)?;
        let name = self.text("Condition")?.ok_or_else(|| self.problem("`Condition` is missing"))?;
        let over = [
            ("AllElements", Quantity::All),
            ("AnyElement", Quantity::Any),
            ("OnlyOneElement", Quantity::ExactlyOne),
            ("NoElement", Quantity::None),
        ];
        if let Some((_, quantity)) = over.iter().find(|(known, _)| *known == name) {
            return self.elements(*quantity);
        }
        match name {
            "AlwaysTrue" => Ok(Condition::Constant(true)),
            "AlwaysFalse" => Ok(Condition::Constant(false)),
            _ => self.test(self.told(Test::named(name))?),
        }
    }

    fn elements(&self, quantity: Quantity) -> Read<Condition> {
        let expressions = self.json.get("Expressions").ok_or_else(|| self.problem("`Expressions` is missing"))?;
        let conditions = self.below(".Expressions", expressions).conditions()?;
        let condition = Box::new(Condition::Several(Quantity::All, conditions));
        Ok(Condition::Elements { field: self.field()?.unwrap_or(Field::This), quantity, condition })
    }

    fn test(&self, test: Test) -> Read<Condition> {
        let field = self.field()?;
        let other = match (self.json.get("Value"), self.json.get("Values")) {
            (Some(_), Some(_)) => return Err(self.problem("`Value` and `Values` exclude each other")),
            (None, None) if test.operator.takes_value() => return Err(self.problem("`Value` is missing")),
            (None, None) => Value::Null,
            (Some(_), None) if !test.operator.takes_value() => {
                return Err(self.problem("this condition takes no `Value`"));
            }
            (Some(value), None) => self.value(value)?,
            (None, Some(values)) => match self.two_fields(values, field.is_some())? {
                Some(fields) => return Ok(Condition::Fields { test, fields: Box::new(fields) }),
                None if test.operator.takes_values() => self.value(values)?,
                None => {
                    return Err(self.problem("this condition takes one `Value`; for any of several, use IsIn or Any"));
                }
            },
        };
        Ok(Condition::Value { field: field.unwrap_or(Field::This), test, other })
    }

    /// `Values` of two fields compare these. With a field of its own, a condition compares that with constants.
    fn two_fields(&self, values: &'a Json, has_field: bool) -> Read<Option<[Field; 2]>> {
        let Some([one, other]) = values.as_array().map(Vec::as_slice) else { return Ok(None) };
        if has_field || !one.is_object() || !other.is_object() {
            return Ok(None);
        }
        let field = |index: usize, json| {
            let at = self.below(&format!(".Values[{index}]"), json);
            at.field()?.ok_or_else(|| at.problem(NO_FIELD))
        };
        Ok(Some([field(0, one)?, field(1, other)?]))
    }

    fn value(&self, json: &Json) -> Read<Value> {
        serde_json::from_value(json.clone()).map_err(|error| self.problem(&error.to_string()))
    }

    fn field(&self) -> Read<Option<Field>> {
        let object = self.object()?;
        let mut fields = Vec::new();
        if let Some(key) = self.text("Key")? {
            fields.push(Field::Path(vec![Step::Key(key.to_owned())]));
        }
        if let Some(keys) = object.get("DeepKey") {
            let at = self.below(".DeepKey", keys);
            fields.push(Field::Path(at.each(|at| at.step())?));
        }
        if let Some(path) = self.text("KeyPath")? {
            fields.push(self.told(Field::parse(path))?);
        }
        if let Some(enrichment) = object.get("Enrichment") {
            fields.push(self.below(".Enrichment", enrichment).enrichment()?);
        }
        match fields.len() {
            0 | 1 => Ok(fields.pop()),
            _ => Err(self.problem("more than one field is named; keep one of Key, DeepKey, KeyPath, Enrichment")),
        }
    }

    fn step(&self) -> Read<Step> {
        match self.json {
            Json::String(key) => Ok(Step::Key(key.clone())),
            Json::Number(index) => match index.as_i64() {
                Some(index) => Ok(Step::Index(index)),
                None => Err(self.problem("an index must be a whole number")),
            },
            _ => Err(self.problem("must be a name or an index")),
        }
    }

    /// A field of the row that a lookup table has for what a selector names.
    fn enrichment(&self) -> Read<Field> {
        self.only(&["Table", "Selector", "FieldPath"])?;
        let part = |key| self.text(key)?.ok_or_else(|| self.problem(&format!("`{key}` is missing")));
        let (table, selector, path) = (part("Table")?, part("Selector")?, part("FieldPath")?);
        let Field::Path(path) = self.told(Field::parse(path))? else {
            return Err(self.problem("`FieldPath` must be a plain path such as `owner.name`"));
        };
        let selector = selector.strip_prefix("$.").unwrap_or(selector);
        let row = ["p_enrichment", table, selector].map(|key| Step::Key(key.to_owned()));
        Ok(Field::Path(row.into_iter().chain([Step::Each]).chain(path).collect()))
    }

    /// The low-level form of a filter.
    fn statement(&self) -> Read<Condition> {
        let object = self.object()?;
        if object.is_empty() {
            return Ok(Condition::Constant(true));
        }
        for (key, quantity) in [("and", Quantity::All), ("or", Quantity::Any), ("not", Quantity::All)] {
            let Some(json) = object.get(key) else { continue };
            self.only(&[key])?;
            let conditions = self.below(&format!(".{key}"), json).each(At::statement)?;
            let several = Condition::Several(quantity, conditions);
            return Ok(if key == "not" { Condition::Not(Box::new(several)) } else { several });
        }
        // The hint is about how a form shows the value; the value itself has its type.
        self.only(&["target", "operator", "value", "targetTypeHint"])?;
        let target = self.text("target")?.ok_or_else(|| self.problem("`target` is missing"))?;
        let operator = self.text("operator")?.ok_or_else(|| self.problem("`operator` is missing"))?;
        let test = self.told(Test::symbol(operator))?;
        let other = match object.get("value") {
            Some(value) => self.value(value)?,
            None if test.operator.takes_value() => return Err(self.problem("`value` is missing")),
            None => Value::Null,
        };
        let is_key = target.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let field =
            if is_key { Field::Path(vec![Step::Key(target.to_owned())]) } else { self.told(Field::parse(target))? };
        Ok(Condition::Value { field, test, other })
    }
}
