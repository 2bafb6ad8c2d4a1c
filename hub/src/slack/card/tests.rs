use cordon_shared::{
    engine::{Entry, Person},
    freeze::{Level, Scope},
    mode::Mode,
    notice::{Standing, notices},
};

use super::{
    parts::{clip, size},
    *,
};
use crate::{
    report::fixture::{Run, closing, step},
    slack::testing::{alarm, asking, asking_of, by_a_person, escalated, expires, notice, unreadable},
};

fn all(card: &Card) -> String {
    Value::from(card.blocks.clone()).to_string()
}

fn buttons(card: &Card) -> Vec<&Value> {
    card.blocks.iter().filter(|block| block["type"] == "actions").flat_map(|block| block["elements"].as_array().unwrap()).collect()
}

/// The limits of Block Kit, for any card.
fn fits(card: &Card) {
    assert!(card.blocks.len() <= 50, "{}", card.blocks.len());
    assert!(size(&Value::from(card.blocks.clone())) <= parts::MOST, "{}", size(&Value::from(card.blocks.clone())));
    let length = |text: &Value| text["text"].as_str().unwrap().encode_utf16().count();
    for block in &card.blocks {
        match block["type"].as_str().unwrap() {
            "header" => assert!((1..=150).contains(&length(&block["text"])), "{block}"),
            "section" => {
                if let Some(text) = block.get("text") {
                    assert!((1..=3_000).contains(&length(text)), "{block}");
                }
                let fields = block["fields"].as_array().cloned().unwrap_or_default();
                assert!(fields.len() <= 10 && fields.iter().all(|field| (1..=2_000).contains(&length(field))), "{block}");
            }
            "context" => assert!(block["elements"].as_array().unwrap().len() <= 10, "{block}"),
            "actions" => {
                for button in block["elements"].as_array().unwrap() {
                    assert!(length(&button["text"]) <= 75 && button["value"].as_str().unwrap().len() <= 2_000, "{button}");
                }
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_question_shows_difference_reach_and_two_buttons_bound_to_the_plan() {
    let (run, asked) = asking("SSH brute force");
    let card = question(&run.view(), &run.entries, &asked, run.now);
    fits(&card);
    let buttons = buttons(&card);
    assert_eq!(buttons.iter().map(|button| button["action_id"].as_str().unwrap()).collect::<Vec<_>>(), [APPROVE, DENY]);
    let bound: Value = serde_json::from_str(buttons[0]["value"].as_str().unwrap()).unwrap();
    assert_eq!(bound["digest"].as_str(), asked.digest.as_deref());
    assert_eq!(bound["expires"], serde_json::to_value(asked.expires).unwrap(), "which question it is");
    assert_eq!((bound["step"].as_str(), bound["run"].as_str()), (Some("close-ingress"), Some(run.id.to_string().as_str())));
    let text = all(&card);
    assert!(text.contains("Blast radius") && text.contains("What would be changed") && text.contains("security-group/sg-0aa"), "{text}");
}

#[test]
fn a_question_that_was_answered_expired_or_asked_anew_has_no_buttons_and_says_so() {
    let (mut run, asked) = asking("t");
    let key = step("close-ingress");
    assert_eq!(buttons(&question(&run.view(), &run.entries, &asked, expires(&run))), Vec::<&Value>::new(), "its time is over");

    run.add(Entry::Approved {
        step: key.clone(),
        digest: asked.digest.clone().unwrap(),
        by: Person("Alice".into()),
        expires: expires(&run),
        identity: "slack:U0ALICE".into(),
    });
    let card = question(&run.view(), &run.entries, &asked, run.now);
    assert!(buttons(&card).is_empty() && all(&card).contains("*Approved* by `Alice`"), "{card:?}");
    // The world had changed meanwhile: the yes was to another plan.
    let other = run.planned("close-ingress", cordon_shared::plan::Plan { ask: Some("more".into()), ..closing() });
    run.add(Entry::Asked { step: key, digest: other, why: "mode ask".into(), expires: expires(&run), people: 1 });
    let card = question(&run.view(), &run.entries, &asked, run.now);
    assert!(buttons(&card).is_empty() && all(&card).contains("*Asked anew*") && all(&card).contains("Alice"), "{card:?}");

    let (mut run, asked) = asking("t");
    run.add(Entry::Refused {
        step: step("close-ingress"),
        by: Person("Bob".into()),
        why: "our <own> scanner".into(),
        identity: String::new(),
    });
    let card = question(&run.view(), &run.entries, &asked, run.now);
    assert!(buttons(&card).is_empty() && all(&card).contains("*Denied* by `Bob`: `our &lt;own&gt; scanner`"), "{card:?}");

    let (mut run, asked) = asking("t");
    run.add(Entry::AskExpired { step: step("close-ingress") });
    let card = question(&run.view(), &run.entries, &asked, run.now);
    assert!(buttons(&card).is_empty() && all(&card).contains("*Expired*: nobody answered in time"), "{card:?}");
}

#[test]
fn a_question_to_two_says_so_and_who_said_yes_before_it_was_drawn() {
    let (run, asked) = asking("t");
    assert!(!all(&question(&run.view(), &run.entries, &asked, run.now)).contains("persons"));
    let (mut run, asked) = asking_of("t", 2);
    let (key, digest, expires) = (step("close-ingress"), asked.digest.clone().unwrap(), expires(&run));
    let card = |run: &Run| question(&run.view(), &run.entries, &asked, run.now);
    assert!(all(&card(&run)).contains("*2 persons* are asked\""), "{:?}", card(&run));
    run.add(Entry::Approved { step: key, digest, by: Person("Ann".into()), expires, identity: "slack:U0ANN".into() });
    assert!(all(&card(&run)).contains("*2 persons* are asked; so far: `Ann`") && buttons(&card(&run)).len() == 2, "{:?}", card(&run));
    fits(&card(&run));
}

#[test]
fn a_question_of_an_incident_that_was_closed_has_no_buttons_and_says_so() {
    let (mut run, asked) = asking("t");
    let before = Standing::of(&run.view());
    run.add(Entry::ClosedBy { by: Person("Alice".into()), why: "w".into() });
    let told: Vec<NoticeKind> = notices(&before, &run.view(), false).iter().map(|notice| notice.kind).collect();
    assert_eq!(told, [NoticeKind::Answered, NoticeKind::Closed]);
    let card = question(&run.view(), &run.entries, &asked, run.now);
    assert!(buttons(&card).is_empty() && all(&card).contains("*No longer asked*: `Alice` closed the incident"), "{card:?}");
}

#[test]
fn a_question_that_was_escalated_says_so_and_its_second_card_has_the_buttons() {
    let (mut run, asked) = asking("t");
    let key = step("close-ingress");
    let before = Standing::of(&run.view());
    let again = run.now.checked_add(jiff::SignedDuration::from_hours(8)).unwrap();
    run.add(Entry::Escalated { step: key.clone(), expires: again });
    let told = notices(&before, &run.view(), false);
    let second = told.iter().find(|notice| notice.kind == NoticeKind::Asks).unwrap();
    let card = question(&run.view(), &run.entries, &asked, run.now);
    assert!(buttons(&card).is_empty() && all(&card).contains("*Escalated*: nobody answered in time; it is asked once more"), "{card:?}");
    let card = question(&run.view(), &run.entries, second, run.now);
    fits(&card);
    assert!(buttons(&card).len() == 2 && card.text.starts_with("Escalated, nobody answered in time."), "{card:?}");
    run.add(Entry::AskExpired { step: key });
    let card = question(&run.view(), &run.entries, second, run.now);
    assert!(buttons(&card).is_empty() && all(&card).contains("*Expired*: nobody answered in time"), "{card:?}");
}

#[test]
fn nothing_of_a_text_means_anything_in_slack_and_no_text_is_too_long() {
    for title in ["<!channel> <https://evil.example|look> & `x` *bold*", &"<&>".repeat(4_000), &"🙂".repeat(5_000), "a\u{202e}b\nc", ""] {
        let (run, asked) = asking(title);
        let view = run.view();
        let cards =
            [detected(&view), question(&view, &run.entries, &asked, run.now), outcome(&view, &run.entries, &notice(NoticeKind::Closed))];
        for card in cards {
            fits(&card);
            assert!(!card.text.contains('<') && !card.text.contains('\u{202e}'), "{card:?}");
            for block in &card.blocks {
                let texts = block.get("fields").and_then(Value::as_array).cloned().unwrap_or_default();
                for text in texts.iter().chain(block.get("text")).filter(|text| text["type"] == "mrkdwn") {
                    let shown = text["text"].as_str().unwrap();
                    assert!(!shown.contains("<!") && !shown.contains("<http") && text["verbatim"] == true, "{shown}");
                }
            }
        }
    }
}

#[test]
fn a_long_report_is_cut_list_by_list_to_what_slack_takes_and_says_what_shows_the_rest() {
    let mut run = Run::open_titled(Mode::Act, &"🙂".repeat(5_000));
    let mut plan = closing();
    let one = plan.changes[0].clone();
    let many = |n: usize| cordon_shared::plan::Change { attribute: format!("a{n}"), before: Value::from("x".repeat(9_000)), ..one.clone() };
    plan.changes = (0..200).map(many).collect();
    run.applied("close-ingress", plan);
    for n in 0..200 {
        let hold = cordon_shared::engine::Hold { code: format!("c{n}"), why: "w".repeat(2_000) };
        run.add(Entry::Held { step: None, hold });
    }
    let view = run.view();
    let told = Notice { why: "<".repeat(3_000), ..notice(NoticeKind::Closed) };
    let card = outcome(&view, &run.entries, &told);
    fits(&card);
    let text = all(&card);
    let rest = format!("more: `cordon incident report {}`", view.run);
    for wanted in ["What happened", "What was changed", "How to undo", "cordon incident undo"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert!(text.contains(&rest) && size(&Value::from(card.blocks.clone())) > 8_000, "{text}");
    let last = card.blocks.last().unwrap();
    assert!(last["type"] == "context" && last.to_string().contains("cordon incident report"), "{last}");
    fits(&detected(&view));
}

#[test]
fn short_lists_leave_their_room_to_long_ones() {
    let list = |lines: usize| Part::List("Heading", vec!["x".repeat(300); lines]);
    let shown = |card: &Card| -> Vec<usize> {
        card.blocks.iter().skip(1).map(|block| block["text"]["text"].as_str().unwrap().matches('•').count()).collect()
    };
    assert_eq!(shown(&Card::new("t", vec![list(3), list(9)], "")), [3, 9]);
    let card = Card::new("t", vec![list(1), list(50), list(50), list(50), list(50)], "cordon x");
    fits(&card);
    let shown = shown(&card);
    assert!(shown[0] == 1 && shown[1..].iter().all(|lines| *lines == 7), "{shown:?}");
    assert!(all(&card).contains("… and 43 more: `cordon x`"), "{card:?}");
    assert_eq!(Card::new("t", vec![Part::List("Heading", Vec::new())], "").blocks.len(), 1, "an empty list is none");
}

#[test]
fn a_cut_never_leaves_half_an_entity() {
    assert_eq!(clip("ab&amp;cd", 6), "ab…");
    assert_eq!(clip("ab&amp;cd", 9), "ab&amp;cd");
    assert_eq!(clip("🙂🙂🙂", 4), "🙂…");
}

#[test]
fn the_closing_report_says_what_happened_and_how_to_undo() {
    let mut run = Run::open(Mode::Act);
    run.applied("close-ingress", closing());
    let card = outcome(&run.view(), &run.entries, &notice(NoticeKind::Closed));
    fits(&card);
    let text = all(&card);
    for wanted in ["What happened", "What was changed", "How to undo", "cordon incident undo", "cordon incident report"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}

#[test]
fn a_page_says_what_stands_by_whom_why_and_what_answers_it() {
    let account = || Scope::Account("111122223333".parse().unwrap());
    let cases = [
        (
            alarm("a call of nobody's"),
            "Self-alarm: the organization is frozen (limited)",
            ["self-alarm", "a call of nobody's", "`cordon thaw`", "`f-1`"],
        ),
        (
            by_a_person(account(), Level::Full, "a drill"),
            "Frozen (full): account 111122223333",
            ["ann@desk", "a drill", "`cordon thaw --account 111122223333`", "full"],
        ),
        (
            by_a_person(account(), Level::Off, "it is over"),
            "Thawed: account 111122223333",
            ["ann@desk", "it is over", "`cordon freeze list --all`", "off"],
        ),
        (
            escalated("production"),
            "Nobody answered in time: may `close-ingress` be done?",
            ["production", "cordon approval grant", "close-ingress", "Void after"],
        ),
        (
            Page::of_setback("2026-11-29T12:00:00Z".parse().unwrap(), "2026-11-29T10:30:00Z".parse().unwrap()),
            "Cordon's clock went back",
            ["from 2026-11-29T12:00:00Z back to 2026-11-29T10:30:00Z, by 1h 30m", "`timedatectl status`", "*When*", "stays so"],
        ),
        (
            unreadable("its chain is broken"),
            "An incident cannot be read",
            ["its chain is broken", "`cordon audit verify`", "inc-", "*When*"],
        ),
    ];
    for (told, title, wanted) in cases {
        let card = page(&told, "");
        fits(&card);
        assert_eq!(card.text, title);
        let text = all(&card);
        assert!(wanted.iter().all(|wanted| text.contains(wanted)), "{wanted:?}: {text}");
        assert!(buttons(&card).is_empty() && !text.contains("<!"), "{text}");
    }
}

#[test]
fn only_what_is_urgent_calls_people_and_only_whom_the_configuration_names() {
    let calls = |card: &Card| (card.text.contains("<!channel>"), all(card).matches("<!channel>").count());
    for urgent in [alarm("<!here> <!channel>"), escalated("<!here> <!channel>"), unreadable("<!here> <!channel>")] {
        let card = page(&urgent, "<!channel>");
        fits(&card);
        assert_eq!(calls(&card), (true, 1), "{card:?}");
        assert!(!all(&card).contains("<!here>"), "text of others calls nobody: {card:?}");
        assert_eq!(calls(&page(&urgent, "")), (false, 0));
    }
    for quiet in [by_a_person(Scope::Organization, Level::Full, "<!channel>"), by_a_person(Scope::Organization, Level::Off, "<!channel>")] {
        assert_eq!(calls(&page(&quiet, "<!channel>")), (false, 0));
    }
    for why in ["<&>".repeat(4_000), "🙂".repeat(5_000), "a\u{202e}b\nc".to_owned(), String::new()] {
        fits(&page(&alarm(&why), "<!subteam^S0123456789>"));
        fits(&page(&by_a_person(Scope::Ou(why.clone()), Level::Full, &why), ""));
    }
}
