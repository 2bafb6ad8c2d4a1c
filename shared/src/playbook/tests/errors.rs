//! What people are shown when a playbook is wrong.

use super::*;

#[track_caller]
fn fails(text: &str, wanted: &str) {
    let errors = Playbook::parse(text, "p.toml").expect_err("it should have failed");
    assert_eq!(shown(&errors), wanted.trim_matches('\n'));
}

#[track_caller]
pub(super) fn steps_fail(text: &str, wanted: &str) {
    fails(&format!("{HEAD}{text}"), wanted);
}

#[test]
fn what_is_no_toml_is_shown_where_it_breaks() {
    fails(
        "name = \"p\"\ntitle = oops\n",
        r#"
error: this is not TOML: string values must be quoted, expected literal string
 --> p.toml:2:9
  |
2 | title = oops
  |         ^^^^
"#,
    );
}

#[test]
fn everything_missing_is_named_at_once() {
    fails(
        "",
        r#"
error: `name` is missing
 --> p.toml:1:1
  |
1 |
  | ^
  = help: a name such as `name = "ec2-brute-force"`
error: `title` is missing
 --> p.toml:1:1
  |
1 |
  | ^
  = help: one line for people
error: `subject` is missing
 --> p.toml:1:1
  |
1 |
  | ^
  = help: which kind of subject it is about: `subject = "instance"`
error: `match` is missing
 --> p.toml:1:1
  |
1 |
  | ^
  = help: which findings it answers: `[[match]]` and an event pattern
error: `steps` is missing
 --> p.toml:1:1
  |
1 |
  | ^
  = help: what it does: `[[steps]]`
"#,
    );
}

#[test]
fn words_and_keys_are_guessed() {
    fails(
        r#"nam = "p"
name = "P"
title = "T"
subject = "instanc"
mode = "auto"
[[match]]
type = ["x"]
[[steps]]
id = "a"
action = "x"
wen = "true"
"#,
        r#"
error: unknown key `nam`
 --> p.toml:1:1
  |
1 | nam = "p"
  | ^^^
  = help: did you mean `name`?
error: a playbook's name is made of small letters, digits and `-`, begins with a letter and has at most 64 of them
 --> p.toml:2:8
  |
2 | name = "P"
  |        ^^^
error: `instanc` is not known here
 --> p.toml:4:11
  |
4 | subject = "instanc"
  |           ^^^^^^^^^
  = help: did you mean `instance`?
error: `auto` is not known here
 --> p.toml:5:8
  |
5 | mode = "auto"
  |        ^^^^^^
  = help: it is one of observe, ask, act
error: unknown key `wen`
  --> p.toml:11:1
   |
11 | wen = "true"
   | ^^^
   = help: did you mean `when`?
"#,
    );
}

