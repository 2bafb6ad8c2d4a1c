use proptest::prelude::*;
use serde_json::json;

use super::*;

fn pattern(json: Value) -> Pattern {
    Pattern::parse(&json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

#[track_caller]
fn yes(wanted: Value, document: Value) {
    let pattern = pattern(wanted.clone());
    assert!(pattern.matches(&document), "{wanted} should match {document}");
    assert_eq!(pattern.explain(&document), None);
}

#[track_caller]
fn no(wanted: Value, document: Value) {
    let pattern = pattern(wanted.clone());
    assert!(!pattern.matches(&document), "{wanted} should not match {document}");
    assert!(pattern.explain(&document).is_some());
}

fn error(json: Value) -> String {
    Pattern::parse(&json).expect_err(&json.to_string()).to_string()
}

/// The event of <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html>, with what Event Ruler's examples add.
fn event() -> Value {
    json!({
        "version": "0",
        "detail-type": "EC2 Instance State-change Notification",
        "source": "aws.ec2",
        "time": "2017-10-02T16:24:49Z",
        "resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-000000aaaaaa00000"],
        "detail": { "c-count": 5, "d-count": 3, "x-limit": 301.8, "source-ip": "10.0.0.33", "state": "running" },
    })
}

#[test]
fn values_match_exactly_and_by_type() {
    yes(json!({ "source": ["aws.ec2"], "detail": { "state": ["initializing", "running"] } }), event());
    yes(json!({ "resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-000000aaaaaa00000"] }), event());
    no(json!({ "source": ["AWS.EC2"] }), event());
    no(json!({ "source": ["aws.ec2"], "detail": { "state": ["stopped"] } }), event());
    yes(json!({ "a": [1, null, true] }), json!({ "a": null }));
    yes(json!({ "a": [1, null, true] }), json!({ "a": true }));
    yes(json!({ "a": [1] }), json!({ "a": 1.0 }));
    no(json!({ "a": ["1"] }), json!({ "a": 1 }));
    no(json!({ "a": ["true"] }), json!({ "a": true }));
    no(json!({ "a": [null] }), json!({ "a": "" }));
    no(json!({ "a": [null] }), json!({}));
    yes(json!({ "a": [""] }), json!({ "a": "" }));
}

#[test]
fn aws_documented_text_operators() {
    yes(json!({ "time": [{ "prefix": "2017-10-02" }] }), event());
    yes(json!({ "service": [{ "prefix": { "equals-ignore-case": "EventB" } }] }), json!({ "service": "eventbridge" }));
    no(json!({ "service": [{ "prefix": { "equals-ignore-case": "EventBus" } }] }), json!({ "service": "eventb" }));
    yes(json!({ "FileName": [{ "suffix": ".png" }] }), json!({ "FileName": "a.png" }));
    yes(json!({ "service": [{ "suffix": { "equals-ignore-case": "tBridge" } }] }), json!({ "service": "EVENTBRIDGE" }));
    yes(json!({ "detail-type": [{ "equals-ignore-case": "ec2 instance STATE-change notification" }] }), event());
    no(json!({ "a": [{ "equals-ignore-case": "abc" }] }), json!({ "a": "abcd" }));
    no(json!({ "a": [{ "prefix": "1" }] }), json!({ "a": 123 }));
}

#[test]
fn aws_documented_wildcards() {
    let docs = || json!({ "EventBusArn": [{ "wildcard": "arn:aws:events:us-east-1:123456789012:event-bus/*" }] });
    yes(docs(), json!({ "EventBusArn": "arn:aws:events:us-east-1:123456789012:event-bus/custom" }));
    yes(docs(), json!({ "EventBusArn": "arn:aws:events:us-east-1:123456789012:event-bus/" }));
    yes(json!({ "FileName": [{ "wildcard": "dir/*.png" }] }), json!({ "FileName": "dir/a/b.png" }));
    no(json!({ "FileName": [{ "wildcard": "dir/*.png" }] }), json!({ "FileName": "other/dir/a.png" }));
    yes(json!({ "a": [{ "wildcard": "*b*d*" }] }), json!({ "a": "abcde" }));
    no(json!({ "a": [{ "wildcard": "ab*ba" }] }), json!({ "a": "aba" }));
    yes(json!({ "a": [{ "wildcard": r"\*\\*" }] }), json!({ "a": r"*\x" }));
    no(json!({ "a": [{ "wildcard": r"\*" }] }), json!({ "a": "x" }));
    yes(json!({ "a": [{ "wildcard": "*" }] }), json!({ "a": "" }));
}

