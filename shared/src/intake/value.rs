//! Looking into JSON without caring for casing: GuardDuty writes one field as `resourceRole` on EventBridge and as
//! `ResourceRole` in its API, and Security Hub turns numbers and booleans into text.

use std::net::IpAddr;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde_json::Value;

/// Whether two field names are the same but for case and underscores.
fn same_name(one: &str, other: &str) -> bool {
    fn plain(name: &str) -> impl Iterator<Item = u8> {
        name.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase())
    }
    plain(one).eq(plain(other))
}

/// The field `name`, in whatever casing; absent when null.
pub(super) fn get<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let map = value.as_object()?;
    let found = map.get(name).or_else(|| map.iter().find(|(key, _)| same_name(key, name)).map(|(_, inner)| inner));
    found.filter(|inner| !inner.is_null())
}

/// The field's name as the document writes it.
pub(super) fn spelling<'a>(value: &'a Value, name: &'a str) -> &'a str {
    let Some(map) = value.as_object() else { return name };
    if map.contains_key(name) {
        return name;
    }
    map.keys().find(|key| same_name(key, name)).map_or(name, String::as_str)
}

/// The field at the end of a path of names.
pub(super) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |inner, name| get(inner, name))
}

/// The text at the end of a path: trimmed, absent when empty.
pub(super) fn text_at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    text(at(value, path)?)
}

/// A text: trimmed, absent when empty.
pub(super) fn text(value: &Value) -> Option<&str> {
    value.as_str().map(str::trim).filter(|text| !text.is_empty())
}

/// The elements of a list, or the value itself where a single one stands in its place.
pub(super) fn elements(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    let (list, single) = match value {
        Some(Value::Array(list)) => (list.as_slice(), None),
        Some(other @ Value::Object(_)) => (&[][..], Some(other)),
        _ => (&[][..], None),
    };
    list.iter().chain(single)
}

/// The list `name`, also where it was flattened to `name.0_`, `name.1_`, … as Security Hub does.
pub(super) fn list<'a>(value: &'a Value, name: &'a str) -> impl Iterator<Item = &'a Value> {
    let flat = value.as_object().into_iter().flatten().filter_map(move |(key, inner)| {
        let (base, index) = key.split_once('.')?;
        (same_name(base, name) && index.trim_end_matches('_').bytes().all(|b| b.is_ascii_digit())).then_some(inner)
    });
    elements(get(value, name)).chain(flat)
}

/// A number, also one written as text.
pub(super) fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| text(value)?.parse().ok()).filter(|number: &f64| number.is_finite())
}

/// A whole number, also one written as text.
pub(super) fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| text(value)?.parse().ok())
}

/// A port.
pub(super) fn port(value: &Value) -> Option<u16> {
    whole(value).and_then(|number| u16::try_from(number).ok())
}

/// A boolean, also one written as text.
pub(super) fn flag(value: &Value) -> Option<bool> {
    value.as_bool().or_else(|| match text(value)?.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    })
}

/// An IP address. `0.0.0.0` and `::` stand for none.
pub(super) fn address(value: &Value) -> Option<IpAddr> {
    text(value)?.parse().ok().filter(|address: &IpAddr| !address.is_unspecified())
}

/// The date and time at the end of a path.
pub(super) fn time_at(value: &Value, path: &[&str]) -> Option<Timestamp> {
    at(value, path).and_then(time)
}

/// A date and time: RFC 3339, the same without an offset (taken as UTC), `Wed Sep 04 16:59:44.356 UTC 2024` as
/// Inspector writes it, or a number of seconds or milliseconds since the Unix epoch.
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    if let Some(number) = value.as_i64() {
        return epoch(number);
    }
    if let Some(number) = value.as_f64() {
        return epoch(whole_seconds(number)?);
    }
    let text = text(value)?;
    if let Ok(stamp) = text.parse::<Timestamp>() {
        return Some(stamp);
    }
    if let Ok(civil) = text.parse::<DateTime>() {
        return TimeZone::UTC.to_timestamp(civil).ok();
    }
    if let Ok(number) = text.parse::<i64>() {
        return epoch(number);
    }
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let &[_, month, day, clock, "UTC" | "GMT" | "Z", year] = words.as_slice() else { return None };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| month.starts_with(name))? + 1;
    format!("{year}-{month:02}-{day:0>2}T{clock}Z").parse().ok()
}

/// Seconds below the year 5138, milliseconds above.
fn epoch(number: i64) -> Option<Timestamp> {
    if number.unsigned_abs() < 100_000_000_000 { Timestamp::from_second(number).ok() } else { Timestamp::from_millisecond(number).ok() }
}

fn whole_seconds(number: f64) -> Option<i64> {
    format!("{number:.0}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_is_found_in_either_casing() {
        for document in [json!({"resourceRole": "ACTOR"}), json!({"ResourceRole": "ACTOR"}), json!({"resource_role": "ACTOR"})] {
            assert_eq!(text_at(&document, &["resourceRole"]), Some("ACTOR"), "{document}");
        }
        assert_eq!(get(&json!({"a": null}), "a"), None);
        assert_eq!(spelling(&json!({"AccountId": 1}), "accountId"), "AccountId");
    }

    #[test]
    fn a_flattened_list_reads_like_a_list() {
        let flat = json!({"portProbeDetails.0_": {"n": 1}, "portProbeDetails.1_": {"n": 2}, "portProbeDetails.x": {"n": 3}});
        assert_eq!(list(&flat, "portProbeDetails").count(), 2);
        assert_eq!(list(&json!({"PortProbeDetails": [{}, {}, {}]}), "portProbeDetails").count(), 3);
    }

    #[test]
    fn every_way_aws_writes_a_time_is_read() {
        let expected: Timestamp = "2024-09-04T16:59:44.356Z".parse().unwrap();
        for text in [
            "2024-09-04T16:59:44.356Z",
            "2024-09-04T16:59:44.356+00:00",
            "2024-09-04T12:59:44.356-04:00",
            "2024-09-04 16:59:44.356",
            "2024-09-04 16:59:44.356000000",
            "2024-09-04T16:59:44.356",
            "Wed Sep 04 16:59:44.356 UTC 2024",
            "Wed Sep 4 16:59:44.356 UTC 2024",
            "1725469184356",
        ] {
            assert_eq!(time(&json!(text)), Some(expected), "{text}");
        }
        assert_eq!(time(&json!(1_725_469_184_356_i64)), Some(expected));
        assert_eq!(time(&json!(1_725_469_184)), "2024-09-04T16:59:44Z".parse().ok());
        for nonsense in ["", "YYYY-MM-DDTHH:MM:SSZ", "Wed Foo 04 16:59:44 UTC 2024", "9999999999999999999"] {
            assert_eq!(time(&json!(nonsense)), None, "{nonsense}");
        }
    }

    #[test]
    fn numbers_and_flags_may_be_texts() {
        assert_eq!(port(&json!("22")), Some(22));
        assert_eq!(port(&json!(65_536)), None);
        assert_eq!(flag(&json!("False")), Some(false));
        assert_eq!(whole(&json!("3")), Some(3));
        assert_eq!(number(&json!("NaN")), None);
    }
}
