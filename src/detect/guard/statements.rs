//! Runs statements: what comes next, which names have which values, which handler catches what is raised.

use std::rc::Rc;

use super::constant::Const;
use super::eval::{Flow, Frame, Run};
use super::exception::Exception;
use super::fields::Fields;
use super::program::{Handler, Stmt, Target, Try};
use super::value::{Ask, Raises, Result, V};

impl<'e, F: Fields<'e>> Run<'e, '_, F> {
    pub(super) fn block(&self, body: &'e [Stmt], frame: &mut Frame<'e>) -> Result<Flow<'e>> {
        for statement in body {
            match self.statement(statement, frame)? {
                Flow::Next => {}
                other => return Ok(other),
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&self, statement: &'e Stmt, frame: &mut Frame<'e>) -> Result<Flow<'e>> {
        match statement {
            Stmt::Assign(target, value) => {
                let value = self.eval(value, frame)?;
                self.assign(target, value, frame)?;
            }
            Stmt::Do(value) => drop(self.eval(value, frame)?),
            Stmt::If(branches, orelse) => {
                for (test, body) in branches {
                    if self.test(test, frame)? {
                        return self.block(body, frame);
                    }
                }
                return self.block(orelse, frame);
            }
            Stmt::For(each) => {
                for element in self.ordered(&self.eval(&each.over, frame)?)?.iter() {
                    self.spend()?;
                    self.assign(&each.target, element.clone(), frame)?;
                    match self.block(&each.body, frame)? {
                        Flow::Next | Flow::Continue => {}
                        Flow::Break => return Ok(Flow::Next),
                        returned => return Ok(returned),
                    }
                }
                return self.block(&each.orelse, frame);
            }
            Stmt::Try(attempt) => return self.attempt(attempt, frame),
            Stmt::Reset => self.has_reset.set(true),
            Stmt::Return(value) => return Ok(Flow::Return(self.eval(value, frame)?)),
            Stmt::Break => return Ok(Flow::Break),
            Stmt::Continue => return Ok(Flow::Continue),
            Stmt::Pass => {}
            Stmt::Unknown => return Err(Ask),
        }
        Ok(Flow::Next)
    }

    fn attempt(&self, attempt: &'e Try, frame: &mut Frame<'e>) -> Result<Flow<'e>> {
        let Try { body, handlers, orelse, last } = attempt;
        let level = (self.depth.get(), self.calls.get());
        let ended = match self.block(body, frame) {
            Ok(Flow::Next) => self.block(orelse, frame),
            Err(Raises(raised)) => {
                self.depth.set(level.0);
                self.calls.set(level.1);
                self.handle(raised, handlers, frame)
            }
            other => other,
        };
        if matches!(ended, Err(Ask)) {
            return ended;
        }
        self.depth.set(level.0);
        self.calls.set(level.1);
        match self.block(last, frame)? {
            Flow::Next => ended,
            overriding => Ok(overriding),
        }
    }

    fn handle(&self, raised: Exception, handlers: &'e [Handler], frame: &mut Frame<'e>) -> Result<Flow<'e>> {
        for Handler { catches, name, body } in handlers {
            if catches.catch(raised).ok_or(Ask)? {
                // It is gone again when the handler has ended.
                name.iter().for_each(|slot| frame[*slot] = None);
                let flow = self.block(body, frame);
                name.iter().for_each(|slot| frame[*slot] = None);
                return flow;
            }
        }
        Err(Raises(raised))
    }

    /// Elements in the order in which Python sees them; that of a set is not known.
    pub(super) fn ordered(&self, iterable: &V<'e>) -> Result<Rc<[V<'e>]>> {
        self.pay(iterable)?;
        match iterable {
            V::None | V::Bool(_) | V::Int(_) | V::Float(_) => Err(Raises(Exception::TypeError)),
            V::Set(_) | V::Const(Const::Set(_)) => Err(Ask),
            V::Keys(of) => self.ordered(of),
            other => other.elements(),
        }
    }

    pub(super) fn assign(&self, target: &Target, value: V<'e>, frame: &mut Frame<'e>) -> Result<()> {
        match target {
            Target::Slot(slot) => frame[*slot] = Some(value),
            Target::Several(targets) => {
                let values = self.ordered(&value)?;
                if values.len() != targets.len() {
                    return Err(Ask);
                }
                for (target, value) in targets.iter().zip(values.iter()) {
                    self.assign(target, value.clone(), frame)?;
                }
            }
        }
        Ok(())
    }
}
