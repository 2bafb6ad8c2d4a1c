//! Values with expressions in them: a step's `with`.

use std::{fmt::Write as _, ops::Range};

use serde_json::{Map, Value};

use super::{EvalError, Expr, Foreseen, kind_of};

/// How deep tables and lists may nest in a template.
const MAX_DEPTH: usize = 32;

/// A value whose texts may hold expressions.
///
/// A text that is exactly `${expr}` becomes the value of the expression, of whatever type; in a longer text each
/// `${expr}` is replaced by its text, number or boolean. `$${` stands for `${`. Keys are left as they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Node);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Plain(Value),
    Typed(Expr),
    Text(Vec<Piece>),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Plain(String),
    Expr { expr: Expr, at: usize },
}

/// A value that is not a template: in which text, where in it, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{why}", if path.is_empty() { String::new() } else { format!("`{path}`: ") })]
pub struct TemplateError {
    /// The way to the text, `ports[0]`; empty where the value itself is that text.
    pub path: String,
    /// The offending bytes of the text.
    pub at: Range<usize>,
    /// What is wrong with them.
    pub why: String,
}

impl Template {
    /// A table without entries, the `with` of a step that has none.
    #[must_use]
    pub fn empty() -> Self {
        Self(Node::Table(Vec::new()))
    }

    /// Reads a template.
    ///
    /// # Errors
    /// The first text in it that is not one.
    pub fn parse(value: &Value) -> Result<Self, TemplateError> {
        node(value, String::new(), 0).map(Self)
    }

    /// Computes the value from `data`.
    ///
    /// # Errors
    /// Where an expression cannot be computed, or gives null, a list or an object inside a longer text.
    pub fn render(&self, data: &Value) -> Result<Value, EvalError> {
        self.0.render(&mut |expr| expr.eval(data).map(Some))
    }

    /// Computes the value as far as it can be before a run. What is not known yet stands as it is written, `${…}`, and is named.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn foresee(&self, data: &Value) -> Result<(Value, Vec<String>), EvalError> {
        let mut unknown: Vec<String> = Vec::new();
        let value = self.0.render(&mut |expr| {
            Ok(match expr.foresee(data)? {
                Foreseen::Known(value) => Some(value),
                Foreseen::DependsOn(what) => {
                    if !unknown.contains(&what) {
                        unknown.push(what);
                    }
                    None
                }
            })
        })?;
        Ok((value, unknown))
    }

    /// The keys of a table; nothing for any other value.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let entries = if let Node::Table(entries) = &self.0 { entries.as_slice() } else { &[] };
        entries.iter().map(|(key, _)| key.as_str())
    }

    /// Every path in its expressions, as [`Expr::paths`].
    pub fn paths(&self) -> impl Iterator<Item = Vec<String>> + use<> {
        let mut exprs = Vec::new();
        self.0.each_expr(&mut |_, expr| exprs.push(expr.clone()));
        exprs.into_iter().flat_map(|expr| expr.paths())
    }

    /// Its expressions, each with where its own text begins in the text it stands in.
    pub(crate) fn located_exprs(&self) -> Vec<(usize, &Expr)> {
        let mut exprs = Vec::new();
        self.0.each_expr(&mut |at, expr| exprs.push((at, expr)));
        exprs
    }
}

impl Node {
    fn each_expr<'n>(&'n self, visit: &mut dyn FnMut(usize, &'n Expr)) {
        match self {
            Self::Plain(_) => {}
            Self::Typed(expr) => visit(2, expr),
            Self::Text(pieces) => {
                for piece in pieces {
                    if let Piece::Expr { expr, at } = piece {
                        visit(*at, expr);
                    }
                }
            }
            Self::List(nodes) => nodes.iter().for_each(|node| node.each_expr(visit)),
            Self::Table(entries) => entries.iter().for_each(|(_, node)| node.each_expr(visit)),
        }
    }

