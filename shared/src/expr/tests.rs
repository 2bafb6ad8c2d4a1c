use proptest::prelude::*;
use serde_json::json;

use super::*;

fn data() -> Value {
    json!({
        "finding": {
            "role": "TARGET", "severity": 20, "sample": false, "half": 1.5,
            "network": { "local_port": 22, "remote_ips": ["192.0.2.1", "198.51.100.7"] },
        },
        "subject": { "id": "i-0abc", "arn": null },
        "steps": { "find-logins": { "outcome": { "confirmed": 2, "verdict": "confirmed" } } },
    })
}

fn eval(text: &str) -> Value {
    Expr::parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}")).eval(&data()).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn holds(text: &str) {
    assert_eq!(eval(text), json!(true), "{text}");
}

fn eval_error(text: &str) -> String {
    Expr::parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}")).truth(&data()).expect_err(text).to_string()
}

fn parse_error(text: &str) -> (String, String) {
    let error = Expr::parse(text).expect_err(text);
    (text.get(error.at.clone()).unwrap_or_default().to_owned(), error.why)
}

#[test]
fn a_path_gives_the_value_it_leads_to_and_null_where_there_is_none() {
    assert_eq!(eval("finding.network.local_port"), json!(22));
    assert_eq!(eval("finding.network.remote_ips[1]"), json!("198.51.100.7"));
    assert_eq!(eval("steps.find-logins.outcome.confirmed"), json!(2));
    for missing in ["account", "finding.nothing.at.all", "finding.network.remote_ips[9]", "finding.role[0]", "finding[0]", "finding.role.x"]
    {
        assert_eq!(eval(missing), Value::Null, "{missing}");
    }
}

#[test]
fn operators_bind_as_in_the_table() {
    holds("true or false and false");
    holds("not false and true");
    holds("not finding.role == 'ACTOR'");
    holds("finding.network.remote_port ?? 22 == 22");
    holds("finding.a ?? finding.b ?? 7 == 7");
    holds("(true or false) and !(false)");
    holds("true && true || false");
    holds("finding.network.local_port in [22, 3389] and 'x' != 'y'");
    holds("2 <= 2 and 2 >= 2 and 1 < 2 and 'b' > 'a' and -1.5 < 0");
    holds("begins('abc', 'ab') and begins(subject.id, subject.id) and not begins('a', 'ab') and begins('', '')");
    holds("len(finding.network.remote_ips) == 2 and len('äö') == 2 and len(subject) == 2");
    assert_eq!(eval("if finding.role == 'TARGET' then 22 else 3389"), json!(22));
    assert_eq!(eval("finding.none ?? (if finding.sample then 1 else 2)"), json!(2));
    assert_eq!(eval("['a', [1], finding.role,]"), json!(["a", [1], "TARGET"]));
}

#[test]
fn types_are_compared_strictly_and_numbers_by_value() {
    holds("22 == 22.0 and finding.network.local_port == 22.0 and finding.half == 1.5");
    holds("'22' != 22 and 0 != false and null != false and null == finding.nothing");
    holds("[1, 2] == [1.0, 2] and 1.0 in [1]");
    holds("9007199254740993 > 9007199254740992");
}

#[test]
fn what_cannot_be_answered_is_an_error_and_never_false() {
    assert_eq!(eval_error("finding.nothing > 5"), "`finding.nothing > 5`: null and a number cannot be put in order");
    assert_eq!(eval_error("true and '22' < 23"), "`true and '22' < 23`: a text and a number cannot be put in order");
    assert_eq!(eval_error("true < false"), "`true < false`: a boolean and a boolean have no order");
    assert_eq!(eval_error("finding.role"), "`finding.role`: true or false is wanted here, but this is a text");
    assert_eq!(eval_error("not finding.nothing"), "`not finding.nothing`: true or false is wanted here, but this is null");
    assert_eq!(
        eval_error("1 in finding.nothing"),
        "`1 in finding.nothing`: `in` wants a list, but this is null; give a default, as in `(… ?? [])`"
    );
    assert_eq!(eval_error("len(finding.nothing) == 0"), "`len(finding.nothing) == 0`: `len` of null; give a default, as in `len(… ?? [])`");
    assert_eq!(eval_error("begins(finding.nothing, 'x')"), "`begins(finding.nothing, 'x')`: `begins` compares texts, and this is null");
    assert_eq!(eval_error("len(5) == 0"), "`len(5) == 0`: a number has no length");
}

