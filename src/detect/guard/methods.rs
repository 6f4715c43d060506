//! What guards know of the methods of Python's values, and of getting at their parts. Texts outside ASCII are left to Python
//! wherever the two could disagree about case or blanks.

use std::rc::Rc;

use super::constant::Const;
use super::eval::{Frame, Run, TEXT_LIMIT};
use super::exception::Exception;
use super::fields::{Fields, Found};
use super::pattern::{Pattern, Place};
use super::program::{Arguments, Method};
use super::value::{Ask, Notes, Raises, Result, Truth, V};
use crate::model::Value;

/// Python's blanks in ASCII.
const BLANKS: [char; 10] = [' ', '\t', '\n', '\x0b', '\x0c', '\r', '\x1c', '\x1d', '\x1e', '\x1f'];

impl<'e, F: Fields<'e>> Run<'e, '_, F> {
    pub(super) fn method(
        &self,
        of: &V<'e>,
        method: Method,
        arguments: &'e Arguments,
        frame: &mut Frame<'e>,
    ) -> Result<V<'e>> {
        if let (V::Event, Some(path), Method::Item) = (of, arguments.path, method) {
            return match self.fields.path(self.program, path) {
                Found::Value(value) => Ok(value),
                Found::Either if !self.fields.choose()? => Ok(V::Any),
                Found::Missing | Found::Either => Err(Raises(Exception::KeyError)),
            };
        }
        if let (V::Event, Some(path), Method::Get | Method::DeepGet) = (of, arguments.path, method) {
            return self.event_path(method, path, arguments, frame);
        }
        if lacks(of, method) {
            return Err(Raises(Exception::AttributeError));
        }
        let (plain, named) = self.arguments(arguments, frame)?;
        let bare = named.is_empty();
        self.pay(of)?;
        plain.iter().try_for_each(|argument| self.pay(argument))?;
        match (of, method) {
            (V::Event, Method::DeepWalk) => self.deep_walk(&plain, &named),
            (_, Method::Item) => match &*plain {
                [at] if bare => self.subscript(of, at),
                _ => Err(Ask),
            },
            (V::Event, Method::Udm) => self.udm(&plain, &named),
            (V::Event, Method::Get | Method::DeepGet) => {
                let Some(map) = self.fields.map() else {
                    let keys = match (method, &*plain) {
                        (Method::Get, [key] | [key, _]) => std::slice::from_ref(key),
                        (Method::DeepGet, keys) => keys,
                        _ => return Err(Ask),
                    };
                    let known = bare && keys.iter().all(|key| key.text().is_some());
                    return if known { Ok(V::Any) } else { Err(Ask) };
                };
                self.map_get(&V::Json { value: Value::Map(map.clone()), wrapped: true }, method, plain, named)
            }
            (V::Json { value: Value::Map(_), .. } | V::Const(Const::Dict(..)), Method::Get | Method::DeepGet) => {
                self.map_get(of, method, plain, named)
            }
            (V::Json { value: Value::Map(_), .. } | V::Const(Const::Dict(..)), Method::Keys)
                if plain.is_empty() && bare =>
            {
                Ok(V::Keys(Rc::new(of.clone())))
            }
            (V::Const(Const::Pattern(pattern)), Method::Search | Method::Match | Method::FullMatch) if bare => {
                self.search(pattern, method, &plain)
            }
            (_, Method::Values | Method::Items) if plain.is_empty() && bare => views(of, method == Method::Items),
            _ if bare => self.text_method(of, method, &plain),
            _ => Err(Ask),
        }
    }

    fn search(&self, pattern: &Pattern, method: Method, arguments: &[V<'e>]) -> Result<V<'e>> {
        let place = match method {
            Method::Match => Place::Start,
            Method::FullMatch => Place::Whole,
            _ => Place::Anywhere,
        };
        let found = match arguments {
            [V::None | V::Bool(_) | V::Int(_) | V::Float(_)] => return Err(Raises(Exception::TypeError)),
            [V::AnyText | V::Other] => self.fields.choose()?,
            [text] => pattern.matches(text.text().filter(|text| text.is_ascii()).ok_or(Ask)?, place),
            _ => return Err(Ask),
        };
        Ok(if found { V::Found } else { V::None })
    }

    fn event_path(
        &self,
        method: Method,
        path: usize,
        arguments: &'e Arguments,
        frame: &mut Frame<'e>,
    ) -> Result<V<'e>> {
        let default = match (method, &*arguments.plain, &*arguments.named) {
            (Method::Get, [_], []) => None,
            (Method::Get, [_, (default, false)], []) => Some(default),
            (Method::Get, [_], [(name, default)]) if **name == *"default" => Some(default),
            (Method::DeepGet, _, []) => None,
            (Method::DeepGet, _, [(name, default)]) if **name == *"default" => Some(default),
            _ => return Err(Ask),
        };
        let default = default.map_or(Ok(V::None), |default| self.eval(default, frame))?;
        Ok(match self.fields.path(self.program, path) {
            Found::Missing => default,
            Found::Value(V::None) if method == Method::DeepGet => default,
            Found::Value(value) => value,
            Found::Either => V::Any,
        })
    }

    fn map_get(
        &self,
        of: &V<'e>,
        method: Method,
        mut plain: Vec<V<'e>>,
        mut named: Vec<(&'e str, V<'e>)>,
    ) -> Result<V<'e>> {
        let default = match named.pop() {
            None if method == Method::Get && plain.len() == 2 => plain.pop().ok_or(Ask)?,
            None => V::None,
            // A plain dictionary takes its default by position only.
            Some(("default", default)) if matches!(of, V::Json { wrapped: true, .. }) => default,
            Some(_) => return Err(Ask),
        };
        if !named.is_empty() || (method == Method::Get && plain.len() != 1) {
            return Err(Ask);
        }
        if method == Method::Get {
            plain[0].hashable()?;
            if let (V::Const(Const::Dict(keys, _)), V::Other) = (of, &plain[0])
                && keys.only_strings
            {
                let texts =
                    keys.list.iter().filter_map(|key| if let Const::Str(text) = key { Some(text) } else { None });
                texts.for_each(|text| self.fields.note(text));
                return Ok(default);
            }
            if plain[0].text().is_none() {
                // Of a dictionary in a module, other keys than texts may be meant.
                return if matches!(of, V::Json { .. }) && !matches!(plain[0], V::AnyText | V::AnyBool | V::Other) {
                    Ok(default)
                } else {
                    Err(Ask)
                };
            }
            return Ok(self.item(of, &plain[0])?.unwrap_or(default));
        }
        let V::Json { wrapped: true, .. } = of else { return Err(Ask) };
        let mut value = of.clone();
        for key in &plain {
            let found = match (&value, key.text()) {
                (V::Json { value: Value::Map(_), .. }, Some(_)) => self.item(&value, key)?,
                (_, None) => return Err(Ask),
                _ => None,
            };
            let Some(found) = found else { return Ok(default) };
            value = found;
        }
        Ok(if plain.is_empty() || matches!(value, V::None) { default } else { value })
    }

    /// The value of a key that is a text.
    fn item(&self, of: &V<'e>, key: &V<'e>) -> Result<Option<V<'e>>> {
        let key = key.text().ok_or(Ask)?;
        match of {
            V::Json { value: Value::Map(map), wrapped } => {
                let found = if *wrapped { map.get_ignore_case(key) } else { map.get(key) };
                Ok(found.map(|value| V::json(value.clone(), *wrapped)))
            }
            V::Const(Const::Dict(keys, values)) => {
                let at = keys.list.iter().position(|item| matches!(item, Const::Str(item) if **item == *key));
                at.map(|at| V::constant(&values[at])).transpose()
            }
            _ => Err(Ask),
        }
    }

    pub(super) fn subscript(&self, of: &V<'e>, at: &V<'e>) -> Result<V<'e>> {
        self.pay(of)?;
        if let (V::Event, Some(map)) = (of, self.fields.map()) {
            let event = V::Json { value: Value::Map(map.clone()), wrapped: true };
            return self.item(&event, at)?.ok_or(Raises(Exception::KeyError));
        }
        match (of, at) {
            (V::Json { value: Value::Map(_), .. } | V::Const(Const::Dict(..)), _) => {
                self.item(of, at)?.ok_or(Raises(Exception::KeyError))
            }
            (V::None | V::Bool(_) | V::Int(_) | V::Float(_), _) => Err(Raises(Exception::TypeError)),
            (_, V::Int(at)) => {
                let elements = match of {
                    V::Json { value: Value::List(_), .. } | V::List(_) | V::Tuple(_) => of.elements()?,
                    V::Const(Const::List(_) | Const::Tuple(_)) => of.elements()?,
                    _ => return Err(Ask),
                };
                let at = if *at < 0 { at + elements.len() as i128 } else { *at };
                let element = usize::try_from(at).ok().and_then(|at| elements.get(at).cloned());
                element.ok_or(Raises(Exception::IndexError))
            }
            _ => Err(Ask),
        }
    }

    /// Of texts in ASCII only.
    pub(super) fn slice(&self, of: &V<'e>, from: Option<V<'e>>, to: Option<V<'e>>) -> Result<V<'e>> {
        self.pay(of)?;
        let text = of.text().filter(|text| text.is_ascii()).ok_or(Ask)?;
        let bound = |bound: Option<V<'e>>, otherwise: usize| match bound {
            None | Some(V::None) => Ok(otherwise),
            Some(V::Int(at)) => {
                let at = if at < 0 { at + text.len() as i128 } else { at };
                Ok(at.clamp(0, text.len() as i128) as usize)
            }
            Some(_) => Err(Ask),
        };
        let (from, to) = (bound(from, 0)?, bound(to, text.len())?);
        Ok(V::Text(text[from..to.max(from)].into()))
    }

    pub(super) fn add(&self, left: &V<'e>, right: &V<'e>) -> Result<V<'e>> {
        self.pay(left)?;
        self.pay(right)?;
        match (left, right) {
            (V::Int(a), V::Int(b)) => {
                Ok(V::Int(a.checked_add(*b).filter(|sum| i64::try_from(*sum).is_ok()).ok_or(Ask)?))
            }
            (V::List(_) | V::Const(Const::List(_)), V::List(_) | V::Const(Const::List(_))) => {
                Ok(V::List(left.elements()?.iter().chain(right.elements()?.iter()).cloned().collect()))
            }
            _ => {
                let text = |v: &V<'e>| {
                    let is_text = v.text().is_some() || matches!(v, V::AnyText | V::Other);
                    if is_text { Ok(v.clone()) } else { Err(Ask) }
                };
                self.concatenate([text(left), text(right)].into_iter())
            }
        }
    }

    pub(super) fn concatenate(&self, parts: impl Iterator<Item = Result<V<'e>>>) -> Result<V<'e>> {
        let mut whole = String::new();
        let mut known = true;
        for part in parts {
            match part?.text() {
                Some(text) if whole.len() + text.len() <= TEXT_LIMIT => whole += text,
                Some(_) => return Err(Ask),
                None => known = false,
            }
        }
        Ok(if known { V::Text(whole.into()) } else { V::AnyText })
    }

    fn text_method(&self, of: &V<'e>, method: Method, arguments: &[V<'e>]) -> Result<V<'e>> {
        let Some(text) = of.text() else { return imagined_text_method(of, method, arguments, self.fields) };
        let ascii = || if text.is_ascii() { Ok(text) } else { Err(Ask) };
        Ok(match (method, arguments) {
            (Method::Lower, []) => V::Text(ascii()?.to_ascii_lowercase().into()),
            (Method::Upper, []) => V::Text(ascii()?.to_ascii_uppercase().into()),
            (Method::StartsWith, [affix]) => one_of(affix, |affix| text.starts_with(affix))?.value(),
            (Method::EndsWith, [affix]) => one_of(affix, |affix| text.ends_with(affix))?.value(),
            (Method::Strip | Method::LeftStrip | Method::RightStrip, []) => strip(ascii()?, method, &BLANKS),
            (Method::Strip | Method::LeftStrip | Method::RightStrip, [of]) => {
                let of: Vec<char> = of.text().ok_or(Ask)?.chars().collect();
                strip(text, method, &of)
            }
            (Method::Split, []) => {
                let parts = ascii()?.split(&BLANKS[..]).filter(|part| !part.is_empty());
                V::List(parts.map(|part| V::Text(part.into())).collect())
            }
            (Method::Split, [by]) => {
                let by = by.text().filter(|by| !by.is_empty()).ok_or(Ask)?;
                V::List(text.split(by).map(|part| V::Text(part.into())).collect())
            }
            (Method::Replace, [from, to]) => {
                let (from, to) = (from.text().filter(|from| !from.is_empty()).ok_or(Ask)?, to.text().ok_or(Ask)?);
                if text.len() > TEXT_LIMIT || to.len() > 64 {
                    return Err(Ask);
                }
                V::Text(text.replace(from, to).into())
            }
            (Method::IsDigit, []) => V::Bool(!text.is_empty() && ascii()?.bytes().all(|byte| byte.is_ascii_digit())),
            (Method::Join, [parts]) => {
                let parts = self.ordered(parts)?;
                let texts = parts.iter().map(|part| part.text().ok_or(Ask)).collect::<Result<Vec<_>>>()?;
                if texts.iter().map(|part| part.len() + text.len()).sum::<usize>() > TEXT_LIMIT {
                    return Err(Ask);
                }
                V::Text(texts.join(text).into())
            }
            _ => return Err(Ask),
        })
    }
}

