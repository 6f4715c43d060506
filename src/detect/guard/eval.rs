//! Runs a function of a [`Program`] on an event: what Python would return, or [`Ask`].
//!
//! Nothing is approximated: as soon as something is not understood, would raise, or costs too much, the answer is `Ask`.
//! The one exception is an imagined event ([`super::explore`]), of which a run takes one of several possible ways.

use std::cell::Cell;

use super::address::Address;
use super::constant::Const;
use super::exception::Exception;
use super::fields::Fields;
use super::program::{
    Arguments, Compare, Comprehension, Expr, Function, Method, Program, Quantifier, Reduce, Slot, Type,
};
use super::value::{Ask, Raises, Result, Truth, V};

/// Expressions evaluated for one rule on one event. A rule that does more is Python's to run.
const FUEL: u32 = 5000;
/// Nesting of expressions and calls, which bounds the stack.
const DEPTH: u32 = 100;
/// Functions inside functions.
const CALLS: u32 = 8;
/// Characters of a text that is put together.
pub(super) const TEXT_LIMIT: usize = 4096;

/// What a rule says about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Python would return False, and do nothing else.
    No,
    /// Python would return True.
    Yes,
    /// Only Python knows.
    Ask,
}

/// What `rule(event)` would return.
pub(super) fn verdict<'e>(program: &'e Program, rule: usize, fields: &impl Fields<'e>) -> Verdict {
    let run = Run {
        program,
        fields,
        fuel: Cell::new(FUEL),
        depth: Cell::new(0),
        calls: Cell::new(0),
        has_reset: Cell::new(false),
    };
    let said = match run.call(rule, vec![V::Event], Vec::new()) {
        Ok(V::Bool(said)) => Ok(said),
        Ok(V::AnyBool) => fields.choose(),
        _ => Err(Ask),
    };
    match said {
        Ok(false) => Verdict::No,
        Ok(true) if !run.has_reset.get() => Verdict::Yes,
        _ => Verdict::Ask,
    }
}

pub(super) struct Run<'e, 'r, F> {
    pub(super) program: &'e Program,
    pub(super) fields: &'r F,
    fuel: Cell<u32>,
    pub(super) depth: Cell<u32>,
    pub(super) calls: Cell<u32>,
    /// Names of its module have their first values now.
    pub(super) has_reset: Cell<bool>,
}

pub(super) type Frame<'e> = Vec<Option<V<'e>>>;

/// Arguments by position and by name.
type Given<'e> = (Vec<V<'e>>, Vec<(&'e str, V<'e>)>);

pub(super) enum Flow<'e> {
    Next,
    Break,
    Continue,
    Return(V<'e>),
}

/// `lambda value, key: value.get(key, default) if isinstance(value, Mapping) else default`
fn walks_over_keys(reduce: &Reduce) -> bool {
    let [left, right] = reduce.slots;
    let is = |expr: &Expr, slot: Slot| matches!(expr, Expr::Slot(of) if *of == slot);
    let Expr::If(parts) = &reduce.body else { return false };
    let [Expr::IsInstance(tested, types), Expr::Method(of, Method::Get, arguments), Expr::Slot(_) | Expr::Const(_)] =
        &**parts
    else {
        return false;
    };
    let simple = match &*arguments.plain {
        [(key, false)] => is(key, right),
        [(key, false), (Expr::Slot(_) | Expr::Const(_), false)] => is(key, right),
        _ => false,
    };
    simple && arguments.named.is_empty() && **types == [Type::Mapping] && is(tested, left) && is(of, left)
}

impl<'e, F: Fields<'e>> Run<'e, '_, F> {
    pub(super) fn spend(&self) -> Result<()> {
        self.spend_steps(1)
    }

    fn spend_steps(&self, steps: usize) -> Result<()> {
        let left = u32::try_from(steps).ok().and_then(|steps| self.fuel.get().checked_sub(steps)).ok_or(Ask)?;
        self.fuel.set(left);
        Ok(())
    }

    /// For work on the whole of a value: what strangers write into an event must not make one step long.
    pub(super) fn pay(&self, value: &V<'e>) -> Result<()> {
        self.spend_steps(value.weight())
    }

