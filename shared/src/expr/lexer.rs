//! From text to tokens.

use std::{iter::Peekable, ops::Range, str::CharIndices};

use serde_json::{Number, Value};

use super::ExprError;

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) at: Range<usize>,
    pub(super) kind: TokenKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    Name(String),
    Text(String),
    Number(Number),
    /// An operator or a bracket.
    Sign(&'static str),
}

/// Operators and brackets; where one begins another, the longer comes first.
const SIGNS: [&str; 16] = ["&&", "||", "==", "!=", "<=", ">=", "??", "<", ">", "!", "(", ")", "[", "]", ",", "."];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ExprError> {
    let mut tokens = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some(&(start, c)) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        let rest = text.get(start..).unwrap_or_default();
        let kind = if c.is_ascii_alphabetic() || c == '_' {
            TokenKind::Name(take_while(&mut chars, |c| c.is_ascii_alphanumeric() || c == '_' || c == '-'))
        } else if c.is_ascii_digit() || (c == '-' && rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit())) {
            number(&mut chars, text, start)?
        } else if c == '\'' || c == '"' {
            chars.next();
            quoted(&mut chars, start, text.len(), c)?
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            for _ in 0..sign.len() {
                chars.next();
            }
            TokenKind::Sign(sign)
        } else {
            let why = match c {
                '=' => "`=` alone means nothing here; equality is `==`".to_owned(),
                '&' | '|' => format!("`{c}` alone means nothing here; write `{c}{c}`"),
                '?' => "`?` alone means nothing here; the default operator is `??`".to_owned(),
                '+' | '-' | '*' | '/' | '%' => format!("there is no arithmetic: `{c}`"),
                _ => format!("unexpected `{}`", c.escape_debug()),
            };
            return Err(ExprError { at: start..start + c.len_utf8(), why });
        };
        let end = chars.peek().map_or(text.len(), |(at, _)| *at);
        tokens.push(Token { at: start..end, kind });
    }
    Ok(tokens)
}

fn take_while(chars: &mut Peekable<CharIndices<'_>>, wanted: impl Fn(char) -> bool) -> String {
    let mut taken = String::new();
    while let Some((_, c)) = chars.next_if(|(_, c)| wanted(*c)) {
        taken.push(c);
    }
    taken
}

fn number(chars: &mut Peekable<CharIndices<'_>>, text: &str, start: usize) -> Result<TokenKind, ExprError> {
    let mut digits = String::new();
    if chars.next_if(|(_, c)| *c == '-').is_some() {
        digits.push('-');
    }
    digits.push_str(&take_while(chars, |c| c.is_ascii_alphanumeric() || c == '.' || c == '_'));
    let end = chars.peek().map_or(text.len(), |(at, _)| *at);
    match serde_json::from_str::<Value>(&digits) {
        Ok(Value::Number(number)) => Ok(TokenKind::Number(number)),
        _ => Err(ExprError { at: start..end, why: format!("`{digits}` is not a number") }),
    }
}

fn quoted(chars: &mut Peekable<CharIndices<'_>>, start: usize, end: usize, quote: char) -> Result<TokenKind, ExprError> {
    let mut text = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok(TokenKind::Text(text)),
            '\\' => match chars.next() {
                Some((_, c @ ('\\' | '\'' | '"'))) => text.push(c),
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((after, c)) => {
                    let why = format!("unknown escape `\\{}`; known are \\\\ \\' \\\" \\n \\t", c.escape_debug());
                    return Err(ExprError { at: at..after + c.len_utf8(), why });
                }
                None => break,
            },
            _ => text.push(c),
        }
    }
    Err(ExprError { at: start..end, why: format!("this text is never closed: `{quote}` is missing") })
}
