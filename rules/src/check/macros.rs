//! Macros: calls whose arguments are not values. `has`, the element macros, `optMap`, `cel.bind`, `math.greatest`.
//!
//! Part of the checker. Shapes that are not a macro's fall through to the overload table.

use super::{Checker, Mode, Typed};
use crate::error::{ErrorKind, Problem};
use crate::eval::round_cost;
use crate::node::{Fold, FoldKind, Node};
use crate::syntax::{Expr, ExprKind};
use crate::types::Type;

/// The macros' names, for suggestions, and each form in which they are written. `docs/rules.md` lists the same forms, and a test compares.
pub(super) const USAGE: [(&str, &[&str]); 14] = [
    ("has", &["has(path.to.field)"]),
    ("all", &["list.all(name, condition)", "map.all(key, value, condition)"]),
    ("exists", &["list.exists(name, condition)", "map.exists(key, value, condition)"]),
    ("exists_one", &["list.exists_one(name, condition)", "map.exists_one(key, value, condition)"]),
    ("existsOne", &["list.existsOne(name, condition)", "map.existsOne(key, value, condition)"]),
    ("map", &["list.map(name, expression)", "list.map(name, condition, expression)"]),
    ("filter", &["list.filter(name, condition)"]),
    (
        "transformList",
        &[
            "list.transformList(index, value, expression)",
            "list.transformList(index, value, condition, expression)",
        ],
    ),
    (
        "transformMap",
        &["map.transformMap(key, value, expression)", "map.transformMap(key, value, condition, expression)"],
    ),
    (
        "transformMapEntry",
        &["map.transformMapEntry(key, value, entry)", "map.transformMapEntry(key, value, condition, entry)"],
    ),
    ("sortBy", &["list.sortBy(name, expression)"]),
    ("optMap", &["optional.optMap(name, expression)"]),
    ("optFlatMap", &["optional.optFlatMap(name, expression)"]),
    ("bind", &["cel.bind(name, value, expression)"]),
];

/// Whether `name` is a macro that is called like a function.
pub(crate) fn is_macro(name: &str) -> bool {
    matches!(name, "has" | "cel.bind")
}

/// How an element macro's arguments are read.
struct Shape {
    kind: FoldKind,
    two: bool,
}

