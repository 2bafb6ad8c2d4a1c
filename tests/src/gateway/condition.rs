//! Conditions of policies, and the matching of texts with wildcards and variables.

use jiff::Timestamp;

use super::policy::Context;

/// One condition: an operator, a key and the wanted values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    test: Test,
    negated: bool,
    if_exists: bool,
    set: Set,
    key: String,
    wanted: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    Equals,
    EqualsIgnoreCase,
    Like,
    Bool,
    Null,
    Number(Order),
    Date(Order),
    Address,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    None,
    All,
    Any,
}

impl Condition {
    pub(crate) fn parse(operator: &str, key: &str, wanted: Vec<String>) -> Result<Self, String> {
        let (set, rest) = match operator.split_once(':') {
            Some(("ForAllValues", rest)) => (Set::All, rest),
            Some(("ForAnyValue", rest)) => (Set::Any, rest),
            Some(_) => return Err(format!("the condition operator {operator} is not known")),
            None => (Set::None, operator),
        };
        let (rest, if_exists) = rest.strip_suffix("IfExists").map_or((rest, false), |rest| (rest, true));
        let (test, negated) = match rest {
            "StringEquals" => (Test::Equals, false),
            "StringNotEquals" => (Test::Equals, true),
            "StringEqualsIgnoreCase" => (Test::EqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => (Test::EqualsIgnoreCase, true),
            "StringLike" | "ArnLike" | "ArnEquals" => (Test::Like, false),
            "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => (Test::Like, true),
            "Bool" => (Test::Bool, false),
            "Null" => (Test::Null, false),
            "IpAddress" => (Test::Address, false),
            "NotIpAddress" => (Test::Address, true),
            other => ordered(other).ok_or_else(|| format!("the condition operator {operator} is not known"))?,
        };
        Ok(Self { test, negated, if_exists, set, key: key.to_lowercase(), wanted })
    }

    pub(crate) fn holds(&self, context: &Context) -> bool {
        let found = context.get(&self.key).map(Vec::as_slice).unwrap_or_default();
        if self.test == Test::Null {
            return self.wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case("true") == found.is_empty());
        }
        if found.is_empty() {
            return match self.set {
                Set::All => true,
                Set::Any => false,
                Set::None => self.if_exists || self.negated,
            };
        }
        let wanted: Vec<String> = self.wanted.iter().filter_map(|wanted| expand(wanted, context)).collect();
        let met = |value: &String| wanted.iter().any(|wanted| self.compare(value, wanted)) != self.negated;
        match self.set {
            Set::All => found.iter().all(met),
            Set::Any => found.iter().any(met),
            Set::None if self.negated => found.iter().all(met),
            Set::None => found.iter().any(met),
        }
    }

    fn compare(&self, value: &str, wanted: &str) -> bool {
        match self.test {
            Test::Equals => value == wanted,
            Test::EqualsIgnoreCase | Test::Bool => value.eq_ignore_ascii_case(wanted),
            Test::Like => like(wanted, value),
            Test::Null => false,
            Test::Number(order) => match (value.parse::<f64>(), wanted.parse::<f64>()) {
                (Ok(value), Ok(wanted)) => value.partial_cmp(&wanted).is_some_and(|found| order.accepts(found)),
                _ => false,
            },
            Test::Date(order) => match (date(value), date(wanted)) {
                (Some(value), Some(wanted)) => order.accepts(value.cmp(&wanted)),
                _ => false,
            },
            Test::Address => within(value, wanted),
        }
    }
}

fn ordered(operator: &str) -> Option<(Test, bool)> {
    let (test, rest): (fn(Order) -> Test, &str) = operator
        .strip_prefix("Numeric")
        .map(|rest| (Test::Number as fn(Order) -> Test, rest))
        .or_else(|| operator.strip_prefix("Date").map(|rest| (Test::Date as fn(Order) -> Test, rest)))?;
    let (order, negated) = match rest {
        "Equals" => (Order::Equal, false),
        "NotEquals" => (Order::Equal, true),
        "LessThan" => (Order::Less, false),
        "LessThanEquals" => (Order::LessOrEqual, false),
        "GreaterThan" => (Order::Greater, false),
        "GreaterThanEquals" => (Order::GreaterOrEqual, false),
        _ => return None,
    };
    Some((test(order), negated))
}

impl Order {
    fn accepts(self, found: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => found.is_eq(),
            Self::Less => found.is_lt(),
            Self::LessOrEqual => found.is_le(),
            Self::Greater => found.is_gt(),
            Self::GreaterOrEqual => found.is_ge(),
        }
    }
}

/// A moment, written as in ISO 8601 or in seconds since 1970.
fn date(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| Timestamp::from_second(text.parse().ok()?).ok())
}

/// Whether an IPv4 or IPv6 address lies in a network.
fn within(address: &str, network: &str) -> bool {
    let (base, bits) = network.split_once('/').map_or((network, None), |(base, bits)| (base, bits.parse::<u32>().ok()));
    let shifted = |value: u128, width: u32| value.checked_shr(width - bits.unwrap_or(width).min(width)).unwrap_or(0);
    match (address.parse(), base.parse()) {
        (Ok(std::net::IpAddr::V4(address)), Ok(std::net::IpAddr::V4(base))) => {
            shifted(u128::from(address.to_bits()), 32) == shifted(u128::from(base.to_bits()), 32)
        }
        (Ok(std::net::IpAddr::V6(address)), Ok(std::net::IpAddr::V6(base))) => {
            shifted(address.to_bits(), 128) == shifted(base.to_bits(), 128)
        }
        _ => false,
    }
}

/// Whether a text fits a pattern with `*` and `?`.
#[must_use]
pub(crate) fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while place < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || text.get(place) == Some(&plain(*wanted)) => {
                at += 1;
                place += 1;
            }
            _ => match &mut star {
                Some((star_at, taken)) => {
                    *taken += 1;
                    at = *star_at + 1;
                    place = *taken;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == '*')
}

/// Stand for `*`, `?` and `$` that are no wildcards and begin no variable: `${*}` and so on.
const PLAIN: [(char, char); 3] = [('\u{e000}', '*'), ('\u{e001}', '?'), ('\u{e002}', '$')];

fn plain(letter: char) -> char {
    PLAIN.iter().find(|(stands, _)| *stands == letter).map_or(letter, |(_, letter)| *letter)
}

/// Puts the values of policy variables, `${aws:userid}`, into a text; nothing when one has no single value, and then nothing matches.
#[must_use]
pub(crate) fn expand(text: &str, context: &Context) -> Option<String> {
    let mut found = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, tail) = after.split_once('}')?;
        found.push_str(before);
        if let Some((stands, _)) = PLAIN.iter().find(|(_, letter)| name.chars().eq([*letter])) {
            found.push(*stands);
            rest = tail;
            continue;
        }
        let (name, default) = name.split_once(',').map_or((name, None), |(name, default)| (name, Some(default.trim().trim_matches('\''))));
        match context.get(&name.trim().to_lowercase()).map(Vec::as_slice) {
            Some([value]) => found.push_str(value),
            _ => found.push_str(default?),
        }
        rest = tail;
    }
    found.push_str(rest);
    Some(found)
}
