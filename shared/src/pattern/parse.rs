//! From JSON to a pattern.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::{
    Alternative, Field, PatternError,
    test::{Interval, Test, TextTest, Wildcard, millionths},
};
use crate::words::closest;

/// The most combinations that `$or` may make of a pattern: written out, each is a rule of its own.
const MAX_ALTERNATIVES: usize = 1000;

/// How deep a pattern may nest.
const MAX_DEPTH: usize = 32;

const OPERATORS: [&str; 8] = ["prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric", "exists", "cidr"];

/// Names that no field inside `$or` may have, as in Event Ruler.
const RESERVED: [&str; 14] = [
    "exactly",
    "equals-ignore-case",
    "prefix",
    "suffix",
    "anything-but",
    "exists",
    "wildcard",
    "numeric",
    "cidr",
    "=",
    "<",
    "<=",
    ">",
    ">=",
];

pub(super) fn parse(json: &Value) -> Result<Vec<Alternative>, Vec<PatternError>> {
    let mut parser = Parser { path: Vec::new(), errors: Vec::new() };
    let mut alternatives = vec![Alternative::new()];
    // In one order, whatever the text's: what is found first is told first.
    match &crate::words::canonical(json.clone()) {
        Value::Object(object) => parser.object(object, "", &mut alternatives, false),
        _ => parser.error("a pattern is an object: field names, each with a list of values"),
    }
    if parser.errors.is_empty() { Ok(alternatives) } else { Err(parser.errors) }
}

struct Parser {
    /// The way to what is being read.
    path: Vec<String>,
    errors: Vec<PatternError>,
}

impl Parser {
    fn error(&mut self, why: impl Into<String>) {
        self.errors.push(PatternError { path: self.path.clone(), why: why.into() });
    }