/// Of a text that is not known.
fn imagined_text_method<'e>(of: &V<'e>, method: Method, arguments: &[V<'e>], notes: &impl Notes) -> Result<V<'e>> {
    match (of, method, arguments) {
        (V::Other, Method::StartsWith, [affix]) => {
            // Every text begins with the empty one.
            let begins = |affix: &str| {
                notes.note_prefix(affix);
                affix.is_empty()
            };
            one_of(affix, begins).map(Truth::value)
        }
        (V::Other, Method::Lower | Method::Upper, []) => Ok(V::Other),
        (V::AnyText | V::Other, Method::Lower | Method::Upper | Method::Strip, []) => Ok(V::AnyText),
        (V::AnyText | V::Other, Method::StartsWith | Method::EndsWith, [affix]) => {
            one_of(affix, |_| true).map(|_| V::AnyBool)
        }
        (V::AnyText | V::Other, Method::Replace, [from, to]) if from.text().is_some() && to.text().is_some() => {
            Ok(V::AnyText)
        }
        _ => Err(Ask),
    }
}

/// Whether Python finds no such method at the value, before it looks at the arguments.
fn lacks(of: &V<'_>, method: Method) -> bool {
    match of {
        V::None | V::Bool(_) | V::Int(_) | V::Float(_) => method != Method::Item,
        V::Str(_) | V::Text(_) => matches!(
            method,
            Method::DeepGet
                | Method::DeepWalk
                | Method::Get
                | Method::Items
                | Method::Keys
                | Method::Udm
                | Method::Values
        ),
        _ => false,
    }
}

fn views<'e>(of: &V<'e>, items: bool) -> Result<V<'e>> {
    let pair = |key: V<'e>, value: V<'e>| if items { V::Tuple([key, value].into()) } else { value };
    let elements: Rc<[V<'e>]> = match of {
        V::Json { value: Value::Map(map), wrapped } => {
            map.iter().map(|(key, value)| pair(V::Text(key.clone()), V::json(value.clone(), *wrapped))).collect()
        }
        V::Const(Const::Dict(keys, values)) => {
            let entries = keys.list.iter().zip(values);
            let entries = entries.map(|(key, value)| Ok(pair(V::constant(key)?, V::constant(value)?)));
            entries.collect::<Result<Vec<_>>>()?.into()
        }
        _ => return Err(Ask),
    };
    Ok(V::Iterable(elements))
}

/// Whether a test holds for a text or for any of a tuple of texts.
fn one_of(affix: &V<'_>, mut test: impl FnMut(&str) -> bool) -> Result<Truth> {
    if let Some(affix) = affix.text() {
        return Ok(test(affix).into());
    }
    let (V::Tuple(_) | V::Const(Const::Tuple(_))) = affix else { return Err(Ask) };
    let mut found = false;
    for affix in affix.elements()?.iter() {
        found |= test(affix.text().ok_or(Ask)?);
    }
    Ok(found.into())
}

fn strip<'e>(text: &str, method: Method, of: &[char]) -> V<'e> {
    V::Text(
        match method {
            Method::LeftStrip => text.trim_start_matches(of),
            Method::RightStrip => text.trim_end_matches(of),
            _ => text.trim_matches(of),
        }
        .into(),
    )
}