#[test]
fn anything_but_matches_whatever_else_is_there() {
    yes(json!({ "detail": { "state": [{ "anything-but": "initializing" }] } }), event());
    no(json!({ "detail": { "state": [{ "anything-but": ["stopped", "running"] }] } }), event());
    no(json!({ "detail": { "x-limit": [{ "anything-but": [100, 301.8] }] } }), event());
    yes(json!({ "detail": { "x-limit": [{ "anything-but": [100, 200, 300] }] } }), event());
    yes(json!({ "a": [{ "anything-but": "x" }] }), json!({ "a": 5 }));
    yes(json!({ "a": [{ "anything-but": 5 }] }), json!({ "a": "5" }));
    no(json!({ "a": [{ "anything-but": "x" }] }), json!({ "b": "y" }));
    yes(json!({ "a": [{ "anything-but": "x" }] }), json!({ "a": ["x", "y"] }));
    no(json!({ "region": [{ "anything-but": { "prefix": "us-" } }] }), json!({ "region": "us-east-1" }));
    yes(json!({ "region": [{ "anything-but": { "prefix": ["us-", "eu-"] } }] }), json!({ "region": "ap-south-1" }));
    no(json!({ "f": [{ "anything-but": { "suffix": [".txt", ".png"] } }] }), json!({ "f": "a.png" }));
    no(json!({ "f": [{ "anything-but": { "wildcard": "*/lib/*" } }] }), json!({ "f": "/usr/lib/x" }));
    no(json!({ "s": [{ "anything-but": { "equals-ignore-case": ["initializing", "stopped"] } }] }), json!({ "s": "STOPPED" }));
}

#[test]
fn numbers_are_compared_by_value() {
    let complex = json!({ "detail": {
        "c-count": [{ "numeric": [">", 0, "<=", 5] }], "d-count": [{ "numeric": ["<", 10] }], "x-limit": [{ "numeric": ["=", 3.018e2] }],
    } });
    yes(complex, event());
    no(json!({ "a": [{ "numeric": [">", 0, "<", 5] }] }), json!({ "a": 5 }));
    no(json!({ "a": [{ "numeric": [">=", 0] }] }), json!({ "a": "5" }));
    no(json!({ "a": [{ "numeric": [">=", 0] }] }), json!({ "a": 6e9 }));
    yes(json!({ "a": [111_122_223_333_u64] }), json!({ "a": 111_122_223_333_u64 }));
    yes(json!({ "a": [0.1] }), json!({ "a": 0.100_000_04 }));
}

#[test]
fn addresses_match_as_addresses() {
    yes(json!({ "detail": { "source-ip": [{ "cidr": "10.0.0.0/24" }] } }), event());
    no(json!({ "detail": { "source-ip": [{ "cidr": "10.0.1.0/24" }] } }), event());
    yes(json!({ "a": [{ "cidr": "2001:db8::/32" }] }), json!({ "a": "2001:0DB8::1" }));
    yes(json!({ "a": ["2001:db8::1"] }), json!({ "a": "2001:0db8:0:0:0:0:0:1" }));
    no(json!({ "a": [{ "cidr": "0.0.0.0/0" }] }), json!({ "a": "not an address" }));
}

#[test]
fn exists_looks_at_leaves_only() {
    yes(json!({ "detail": { "c-count": [{ "exists": true }] } }), event());
    no(json!({ "detail": { "none": [{ "exists": true }] } }), event());
    yes(json!({ "detail": { "none": [{ "exists": false }] } }), event());
    no(json!({ "detail": { "c-count": [{ "exists": false }] } }), event());
    yes(json!({ "a": [{ "exists": true }] }), json!({ "a": null }));
    yes(json!({ "a": [{ "exists": false }] }), json!({ "a": { "c1": 100 } }));
    yes(json!({ "a": [{ "exists": false }] }), json!({ "a": [] }));
    yes(json!({ "a": [{ "exists": false }, "x"] }), json!({ "a": "x" }));
    yes(json!({ "a": [{ "exists": false }, "x"] }), json!({}));
    no(json!({ "a": [{ "exists": false }, "x"] }), json!({ "a": "y" }));
}

#[test]
fn lists_are_looked_through_but_never_mixed() {
    let employees = json!({ "employees": [
        { "firstName": "John", "lastName": "Doe" }, { "firstName": "Anna", "lastName": "Smith" }, { "firstName": "Peter", "lastName": "Jones" },
    ] });
    yes(json!({ "employees": { "firstName": ["Anna"] } }), employees.clone());
    yes(json!({ "employees": { "firstName": ["Anna"], "lastName": ["Smith"] } }), employees.clone());
    no(json!({ "employees": { "firstName": ["Anna"], "lastName": ["Jones"] } }), employees.clone());
    let nested = json!({ "e": [[{ "f": "John", "l": "Doe" }, { "f": "Anna", "l": "Smith" }], [{ "f": "Peter", "l": "Jones" }]] });
    yes(json!({ "e": { "f": ["Anna"], "l": ["Smith"] } }), nested.clone());
    no(json!({ "e": { "f": ["Anna"], "l": ["Jones"] } }), nested);
    let absent = json!({ "e": [{ "a": 1 }, { "a": 2, "b": 1 }] });
    yes(json!({ "e": { "a": [1], "b": [{ "exists": false }] } }), absent.clone());
    no(json!({ "e": { "a": [2], "b": [{ "exists": false }] } }), absent);
}

