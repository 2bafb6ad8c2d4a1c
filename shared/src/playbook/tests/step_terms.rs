//! What people are shown when it is wrong when, where and as what part of the work a step is done, or what turns the subject's part.

use super::{errors::steps_fail, *};

const STEP: &str = "[[steps]]\nid = \"a\"\naction = \"x\"\n";

#[test]
fn when_a_change_is_looked_at_again_is_read_and_complained_of_at_its_place() {
    let text = |looks: &str| {
        format!(
            "name = \"a\"\ntitle = \"A\"\nsubject = \"instance\"\n{looks}\n[[match]]\ntype = [\"T\"]\n[[steps]]\nid = \"a\"\naction = \"x.y\"\n"
        )
    };
    let looks = |looks: &str| Playbook::parse(&text(looks), "a.toml").unwrap().looks.iter().map(|look| look.as_secs()).collect::<Vec<_>>();
    assert_eq!(looks(""), [3_600, 86_400]);
    assert_eq!(looks("looks = []"), Vec::<i64>::new());
    assert_eq!(looks("looks = [\"3s\", \"30m\", \"720h\"]"), [3, 1_800, 2_592_000]);
    for (wrong, why) in [
        ("looks = [\"1h\", \"1h\"]", "not later than the one before"),
        ("looks = [\"721h\"]", "1 second to 30 days"),
        ("looks = [\"10ms\"]", "1 second to 30 days"),
        ("looks = [\"soon\"]", "not a duration"),
        ("looks = \"1h\"", "a list is wanted"),
        ("looks = [\"1s\", \"2s\", \"3s\", \"4s\", \"5s\", \"6s\"]", "at most 5 times"),
    ] {
        let errors = Playbook::parse(&text(wrong), "a.toml").unwrap_err();
        assert!(errors.len() == 1 && errors[0].to_string().contains(why), "{wrong}: {errors:?}");
    }
}

