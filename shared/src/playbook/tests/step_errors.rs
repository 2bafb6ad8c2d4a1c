//! What people are shown when a step is wrong.

use super::{errors::steps_fail, *};

#[test]
fn needs_must_lead_somewhere_and_never_back() {
    steps_fail(
        r#"[[steps]]
id = "a"
action = "x"
needs = ["c"]
[[steps]]
id = "b"
action = "x"
[[steps]]
id = "c"
action = "x"
[[steps]]
id = "d"
action = "x"
needs = ["d", "bb", "bb"]
[[steps]]
id = "a"
action = "x"
"#,
        r#"
error: these steps wait for one another and would never start: `a` needs `c` needs `b` needs `a`
 --> p.toml:9:10
  |
9 | needs = ["c"]
  |          ^^^
error: these steps wait for one another and would never start: `d` needs `d`
  --> p.toml:19:10
   |
19 | needs = ["d", "bb", "bb"]
   |          ^^^
error: there is no step `bb`
  --> p.toml:19:15
   |
19 | needs = ["d", "bb", "bb"]
   |               ^^^^
   = help: there are a, b, c, d
error: `bb` is named twice
  --> p.toml:19:21
   |
19 | needs = ["d", "bb", "bb"]
   |                     ^^^^
error: there is a step `a` already
  --> p.toml:21:6
   |
21 | id = "a"
   |      ^^^
   = help: each step has an id of its own
"#,
    );
}

#[test]
fn an_outcome_is_read_only_by_what_waits_for_it() {
    steps_fail(
        r#"[[steps]]
id = "a"
action = "x"
when = "steps.a.outcome.n == 1"
[[steps]]
id = "b"
hold = "h"
needs = []
when = "steps.a.outcome.n == 1 or steps.z.outcome == 1"
[[steps]]
id = "c"
action = "x"
needs = ["b", "a"]
with = { a = "${steps.a.outcome}", b = "${steps.b.outcome}", s = "${steps.a.state} ${steps.a}" }
"#,
        r#"
error: the outcome of `a` is not known before it has run
 --> p.toml:9:9
  |
9 | when = "steps.a.outcome.n == 1"
  |         ^^^^^^^^^^^^^^^^^
error: this step does not wait for `a`, so its outcome may not be known yet
  --> p.toml:14:9
   |
14 | when = "steps.a.outcome.n == 1 or steps.z.outcome == 1"
   |         ^^^^^^^^^^^^^^^^^
   = help: name `a` in `needs`
error: there is no step `z`
  --> p.toml:14:35
   |
14 | when = "steps.a.outcome.n == 1 or steps.z.outcome == 1"
   |                                   ^^^^^^^^^^^^^^^
   = help: there are a, b, c
error: `b` is a hold and has no outcome
  --> p.toml:19:43
   |
19 | with = { a = "${steps.a.outcome}", b = "${steps.b.outcome}", s = "${steps.a.state} ${steps.a}" }
   |                                           ^^^^^^^^^^^^^^^
error: a step has an `outcome`, not a `state`
  --> p.toml:19:69
   |
19 | with = { a = "${steps.a.outcome}", b = "${steps.b.outcome}", s = "${steps.a.state} ${steps.a}" }
   |                                                                     ^^^^^^^^^^^^^
   = help: write `steps.a.outcome…`
error: of a step only the outcome can be read
  --> p.toml:19:86
   |
19 | with = { a = "${steps.a.outcome}", b = "${steps.b.outcome}", s = "${steps.a.state} ${steps.a}" }
   |                                                                                      ^^^^^^^
   = help: write `steps.<id>.outcome…`
"#,
    );
}

#[test]
fn a_step_does_one_thing() {
    steps_fail(
        r#"[[steps]]
id = "A"
action = "x"
hold = "y"
[[steps]]
id = "b"
needs = []
[[steps]]
id = "c"
needs = []
hold = ""
[[steps]]
id = "d"
hold = "y"
ttl = "1h"
ask = "yes"
"#,
        r#"
error: a step's id is made of small letters, digits and `-`, begins with a letter and has at most 64 of them
 --> p.toml:7:6
  |
7 | id = "A"
  |      ^^^
error: a step has an `action` or a `hold`, not both
 --> p.toml:9:1
  |
9 | hold = "y"
  | ^^^^
  = help: make the hold a step of its own
error: this step does nothing
  --> p.toml:10:1
   |
10 | [[steps]]
   | ^^^^^^^^^
   = help: write `action = "…"`, or `hold = "…the reason…"` to wait for a person
error: one line of text is wanted here
  --> p.toml:16:8
   |
16 | hold = ""
   |        ^^
error: a hold does nothing by itself, so `ttl` has no meaning here
  --> p.toml:20:1
   |
20 | ttl = "1h"
   | ^^^
error: a hold does nothing by itself, so `ask` has no meaning here
  --> p.toml:21:1
   |
21 | ask = "yes"
   | ^^^
error: true or false is wanted here, not a string
  --> p.toml:21:7
   |
21 | ask = "yes"
   |       ^^^^^
"#,
    );
}