#[test]
fn a_name_with_dots_is_the_same_as_names_nested() {
    yes(json!({ "detail": { "state.status": ["running"] } }), json!({ "detail": { "state": { "status": "running" } } }));
    yes(json!({ "detail": { "state": { "status": ["running"] } } }), json!({ "detail": { "state.status": "running" } }));
}

#[test]
fn or_is_true_when_one_branch_is() {
    let docs = || {
        json!({
            "source": ["aws.cloudwatch"],
            "$or": [{ "metricName": ["CPUUtilization", "ReadLatency"] }, { "metricType": ["MetricType"], "namespace": ["AWS/EC2", "AWS/ES"] }, { "scope": ["Service"] }],
        })
    };
    yes(docs(), json!({ "source": "aws.cloudwatch", "metricName": "ReadLatency" }));
    yes(docs(), json!({ "source": "aws.cloudwatch", "metricType": "MetricType", "namespace": "AWS/ES" }));
    no(docs(), json!({ "source": "aws.cloudwatch", "metricType": "MetricType" }));
    no(docs(), json!({ "source": "aws.ec2", "scope": "Service" }));
    let nested = || json!({ "detail": { "$or": [{ "a": [1] }, { "b": [1], "$or": [{ "c": [1] }, { "d": [1] }] }] } });
    yes(nested(), json!({ "detail": { "b": 1, "d": 1 } }));
    no(nested(), json!({ "detail": { "b": 1 } }));
}

