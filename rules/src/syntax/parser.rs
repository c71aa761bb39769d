//! A precedence-climbing parser for CEL expressions.
//!
//! Called by the compiler. Never panics and never recurses deeper than [`NESTING_MAX`] brackets, builds no
//! tree taller than [`HEIGHT_MAX`], whatever the input.

use std::borrow::Cow;

use super::ast::{Element, Entry, Expr, ExprKind, Literal, Span};
use super::lexer::{Lexer, Token};
use super::literal;
use crate::error::Problem;
use crate::limits::{HEIGHT_MAX, NESTING_MAX, SOURCE_BYTES_MAX};

/// A member's name as an expression writes it, at any place of a path; `None` where it cannot be written.
pub(crate) fn written_name(name: &str) -> Option<Cow<'_, str>> {
    let word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty();
    if word && !RESERVED.contains(&name) && !matches!(name, "in" | "true" | "false" | "null") {
        return Some(Cow::Borrowed(name));
    }
    (!name.contains(['`', '\n'])).then(|| Cow::Owned(format!("`{name}`")))
}

/// A tree, or the first syntax error.
pub(crate) type Parsed<'s> = Result<Expr<'s>, Problem>;

/// Names that the language keeps for itself; they may be fields and methods, but not variables.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Parses one whole expression.
///
/// # Errors
/// The first syntax error, with its place.
pub(crate) fn parse(source: &str) -> Parsed<'_> {
    if source.len() > SOURCE_BYTES_MAX {
        let message =
            format!("the expression has {} bytes; at most {SOURCE_BYTES_MAX} are allowed", source.len());
        return Err(Problem::error(0..0, message));
    }
    let mut lexer = Lexer::new(source);
    let (token, span) = lexer.next()?;
    let mut parser = Parser { source, lexer, token, span, nesting: 0 };
    let expr = parser.expression()?;
    match parser.token {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser<'s> {
    source: &'s str,
    lexer: Lexer<'s>,
    token: Token,
    span: Span,
    /// Brackets and unary operators that are open around the current token.
    nesting: u16,
}

/// How tightly a binary operator binds; `&&`, `||` and `?:` are handled on their own.
fn binding(symbol: &str) -> Option<u8> {
    Some(match symbol {
        "<" | "<=" | ">" | ">=" | "==" | "!=" | "in" => 1,
        "+" | "-" => 2,
        "*" | "/" | "%" => 3,
        _ => return None,
    })
}

