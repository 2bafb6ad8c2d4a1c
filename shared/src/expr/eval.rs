//! From a tree and data to a value.

use std::{borrow::Cow, cmp::Ordering, ops::Range};

use serde_json::{Number, Value};

use super::{Comparison, Kind, Node, Part, kind_of};

/// What could not be computed and why.
pub(super) struct Fault {
    pub(super) at: Range<usize>,
    pub(super) why: String,
    /// What it depends on that is not known yet; otherwise it can never be computed.
    pub(super) unknown: Option<String>,
}

fn fault<T>(node: &Node, why: String) -> Result<T, Fault> {
    Err(Fault { at: node.at.clone(), why, unknown: None })
}

/// What an expression is computed over.
#[derive(Clone, Copy)]
pub(super) struct Data<'d> {
    pub(super) values: &'d Value,
    /// Whether what is not in `values` among the outcomes of steps, and the account, is only not known yet.
    pub(super) open: bool,
}

pub(super) fn eval<'d>(node: &'d Node, data: Data<'d>) -> Result<Cow<'d, Value>, Fault> {
    Ok(match &node.kind {
        Kind::Literal(value) => Cow::Borrowed(value),
        Kind::Path(parts) => look_up(node, parts, data)?,
        Kind::List(parts) => {
            let values = parts.iter().map(|part| eval(part, data).map(Cow::into_owned)).collect::<Result<_, _>>()?;
            Cow::Owned(Value::Array(values))
        }
        Kind::Len(inner) => {
            let value = eval(inner, data)?;
            Cow::Owned(Value::from(len(inner, value.as_ref())?))
        }
        Kind::Default(parts) => {
            let mut found = Cow::Owned(Value::Null);
            for part in parts {
                found = eval(part, data)?;
                if !found.is_null() {
                    break;
                }
            }
            found
        }
        Kind::If(parts) => {
            let [condition, yes, no] = parts.as_ref();
            eval(if truth(condition, data)? { yes } else { no }, data)?
        }
        Kind::Not(_) | Kind::All(_) | Kind::Any(_) | Kind::Compare(..) | Kind::Begins(_) => Cow::Owned(Value::Bool(truth(node, data)?)),
    })
}

pub(super) fn truth(node: &Node, data: Data<'_>) -> Result<bool, Fault> {
    match &node.kind {
        Kind::Not(inner) => truth(inner, data).map(|truth| !truth),
        Kind::All(parts) => settled(parts, data, false),
        Kind::Any(parts) => settled(parts, data, true),
        Kind::Begins(parts) => {
            let [text, start] = parts.as_ref();
            let told = |node: &Node| match eval(node, data)?.as_ref() {
                Value::String(text) => Ok(text.clone()),
                other => fault(node, format!("`begins` compares texts, and this is {}", kind_of(other))),
            };
            Ok(told(text)?.starts_with(&told(start)?))
        }
        Kind::Compare(comparison, left, right) => {
            let (left_value, right_value) = (eval(left, data)?, eval(right, data)?);
            compare(*comparison, node, &left_value, right, &right_value)
        }
        _ => match eval(node, data)?.as_ref() {
            Value::Bool(truth) => Ok(*truth),
            other => fault(node, format!("true or false is wanted here, but this is {}", kind_of(other))),
        },
    }
}

/// Whether one of the parts is `by`, which settles it, or all are the other; no more are computed than needed. What is not known yet settles
/// nothing, and one that is known may.
fn settled(parts: &[Node], data: Data<'_>, by: bool) -> Result<bool, Fault> {
    let mut unknown = None;
    for part in parts {
        match truth(part, data) {
            Ok(truth) if truth == by => return Ok(by),
            Ok(_) => {}
            Err(fault) if fault.unknown.is_some() => drop(unknown.get_or_insert(fault)),
            Err(fault) => return Err(fault),
        }
    }
    unknown.map_or(Ok(!by), Err)
}

fn look_up<'d>(node: &Node, parts: &[Part], data: Data<'d>) -> Result<Cow<'d, Value>, Fault> {
    if data.open
        && let Some(unknown) = not_known(parts, data.values)
    {
        return Err(Fault { at: node.at.clone(), why: format!("it depends on {unknown}"), unknown: Some(unknown) });
    }
    let found = parts.iter().try_fold(data.values, |value, part| match part {
        Part::Key(key) => value.as_object().and_then(|object| object.get(key)),
        Part::Index(index) => value.as_array().and_then(|list| list.get(*index)),
    });
    Ok(found.map_or(Cow::Owned(Value::Null), Cow::Borrowed))
}

/// What a path reads that is only known while a run is under way.
fn not_known(parts: &[Part], values: &Value) -> Option<String> {
    match parts {
        [Part::Key(root), Part::Key(step), ..] if root == "steps" => {
            let known = values.get("steps").and_then(|steps| steps.get(step)).is_some();
            (!known).then(|| format!("the outcome of `{step}`"))
        }
        [Part::Key(root), ..] if root == "account" && values.get("account").is_none_or(Value::is_null) => Some("the account".to_owned()),
        _ => None,
    }
}

fn len(node: &Node, value: &Value) -> Result<usize, Fault> {
    match value {
        Value::String(text) => Ok(text.chars().count()),
        Value::Array(list) => Ok(list.len()),
        Value::Object(object) => Ok(object.len()),
        Value::Null => fault(node, "`len` of null; give a default, as in `len(… ?? [])`".to_owned()),
        other => fault(node, format!("{} has no length", kind_of(other))),
    }
}

fn compare(comparison: Comparison, node: &Node, left: &Value, right_node: &Node, right: &Value) -> Result<bool, Fault> {
    let order = |wanted: fn(Ordering) -> bool| match (left, right) {
        (Value::Number(left), Value::Number(right)) => Ok(order_of_numbers(left, right).is_some_and(wanted)),
        (Value::String(left), Value::String(right)) => Ok(wanted(left.cmp(right))),
        _ if std::mem::discriminant(left) == std::mem::discriminant(right) => {
            fault(node, format!("{} and {} have no order", kind_of(left), kind_of(right)))
        }
        _ => fault(node, format!("{} and {} cannot be put in order", kind_of(left), kind_of(right))),
    };
    match comparison {
        Comparison::Equal => Ok(equal(left, right)),
        Comparison::NotEqual => Ok(!equal(left, right)),
        Comparison::Less => order(Ordering::is_lt),
        Comparison::LessOrEqual => order(Ordering::is_le),
        Comparison::Greater => order(Ordering::is_gt),
        Comparison::GreaterOrEqual => order(Ordering::is_ge),
        Comparison::In => match right {
            Value::Array(list) => Ok(list.iter().any(|element| equal(left, element))),
            Value::Null => fault(right_node, "`in` wants a list, but this is null; give a default, as in `(… ?? [])`".to_owned()),
            other => fault(right_node, format!("`in` wants a list, but this is {}", kind_of(other))),
        },
    }
}

/// Strict as to type; numbers by value, so that `1` and `1.0` are equal wherever they stand.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => order_of_numbers(left, right) == Some(Ordering::Equal),
        (Value::Array(left), Value::Array(right)) => left.len() == right.len() && left.iter().zip(right).all(|(l, r)| equal(l, r)),
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len() && left.iter().all(|(key, l)| right.get(key).is_some_and(|r| equal(l, r)))
        }
        _ => left == right,
    }
}

/// Exact between integers, as doubles otherwise.
fn order_of_numbers(left: &Number, right: &Number) -> Option<Ordering> {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}
