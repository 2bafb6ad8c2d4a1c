use cordon_shared::{
    engine::{Entry, Person},
    mode::Mode,
};

use super::*;
use crate::{
    report::fixture::{Run, closing, step},
    slack::testing::{asking, expires, notice},
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
    assert!(buttons(&card).is_empty() && all(&card).contains("*Expired*"), "{card:?}");
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
