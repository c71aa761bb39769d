//! The syntax tree. Borrows names and plain strings from the source.

use std::borrow::Cow;
use std::ops::Range;

/// A range of source bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// From the start of `self` to the end of `other`.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start, end: other.end }
    }

    /// As a range for [`crate::Problem`].
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A node with its place and its height, which the parser bounds.
#[derive(Clone, Debug)]
pub(crate) struct Expr<'s> {
    pub kind: ExprKind<'s>,
    pub span: Span,
    /// Nodes on the longest way down, this one included.
    pub height: u16,
}

/// A literal value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal<'s> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Cow<'s, str>),
    Bytes(Vec<u8>),
}

/// The forms of an expression.
#[derive(Clone, Debug)]
pub(crate) enum ExprKind<'s> {
    Literal(Literal<'s>),
    /// A name; `absolute` when written `.name`, which skips the variables of macros.
    Ident {
        name: &'s str,
        absolute: bool,
    },
    /// `operand.field`, or `operand.?field` when optional.
    Select {
        operand: Box<Expr<'s>>,
        field: &'s str,
        field_span: Span,
        optional: bool,
    },
    /// `operand[index]`, or `operand[?index]` when optional.
    Index {
        operand: Box<Expr<'s>>,
        index: Box<Expr<'s>>,
        optional: bool,
    },
    /// `name(args)` or `target.name(args)`; operators too, under their symbol (unary minus is `-_`).
    Call {
        target: Option<Box<Expr<'s>>>,
        name: &'s str,
        name_span: Span,
        args: Vec<Expr<'s>>,
    },
    /// `a && b && …`, two or more.
    And(Vec<Expr<'s>>),
    /// `a || b || …`, two or more.
    Or(Vec<Expr<'s>>),
    /// `condition ? then : otherwise`.
    Cond(Box<[Expr<'s>; 3]>),
    List(Vec<Element<'s>>),
    Map(Vec<Entry<'s>>),
}

/// A list element; `?value` adds it only when the optional has one.
#[derive(Clone, Debug)]
pub(crate) struct Element<'s> {
    pub value: Expr<'s>,
    pub optional: bool,
}

/// A map entry; `?key: value` adds it only when the optional has one.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'s> {
    pub key: Expr<'s>,
    pub value: Expr<'s>,
    pub optional: bool,
}

impl<'s> Expr<'s> {
    /// The dotted name that this expression spells, such as `math` or `a.b`; `None` when it is anything else.
    pub fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            ExprKind::Ident { name, .. } => Some((*name).to_owned()),
            ExprKind::Select { operand, field, optional: false, .. } => {
                Some(format!("{}.{field}", operand.qualified_name()?))
            }
            _ => None,
        }
    }

    /// The expressions directly below this one, in the order of the source.
    pub fn parts(&self) -> Vec<&Expr<'s>> {
        match &self.kind {
            ExprKind::Literal(_) | ExprKind::Ident { .. } => Vec::new(),
            ExprKind::Select { operand, .. } => vec![operand],
            ExprKind::Index { operand, index, .. } => vec![operand, index],
            ExprKind::Call { target, args, .. } => target.as_deref().into_iter().chain(args).collect(),
            ExprKind::And(operands) | ExprKind::Or(operands) => operands.iter().collect(),
            ExprKind::Cond(parts) => parts.iter().collect(),
            ExprKind::List(elements) => elements.iter().map(|element| &element.value).collect(),
            ExprKind::Map(entries) => entries.iter().flat_map(|entry| [&entry.key, &entry.value]).collect(),
        }
    }
}
