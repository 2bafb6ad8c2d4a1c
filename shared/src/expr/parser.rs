//! From tokens to a tree, by recursive descent of bounded depth.

use std::ops::Range;

use serde_json::Value;

use super::{
    Comparison, ExprError, Kind, MAX_LENGTH, Node, Part, ROOTS,
    lexer::{Token, TokenKind, tokens},
};
use crate::words::closest;

/// How deep brackets and `not` may nest.
const MAX_DEPTH: usize = 48;

/// Words that cannot begin a path.
const KEYWORDS: [&str; 9] = ["or", "and", "not", "in", "then", "else", "true", "false", "null"];

pub(super) fn parse(text: &str) -> Result<Node, ExprError> {
    if text.len() > MAX_LENGTH {
        return Err(ExprError { at: 0..text.len(), why: format!("longer than {MAX_LENGTH} bytes") });
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, next: 0, end: text.len(), depth: 0 };
    let root = parser.any()?;
    match parser.peek() {
        None => Ok(root),
        Some(token) => Err(ExprError { at: token.at.clone(), why: format!("the expression should end before {}", named(token)) }),
    }
}

struct Parser<'t> {
    tokens: &'t [Token],
    next: usize,
    end: usize,
    depth: usize,
}

fn named(token: &Token) -> String {
    match &token.kind {
        TokenKind::Name(name) => format!("`{name}`"),
        TokenKind::Text(_) => "this text".to_owned(),
        TokenKind::Number(number) => format!("`{number}`"),
        TokenKind::Sign(sign) => format!("`{sign}`"),
    }
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self) -> Option<&'t Token> {
        let token = self.tokens.get(self.next);
        self.next += usize::from(token.is_some());
        token
    }

    /// Takes the next token if it is one of these signs or words.
    fn take_one_of(&mut self, wanted: &[&str]) -> Option<&'t Token> {
        let found = self.peek().filter(|token| match &token.kind {
            TokenKind::Name(name) => wanted.contains(&name.as_str()),
            TokenKind::Sign(sign) => wanted.contains(sign),
            _ => false,
        });
        self.next += usize::from(found.is_some());
        found
    }

    /// Where the next token is, or the end of the text.
    fn here(&self) -> Range<usize> {
        self.peek().map_or(self.end..self.end, |token| token.at.clone())
    }

    fn expect(&mut self, sign: &str, after: &str) -> Result<Range<usize>, ExprError> {
        let at = self.here();
        match self.take_one_of(&[sign]) {
            Some(token) => Ok(token.at.clone()),
            None => Err(ExprError { at, why: format!("expected `{sign}` {after}") }),
        }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, ExprError>) -> Result<T, ExprError> {
        if self.depth >= MAX_DEPTH {
            return Err(ExprError { at: self.here(), why: format!("nested deeper than {MAX_DEPTH}") });
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn chain(
        &mut self,
        signs: &[&str],
        operand: fn(&mut Self) -> Result<Node, ExprError>,
        kind: fn(Vec<Node>) -> Kind,
    ) -> Result<Node, ExprError> {
        let first = operand(self)?;
        if self.take_one_of(signs).is_none() {
            return Ok(first);
        }
        let start = first.at.start;
        let mut operands = vec![first, operand(self)?];
        while self.take_one_of(signs).is_some() {
            operands.push(operand(self)?);
        }
        let end = operands.last().map_or(start, |last| last.at.end);
        Ok(Node { at: start..end, kind: kind(operands) })
    }

    fn any(&mut self) -> Result<Node, ExprError> {
        self.deeper(|parser| parser.chain(&["or", "||"], Self::all, Kind::Any))
    }

    fn all(&mut self) -> Result<Node, ExprError> {
        self.chain(&["and", "&&"], Self::not, Kind::All)
    }

    fn not(&mut self) -> Result<Node, ExprError> {
        let Some(sign) = self.take_one_of(&["not", "!"]) else { return self.comparison() };
        let operand = self.deeper(Self::not)?;
        Ok(Node { at: sign.at.start..operand.at.end, kind: Kind::Not(Box::new(operand)) })
    }

    fn comparison_sign(&mut self) -> Option<Comparison> {
        const SIGNS: [(&str, Comparison); 7] = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<", Comparison::Less),
            ("<=", Comparison::LessOrEqual),
            (">", Comparison::Greater),
            (">=", Comparison::GreaterOrEqual),
            ("in", Comparison::In),
        ];
        SIGNS.into_iter().find(|(sign, _)| self.take_one_of(&[sign]).is_some()).map(|(_, comparison)| comparison)
    }

    fn comparison(&mut self) -> Result<Node, ExprError> {
        let left = self.default()?;
        let Some(comparison) = self.comparison_sign() else { return Ok(left) };
        let right = self.default()?;
        let at = self.here();
        if self.comparison_sign().is_some() {
            return Err(ExprError { at, why: "comparisons do not chain; join them with `and`".to_owned() });
        }
        Ok(Node { at: left.at.start..right.at.end, kind: Kind::Compare(comparison, Box::new(left), Box::new(right)) })
    }

    fn default(&mut self) -> Result<Node, ExprError> {
        self.chain(&["??"], Self::primary, Kind::Default)
    }

    fn primary(&mut self) -> Result<Node, ExprError> {
        let at = self.here();
        let Some(token) = self.take() else {
            return Err(ExprError { at, why: "a value is missing: the text ends here".to_owned() });
        };
        match &token.kind {
            TokenKind::Text(text) => Ok(Node { at, kind: Kind::Literal(Value::String(text.clone())) }),
            TokenKind::Number(number) => Ok(Node { at, kind: Kind::Literal(Value::Number(number.clone())) }),
            TokenKind::Sign("(") => {
                let inner = self.any()?;
                let end = self.expect(")", "to close the bracket")?.end;
                Ok(Node { at: at.start..end, kind: inner.kind })
            }
            TokenKind::Sign("[") => self.list(at.start),
            TokenKind::Sign(sign) => Err(ExprError { at, why: format!("a value is missing before `{sign}`") }),
            TokenKind::Name(name) => match name.as_str() {
                "true" => Ok(Node { at, kind: Kind::Literal(Value::Bool(true)) }),
                "false" => Ok(Node { at, kind: Kind::Literal(Value::Bool(false)) }),
                "null" => Ok(Node { at, kind: Kind::Literal(Value::Null) }),
                "if" => self.conditional(at.start),
                word if KEYWORDS.contains(&word) => Err(ExprError { at, why: format!("a value is missing before `{word}`") }),
                _ if self.take_one_of(&["("]).is_some() => self.call(name, at),
                _ => self.path(name, at),
            },
        }
    }

    fn list(&mut self, start: usize) -> Result<Node, ExprError> {
        let mut parts = Vec::new();
        loop {
            if let Some(close) = self.take_one_of(&["]"]) {
                return Ok(Node { at: start..close.at.end, kind: Kind::List(parts) });
            }
            parts.push(self.any()?);
            if self.take_one_of(&[","]).is_none() {
                let end = self.expect("]", "or `,` in this list")?.end;
                return Ok(Node { at: start..end, kind: Kind::List(parts) });
            }
        }
    }

    fn conditional(&mut self, start: usize) -> Result<Node, ExprError> {
        let condition = self.any()?;
        self.expect("then", "after the condition")?;
        let yes = self.any()?;
        self.expect("else", "and the other value")?;
        let no = self.any()?;
        Ok(Node { at: start..no.at.end, kind: Kind::If(Box::new([condition, yes, no])) })
    }

    fn call(&mut self, name: &str, at: Range<usize>) -> Result<Node, ExprError> {
        if name == "begins" {
            let text = self.any()?;
            self.expect(",", "and the text it is to begin with")?;
            let start = self.any()?;
            let end = self.expect(")", "after the two arguments of `begins`")?.end;
            return Ok(Node { at: at.start..end, kind: Kind::Begins(Box::new([text, start])) });
        }
        if name != "len" {
            return Err(ExprError { at, why: format!("there is no function `{name}`; there are `begins` and `len`") });
        }
        let inner = self.any()?;
        let end = self.expect(")", "after the one argument of `len`")?.end;
        Ok(Node { at: at.start..end, kind: Kind::Len(Box::new(inner)) })
    }

    fn path(&mut self, root: &str, mut at: Range<usize>) -> Result<Node, ExprError> {
        if !ROOTS.contains(&root) {
            let hint = closest(root, ROOTS).map_or_else(
                || format!("a path begins with one of {}; a text stands in quotes", ROOTS.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(ExprError { at, why: format!("nothing is called `{root}`: {hint}") });
        }
        let mut parts = vec![Part::Key(root.to_owned())];
        loop {
            if self.take_one_of(&["."]).is_some() {
                let here = self.here();
                let Some(Token { kind: TokenKind::Name(name), .. }) = self.take() else {
                    return Err(ExprError { at: here, why: "expected a name after `.`".to_owned() });
                };
                parts.push(Part::Key(name.clone()));
                at.end = here.end;
            } else if self.take_one_of(&["["]).is_some() {
                let here = self.here();
                let index = match self.take().map(|token| &token.kind) {
                    Some(TokenKind::Number(number)) => number.as_u64().and_then(|index| usize::try_from(index).ok()),
                    _ => None,
                };
                let Some(index) = index else {
                    return Err(ExprError { at: here, why: "expected the number of an element, from 0".to_owned() });
                };
                parts.push(Part::Index(index));
                at.end = self.expect("]", "after the number of the element")?.end;
            } else {
                return Ok(Node { at, kind: Kind::Path(parts) });
            }
        }
    }
}