    /// With the values that `value` gives; an expression that it gives none for stands as it is written.
    fn render(&self, value: &mut dyn FnMut(&Expr) -> Result<Option<Value>, EvalError>) -> Result<Value, EvalError> {
        let written = |expr: &Expr| format!("${{{}}}", expr.as_str());
        Ok(match self {
            Self::Plain(plain) => plain.clone(),
            Self::Typed(expr) => value(expr)?.unwrap_or_else(|| Value::String(written(expr))),
            Self::List(nodes) => {
                let mut list = Vec::new();
                for node in nodes {
                    list.push(node.render(value)?);
                }
                Value::Array(list)
            }
            Self::Table(entries) => {
                let mut table = Map::new();
                for (key, node) in entries {
                    table.insert(key.clone(), node.render(value)?);
                }
                Value::Object(table)
            }
            Self::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Plain(plain) => text.push_str(plain),
                        Piece::Expr { expr, .. } => match value(expr)? {
                            Some(value) => push(&mut text, expr, &value)?,
                            None => text.push_str(&written(expr)),
                        },
                    }
                }
                Value::String(text)
            }
        })
    }
}

fn push(text: &mut String, expr: &Expr, value: &Value) -> Result<(), EvalError> {
    match value {
        Value::String(value) => text.push_str(value),
        Value::Number(_) | Value::Bool(_) => write!(text, "{value}").unwrap_or_default(),
        other => {
            let hint = if other.is_null() { "; give a default, as in `${… ?? 'unknown'}`" } else { "" };
            let why = format!("it stands inside a text, but is {}{hint}", kind_of(other));
            return Err(EvalError { expr: expr.as_str().to_owned(), at: 0..expr.as_str().len(), why });
        }
    }
    Ok(())
}

fn node(value: &Value, path: String, depth: usize) -> Result<Node, TemplateError> {
    if depth > MAX_DEPTH {
        return Err(TemplateError { path, at: 0..0, why: format!("nested deeper than {MAX_DEPTH}") });
    }
    Ok(match value {
        Value::String(text) => text_node(text).map_err(|(at, why)| TemplateError { path, at, why })?,
        Value::Array(list) => {
            let parse = |(index, value)| node(value, format!("{path}[{index}]"), depth + 1);
            Node::List(list.iter().enumerate().map(parse).collect::<Result<_, _>>()?)
        }
        Value::Object(object) => {
            let parse = |(key, value): (&String, &Value)| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                Ok((key.clone(), node(value, path, depth + 1)?))
            };
            Node::Table(object.iter().map(parse).collect::<Result<_, _>>()?)
        }
        plain => Node::Plain(plain.clone()),
    })
}

fn text_node(text: &str) -> Result<Node, (Range<usize>, String)> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("$${") {
            plain.push_str("${");
            at += 3;
        } else if let Some(inner) = rest.strip_prefix("${") {
            let Some(length) = length_of_expr(inner) else {
                return Err((at..text.len(), "`${` is never closed: `}` is missing (a plain `${` is written `$${`)".to_owned()));
            };
            let start = at + 2;
            let source = inner.get(..length).unwrap_or_default();
            let expr = Expr::parse(source).map_err(|error| (start + error.at.start..start + error.at.end, error.why))?;
            at = start + length + 1;
            if start == 2 && at == text.len() {
                return Ok(Node::Typed(expr));
            }
            if !plain.is_empty() {
                pieces.push(Piece::Plain(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Expr { expr, at: start });
        } else {
            let c = rest.chars().next().unwrap_or_default();
            plain.push(c);
            at += c.len_utf8();
        }
    }
    if pieces.is_empty() {
        return Ok(Node::Plain(Value::String(plain)));
    }
    if !plain.is_empty() {
        pieces.push(Piece::Plain(plain));
    }
    Ok(Node::Text(pieces))
}

/// Up to the closing brace that does not stand in a quoted text.
fn length_of_expr(inner: &str) -> Option<usize> {
    let mut quote = None;
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (None, '}') => return Some(at),
            (None, '\'' | '"') => quote = Some(c),
            (Some(_), '\\') => {
                chars.next();
            }
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    None
}