#[test]
fn a_bad_duration_says_how_one_is_written() {
    steps_fail(
        r#"[[steps]]
id = "a"
action = "x"
within = "soon"
ttl = "0s"
[[steps]]
id = "b"
action = "x"
within = 30
ttl = "1d"
on_timeout = "ask"
"#,
        r#"
error: `soon` is not a duration
 --> p.toml:9:10
  |
9 | within = "soon"
  |          ^^^^^^
  = help: write hours, minutes and seconds: `24h`, `30m`, `1h 30m`
error: `0s` is not between a moment and a year
  --> p.toml:10:7
   |
10 | ttl = "0s"
   |       ^^^^
   = help: write hours, minutes and seconds: `24h`, `30m`, `1h 30m`
error: a string is wanted here, not a number
  --> p.toml:14:10
   |
14 | within = 30
   |          ^^
error: `1d` is not a duration
  --> p.toml:15:7
   |
15 | ttl = "1d"
   |       ^^^^
   = help: write hours, minutes and seconds: `24h`, `30m`, `1h 30m`
error: `ask` is not known here
  --> p.toml:16:14
   |
16 | on_timeout = "ask"
   |              ^^^^^
   = help: it is one of fail, hold
"#,
    );
}

#[test]
fn the_catalogue_knows_actions_and_their_parameters() {
    let playbook = steps(
        r#"[[steps]]
id = "a"
action = "ec2.recrd-all"
[[steps]]
id = "b"
action = "ec2.record-all"
ttl = "1h"
with = { instanc = "i" }
[[steps]]
id = "c"
action = "ec2.block-source-in-nacl"
with = { instance = "i" }
[[steps]]
id = "d"
action = "logs.find-logins"
"#,
    );
    assert_eq!(
        format!("\n{}\n", shown(&playbook.check(&Actions))),
        r#"
error: there is no action `ec2.recrd-all`
 --> p.toml:8:10
  |
8 | action = "ec2.recrd-all"
  |          ^^^^^^^^^^^^^^^
  = help: did you mean `ec2.record-all`?
error: `ec2.record-all` changes nothing, so there is nothing to undo after a `ttl`
  --> p.toml:12:7
   |
12 | ttl = "1h"
   |       ^^^^
   = help: remove `ttl`
error: `ec2.record-all` has no parameter `instanc`
  --> p.toml:13:10
   |
13 | with = { instanc = "i" }
   |          ^^^^^^^
   = help: did you mean `instance`?
error: `ec2.block-source-in-nacl` needs `sources`, `port`
  --> p.toml:17:8
   |
17 | with = { instance = "i" }
   |        ^^^^^^^^^^^^^^^^^^
error: `logs.find-logins` needs `instance`, `sources`, `port`
  --> p.toml:20:10
   |
20 | action = "logs.find-logins"
   |          ^^^^^^^^^^^^^^^^^^
"#
    );
}

#[test]
fn what_becomes_of_a_question_is_complained_of_at_its_place() {
    steps_fail(
        r#"[[steps]]
id = "a"
action = "x"
on_expiry = "escalte"
[[steps]]
id = "b"
hold = "y"
on_expiry = "escalate"
"#,
        r#"
error: `escalte` is not known here
 --> p.toml:9:13
  |
9 | on_expiry = "escalte"
  |             ^^^^^^^^^
  = help: did you mean `escalate`?
error: a hold does nothing by itself, so `on_expiry` has no meaning here
  --> p.toml:13:1
   |
13 | on_expiry = "escalate"
   | ^^^^^^^^^
"#,
    );
    let playbook = steps("[[steps]]\nid = \"a\"\naction = \"ec2.record-all\"\non_expiry = \"escalate\"\n");
    let shown = shown(&playbook.check(&Actions));
    assert!(shown.contains("nobody is asked about it and no question expires") && shown.contains("p.toml:9:13"), "{shown}");
}
