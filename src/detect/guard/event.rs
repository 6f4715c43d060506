//! The event's own methods that read more than a path: `deep_walk` and `udm`.

use super::eval::Run;
use super::fields::Fields;
use super::program::Udm;
use super::value::{Ask, Result, V};
use crate::detect::python::tree::{self, Gap, Item, Pick, Walked};
use crate::model::Value;

impl<'e, F: Fields<'e>> Run<'e, '_, F> {
    pub(super) fn deep_walk(&self, plain: &[V<'e>], named: &[(&'e str, V<'e>)]) -> Result<V<'e>> {
        let (mut default, mut pick) = (V::None, Pick::All);
        for (name, value) in named {
            match (*name, value.text()) {
                ("default", _) => default = value.clone(),
                ("return_val", Some("all")) => pick = Pick::All,
                ("return_val", Some("first")) => pick = Pick::First,
                ("return_val", Some("last")) => pick = Pick::Last,
                _ => return Err(Ask),
            }
        }
        let keys = plain.iter().map(|key| key.text().map(str::to_owned).ok_or(Ask)).collect::<Result<Vec<_>>>()?;
        let gap = match &default {
            V::None => Gap::Skipped,
            V::Str(_) | V::Text(_) => Gap::Value(Value::str(default.text().unwrap_or_default())),
            V::Bool(value) => Gap::Value(Value::Bool(*value)),
            V::Int(value) => Gap::Value(Value::Int(i64::try_from(*value).map_err(|_| Ask)?)),
            V::List(items) if items.is_empty() => Gap::Value(Value::List([].into())),
            _ => return Err(Ask),
        };
        let Some(map) = self.fields.map() else { return Ok(V::Any) };
        self.exactly()?;
        let item = |item: Item| match item {
            Item::Value(value) => V::json(value, false),
            Item::Default => default.clone(),
        };
        Ok(match tree::deep_walk(&Value::Map(map.clone()), &keys, pick, &gap) {
            Walked::Nothing => default,
            Walked::One(one) => item(one),
            Walked::Many(many) => V::List(many.into_iter().map(item).collect()),
        })
    }

    /// For what looks at the event behind the back of [`V`].
    fn exactly(&self) -> Result<()> {
        if self.fields.crosses_exactly() { Ok(()) } else { Err(Ask) }
    }

    pub(super) fn udm(&self, plain: &[V<'e>], named: &[(&'e str, V<'e>)]) -> Result<V<'e>> {
        let default = match named {
            [] => V::None,
            [("default", default)] => default.clone(),
            _ => return Err(Ask),
        };
        let keys = plain.iter().map(|key| key.text().ok_or(Ask)).collect::<Result<Vec<_>>>()?;
        self.exactly()?;
        let model = self.fields.log_type().and_then(|log_type| self.program.models.get(log_type));
        if let ([key], Some(model)) = (&*keys, model) {
            match model.as_ref().ok_or(Ask)?.get(*key) {
                None => {}
                Some(Udm::Method(function)) => return self.call((*function).ok_or(Ask)?, vec![V::Event], Vec::new()),
                Some(Udm::Path(path)) => {
                    let Some(map) = self.fields.map() else {
                        return if path.is_single() { Ok(V::Any) } else { Err(Ask) };
                    };
                    let mut places = path.find(map);
                    return match places.len() {
                        0 => Ok(default),
                        1 => Ok(V::json(places.swap_remove(0).value, true)),
                        _ => Err(Ask),
                    };
                }
            }
        }
        let Some(map) = self.fields.map() else { return Ok(V::Any) };
        let stored = tree::deep_get(map, std::iter::once("p_udm").chain(keys.iter().copied()));
        for found in [stored, tree::deep_get(map, &keys)].into_iter().flatten() {
            let value = V::seen(found);
            if self.decide(value.truth(self.fields)?)? {
                return Ok(value);
            }
        }
        Ok(default)
    }
}