impl<'s> Parser<'s> {
    fn text(&self) -> &'s str {
        &self.source[self.span.range()]
    }

    /// The place of the current token; takes it and reads the next.
    fn advance(&mut self) -> Result<Span, Problem> {
        let span = self.span;
        (self.token, self.span) = self.lexer.next()?;
        Ok(span)
    }

    fn at(&self, symbol: &str) -> bool {
        matches!(self.token, Token::Symbol(found) if found == symbol)
    }

    /// Takes `symbol` if it is next.
    fn accept(&mut self, symbol: &str) -> Result<bool, Problem> {
        let found = self.at(symbol);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, symbol: &str) -> Result<Span, Problem> {
        if self.at(symbol) { self.advance() } else { Err(self.unexpected(&format!("`{symbol}`"))) }
    }

    fn unexpected(&self, wanted: &str) -> Problem {
        let found = match self.token {
            Token::End => "the expression ends".to_owned(),
            _ => format!("`{}` is", self.text()),
        };
        Problem::error(self.span.range(), format!("{found} where {wanted} was expected"))
    }

    /// Builds a node over nodes of these heights.
    fn node(&self, kind: ExprKind<'s>, span: Span, heights: impl IntoIterator<Item = u16>) -> Parsed<'s> {
        let height = 1 + heights.into_iter().max().unwrap_or(0);
        if height > HEIGHT_MAX { Err(too_deep(span, HEIGHT_MAX)) } else { Ok(Expr { kind, span, height }) }
    }

    /// Runs `parse` one bracket deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Problem>) -> Result<T, Problem> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(too_deep(self.span, NESTING_MAX));
        }
        let result = parse(self);
        self.nesting -= 1;
        result
    }

    fn expression(&mut self) -> Parsed<'s> {
        let condition = self.disjunction()?;
        if !self.accept("?")? {
            return Ok(condition);
        }
        let then = self.nested(Self::disjunction)?;
        self.expect(":")?;
        let otherwise = self.nested(Self::expression)?;
        let span = condition.span.to(otherwise.span);
        let heights = [condition.height, then.height, otherwise.height];
        self.node(ExprKind::Cond(Box::new([condition, then, otherwise])), span, heights)
    }

    fn disjunction(&mut self) -> Parsed<'s> {
        self.chain("||", Self::conjunction, ExprKind::Or)
    }

    fn conjunction(&mut self) -> Parsed<'s> {
        self.chain("&&", |parser| parser.binary(1), ExprKind::And)
    }

    /// A chain of one associative operator, kept flat so that its length does not count as nesting.
    fn chain(
        &mut self,
        symbol: &str,
        operand: impl Fn(&mut Self) -> Parsed<'s>,
        make: impl FnOnce(Vec<Expr<'s>>) -> ExprKind<'s>,
    ) -> Parsed<'s> {
        let first = operand(self)?;
        if !self.at(symbol) {
            return Ok(first);
        }
        let mut operands = vec![first];
        while self.accept(symbol)? {
            operands.push(operand(self)?);
        }
        let span = operands[0].span.to(operands[operands.len() - 1].span);
        let height = operands.iter().map(|operand| operand.height).max();
        self.node(make(operands), span, height)
    }

    fn operator(&self) -> Option<(&'s str, u8)> {
        let symbol = match self.token {
            Token::Symbol(_) => self.text(),
            Token::Ident if self.text() == "in" => "in",
            _ => return None,
        };
        Some((symbol, binding(symbol)?))
    }

    fn binary(&mut self, weakest: u8) -> Parsed<'s> {
        let mut left = self.unary()?;
        while let Some((symbol, strength)) = self.operator() {
            if strength < weakest {
                break;
            }
            let name_span = self.advance()?;
            let right = self.binary(strength + 1)?;
            let (span, heights) = (left.span.to(right.span), [left.height, right.height]);
            let kind = ExprKind::Call { target: None, name: symbol, name_span, args: vec![left, right] };
            left = self.node(kind, span, heights)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed<'s> {
        let name = match self.token {
            Token::Symbol("!") => "!",
            Token::Symbol("-") => "-_",
            _ => return self.postfix(false, self.span),
        };
        let name_span = self.advance()?;
        if name == "-_" && matches!(self.token, Token::Int | Token::Double) {
            return self.postfix(true, name_span);
        }
        let operand = self.nested(Self::unary)?;
        let (span, height) = (name_span.to(operand.span), operand.height);
        self.node(ExprKind::Call { target: None, name, name_span, args: vec![operand] }, span, [height])
    }

    /// A primary and what follows it: `.field`, `.method(…)`, `[index]`.
    fn postfix(&mut self, negative: bool, start: Span) -> Parsed<'s> {
        let mut expr = self.primary(negative, start)?;
        loop {
            let height = expr.height;
            if self.accept(".")? {
                let optional = self.accept("?")?;
                let (field, field_span) = self.field_name()?;
                if !optional && self.at("(") {
                    let (args, end) = self.arguments()?;
                    let heights: Vec<u16> = args.iter().map(|arg| arg.height).chain([height]).collect();
                    let span = expr.span.to(end);
                    let target = Some(Box::new(expr));
                    expr = self.node(
                        ExprKind::Call { target, name: field, name_span: field_span, args },
                        span,
                        heights,
                    )?;
                } else {
                    let span = expr.span.to(field_span);
                    let kind = ExprKind::Select { operand: Box::new(expr), field, field_span, optional };
                    expr = self.node(kind, span, [height])?;
                }
            } else if self.accept("[")? {
                let optional = self.accept("?")?;
                let index = self.nested(Self::expression)?;
                let span = expr.span.to(self.expect("]")?);
                let heights = [height, index.height];
                let kind = ExprKind::Index { operand: Box::new(expr), index: Box::new(index), optional };
                expr = self.node(kind, span, heights)?;
            } else {
                return Ok(expr);
            }
        }
    }

    /// The name after a dot: reserved words and quoted names included.
    fn field_name(&mut self) -> Result<(&'s str, Span), Problem> {
        let text = self.text();
        match self.token {
            Token::Ident if !matches!(text, "in" | "true" | "false" | "null") => Ok((text, self.advance()?)),
            Token::Quoted => Ok((&text[1..text.len() - 1], self.advance()?)),
            _ => Err(self.unexpected("a field name")),
        }
    }

    fn arguments(&mut self) -> Result<(Vec<Expr<'s>>, Span), Problem> {
        self.expect("(")?;
        let mut args = Vec::new();
        while !self.at(")") {
            args.push(self.nested(Self::expression)?);
            // Unlike lists, calls take no trailing comma.
            if !self.accept(",")? {
                break;
            }
            if self.at(")") {
                return Err(self.unexpected("an argument"));
            }
        }
        let end = self.expect(")")?;
        Ok((args, end))
    }

    fn primary(&mut self, negative: bool, start: Span) -> Parsed<'s> {
        match self.token {
            Token::Int | Token::Uint | Token::Double => self.number(negative, start),
            Token::String | Token::Bytes => self.string(),
            Token::Ident => self.name(false),
            Token::Quoted => {
                let text = self.text();
                let span = self.advance()?;
                let kind = ExprKind::Ident { name: &text[1..text.len() - 1], absolute: false };
                self.node(kind, span, [])
            }
            Token::Symbol(".") => {
                self.advance()?;
                self.name(true)
            }
            Token::Symbol("(") => {
                self.advance()?;
                let inner = self.nested(Self::expression)?;
                let end = self.expect(")")?;
                // A literal keeps its own span: exact decimals are read from its text.
                let literal = matches!(inner.kind, ExprKind::Literal(_));
                Ok(Expr { span: if literal { inner.span } else { start.to(end) }, ..inner })
            }
            Token::Symbol("[") => self.list(),
            Token::Symbol("{") => self.map(),
            _ => Err(self.unexpected("a value")),
        }
    }

    fn number(&mut self, negative: bool, start: Span) -> Parsed<'s> {
        let text = self.text();
        let literal = match self.token {
            Token::Int => literal::int(text, negative).map(Literal::Int),
            Token::Uint => literal::uint(text).map(Literal::Uint),
            _ => {
                text.parse().ok().map(|double: f64| Literal::Double(if negative { -double } else { double }))
            }
        };
        let span = start.to(self.advance()?);
        match literal {
            Some(literal) => self.node(ExprKind::Literal(literal), span, []),
            None => Err(Problem::error(span.range(), format!("`{text}` does not fit 64 bits"))),
        }
    }

    fn string(&mut self) -> Parsed<'s> {
        let literal = literal::string(self.text(), self.token == Token::Bytes);
        let span = self.advance()?;
        match literal {
            Ok(literal) => self.node(ExprKind::Literal(literal), span, []),
            Err((at, message)) => {
                let at = span.start as usize + at;
                Err(Problem::error(at..at + 1, message))
            }
        }
    }

    /// A variable, a constant or a function call; `absolute` after a leading dot.
    fn name(&mut self, absolute: bool) -> Parsed<'s> {
        if self.token != Token::Ident {
            return Err(self.unexpected("a name"));
        }
        let name = self.text();
        let constant = match name {
            "true" => Some(Literal::Bool(true)),
            "false" => Some(Literal::Bool(false)),
            "null" => Some(Literal::Null),
            _ => None,
        };
        if name == "in" || RESERVED.contains(&name) {
            let message =
                format!("`{name}` is a reserved word; a field of that name is written `` `{name}` ``");
            return Err(Problem::error(self.span.range(), message));
        }
        let span = self.advance()?;
        if let Some(literal) = constant {
            return self.node(ExprKind::Literal(literal), span, []);
        }
        if self.at("(") {
            let (args, end) = self.arguments()?;
            let heights: Vec<u16> = args.iter().map(|arg| arg.height).collect();
            return self.node(
                ExprKind::Call { target: None, name, name_span: span, args },
                span.to(end),
                heights,
            );
        }
        self.node(ExprKind::Ident { name, absolute }, span, [])
    }

    fn list(&mut self) -> Parsed<'s> {
        let start = self.expect("[")?;
        let mut elements = Vec::new();
        while !self.at("]") {
            let optional = self.accept("?")?;
            elements.push(Element { value: self.nested(Self::expression)?, optional });
            if !self.accept(",")? {
                break;
            }
        }
        let span = start.to(self.expect("]")?);
        let height = elements.iter().map(|element| element.value.height).max();
        self.node(ExprKind::List(elements), span, height)
    }

    fn map(&mut self) -> Parsed<'s> {
        let start = self.expect("{")?;
        let mut entries = Vec::new();
        while !self.at("}") {
            let optional = self.accept("?")?;
            let key = self.nested(Self::expression)?;
            self.expect(":")?;
            entries.push(Entry { key, value: self.nested(Self::expression)?, optional });
            if !self.accept(",")? {
                break;
            }
        }
        let span = start.to(self.expect("}")?);
        let height = entries.iter().flat_map(|entry| [entry.key.height, entry.value.height]).max();
        self.node(ExprKind::Map(entries), span, height)
    }
}

fn too_deep(span: Span, limit: u16) -> Problem {
    Problem::error(span.range(), format!("the expression is nested more than {limit} levels deep here"))
}
