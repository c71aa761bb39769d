//! Tokens, one at a time, without copying.
//!
//! Called by the parser. Text of literals is only delimited here; [`super::literal`] reads it.

use super::ast::Span;
use crate::error::Problem;

/// The kinds of token. Literals and names are cut from the source by their span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Ident,
    /// A name between backticks.
    Quoted,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    /// An operator or a bracket, as written.
    Symbol(&'static str),
    End,
}

/// Symbols, longest first where one starts another.
const SYMBOLS: [&str; 23] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")",
    "[", "]", "{",
];

/// Cuts the source into tokens.
pub(crate) struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    pub fn new(source: &'s str) -> Lexer<'s> {
        Lexer { source, at: 0 }
    }

    /// The next token and its place.
    ///
    /// # Errors
    /// An unknown character, an unclosed string, a malformed number.
    pub fn next(&mut self) -> Result<(Token, Span), Problem> {
        self.skip_blank();
        let start = self.at;
        let rest = &self.source[start..];
        let Some(&first) = rest.as_bytes().first() else { return Ok((Token::End, self.span(start))) };
        let token = match first {
            b'"' | b'\'' => self.string(Token::String, false)?,
            b'`' => self.quoted()?,
            b'0'..=b'9' => self.number()?,
            b'.' if rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => self.number()?,
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => self.word()?,
            _ => self.symbol()?,
        };
        Ok((token, self.span(start)))
    }

    fn span(&self, start: usize) -> Span {
        // The source is at most SOURCE_BYTES_MAX long, so 32 bits hold any place in it.
        Span { start: start as u32, end: self.at as u32 }
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.source.as_bytes().get(self.at + ahead).copied()
    }

    /// White space and `//` comments.
    fn skip_blank(&mut self) {
        loop {
            match self.byte(0) {
                Some(b' ' | b'\t' | b'\n' | b'\r' | b'\x0c') => self.at += 1,
                Some(b'/') if self.byte(1) == Some(b'/') => {
                    let rest = &self.source[self.at..];
                    self.at += rest.find('\n').unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }

    fn skip_while(&mut self, accept: impl Fn(u8) -> bool) {
        while self.byte(0).is_some_and(&accept) {
            self.at += 1;
        }
    }

    fn symbol(&mut self) -> Result<Token, Problem> {
        let rest = &self.source[self.at..];
        if rest.starts_with('}') {
            self.at += 1;
            return Ok(Token::Symbol("}"));
        }
        match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            Some(symbol) => {
                self.at += symbol.len();
                Ok(Token::Symbol(symbol))
            }
            None => {
                let found = rest.chars().next().unwrap_or_default();
                let start = self.at;
                self.at += found.len_utf8();
                let advice = match found {
                    '=' => "; equality is `==`",
                    '&' => "; logical and is `&&`",
                    '|' => "; logical or is `||`",
                    _ => "",
                };
                Err(Problem::error(
                    self.span(start).range(),
                    format!("unexpected character `{found}`{advice}"),
                ))
            }
        }
    }

    /// A name, or the prefix of a string literal.
    fn word(&mut self) -> Result<Token, Problem> {
        let start = self.at;
        self.skip_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !matches!(self.byte(0), Some(b'"' | b'\'')) {
            return Ok(Token::Ident);
        }
        match self.source[start..self.at].to_ascii_lowercase().as_str() {
            "r" => self.string(Token::String, true),
            "b" => self.string(Token::Bytes, false),
            "br" | "rb" => self.string(Token::Bytes, true),
            _ => Ok(Token::Ident),
        }
    }

    /// A name between backticks; JSON has a member without a name, too.
    fn quoted(&mut self) -> Result<Token, Problem> {
        let start = self.at;
        self.at += 1;
        self.skip_while(|byte| byte != b'`' && byte != b'\n');
        if self.byte(0) != Some(b'`') {
            return Err(Problem::error(
                self.span(start).range(),
                "a quoted name must be between two backticks",
            ));
        }
        self.at += 1;
        Ok(Token::Quoted)
    }

    /// A string from its first quote to its last.
    fn string(&mut self, token: Token, raw: bool) -> Result<Token, Problem> {
        let start = self.at;
        let rest = &self.source[start..];
        let quote = &rest[..1];
        let triple = rest.starts_with("\"\"\"") || rest.starts_with("'''");
        let close = if triple { &rest[..3] } else { quote };
        self.at += close.len();
        loop {
            let rest = &self.source[self.at..];
            match rest.as_bytes().first() {
                Some(_) if rest.starts_with(close) => {
                    self.at += close.len();
                    return Ok(token);
                }
                Some(b'\\') if !raw && rest.len() > 1 => {
                    self.at += 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                }
                Some(b'\n' | b'\r') if !triple => break,
                Some(_) => self.at += rest.chars().next().map_or(1, char::len_utf8),
                None => break,
            }
        }
        Err(Problem::error(
            self.span(start).range(),
            format!("the string is not closed; it needs another `{close}`"),
        ))
    }

    fn number(&mut self) -> Result<Token, Problem> {
        let start = self.at;
        let hex = self.byte(0) == Some(b'0') && matches!(self.byte(1), Some(b'x' | b'X'));
        let mut token = Token::Int;
        if hex {
            self.at += 2;
            self.skip_while(|byte| byte.is_ascii_hexdigit());
        } else {
            self.skip_while(|byte| byte.is_ascii_digit());
            if self.byte(0) == Some(b'.') && self.byte(1).is_some_and(|byte| byte.is_ascii_digit()) {
                token = Token::Double;
                self.at += 1;
                self.skip_while(|byte| byte.is_ascii_digit());
            }
            let sign = usize::from(matches!(self.byte(1), Some(b'+' | b'-')));
            let exponent = matches!(self.byte(0), Some(b'e' | b'E'));
            if exponent && self.byte(1 + sign).is_some_and(|byte| byte.is_ascii_digit()) {
                token = Token::Double;
                self.at += 1 + sign;
                self.skip_while(|byte| byte.is_ascii_digit());
            }
        }
        if token == Token::Int && matches!(self.byte(0), Some(b'u' | b'U')) {
            self.at += 1;
            token = Token::Uint;
        }
        if self.byte(0).is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            self.skip_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let text = &self.source[start..self.at];
            return Err(Problem::error(self.span(start).range(), format!("`{text}` is not a number")));
        }
        Ok(token)
    }
}