impl<'s> Checker<'_, 's> {
    /// The macro that a call is, if it is one.
    pub(super) fn expand_macro(
        &mut self,
        expr: &Expr<'s>,
        target: Option<&Expr<'s>>,
        name: &str,
        args: &[Expr<'s>],
    ) -> Option<Typed> {
        match (target, name, args) {
            (None, "has", [path]) => Some(self.has(path)),
            (Some(target), "optMap" | "optFlatMap", [variable, body]) => {
                let variable = ident(variable)?;
                Some(self.optional_map(target, variable, body, name == "optFlatMap"))
            }
            (Some(target), "bind", [variable, value, body]) if target.qualified_name()? == "cel" => {
                Some(self.bind(ident(variable)?, value, body))
            }
            (Some(target), "greatest" | "least", [_, _, _, ..]) if target.qualified_name()? == "math" => {
                let numbers = self.numbers(args);
                Some(self.resolve(&format!("math.{name}"), expr.span, &[expr], vec![numbers], false))
            }
            (Some(target), _, [variable, rest @ ..]) => {
                let shape = shape(name, args.len())?;
                let first = ident(variable)?;
                let (second, rest) =
                    if shape.two { (Some(ident(rest.first()?)?), &rest[1..]) } else { (None, rest) };
                Some(self.fold(target, &shape, (first, second), rest))
            }
            _ => None,
        }
    }

    fn has(&mut self, path: &Expr<'s>) -> Typed {
        let named = matches!(path.kind, ExprKind::Ident { .. }) && self.mode == Mode::Checked;
        if let Some(members) = self.path(path).filter(|members| named || members.len() > 1) {
            let slot = members[members.len() - 1].slot;
            self.uses.insert(slot);
            return Typed::new(Node::Present(slot), Type::Bool);
        }
        let ExprKind::Select { operand, field, field_span, .. } = &path.kind else {
            let message = "`has` takes a field, such as `has(a.b)`".to_owned();
            return self.refuse(path.span, ErrorKind::InvalidArgument, message);
        };
        let inner = self.check(operand);
        let held = match inner.ty.non_null() {
            Type::Optional(held) => held.non_null(),
            plain => plain,
        };
        if let Err(message) = self.member_type(held, field)
            && self.mode == Mode::Checked
        {
            return self.refuse(*field_span, ErrorKind::NoOverload, message);
        }
        let operand = self.without_null(inner);
        Typed::new(Node::Has(Box::new((operand, (*field).into()))), Type::Bool)
    }

    /// Checks `body` with further macro variables.
    fn scoped(&mut self, variables: &[(&'s str, Type)], body: &Expr<'s>) -> Typed {
        let height = self.scope.len();
        self.scope.extend_from_slice(variables);
        let typed = self.check(body);
        self.scope.truncate(height);
        typed
    }

    fn optional_map(&mut self, target: &Expr<'s>, variable: &'s str, body: &Expr<'s>, flat: bool) -> Typed {
        let optional = self.check(target);
        let held = match &optional.ty {
            Type::Optional(held) => (**held).clone(),
            Type::Dyn => Type::Dyn,
            other => {
                let message = format!("`optMap` and `optFlatMap` are methods of optionals; this is {other}");
                return self.refuse(target.span, ErrorKind::NoOverload, message);
            }
        };
        let body_span = body.span;
        let body = self.scoped(&[(variable, held)], body);
        if flat && !matches!(body.ty, Type::Optional(_) | Type::Dyn) && self.mode == Mode::Checked {
            let message = format!("`optFlatMap` needs an optional; this is {}", body.ty);
            self.problems.push(Problem::error(body_span.range(), message));
        }
        let ty = if flat { body.ty } else { Type::optional(body.ty) };
        Typed::new(Node::OptionalMap { parts: Box::new([optional.node, body.node]), flat }, ty)
    }

    fn bind(&mut self, variable: &'s str, value: &Expr<'s>, body: &Expr<'s>) -> Typed {
        let value = self.check(value);
        let body = self.scoped(&[(variable, value.ty)], body);
        Typed::new(Node::Let(Box::new([value.node, body.node])), body.ty)
    }

    /// The arguments of `math.greatest` and `math.least` as a list.
    fn numbers(&mut self, args: &[Expr<'s>]) -> Typed {
        let mut items: Vec<Typed> = args.iter().map(|arg| self.check(arg)).collect();
        self.meet_literals(&args.iter().collect::<Vec<_>>(), items.iter_mut());
        let ty = super::composite::join_all(items.iter().map(|item| item.ty.non_null().clone()));
        let nodes = items.into_iter().map(|item| (self.without_null(item), false)).collect();
        Typed::new(Node::List(nodes), Type::list(ty))
    }

    /// An element macro.
    fn fold(
        &mut self,
        target: &Expr<'s>,
        shape: &Shape,
        (first, second): (&'s str, Option<&'s str>),
        parts: &[Expr<'s>],
    ) -> Typed {
        let range = self.check(target);
        let (key, element) = match range.ty.non_null() {
            Type::List(element) => (Type::Int, (**element).clone()),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Object(_) => (Type::String, Type::Dyn),
            Type::Dyn => (Type::Dyn, Type::Dyn),
            other => {
                let message = format!("a macro over elements needs a list or a map; this is {other}");
                return self.refuse(target.span, ErrorKind::NoOverload, message);
            }
        };
        let over_list = matches!(range.ty.non_null(), Type::List(_));
        let variables = match second {
            Some(second) => vec![(first, key.clone()), (second, element)],
            None if over_list => vec![(first, element)],
            None => vec![(first, key.clone())],
        };
        let item = variables[variables.len() - 1].1.clone();
        let height = self.scope.len();
        self.scope.extend(variables);
        let (filter, body) = self.fold_parts(shape.kind, parts);
        self.scope.truncate(height);
        let ty = match shape.kind {
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => Type::Bool,
            FoldKind::Filter | FoldKind::SortBy => Type::list(item),
            FoldKind::List => Type::list(body.ty),
            FoldKind::Map => Type::map(key, body.ty),
            FoldKind::MapEntry => body.ty,
        };
        let round_cost = round_cost(filter.as_ref(), &body.node);
        let range = self.without_null(range);
        Typed::new(
            Node::Fold(Box::new(Fold {
                kind: shape.kind,
                range,
                two: shape.two,
                filter,
                body: body.node,
                round_cost,
            })),
            ty,
        )
    }

    /// The filter and the body of an element macro.
    fn fold_parts(&mut self, kind: FoldKind, parts: &[Expr<'s>]) -> (Option<Node>, Typed) {
        let (filter, body) = match parts {
            [filter, body] => (Some(filter), body),
            [body, ..] => (None, body),
            [] => unreachable!("`shape` admits only calls with a body"),
        };
        let filter = filter.map(|filter| self.check_bool(filter, "a filter"));
        let body = match kind {
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne | FoldKind::Filter => {
                Typed::new(self.check_bool(body, "the predicate of a macro"), Type::Bool)
            }
            FoldKind::List | FoldKind::Map | FoldKind::MapEntry | FoldKind::SortBy => self.check(body),
        };
        (filter, body)
    }
}

/// A call that gives names to values: `outside` is read before, `inside` where the names hold.
pub(super) struct Bound<'t, 's> {
    pub variables: Vec<&'s str>,
    pub outside: &'t Expr<'s>,
    pub inside: &'t [Expr<'s>],
}

/// What [`Checker::expand_macro`] takes for a macro with variables, by the same shapes.
pub(super) fn bound<'t, 's>(target: &'t Expr<'s>, name: &str, args: &'t [Expr<'s>]) -> Option<Bound<'t, 's>> {
    match (name, args) {
        ("optMap" | "optFlatMap", [variable, inside @ ..]) if inside.len() == 1 => {
            Some(Bound { variables: vec![ident(variable)?], outside: target, inside })
        }
        ("bind", [variable, value, inside @ ..])
            if inside.len() == 1 && target.qualified_name().is_some_and(|name| name == "cel") =>
        {
            Some(Bound { variables: vec![ident(variable)?], outside: value, inside })
        }
        _ => {
            let (variables, inside) = args.split_at(if shape(name, args.len())?.two { 2 } else { 1 });
            let variables = variables.iter().map(ident).collect::<Option<_>>()?;
            Some(Bound { variables, outside: target, inside })
        }
    }
}

/// The element macro called `name` with so many arguments.
fn shape(name: &str, args: usize) -> Option<Shape> {
    use FoldKind::{All, Exists, ExistsOne, Filter, List, Map, MapEntry, SortBy};
    let (kind, two) = match (name, args) {
        ("all", 2) => (All, false),
        ("all", 3) => (All, true),
        ("exists", 2) => (Exists, false),
        ("exists", 3) => (Exists, true),
        ("exists_one" | "existsOne", 2) => (ExistsOne, false),
        ("exists_one" | "existsOne", 3) => (ExistsOne, true),
        ("map", 2) => (List, false),
        ("map", 3) => (List, false),
        ("filter", 2) => (Filter, false),
        ("sortBy", 2) => (SortBy, false),
        ("transformList", 3) => (List, true),
        ("transformList", 4) => (List, true),
        ("transformMap", 3) => (Map, true),
        ("transformMap", 4) => (Map, true),
        ("transformMapEntry", 3) => (MapEntry, true),
        ("transformMapEntry", 4) => (MapEntry, true),
        _ => return None,
    };
    Some(Shape { kind, two })
}

/// A plain name, as a macro variable must be.
fn ident<'s>(expr: &Expr<'s>) -> Option<&'s str> {
    match expr.kind {
        ExprKind::Ident { name, absolute: false } => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/rules.md");

    #[test]
    fn the_page_lists_every_form_of_every_macro_and_the_element_macros_have_no_other() {
        let line = |forms: &[&str]| format!("- `{}`", forms.join("`, `"));
        let listed: Vec<String> = USAGE.iter().map(|(_, forms)| line(forms)).collect();
        let listed = listed.join("\n");
        assert!(
            PAGE.contains(&listed),
            "docs/rules.md lists the macros under \"Functions\" like this:\n{listed}"
        );

        let element = |form: &str| form.starts_with("list.") || form.starts_with("map.");
        for (name, forms) in USAGE {
            let mut arguments: Vec<usize> =
                forms.iter().filter(|form| element(form)).map(|form| form.split(", ").count()).collect();
            arguments.sort_unstable();
            let read: Vec<usize> = (0..8).filter(|count| shape(name, *count).is_some()).collect();
            assert_eq!(read, arguments, "`{name}`");
        }
    }
}
