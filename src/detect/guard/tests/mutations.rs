//! Changes of events: fields removed, retyped, replaced, respelt.

use crate::model::{Map, MapBuilder, Value};

/// Deterministic; the same seed changes the same events alike.
pub(super) struct Mutator {
    state: u64,
    /// Texts of other events, which rules are more likely to know than random ones.
    texts: Vec<Value>,
}

impl Mutator {
    pub(super) fn new(seed: u64) -> Mutator {
        Mutator { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, texts: vec![Value::str("")] }
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as usize % end.max(1)
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub(super) fn learn(&mut self, event: &Map) {
        for (_, value) in event.iter() {
            match value {
                Value::Str(_) if self.texts.len() < 500 => self.texts.push(value.clone()),
                Value::Map(map) => self.learn(map),
                _ => {}
            }
        }
    }

    /// One to three changes.
    pub(super) fn change(&mut self, event: &Map) -> Map {
        (0..=self.below(3)).fold(event.clone(), |event, _| self.change_once(&event))
    }

    fn change_once(&mut self, map: &Map) -> Map {
        let at = self.below(map.len());
        let mut changed = MapBuilder::default();
        for (position, (key, value)) in map.iter().enumerate() {
            if position != at || &**key == "p_log_type" {
                changed.insert(key.clone(), value.clone());
                continue;
            }
            match self.below(8) {
                0 => {}
                1 => {
                    changed.insert(
                        if self.below(2) == 0 { key.to_uppercase() } else { key.to_lowercase() },
                        value.clone(),
                    );
                }
                2 => {
                    changed.insert(key.to_uppercase(), self.value(value));
                    changed.insert(key.clone(), value.clone());
                }
                _ => changed.insert(key.clone(), self.value(value)),
            }
        }
        changed.build()
    }

    fn value(&mut self, value: &Value) -> Value {
        if let Value::Map(map) = value
            && self.below(4) > 0
        {
            return Value::Map(self.change_once(map));
        }
        if let Value::List(items) = value
            && !items.is_empty()
            && self.below(3) > 0
        {
            let at = self.below(items.len());
            let mut items = items.to_vec();
            items[at] = self.value(&items[at].clone());
            return Value::List(items.into());
        }
        match (self.below(14), value) {
            (0, _) => Value::Null,
            (1, _) => Value::Bool(self.below(2) == 0),
            (2, _) => Value::Int(self.below(3) as i64),
            (3, _) => Value::Float(self.below(4) as f64 / 2.0),
            (4, _) => Value::List([].into()),
            (5, _) => Value::List([value.clone()].into()),
            (6, _) => Value::Map(MapBuilder::default().build()),
            (7, Value::Str(text)) => Value::str(text.to_uppercase()),
            (8, Value::Str(text)) => Value::str(text.to_lowercase()),
            (9, Value::Str(text)) => Value::str(format!("{text}é")),
            (10, Value::Str(text)) => Value::str(format!(" {text}")),
            (11, Value::Bool(value)) => Value::Bool(!value),
            _ => {
                let at = self.below(self.texts.len());
                self.texts[at].clone()
            }
        }
    }
}