    fn within<T>(&mut self, step: impl ToString, inner: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step.to_string());
        let result = inner(self);
        self.path.pop();
        result
    }

    /// Adds the fields of `object` to every alternative; `$or` multiplies them.
    fn object(&mut self, object: &Map<String, Value>, name: &str, alternatives: &mut Vec<Alternative>, in_or: bool) {
        if object.is_empty() {
            return self.error("an empty object matches nothing; name a field");
        }
        if self.path.len() > MAX_DEPTH {
            return self.error(format!("nested deeper than {MAX_DEPTH}"));
        }
        for (key, value) in object {
            self.within(key, |parser| {
                if key == "$or" {
                    return parser.or(value, name, alternatives);
                }
                if in_or && RESERVED.contains(&key.as_str()) {
                    return parser.error(format!("`{key}` is an operator and cannot name a field inside `$or`"));
                }
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                match value {
                    Value::Object(object) => parser.object(object, &name, alternatives, in_or),
                    Value::Array(list) => parser.field(list, value, &name, alternatives),
                    _ => parser.error("the values stand in a list, even a single one: `[…]`"),
                }
            });
        }
    }

    fn or(&mut self, value: &Value, name: &str, alternatives: &mut Vec<Alternative>) {
        let Some(branches) = value.as_array().filter(|branches| branches.len() >= 2) else {
            return self.error("`$or` takes a list of two objects or more");
        };
        let before = std::mem::take(alternatives);
        for (index, branch) in branches.iter().enumerate() {
            self.within(index, |parser| {
                let mut branched = before.clone();
                match branch {
                    Value::Object(object) => parser.object(object, name, &mut branched, true),
                    _ => parser.error("`$or` takes a list of objects"),
                }
                alternatives.append(&mut branched);
            });
            if alternatives.len() > MAX_ALTERNATIVES {
                alternatives.truncate(1);
                return self.error(format!("`$or` makes more than {MAX_ALTERNATIVES} combinations of this pattern"));
            }
        }
    }

    fn field(&mut self, list: &[Value], json: &Value, name: &str, alternatives: &mut [Alternative]) {
        if list.is_empty() {
            return self.error("an empty list matches nothing; list a value");
        }
        let entries = list.iter().enumerate();
        let tests = entries.filter_map(|(index, entry)| self.within(index, |parser| parser.entry(entry))).collect();
        let field = Arc::new(Field { tests, json: json.clone() });
        let mut twice = false;
        for alternative in alternatives {
            twice |= alternative.insert(name.to_owned(), Arc::clone(&field)).is_some();
        }
        if twice {
            self.error(format!("`{name}` is named twice; list all its values in one place"));
        }
    }

    fn entry(&mut self, entry: &Value) -> Option<Test> {
        match entry {
            Value::String(text) => Some(text.parse::<IpAddr>().map_or_else(|_| Test::Equal(entry.clone()), Test::Address)),
            Value::Number(number) => Some(Test::Number(number.clone())),
            Value::Bool(_) | Value::Null => Some(Test::Equal(entry.clone())),
            Value::Array(_) => {
                self.error("a list in a list; a value is a text, a number, true, false, null or an operator such as `{ prefix = … }`");
                None
            }
            Value::Object(object) => {
                let (operator, operand) = self.one_key(object, "an operator")?;
                self.within(operator, |parser| parser.operator(operator, operand))
            }
        }
    }

    fn one_key<'v>(&mut self, object: &'v Map<String, Value>, what: &str) -> Option<(&'v str, &'v Value)> {
        let mut entries = object.iter();
        match (entries.next(), entries.next()) {
            (Some((key, value)), None) => Some((key, value)),
            _ => {
                self.error(format!("{what} is an object with exactly one key"));
                None
            }
        }
    }

    fn operator(&mut self, operator: &str, operand: &Value) -> Option<Test> {
        match operator {
            "exactly" => Some(Test::Equal(Value::String(self.text(operand)?))),
            "prefix" | "suffix" | "equals-ignore-case" | "wildcard" => self.text_test(operator, operand).map(Test::Text),
            "anything-but" => self.anything_but(operand),
            "numeric" => self.numeric(operand).map(Test::Numeric),
            "exists" => {
                if operand.as_bool().is_none() {
                    self.error("`exists` takes true or false");
                }
                operand.as_bool().map(Test::Exists)
            }
            "cidr" => self.cidr(operand).map(Test::Cidr),
            _ => {
                let hint = closest(operator, OPERATORS)
                    .map_or_else(|| format!("known are {}", OPERATORS.join(", ")), |near| format!("did you mean `{near}`?"));
                self.error(format!("unknown operator `{operator}`: {hint}"));
                None
            }
        }
    }

    fn text(&mut self, operand: &Value) -> Option<String> {
        if !operand.is_string() {
            self.error("this takes a text");
        }
        operand.as_str().map(str::to_owned)
    }

    fn text_test(&mut self, operator: &str, operand: &Value) -> Option<TextTest> {
        match (operator, operand) {
            ("prefix" | "suffix", Value::Object(object)) => {
                let (inner, operand) = self.one_key(object, "the form that ignores case")?;
                if inner != "equals-ignore-case" {
                    self.error(format!("`{operator}` takes a text or `{{ equals-ignore-case = … }}`"));
                    return None;
                }
                let text = self.within(inner, |parser| parser.text(operand))?;
                Some(if operator == "prefix" { TextTest::PrefixIgnoreCase(text) } else { TextTest::SuffixIgnoreCase(text) })
            }
            ("prefix", _) => self.text(operand).map(TextTest::Prefix),
            ("suffix", _) => self.text(operand).map(TextTest::Suffix),
            ("wildcard", _) => {
                let text = self.text(operand)?;
                Wildcard::parse(&text).map_err(|why| self.error(why)).ok().map(TextTest::Wildcard)
            }
            _ => self.text(operand).map(TextTest::EqualIgnoreCase),
        }
    }

    fn anything_but(&mut self, operand: &Value) -> Option<Test> {
        if let Value::Object(object) = operand {
            let (operator, operand) = self.one_key(object, "what `anything-but` takes")?;
            return self.within(operator, |parser| parser.anything_but_text(operator, operand));
        }
        let unwanted = match operand {
            Value::Array(list) => list.clone(),
            single => vec![single.clone()],
        };
        let texts = unwanted.iter().filter(|value| value.is_string()).count();
        let numbers = unwanted.iter().filter_map(Value::as_number).count();
        let in_range = unwanted.iter().filter_map(Value::as_number).all(|number| millionths(number).is_some());
        if unwanted.is_empty() || (texts != unwanted.len() && numbers != unwanted.len()) {
            self.error("`anything-but` takes a text, a number, a list of texts or a list of numbers");
            None
        } else if in_range {
            Some(Test::AnythingButValue(unwanted))
        } else {
            self.error("numbers can be compared from -5e9 to 5e9");
            None
        }
    }

    fn anything_but_text(&mut self, operator: &str, operand: &Value) -> Option<Test> {
        if !["prefix", "suffix", "equals-ignore-case", "wildcard"].contains(&operator) {
            self.error("`anything-but` can hold `prefix`, `suffix`, `equals-ignore-case` and `wildcard`");
            return None;
        }
        let operands = match operand {
            Value::Array(list) if !list.is_empty() => list.as_slice(),
            single => std::slice::from_ref(single),
        };
        let mut tests = Vec::new();
        for operand in operands {
            if !operand.is_string() {
                self.error("this takes a text or a list of texts");
                return None;
            }
            if operand.as_str() == Some("") && matches!(operator, "prefix" | "suffix") {
                self.error("every text begins and ends with the empty text");
                return None;
            }
            tests.push(self.text_test(operator, operand)?);
        }
        Some(Test::AnythingButText(tests))
    }

    fn numeric(&mut self, operand: &Value) -> Option<Interval> {
        const FORM: &str = "`numeric` takes an operator and a number, `[\"<=\", 5]`, or a range, `[\">\", 0, \"<=\", 5]`";
        let parts = operand.as_array().map_or(&[][..], Vec::as_slice);
        let ends: Vec<(&str, f64)> = parts
            .chunks(2)
            .filter_map(|pair| match pair {
                [Value::String(sign), Value::Number(number)] => Some((sign.as_str(), millionths(number)?)),
                _ => None,
            })
            .collect();
        let numbers = parts.iter().filter_map(Value::as_number);
        if numbers.clone().any(|number| millionths(number).is_none()) {
            self.error("numbers can be compared from -5e9 to 5e9");
            return None;
        }
        if !parts.len().is_multiple_of(2) || ends.len() * 2 != parts.len() {
            self.error(FORM);
            return None;
        }
        let interval = match ends.as_slice() {
            [("=", value)] => Interval { from: Some((*value, false)), to: Some((*value, false)) },
            [(sign @ (">" | ">="), from)] => Interval { from: Some((*from, *sign == ">")), to: None },
            [(sign @ ("<" | "<="), to)] => Interval { from: None, to: Some((*to, *sign == "<")) },
            [(above @ (">" | ">="), from), (below @ ("<" | "<="), to)] => {
                if from >= to {
                    self.error("the range is empty: its lower end must be below its upper end");
                    return None;
                }
                Interval { from: Some((*from, *above == ">")), to: Some((*to, *below == "<")) }
            }
            _ => {
                self.error(FORM);
                return None;
            }
        };
        Some(interval)
    }

    fn cidr(&mut self, operand: &Value) -> Option<IpNet> {
        let text = self.text(operand)?;
        match text.parse::<IpNet>() {
            Ok(block) if block.network() == block.addr() => Some(block),
            Ok(block) => {
                self.error(format!("`{text}` has host bits set; did you mean `{}`?", block.trunc()));
                None
            }
            Err(_) => {
                self.error(format!("`{}` is not a CIDR block such as `10.0.0.0/8`", text.chars().take(64).collect::<String>()));
                None
            }
        }
    }
}