    pub(super) fn call(&self, function: usize, plain: Vec<V<'e>>, named: Vec<(&'e str, V<'e>)>) -> Result<V<'e>> {
        if self.calls.get() == CALLS {
            return Err(Ask);
        }
        self.calls.set(self.calls.get() + 1);
        let function = &self.program.functions[function];
        let mut frame = self.bind(function, plain, named)?;
        let flow = self.block(&function.body, &mut frame)?;
        self.calls.set(self.calls.get() - 1);
        Ok(match flow {
            Flow::Return(value) => value,
            _ => V::None,
        })
    }

    fn bind(&self, function: &'e Function, plain: Vec<V<'e>>, named: Vec<(&'e str, V<'e>)>) -> Result<Frame<'e>> {
        let mut frame: Frame<'e> = vec![None; function.slots];
        let mut plain = plain.into_iter();
        for (parameter, value) in function.parameters.iter().zip(plain.by_ref()) {
            frame[parameter.slot] = Some(value);
        }
        match function.rest {
            Some(slot) => frame[slot] = Some(V::Tuple(plain.collect())),
            None if plain.next().is_some() => return Err(Ask),
            None => {}
        }
        for (name, value) in named {
            let parameter =
                function.parameters.iter().chain(&function.keyword_only).find(|p| *p.name == *name && !p.by_place);
            let slot = parameter.ok_or(Ask)?.slot;
            if frame[slot].replace(value).is_some() {
                return Err(Ask);
            }
        }
        for parameter in function.parameters.iter().chain(&function.keyword_only) {
            if frame[parameter.slot].is_none() {
                let default = parameter.default.as_ref().ok_or(Ask)?;
                frame[parameter.slot] = Some(self.eval(default, &mut Vec::new())?);
            }
        }
        Ok(frame)
    }

    pub(super) fn decide(&self, truth: Truth) -> Result<bool> {
        match truth {
            Truth::True => Ok(true),
            Truth::False => Ok(false),
            Truth::Either => self.fields.choose(),
        }
    }

    pub(super) fn test(&self, expr: &'e Expr, frame: &mut Frame<'e>) -> Result<bool> {
        let value = self.eval(expr, frame)?;
        self.decide(value.truth(self.fields)?)
    }