#[test]
fn when_where_and_as_what_a_step_is_done_is_read() {
    let playbook = steps(
        r#"[[steps]]
id = "a"
action = "x"
phase = "record"
[[steps]]
id = "b"
hold = "why"
after = "20m"
phase = "report"
[[steps]]
id = "c"
action = "x"
after = "1h 30m"
region = "${steps.a.outcome.region ?? finding.cell.region}"
"#,
    );
    let [a, b, c] = &playbook.steps[..] else { panic!() };
    assert_eq!((a.phase, a.after, &a.region), (Some(Phase::Record), SignedDuration::ZERO, &None));
    assert_eq!((b.phase, b.after), (Some(Phase::Report), SignedDuration::from_mins(20)));
    assert_eq!((c.after, c.phase), (SignedDuration::from_mins(90), None));
    let data = json!({ "finding": { "cell": { "region": "eu-west-1" } }, "steps": { "a": { "outcome": null } } });
    assert_eq!(c.region.as_ref().unwrap().render(&data).unwrap(), json!("eu-west-1"));
    assert_eq!(c.reads_outcomes_of().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn a_delay_a_phase_and_a_region_are_complained_of_at_their_place() {
    steps_fail(
        r#"[[steps]]
id = "a"
action = "x"
after = "20 minutes ago"
phase = "containment"
region = "${finding.cel.region}"
[[steps]]
id = "b"
action = "x"
after = 20
phase = "investigation"
region = ["eu-west-1"]
[[steps]]
id = "c"
action = "x"
needs = []
after = "0s"
phase = "contian"
region = "${steps.a.outcome.region}"
[[steps]]
id = "d"
action = "x"
afer = "20m"
region = "${finding.cell.region"
[[steps]]
id = "e"
hold = "why"
region = "eu-west-1"
"#,
        r#"
error: `20 minutes ago` is not between a moment and a year
 --> p.toml:9:9
  |
9 | after = "20 minutes ago"
  |         ^^^^^^^^^^^^^^^^
  = help: write hours, minutes and seconds: `24h`, `30m`, `1h 30m`
error: `containment` is not known here
  --> p.toml:10:9
   |
10 | phase = "containment"
   |         ^^^^^^^^^^^^^
   = help: it is one of record, contain, credentials, preserve, investigate, recover, report
error: there is no `cel` in `finding`
  --> p.toml:11:13
   |
11 | region = "${finding.cel.region}"
   |             ^^^^^^^^^^^^^^^^^^
   = help: did you mean `cell`?
error: a string is wanted here, not a number
  --> p.toml:15:9
   |
15 | after = 20
   |         ^^
error: `investigation` is not known here
  --> p.toml:16:9
   |
16 | phase = "investigation"
   |         ^^^^^^^^^^^^^^^
   = help: did you mean `investigate`?
error: a string is wanted here, not a list
  --> p.toml:17:10
   |
17 | region = ["eu-west-1"]
   |          ^^^^^^^^^^^^^
error: `0s` is not between a moment and a year
  --> p.toml:22:9
   |
22 | after = "0s"
   |         ^^^^
   = help: write hours, minutes and seconds: `24h`, `30m`, `1h 30m`
error: `contian` is not known here
  --> p.toml:23:9
   |
23 | phase = "contian"
   |         ^^^^^^^^^
   = help: did you mean `contain`?
error: this step does not wait for `a`, so its outcome may not be known yet
  --> p.toml:24:13
   |
24 | region = "${steps.a.outcome.region}"
   |             ^^^^^^^^^^^^^^^^^^^^^^
   = help: name `a` in `needs`
error: unknown key `afer`
  --> p.toml:28:1
   |
28 | afer = "20m"
   | ^^^^
   = help: did you mean `after`?
error: `${` is never closed: `}` is missing (a plain `${` is written `$${`)
  --> p.toml:29:11
   |
29 | region = "${finding.cell.region"
   |           ^^^^^^^^^^^^^^^^^^^^^
error: a hold does nothing by itself, so `region` has no meaning here
  --> p.toml:33:1
   |
33 | region = "eu-west-1"
   | ^^^^^^
"#,
    );
}

#[test]
fn a_turn_is_complained_of_at_its_place() {
    steps_fail(
        &format!(
            r#"[[turns]]
when = "steps.fnd.outcome.verdict == 'confirmed'"
role = "ACTER"
why = ""
[[turns]]
when = "finding.role == 'TARGET'"
role = "ACTOR"
why = "w"
[[turns]]
wen = "true"
[[turns]]
when = "steps.person.outcome.yes or finding.rol == 'x' or"
role = 1
why = "w"
[[turns]]
when = "steps.person.outcome.yes or finding.rol == 'x'"
role = "TARGET"
why = "w"
[[turns]]
when = "steps.find.state == 'done' or steps == 1"
role = "ACTOR"
why = "w"
{STEP}[[steps]]
id = "person"
hold = "why"
[[steps]]
id = "find"
action = "x"
"#
        ),
        r#"
error: there is no step `fnd`
 --> p.toml:7:9
  |
7 | when = "steps.fnd.outcome.verdict == 'confirmed'"
  |         ^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: did you mean `find`?
error: `ACTER` is not known here
 --> p.toml:8:8
  |
8 | role = "ACTER"
  |        ^^^^^^^
  = help: did you mean `ACTOR`?
error: one line of text is wanted here
 --> p.toml:9:7
  |
9 | why = ""
  |       ^^
error: it reads no step's outcome, so nothing that is found can make it true
  --> p.toml:11:8
   |
11 | when = "finding.role == 'TARGET'"
   |        ^^^^^^^^^^^^^^^^^^^^^^^^^^
error: `when` is missing
  --> p.toml:14:1
   |
14 | [[turns]]
   | ^^^^^^^^^
   = help: the condition: `when = "steps.find-logins.outcome.verdict == 'confirmed'"`
error: `role` is missing
  --> p.toml:14:1
   |
14 | [[turns]]
   | ^^^^^^^^^
   = help: the part that the subject plays from then on: `role = "ACTOR"`
error: `why` is missing
  --> p.toml:14:1
   |
14 | [[turns]]
   | ^^^^^^^^^
   = help: one line for people
error: unknown key `wen`
  --> p.toml:15:1
   |
15 | wen = "true"
   | ^^^
   = help: did you mean `when`?
error: a value is missing: the text ends here
  --> p.toml:17:58
   |
17 | when = "steps.person.outcome.yes or finding.rol == 'x' or"
   |                                                          ^
error: a string is wanted here, not a number
  --> p.toml:18:8
   |
18 | role = 1
   |        ^
error: `person` is a hold and has no outcome
  --> p.toml:21:9
   |
21 | when = "steps.person.outcome.yes or finding.rol == 'x'"
   |         ^^^^^^^^^^^^^^^^^^^^^^^^
error: there is no `rol` in `finding`
  --> p.toml:21:37
   |
21 | when = "steps.person.outcome.yes or finding.rol == 'x'"
   |                                     ^^^^^^^^^^^
   = help: did you mean `role`?
error: a step has an `outcome`, not a `state`
  --> p.toml:25:9
   |
25 | when = "steps.find.state == 'done' or steps == 1"
   |         ^^^^^^^^^^^^^^^^
   = help: write `steps.find.outcome…`
error: of a step only the outcome can be read
  --> p.toml:25:39
   |
25 | when = "steps.find.state == 'done' or steps == 1"
   |                                       ^^^^^
   = help: write `steps.<id>.outcome…`
"#,
    );
}

#[test]
fn turns_are_a_list_of_tables() {
    steps_fail(
        &format!("{STEP}[turns]\nwhen = \"true\"\n"),
        r#"
error: a list is wanted here, not a table
 --> p.toml:9:1
  |
9 | [turns]
  | ^^^^^^^
"#,
    );
}
