//! The small expressions of a playbook's `when` and `with`.
//!
//! They read the data of one incident (`finding`, `subject`, `account`, `steps`) and compute one JSON value. There are no
//! loops, no side effects and no functions but `len` and `begins`. What cannot be answered is an error, never silently false: a
//! condition that is not `true` or `false`, an order between unlike types, a list that is not there.
//!
//! | form | meaning |
//! | --- | --- |
//! | `a or b`, <code>a &#124;&#124; b</code> | booleans, left to right, no more than needed |
//! | `a and b`, `a && b` | the same |
//! | `not a`, `!a` | of a whole comparison: `not a == b` is `not (a == b)` |
//! | `a == b`, `!=`, `<`, `<=`, `>`, `>=`, `a in list` | one at a time; types are compared strictly, numbers by value |
//! | `a ?? b` | `a`, or where that is null or missing, `b` |
//! | `finding.network.remote_ips[0]` | a path; a part may hold `-`; what is missing is null |
//! | `'text'`, `"text"`, `5`, `-1.5`, `true`, `null`, `['a', 'b']` | literals; in texts `\\`, `\'`, `\"`, `\n`, `\t` |
//! | `if a then b else c` | one of two values; the other is not computed |
//! | `begins(a, 'text')` | whether the text `a` begins so |
//! | `len(a)` | characters of a text, elements of a list, entries of an object |

mod eval;
mod lexer;
mod parser;
mod template;

use std::{fmt, ops::Range};

use serde_json::Value;

pub use template::{Template, TemplateError};

/// The names a path may begin with.
pub const ROOTS: [&str; 4] = ["finding", "subject", "account", "steps"];

/// The longest expression, in bytes.
pub const MAX_LENGTH: usize = 4096;

/// A text that is not an expression: where, in bytes of that text, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct ExprError {
    /// The offending bytes.
    pub at: Range<usize>,
    /// What is wrong with them.
    pub why: String,
}

/// An expression that could not be computed from the data at hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{expr}`: {why}")]
pub struct EvalError {
    /// The text of the whole expression.
    pub expr: String,
    /// The part of it that could not be computed, in bytes.
    pub at: Range<usize>,
    /// Why not.
    pub why: String,
}

/// What is known of a value before a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreseen<T> {
    /// This.
    Known(T),
    /// Nothing yet: it depends on this, ``the outcome of `find-logins` ``.
    DependsOn(String),
}

/// An expression that has been read.
#[derive(Clone)]
pub struct Expr {
    text: String,
    root: Node,
}

/// A part of an expression and where it stands.
#[derive(Debug, Clone)]
struct Node {
    at: Range<usize>,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Literal(Value),
    List(Vec<Node>),
    Path(Vec<Part>),
    Len(Box<Node>),
    /// Whether the first text begins with the second.
    Begins(Box<[Node; 2]>),
    Not(Box<Node>),
    /// The first that is not null, else the last.
    Default(Vec<Node>),
    /// True when each is.
    All(Vec<Node>),
    /// True when one is.
    Any(Vec<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    /// Condition, then, else.
    If(Box<[Node; 3]>),
}

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// A key of an object.
    Key(String),
    /// An element of a list, from 0.
    Index(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

impl Expr {
    /// Reads an expression.
    ///
    /// # Errors
    /// The first place where it stops being one.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        parser::parse(text).map(|root| Self { text: text.to_owned(), root })
    }

    /// Computes it from `data`, an object with the [`ROOTS`].
    ///
    /// # Errors
    /// Where the types do not fit what is asked of them.
    pub fn eval(&self, data: &Value) -> Result<Value, EvalError> {
        let data = eval::Data { values: data, open: false };
        eval::eval(&self.root, data).map(std::borrow::Cow::into_owned).map_err(|fault| self.error(fault))
    }

    /// Computes a condition.
    ///
    /// # Errors
    /// As [`Expr::eval`], and where the result is not a boolean: null is not false.
    pub fn truth(&self, data: &Value) -> Result<bool, EvalError> {
        eval::truth(&self.root, eval::Data { values: data, open: false }).map_err(|fault| self.error(fault))
    }

    /// Computes it as far as it can be before a run: outcomes of steps that are not in `data`, and the account, are not known yet.
    ///
    /// # Errors
    /// As [`Expr::eval`].
    pub fn foresee(&self, data: &Value) -> Result<Foreseen<Value>, EvalError> {
        let data = eval::Data { values: data, open: true };
        self.foreseen(eval::eval(&self.root, data).map(std::borrow::Cow::into_owned))
    }

    /// Computes a condition as far as it can be before a run. One that is settled by what is known is known: `false and …` is false.
    ///
    /// # Errors
    /// As [`Expr::truth`].
    pub fn foresee_truth(&self, data: &Value) -> Result<Foreseen<bool>, EvalError> {
        self.foreseen(eval::truth(&self.root, eval::Data { values: data, open: true }))
    }

    fn foreseen<T>(&self, result: Result<T, eval::Fault>) -> Result<Foreseen<T>, EvalError> {
        match result {
            Ok(value) => Ok(Foreseen::Known(value)),
            Err(eval::Fault { unknown: Some(unknown), .. }) => Ok(Foreseen::DependsOn(unknown)),
            Err(fault) => Err(self.error(fault)),
        }
    }

    /// Every path in it, in the order of the text; the index `[0]` is the part `0`.
    pub fn paths(&self) -> impl Iterator<Item = Vec<String>> + use<> {
        let mut paths = Vec::new();
        self.root.each_path(&mut |_, parts| {
            paths.push(
                parts
                    .iter()
                    .map(|part| match part {
                        Part::Key(key) => key.clone(),
                        Part::Index(index) => index.to_string(),
                    })
                    .collect(),
            );
        });
        paths.into_iter()
    }

    /// Every path with where it stands, in the order of the text.
    pub(crate) fn located_paths(&self) -> Vec<(Range<usize>, Vec<Part>)> {
        let mut paths = Vec::new();
        self.root.each_path(&mut |at, parts| paths.push((at.clone(), parts.to_vec())));
        paths
    }

    /// The text it was read from.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn error(&self, fault: eval::Fault) -> EvalError {
        EvalError { expr: self.text.clone(), at: fault.at, why: fault.why }
    }
}

impl Node {
    fn each_path(&self, visit: &mut dyn FnMut(&Range<usize>, &[Part])) {
        match &self.kind {
            Kind::Literal(_) => {}
            Kind::Path(parts) => visit(&self.at, parts),
            Kind::Len(inner) | Kind::Not(inner) => inner.each_path(visit),
            Kind::List(parts) | Kind::Default(parts) | Kind::All(parts) | Kind::Any(parts) => {
                parts.iter().for_each(|part| part.each_path(visit));
            }
            Kind::If(parts) => parts.iter().for_each(|part| part.each_path(visit)),
            Kind::Begins(parts) => parts.iter().for_each(|part| part.each_path(visit)),
            Kind::Compare(_, left, right) => {
                left.each_path(visit);
                right.each_path(visit);
            }
        }
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({})", self.text)
    }
}

/// What kind of value it is, for messages.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