    pub(super) fn eval(&self, expr: &'e Expr, frame: &mut Frame<'e>) -> Result<V<'e>> {
        self.spend()?;
        let depth = self.depth.get() + 1;
        if depth > DEPTH {
            return Err(Ask);
        }
        self.depth.set(depth);
        let value = self.eval_here(expr, frame)?;
        self.depth.set(depth - 1);
        Ok(value)
    }

    pub(super) fn eval_all(&self, exprs: &'e [Expr], frame: &mut Frame<'e>) -> Result<Vec<V<'e>>> {
        exprs.iter().map(|expr| self.eval(expr, frame)).collect()
    }

    fn eval_here(&self, expr: &'e Expr, frame: &mut Frame<'e>) -> Result<V<'e>> {
        match expr {
            Expr::Const(value) => V::constant(value),
            Expr::Slot(slot) => frame[*slot].clone().ok_or(Ask),
            Expr::Not(operand) => Ok(self.eval(operand, frame)?.truth(self.fields)?.not().value()),
            Expr::Negative(operand) => match self.eval(operand, frame)? {
                V::Int(value) => Ok(V::Int(-value)),
                V::Float(value) => Ok(V::Float(-value)),
                _ => Err(Ask),
            },
            Expr::And(operands) => self.chain(operands, false, frame),
            Expr::Or(operands) => self.chain(operands, true, frame),
            Expr::If(parts) => {
                let [test, then, orelse] = &**parts;
                if self.test(test, frame)? { self.eval(then, frame) } else { self.eval(orelse, frame) }
            }
            Expr::Compare(first, rest) => self.comparison(first, rest, frame),
            Expr::Add(sides) => {
                let [left, right] = &**sides;
                let (left, right) = (self.eval(left, frame)?, self.eval(right, frame)?);
                self.add(&left, &right)
            }
            Expr::List(elements) => Ok(V::List(self.eval_all(elements, frame)?.into())),
            Expr::Tuple(elements) => Ok(V::Tuple(self.eval_all(elements, frame)?.into())),
            Expr::Set(elements) => {
                let elements = self.eval_all(elements, frame)?;
                elements.iter().try_for_each(V::hashable)?;
                Ok(V::Set(elements.into()))
            }
            Expr::Format(parts) => {
                let parts: Vec<V<'e>> = self.eval_all(parts, frame)?;
                self.concatenate(parts.iter().map(V::to_text))
            }
            Expr::Subscript(parts) => {
                let [of, at] = &**parts;
                let (of, at) = (self.eval(of, frame)?, self.eval(at, frame)?);
                self.subscript(&of, &at)
            }
            Expr::Slice(parts) => {
                let (of, from, to) = &**parts;
                let of = self.eval(of, frame)?;
                let mut bound = |expr: &'e Option<Expr>| expr.as_ref().map(|expr| self.eval(expr, frame)).transpose();
                let (from, to) = (bound(from)?, bound(to)?);
                self.slice(&of, from, to)
            }
            Expr::Comprehension(comprehension) => {
                let mut elements = Vec::new();
                self.each(comprehension, 0, false, frame, &mut |value| {
                    elements.push(value);
                    Ok(true)
                })?;
                Ok(V::List(elements.into()))
            }
            Expr::Named(slot, value) => {
                let value = self.eval(value, frame)?;
                frame[*slot] = Some(value.clone());
                Ok(value)
            }
            Expr::Call(function, arguments) => {
                let (plain, named) = self.arguments(arguments, frame)?;
                self.call(*function, plain, named)
            }
            Expr::Method(of, method, arguments) => {
                let of = self.eval(of, frame)?;
                self.method(&of, *method, arguments, frame)
            }
            Expr::Builtin(builtin, arguments) => {
                let arguments = self.eval_all(arguments, frame)?;
                self.builtin(*builtin, &arguments)
            }
            Expr::Address(made, of) => match self.eval(of, frame)? {
                // Whatever an event has there, it is an address or it is none.
                V::Any | V::AnyBool | V::AnyText | V::Other if self.fields.choose()? => Err(Raises(made.refusal())),
                V::Any | V::AnyBool | V::AnyText | V::Other => Ok(V::Address(Address::SOME)),
                of => made.address(&of),
            },
            Expr::Property(of, property) => match self.eval(of, frame)? {
                V::Address(address) => Ok(address.property(*property)),
                V::None => Err(Raises(Exception::AttributeError)),
                _ => Err(Ask),
            },
            Expr::HasGet(of) => match self.eval(of, frame)? {
                V::None | V::Bool(_) | V::Int(_) | V::Float(_) | V::Str(_) | V::Text(_) => Ok(V::Bool(false)),
                V::Event | V::Json { value: crate::model::Value::Map(_), .. } | V::Const(Const::Dict(..)) => {
                    Ok(V::Bool(true))
                }
                _ => Err(Ask),
            },
            Expr::IsInstance(of, types) => {
                let of = self.eval(of, frame)?;
                super::builtins::is_instance(&of, types).map(Truth::value)
            }
            Expr::Quantified(quantifier, over) => {
                let stop = *quantifier == Quantifier::Any;
                let mut result = Truth::from(!stop);
                // All elements of a set are looked at, since another order might meet one that raises first. What is not
                // known of one is not decided here: there may be many.
                let looked = self.each(over, 0, true, frame, &mut |value| {
                    let truth = value.truth(self.fields)?;
                    let stops = truth == Truth::from(stop);
                    if stops || (truth == Truth::Either && result != Truth::from(stop)) {
                        result = truth;
                    }
                    Ok(!stops)
                });
                match looked {
                    // What is not known of an element before may have ended the loop.
                    Err(Raises(_)) if result == Truth::Either => Err(Ask),
                    looked => looked.map(|_| result.value()),
                }
            }
            Expr::Reduce(reduce) => self.reduce(reduce, frame),
            Expr::Unknown => Err(Ask),
        }
    }

    /// `and` and `or`: the first operand whose truth is `stop`, else the last one.
    fn chain(&self, operands: &'e [Expr], stop: bool, frame: &mut Frame<'e>) -> Result<V<'e>> {
        let mut value = V::None;
        for (at, operand) in operands.iter().enumerate() {
            value = self.eval(operand, frame)?;
            if at + 1 < operands.len() && self.decide(value.truth(self.fields)?)? == stop {
                return Ok(if matches!(value, V::AnyBool) { V::Bool(stop) } else { value });
            }
        }
        Ok(value)
    }

    fn comparison(&self, first: &'e Expr, rest: &'e [(Compare, Expr)], frame: &mut Frame<'e>) -> Result<V<'e>> {
        let mut left = self.eval(first, frame)?;
        for (at, (operator, right)) in rest.iter().enumerate() {
            let right = self.eval(right, frame)?;
            let truth = self.compare(*operator, &left, &right)?;
            if at + 1 == rest.len() {
                return Ok(truth.value());
            }
            if !self.decide(truth)? {
                return Ok(V::Bool(false));
            }
            left = right;
        }
        Err(Ask)
    }

    fn compare(&self, operator: Compare, left: &V<'e>, right: &V<'e>) -> Result<Truth> {
        use std::cmp::Ordering;
        self.pay(left)?;
        self.pay(right)?;
        let ordered =
            |test: fn(Ordering) -> bool| Ok(left.order(right)?.map_or(Truth::Either, |order| test(order).into()));
        match operator {
            Compare::Equal => left.equals(right, self.fields),
            Compare::NotEqual => Ok(left.equals(right, self.fields)?.not()),
            Compare::Less => ordered(Ordering::is_lt),
            Compare::LessOrEqual => ordered(Ordering::is_le),
            Compare::Greater => ordered(Ordering::is_gt),
            Compare::GreaterOrEqual => ordered(Ordering::is_ge),
            Compare::In => left.is_in(right, self.fields),
            Compare::NotIn => Ok(left.is_in(right, self.fields)?.not()),
            Compare::Is | Compare::IsNot => {
                let same = match (left, right) {
                    (V::Any, V::None | V::Bool(_)) | (V::AnyBool, V::Bool(_)) => Truth::Either,
                    (V::None, V::None) => Truth::True,
                    (V::Bool(a), V::Bool(b)) => (a == b).into(),
                    (_, V::None | V::Bool(_)) => Truth::False,
                    _ => return Err(Ask),
                };
                Ok(if operator == Compare::Is { same } else { same.not() })
            }
        }
    }

    /// Calls `body` for each element until it returns false. `whole` looks at all elements of a set whatever it returns, and
    /// refuses sets otherwise.
    fn each(
        &self,
        over: &'e Comprehension,
        clause: usize,
        whole: bool,
        frame: &mut Frame<'e>,
        body: &mut dyn FnMut(V<'e>) -> Result<bool>,
    ) -> Result<bool> {
        let Some((target, iterable, conditions)) = over.clauses.get(clause) else {
            let element = self.eval(&over.element, frame)?;
            return body(element);
        };
        let iterable = self.eval(iterable, frame)?;
        let unordered = matches!(iterable, V::Set(_) | V::Const(Const::Set(_)));
        self.pay(&iterable)?;
        let elements = if unordered && whole { iterable.elements()? } else { self.ordered(&iterable)? };
        let mut more = true;
        for element in elements.iter() {
            self.spend()?;
            let mut one = || {
                self.assign(target, element.clone(), frame)?;
                for condition in conditions {
                    if !self.test(condition, frame)? {
                        return Ok(true);
                    }
                }
                self.each(over, clause + 1, whole, frame, body)
            };
            match one() {
                // In another order it might not get there.
                Err(Raises(_)) if unordered => return Err(Ask),
                on => more &= on?,
            }
            if !more && !unordered {
                break;
            }
        }
        Ok(more)
    }

    fn reduce(&self, reduce: &'e Reduce, frame: &mut Frame<'e>) -> Result<V<'e>> {
        let over = self.eval(&reduce.over, frame)?;
        let mut value = self.eval(&reduce.initial, frame)?;
        let [left, right]: [Slot; 2] = reduce.slots;
        // From an imagined event, a walk over keys that stops at what is no object leads to anything, and raises nothing.
        if self.fields.map().is_none() && matches!(value, V::Event | V::Any) && walks_over_keys(reduce) {
            let keys = self.ordered(&over)?;
            return if keys.iter().all(|key| key.text().is_some()) { Ok(V::Any) } else { Err(Ask) };
        }
        for element in self.ordered(&over)?.iter() {
            frame[left] = Some(value);
            frame[right] = Some(element.clone());
            value = self.eval(&reduce.body, frame)?;
        }
        Ok(value)
    }

    pub(super) fn arguments(&self, arguments: &'e Arguments, frame: &mut Frame<'e>) -> Result<Given<'e>> {
        let mut plain = Vec::with_capacity(arguments.plain.len());
        for (argument, unpacked) in &arguments.plain {
            let value = self.eval(argument, frame)?;
            if *unpacked {
                plain.extend(self.ordered(&value)?.iter().cloned());
            } else {
                plain.push(value);
            }
        }
        let named = arguments.named.iter().map(|(name, value)| Ok((&**name, self.eval(value, frame)?)));
        Ok((plain, named.collect::<Result<_>>()?))
    }
}