#[test]
fn an_eval_error_points_at_the_part_that_failed() {
    let expr = Expr::parse("finding.sample or finding.role").unwrap();
    assert_eq!(expr.truth(&data()).unwrap_err().at, 18..30);
}

#[test]
fn no_more_is_computed_than_needed() {
    holds("true or 1 < 'a'");
    holds("not (false and 1 < 'a')");
    holds("if true then true else 1 < 'a'");
    holds("finding.role ?? (1 < 'a') == 'TARGET'");
}

#[test]
fn a_parse_error_says_where_and_why() {
    for (text, at, why) in [
        ("", "", "a value is missing: the text ends here"),
        ("findng.role", "findng", "nothing is called `findng`: did you mean `finding`?"),
        (
            "TARGET == 1",
            "TARGET",
            "nothing is called `TARGET`: a path begins with one of finding, subject, account, steps; a text stands in quotes",
        ),
        ("finding.role = 'x'", "=", "`=` alone means nothing here; equality is `==`"),
        ("finding.role == 'x", "'x", "this text is never closed: `'` is missing"),
        ("1 < 2 < 3", "<", "comparisons do not chain; join them with `and`"),
        ("(true", "", "expected `)` to close the bracket"),
        ("true true", "true", "the expression should end before `true`"),
        ("finding..x", ".", "expected a name after `.`"),
        ("finding.x[y]", "y", "expected the number of an element, from 0"),
        ("finding.x[-1]", "-1", "expected the number of an element, from 0"),
        ("max(1)", "max", "there is no function `max`; there are `begins` and `len`"),
        ("1 + 2", "+", "there is no arithmetic: `+`"),
        ("0x16 == 1", "0x16", "`0x16` is not a number"),
        ("1 and", "", "a value is missing: the text ends here"),
        ("and 1", "and", "a value is missing before `and`"),
        ("[1 2]", "2", "expected `]` or `,` in this list"),
        ("if true then 1", "", "expected `else` and the other value"),
        (r"'a\q'", r"\q", r#"unknown escape `\q`; known are \\ \' \" \n \t"#),
        ("finding.naïve", "ï", "unexpected `ï`"),
    ] {
        assert_eq!(parse_error(text), (at.to_owned(), why.to_owned()), "{text}");
    }
}

#[test]
fn depth_and_length_are_bounded() {
    assert!(parse_error(&"(".repeat(1000)).1.contains("nested deeper"));
    assert!(parse_error(&"not ".repeat(1000)).1.contains("nested deeper"));
    assert!(parse_error(&"[".repeat(1000)).1.contains("nested deeper"));
    assert!(parse_error(&"!".repeat(5000)).1.contains("longer than"));
    let wide = ["true"; 400].join(" and ");
    holds(&wide);
}

#[test]
fn the_paths_and_the_text_come_back() {
    let text = "steps.find-logins.outcome.confirmed > 0 and finding.network.remote_ips[0] in [subject.id] or len(account) == 0";
    let expr = Expr::parse(text).unwrap();
    let paths: Vec<String> = expr.paths().map(|path| path.join("/")).collect();
    assert_eq!(paths, ["steps/find-logins/outcome/confirmed", "finding/network/remote_ips/0", "subject/id", "account"]);
    assert_eq!(expr.to_string(), text);
}

#[test]
fn a_text_that_is_one_expression_keeps_its_type_and_others_are_joined() {
    let template = json!({
        "port": "${finding.network.local_port ?? 22}",
        "ips": "${finding.network.remote_ips}",
        "list": ["${finding.severity}", 5, true],
        "note": "port ${finding.network.local_port} of ${subject.id}",
        "brace": "${'}'}",
        "plain": "$${not.an.expression} costs $5",
        "deep": { "none": "${subject.arn}" },
    });
    let template = Template::parse(&template).unwrap();
    assert_eq!(
        template.render(&data()).unwrap(),
        json!({
            "port": 22,
            "ips": ["192.0.2.1", "198.51.100.7"],
            "list": [20, 5, true],
            "note": "port 22 of i-0abc",
            "brace": "}",
            "plain": "${not.an.expression} costs $5",
            "deep": { "none": null },
        })
    );
    assert_eq!(template.paths().count(), 6);
    assert_eq!(template.keys().count(), 7);
}

#[test]
fn null_and_lists_do_not_vanish_inside_a_text() {
    let render = |text: &str| Template::parse(&json!(text)).unwrap().render(&data()).unwrap_err().to_string();
    assert_eq!(
        render("at ${subject.arn}"),
        "`subject.arn`: it stands inside a text, but is null; give a default, as in `${… ?? 'unknown'}`"
    );
    assert_eq!(render("from ${finding.network.remote_ips}"), "`finding.network.remote_ips`: it stands inside a text, but is a list");
}

#[test]
fn before_a_run_outcomes_are_not_known_and_what_is_known_may_settle_it_all_the_same() {
    let data = json!({ "finding": { "role": "TARGET" }, "steps": { "skipped": { "outcome": null } } });
    let foresee = |text: &str| Expr::parse(text).unwrap().foresee_truth(&data);
    let unknown = |what: &str| Ok(Foreseen::DependsOn(what.to_owned()));
    assert_eq!(foresee("finding.role == 'TARGET'"), Ok(Foreseen::Known(true)));
    assert_eq!(foresee("steps.find.outcome.n == 1"), unknown("the outcome of `find`"));
    assert_eq!(foresee("steps.find.outcome.n == 1 and finding.role == 'ACTOR'"), Ok(Foreseen::Known(false)));
    assert_eq!(foresee("finding.role == 'TARGET' or steps.find.outcome.n == 1"), Ok(Foreseen::Known(true)));
    assert_eq!(foresee("not (steps.find.outcome.n == 1 or steps.other.outcome)"), unknown("the outcome of `find`"));
    assert_eq!(foresee("if steps.find.outcome.n == 1 then true else true"), unknown("the outcome of `find`"));
    assert_eq!(foresee("account.name == 'x'"), unknown("the account"));
    assert_eq!(foresee("steps.skipped.outcome.n == 1"), Ok(Foreseen::Known(false)));
    // What can never be computed is still an error.
    assert!(foresee("steps.find.outcome.n == 1 or finding.role").is_err());
    assert_eq!(Expr::parse("steps.find.outcome.n").unwrap().foresee(&data), Ok(Foreseen::DependsOn("the outcome of `find`".to_owned())));

    let template =
        Template::parse(&json!({ "a": "${steps.find.outcome.n}", "b": ["${finding.role}", "is ${steps.find.outcome.n ?? 1}"] })).unwrap();
    let (value, unknown) = template.foresee(&data).unwrap();
    assert_eq!(value, json!({ "a": "${steps.find.outcome.n}", "b": ["TARGET", "is ${steps.find.outcome.n ?? 1}"] }));
    assert_eq!(unknown, ["the outcome of `find`"]);
}

#[test]
fn a_template_error_says_in_which_text_and_where() {
    let error = Template::parse(&json!({ "a": [1, { "b": "x ${findng}" }] })).unwrap_err();
    assert_eq!((error.path.as_str(), error.at), ("a[1].b", 4..10));
    let error = Template::parse(&json!("ä ${'}")).unwrap_err();
    assert_eq!((error.at, error.why.as_str()), (3..7, "`${` is never closed: `}` is missing (a plain `${` is written `$${`)"));
    assert_eq!(Template::parse(&json!("${}")).unwrap_err().at, 2..2);
}

#[test]
fn a_template_too_deep_is_an_error() {
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    assert!(Template::parse(&deep).unwrap_err().why.contains("nested deeper"));
}

proptest! {
    #[test]
    fn any_text_parses_or_fails_within_itself(text in r#"([ -~é]|finding|steps\.a|\?\?|==|and|not|in|len\(|'|\[|\]|if|then|else){0,20}"#) {
        match Expr::parse(&text) {
            Ok(expr) => {
                let (value, truth) = (expr.eval(&data()), expr.truth(&data()));
                prop_assert!(value.is_ok() || truth.is_err());
                prop_assert!(expr.paths().all(|path| ROOTS.contains(&path[0].as_str())));
            }
            Err(error) => prop_assert!(text.get(error.at.clone()).is_some(), "{:?}", error),
        }
    }

    #[test]
    fn any_text_is_a_template_or_fails_within_itself(text in r#"([ -~é]|\$\{|\}|\$\$\{|finding\.role|'){0,20}"#) {
        match Template::parse(&json!(text)) {
            Ok(template) => drop(template.render(&data())),
            Err(error) => prop_assert!(text.get(error.at.clone()).is_some(), "{:?}", error),
        }
    }
}