#[test]
fn a_bad_expression_is_shown_inside_its_string() {
    steps_fail(
        r#"[[steps]]
id = "a"
action = "x"
when = "finding.role = 'TARGET'"
[steps.with]
port = "tab\t and ${finding.netwrk.local_port ?? } x"
list = [1, '''
${findng.x}''']
"#,
        r#"
error: `=` alone means nothing here; equality is `==`
 --> p.toml:9:22
  |
9 | when = "finding.role = 'TARGET'"
  |                      ^
error: a value is missing: the text ends here
  --> p.toml:11:50
   |
11 | port = "tab\t and ${finding.netwrk.local_port ?? } x"
   |                                                  ^
error: nothing is called `findng`: did you mean `finding`?
  --> p.toml:13:3
   |
13 | ${findng.x}''']
   |   ^^^^^^
"#,
    );
}

#[test]
fn fields_that_no_finding_has_are_errors() {
    let text = r#"[[steps]]
id = "a"
action = "x"
when = "finding.netwrok.local_port == 22 and finding.hub.workflow == 'NEW'"
with = { s = "${finding.subjects.id}", w = "${finding.hub.workflow}", a = "${account.any.thing}" }
"#;
    steps_fail(
        text,
        r#"
error: there is no `netwrok` in `finding`
 --> p.toml:9:9
  |
9 | when = "finding.netwrok.local_port == 22 and finding.hub.workflow == 'NEW'"
  |         ^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: did you mean `network`?
error: `hub.workflow` can be set by the account the finding is about, so nothing is decided by it
 --> p.toml:9:46
  |
9 | when = "finding.netwrok.local_port == 22 and finding.hub.workflow == 'NEW'"
  |                                              ^^^^^^^^^^^^^^^^^^^^
  = help: decide by what the provider says: `type`, `role`, `network`, `severity`, `archived`
error: `finding.subjects` is a list
  --> p.toml:10:17
   |
10 | with = { s = "${finding.subjects.id}", w = "${finding.hub.workflow}", a = "${account.any.thing}" }
   |                 ^^^^^^^^^^^^^^^^^^^
   = help: take an element of it: `finding.subjects[0]`
"#,
    );
    let head = r#"name = "p"
title = "T"
subject = "instance"
[[match]]
typ = ["x"]
network = ["x"]
hub.workflow = ["NEW"]
"$or" = [{ rol = ["TARGET"] }, { subjects = { cell = { account = ["1"] } } }]
[[steps]]
id = "a"
action = "x"
"#;
    fails(
        head,
        r#"
error: there is no `typ` in a finding
 --> p.toml:5:1
  |
5 | typ = ["x"]
  | ^^^
  = help: did you mean `type`?
error: `network` has fields of its own and no value that could match
 --> p.toml:6:1
  |
6 | network = ["x"]
  | ^^^^^^^
  = help: name one of them: direction, protocol, local_port, remote_port, remote_ips, local_ips
error: `hub.workflow` can be set by the account the finding is about, so nothing is decided by it
 --> p.toml:7:5
  |
7 | hub.workflow = ["NEW"]
  |     ^^^^^^^^
  = help: decide by what the provider says: `type`, `role`, `network`, `severity`, `archived`
error: there is no `rol` in a finding
 --> p.toml:8:12
  |
8 | "$or" = [{ rol = ["TARGET"] }, { subjects = { cell = { account = ["1"] } } }]
  |            ^^^
  = help: did you mean `role`?
"#,
    );
}

#[test]
fn a_bad_pattern_is_shown_where_it_is() {
    fails(
        r#"name = "p"
title = "T"
subject = "instance"
[[match]]
type = ["x", { sufix = "y" }]
count = [{ numeric = [">", "5"] }]
[[match]]
[[steps]]
id = "a"
action = "x"
"#,
        r#"
error: unknown operator `sufix`: did you mean `suffix`?
 --> p.toml:5:16
  |
5 | type = ["x", { sufix = "y" }]
  |                ^^^^^^^^^^^
error: `numeric` takes an operator and a number, `["<=", 5]`, or a range, `[">", 0, "<=", 5]`
 --> p.toml:6:12
  |
6 | count = [{ numeric = [">", "5"] }]
  |            ^^^^^^^^^^^^^^^^^^^^
error: an empty object matches nothing; name a field
 --> p.toml:7:1
  |
7 | [[match]]
  | ^^^^^^^^^
"#,
    );
}

#[test]
fn a_picture_keeps_its_columns_and_shows_no_control_character() {
    let source: std::sync::Arc<str> = "ä\tx = \"\u{1b}[31m\"\r\nnext".into();
    let error =
        |at| PlaybookError { file: "f.toml".to_owned(), source: std::sync::Arc::clone(&source), at, why: "why".to_owned(), help: None };
    assert_eq!(error(3..4).to_string(), "error: why\n --> f.toml:1:3\n  |\n1 | ä x = \"\u{fffd}[31m\"\n  |   ^");
    assert_eq!(error(1..1).line_and_column(), (1, 1));
    assert_eq!(error(900..901).line_and_column(), (2, 5));
    assert!(error(3..900).to_string().ends_with("  |   ^^^^^^^^^^^"));
}
