//! Literals: constants, lists and maps, with the one type of their elements.
//!
//! Part of the checker.

use super::{Checker, Mode, Typed};
use crate::error::Problem;
use crate::node::Node;
use crate::syntax::{Element, Entry, Expr, Literal};
use crate::types::Type;
use crate::value::Value;

impl<'s> Checker<'_, 's> {
    pub(super) fn list(&mut self, elements: &[Element<'s>]) -> Typed {
        let mut items: Vec<Typed> = elements.iter().map(|element| self.check(&element.value)).collect();
        let sources: Vec<&Expr<'s>> = elements.iter().map(|element| &element.value).collect();
        self.meet_literals(&sources, items.iter_mut());
        let types =
            items.iter().zip(elements).map(|(item, element)| element_type(&item.ty, element.optional));
        let element = join_all(types);
        let constant = elements.iter().all(|element| !element.optional);
        if constant && let Some(values) = items.iter().map(|item| item.node.as_const().cloned()).collect() {
            return Typed::new(Node::Const(Value::list(values)), Type::list(element));
        }
        let nodes = items.into_iter().zip(elements).map(|(item, element)| (item.node, element.optional));
        Typed::new(Node::List(nodes.collect()), Type::list(element))
    }

    pub(super) fn map(&mut self, entries: &[Entry<'s>]) -> Typed {
        let mut nodes = Vec::with_capacity(entries.len());
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for entry in entries {
            let key = self.check(&entry.key);
            let value = self.check(&entry.value);
            let is_key = matches!(key.ty, Type::Bool | Type::Int | Type::Uint | Type::String | Type::Dyn);
            if !is_key && self.mode == Mode::Checked {
                let message = format!("a map key must be bool, int, uint or string; this is {}", key.ty);
                self.problems.push(Problem::error(entry.key.span.range(), message));
            }
            keys.push(key.ty);
            values.push(element_type(&value.ty, entry.optional));
            nodes.push((key.node, value.node, entry.optional));
        }
        let ty = Type::map(join_all(keys.into_iter()), join_all(values.into_iter()));
        Typed::new(Node::Map(nodes.into()), ty)
    }
}
/// The type that a list or map gets from an element, `?element` giving what its optional holds.
fn element_type(ty: &Type, optional: bool) -> Type {
    match ty {
        Type::Optional(inner) if optional => (**inner).clone(),
        _ if optional => Type::Dyn,
        plain => plain.clone(),
    }
}

/// The one type of all elements, `dyn` when they have none in common or there are none.
pub(super) fn join_all(types: impl Iterator<Item = Type>) -> Type {
    types.map(Some).reduce(|a, b| a?.join(&b?)).flatten().unwrap_or(Type::Dyn)
}

pub(super) fn constant(literal: &Literal<'_>) -> Value<'static> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(truth) => Value::Bool(*truth),
        Literal::Int(int) => Value::Int(*int),
        Literal::Uint(uint) => Value::Uint(*uint),
        Literal::Double(double) => Value::Double(*double),
        Literal::String(text) => Value::text(&**text),
        Literal::Bytes(bytes) => Value::Bytes(bytes.as_slice().into()),
    }
}

pub(super) fn literal_type(literal: &Literal<'_>) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}