#[test]
fn explain_names_the_first_field_that_does_not_match() {
    let explain = |wanted: Value, document: Value| pattern(wanted).explain(&document).unwrap().to_string();
    assert_eq!(explain(json!({ "source": ["aws.s3"] }), event()), r#"`source` is "aws.ec2", wanted is ["aws.s3"]"#);
    assert_eq!(explain(json!({ "a": { "b": [1] } }), json!({ "a": {} })), "`a.b` is missing, wanted is [1]");
    assert_eq!(explain(json!({ "a": [1] }), json!([])), "`the document` is a list, wanted is an object");
    let nearest = json!({ "$or": [{ "a": [1], "b": [1] }, { "c": [1] }] });
    assert_eq!(explain(nearest, json!({ "a": 1, "b": 2 })), "`b` is 2, wanted is [1]");
    assert_eq!(
        explain(json!({ "e": { "a": [1], "b": [2] } }), json!({ "e": [{ "a": 1, "b": 1 }, { "a": 2, "b": 2 }] })),
        "`e.b` is 1, 2 (not in the same element as the fields before), wanted is [2]"
    );
}

#[test]
fn the_pattern_comes_back_as_it_was() {
    let json = json!({ "$or": [{ "a": [{ "numeric": [">", 0.5] }] }, { "b": { "c": [null] } }] });
    let pattern = pattern(json.clone());
    assert_eq!(pattern.to_json(), json);
    assert_eq!(pattern.fields().collect::<Vec<_>>(), ["a", "b.c"]);
}

#[test]
fn what_eventbridge_would_refuse_is_refused_with_its_place() {
    for (json, wanted) in [
        (json!([]), "a pattern is an object: field names, each with a list of values"),
        (json!({}), "an empty object matches nothing; name a field"),
        (json!({ "a": {} }), "`a`: an empty object matches nothing; name a field"),
        (json!({ "a": [] }), "`a`: an empty list matches nothing; list a value"),
        (json!({ "a": "x" }), "`a`: the values stand in a list, even a single one: `[…]`"),
        (json!({ "a": [{ "prefx": "x" }] }), "`a.0.prefx`: unknown operator `prefx`: did you mean `prefix`?"),
        (json!({ "a": [{ "prefix": 5 }] }), "`a.0.prefix`: this takes a text"),
        (json!({ "a": [{ "prefix": { "suffix": "x" } }] }), "`a.0.prefix`: `prefix` takes a text or `{ equals-ignore-case = … }`"),
        (json!({ "a": [{ "prefix": "x", "suffix": "y" }] }), "`a.0`: an operator is an object with exactly one key"),
        (json!({ "a": [{ "wildcard": "a**" }] }), "`a.0.wildcard`: two `*` in a row are not allowed"),
        (json!({ "a": [{ "wildcard": "a\\b" }] }), "`a.0.wildcard`: `\\` may only stand before `*` or another `\\`"),
        (
            json!({ "a": [{ "anything-but": ["x", 1] }] }),
            "`a.0.anything-but`: `anything-but` takes a text, a number, a list of texts or a list of numbers",
        ),
        (
            json!({ "a": [{ "anything-but": { "prefix": "" } }] }),
            "`a.0.anything-but.prefix`: every text begins and ends with the empty text",
        ),
        (json!({ "a": [{ "numeric": [">", 5, "<", 5] }] }), "`a.0.numeric`: the range is empty: its lower end must be below its upper end"),
        (json!({ "a": [{ "numeric": [">", 6e9] }] }), "`a.0.numeric`: numbers can be compared from -5e9 to 5e9"),
        (json!({ "a": [{ "exists": "yes" }] }), "`a.0.exists`: `exists` takes true or false"),
        (json!({ "a": [{ "cidr": "10.0.0.5/24" }] }), "`a.0.cidr`: `10.0.0.5/24` has host bits set; did you mean `10.0.0.0/24`?"),
        (json!({ "a": [{ "cidr": "10.0.0.0" }] }), "`a.0.cidr`: `10.0.0.0` is not a CIDR block such as `10.0.0.0/8`"),
        (json!({ "$or": [{ "a": [1] }] }), "`$or`: `$or` takes a list of two objects or more"),
        (
            json!({ "$or": [{ "prefix": ["x"] }, { "a": [1] }] }),
            "`$or.0.prefix`: `prefix` is an operator and cannot name a field inside `$or`",
        ),
        (json!({ "a": [1], "$or": [{ "a": [2] }, { "b": [2] }] }), "`a`: `a` is named twice; list all its values in one place"),
    ] {
        assert_eq!(error(json.clone()), wanted, "{json}");
    }
    for form in [json!([">"]), json!([5, ">"]), json!(["<", 5, ">", 1]), json!(["!", 5]), json!([]), json!(5)] {
        assert!(error(json!({ "a": [{ "numeric": form }] })).contains("`numeric` takes an operator and a number"), "{form}");
    }
}

#[test]
fn every_error_of_a_pattern_is_found_at_once() {
    assert_eq!(Pattern::parse_all(&json!({ "a": [], "b": [{ "x": 1 }, [1]], "c": 1 })).unwrap_err().len(), 4);
}

#[test]
fn the_combinations_of_or_are_bounded() {
    let or = |name: &str| json!({ "$or": (0..11).map(|n| json!({ format!("{name}{n}"): [1] })).collect::<Vec<_>>() });
    assert!(error(json!({ "a": or("x"), "b": or("x"), "c": or("x") })).contains("more than 1000 combinations"));
}

#[test]
fn many_lists_do_not_make_matching_slow() {
    let element = |n: usize| json!({ "x": n, "y": n + 1 });
    let list = |_: &str| Value::Array((0..300).map(element).collect());
    let document: Value =
        ["a", "b", "c", "d", "e"].into_iter().map(|name| (name.to_owned(), list(name))).collect::<serde_json::Map<_, _>>().into();
    let fields: Value = ["a", "b", "c", "d", "e"]
        .into_iter()
        .map(|name| (name.to_owned(), json!({ "x": [{ "exists": true }], "y": [{ "exists": true }] })))
        .collect::<serde_json::Map<_, _>>()
        .into();
    yes(fields, document);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-c*\\\\./0-9]{0,5}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        4 => "[a-c]".boxed(),
        2 => prop::sample::select(vec!["$or", "prefix", "suffix", "wildcard", "anything-but", "numeric", "exists", "cidr", "equals-ignore-case"])
            .prop_map(str::to_owned)
            .boxed(),
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_a_pattern_or_an_error_and_explain_agrees_with_matches(json in any_json(), document in any_json()) {
        if let Ok(pattern) = Pattern::parse(&json) {
            prop_assert_eq!(pattern.matches(&document), pattern.explain(&document).is_none());
            prop_assert_eq!(&Pattern::parse(&pattern.to_json()).unwrap(), &pattern);
        }
    }

    #[test]
    fn a_document_matches_the_pattern_made_of_its_own_leaves(a in "[a-z0-9.:]{0,8}", b in any::<i64>(), c in any::<bool>()) {
        let pattern = pattern(json!({ "x": { "a": [a], "b": [b] }, "c": [c] }));
        let document = json!({ "x": [{ "a": 1 }, { "a": a, "b": b }], "c": [c, "other"] });
        prop_assert!(pattern.matches(&document));
    }
}
