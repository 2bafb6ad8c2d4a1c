//! Intake as a whole: whatever goes in comes out as something.

use proptest::prelude::*;

use super::{Item, MAX_DOCUMENT_BYTES, Rejection, codes, documents, read};

const EVENT: &str = r#"{"version":"0","detail-type":"GuardDuty Finding","source":"aws.guardduty","account":"111122223333","region":"eu-west-1",
 "detail":{"accountId":"111122223333","region":"eu-west-1","id":"f","arn":"arn:aws:guardduty:eu-west-1:111122223333:detector/d/finding/f",
 "type":"UnauthorizedAccess:EC2/SSHBruteForce","title":"é \" \\ brute force","severity":2.0,"resource":{"instanceDetails":{"instanceId":"i-1"}},
 "service":{"resourceRole":"TARGET","count":3,"action":{"networkConnectionAction":{"localPortDetails":{"port":22},
 "remoteIpDetails":{"ipAddressV4":"192.0.2.7"}}}}}}"#;

/// Everything in `bytes`.
fn items(bytes: &[u8]) -> Vec<Item> {
    let told = |found| match found {
        Ok(document) => read(&document).into_iter().map(|(_, item)| item).collect(),
        Err((_, why)) => vec![Item::Rejected(why)],
    };
    documents(bytes, "in", MAX_DOCUMENT_BYTES).flat_map(told).collect()
}

#[test]
fn a_truncated_event_is_rejected_with_a_position_wherever_it_ends() {
    assert!(matches!(items(EVENT.as_bytes()).as_slice(), [Item::Finding(_)]));
    for end in 1..EVENT.len() {
        let found = items(&EVENT.as_bytes()[..end]);
        let positioned = |why: &Rejection| why.reason.starts_with("line ") && why.reason.contains(", column ");
        assert!(matches!(found.as_slice(), [Item::Rejected(why)] if positioned(why)), "{end}: {found:?}");
    }
}

#[test]
fn codes_are_distinct_and_documented() {
    let page = include_str!("../../../docs/errors-intake.md");
    for (index, code) in codes::ALL.iter().enumerate() {
        assert!(!codes::ALL[..index].contains(code), "{code}");
        assert!(page.contains(&format!("| {code} |")), "{code} is not in docs/errors-intake.md");
    }
}

#[test]
fn a_hundred_thousand_lines_are_read_with_their_numbers() {
    let line = EVENT.replace('\n', "");
    let text = format!("{line}\n").repeat(100_000);
    let mut count = 0_u64;
    for found in documents(text.as_bytes(), "in", MAX_DOCUMENT_BYTES) {
        count += 1;
        let document = found.unwrap();
        assert_eq!(document.origin.line, count);
        if count.is_multiple_of(10_000) {
            assert!(matches!(read(&document).as_slice(), [(_, Item::Finding(_))]));
        }
    }
    assert_eq!(count, 100_000);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = items(&bytes);
    }

    #[test]
    fn a_document_is_never_read_as_nothing(json in any_json(3)) {
        let text = serde_json::to_string(&json).unwrap();
        prop_assert!(!items(text.as_bytes()).is_empty(), "{}", text);
    }

    #[test]
    fn an_event_with_any_field_replaced_is_read_without_a_panic(place in 0..30_usize, json in any_json(2)) {
        let mut event: serde_json::Value = serde_json::from_str(EVENT).unwrap();
        let mut left = place;
        replace(&mut event, &mut left, &json);
        prop_assert_eq!(items(event.to_string().as_bytes()).len().min(1), 1);
    }

    #[test]
    fn an_event_with_any_byte_changed_is_read_as_something(at in 0..EVENT.len(), byte in any::<u8>()) {
        let mut bytes = EVENT.as_bytes().to_vec();
        bytes[at] = byte;
        prop_assert!(!items(&bytes).is_empty());
    }
}

/// Replaces the `left`-th value below `value`.
fn replace(value: &mut serde_json::Value, left: &mut usize, with: &serde_json::Value) {
    let inner: Vec<&mut serde_json::Value> = match value {
        serde_json::Value::Object(map) => map.values_mut().collect(),
        serde_json::Value::Array(list) => list.iter_mut().collect(),
        _ => return,
    };
    for one in inner {
        if *left == 0 {
            *one = with.clone();
            *left = usize::MAX;
            return;
        }
        *left = left.saturating_sub(1);
        replace(one, left, with);
    }
}

/// JSON with the names that intake looks for.
fn any_json(depth: u32) -> impl Strategy<Value = serde_json::Value> {
    let names = prop::sample::select(vec![
        "Records",
        "body",
        "Sns",
        "Message",
        "Type",
        "detail",
        "detail-type",
        "source",
        "findings",
        "Findings",
        "ProductArn",
        "AwsAccountId",
        "Id",
        "Resources",
        "class_uid",
        "finding_info",
        "uid",
        "cloud",
        "account",
        "region",
        "accountId",
        "type",
        "resource",
        "service",
        "findingArn",
    ]);
    let texts = prop::sample::select(vec![
        "",
        "111122223333",
        "aws.guardduty",
        "GuardDuty Finding",
        "{}",
        "[1]",
        "arn:aws:ec2:eu-west-1:111122223333:instance/i-1",
        "2004",
    ]);
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        texts.prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(depth, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}
