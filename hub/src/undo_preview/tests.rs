use std::collections::BTreeSet;

use serde_json::json;

use super::*;

fn key(attribute: &str) -> ChangeKey {
    ChangeKey { resource: "arn:sg".to_owned(), attribute: attribute.to_owned() }
}

/// An undo of a group in which the ports of each rule for all traffic come back only together, and of which somebody changed `theirs`.
async fn looked(rules: &'static [&'static [&'static str]], attributes: &[&str]) -> Vec<(String, Fate)> {
    let undo = |only: Vec<ChangeKey>| -> BoxFuture<'_, Result<Undo, ApplyError>> {
        Box::pin(async move {
            let only: BTreeSet<&str> = only.iter().map(|key| key.attribute.as_str()).collect();
            if only.contains("plain") || rules.iter().any(|rule| rule.iter().all(|port| only.contains(port))) {
                return Err(ActionError::OnlyLooking.into());
            }
            if only == BTreeSet::from(["dark"]) {
                return Err(ActionError::NotSent("ec2".to_owned()).into());
            }
            let as_before = only == BTreeSet::from(["back"]);
            Ok(if as_before { Undo::Restored(Vec::new()) } else { Undo::ByHand(vec![format!("{only:?}")]) })
        })
    };
    let keys: Vec<ChangeKey> = attributes.iter().map(|attribute| key(attribute)).collect();
    let planned = [Change { resource: "arn:sg".to_owned(), attribute: "plain".to_owned(), before: json!("open"), after: json!("closed") }];
    let looked = fates(&keys, &planned, undo).await;
    for one in looked.iter().filter(|one| one.attribute == "plain") {
        assert_eq!((&one.now, &one.after), (&json!("closed"), &json!("open")));
    }
    looked.into_iter().map(|one| (one.attribute, one.fate)).collect()
}

#[tokio::test]
async fn what_is_put_back_only_together_is_told_so_and_what_somebody_changed_beside_it_is_not() {
    let fates_of = |looked: Vec<(String, Fate)>| looked.into_iter().map(|(_, fate)| fate).collect::<Vec<_>>();
    use Fate::{ByHand, NotKnown, NothingToDo, Restores};
    assert_eq!(fates_of(looked(&[], &["plain", "back", "dark", "theirs"]).await), [Restores, NothingToDo, NotKnown, ByHand]);
    let two: &[&[&str]] = &[&["22v4", "3389v4"], &["22v6", "3389v6"]];
    let all = ["22v4", "theirs", "22v6", "3389v4", "3389v6"];
    assert_eq!(fates_of(looked(two, &all).await), [Restores, ByHand, Restores, Restores, Restores]);
    // One of the ports is needed by another incident: the other cannot come back alone.
    assert_eq!(fates_of(looked(two, &["22v4", "22v6", "3389v6"]).await), [ByHand, Restores, Restores]);
}

/// A service may show previews too: they can be made on any thread.
#[allow(dead_code, reason = "it is enough that it compiles")]
fn a_preview_may_be_made_on_any_thread(hub: &Arc<Hub>, run: IncidentId) -> impl Send {
    preview(hub, run, None)
}

#[test]
fn a_preview_for_people_says_where_the_undo_stops_what_stands_down_and_what_freezes_it() {
    let one = |fate, what: &str| AttributePreview { what: vec![what.to_owned()], ..plain(&key("port \u{1b}[31m22"), fate, Vec::new()) };
    let step =
        |step: &str, stops, attributes| StepPreview { step: step.to_owned(), action: "a.b".to_owned(), reached: true, stops, attributes };
    let at: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
    let text = text(&Preview {
        schema: SCHEMA.to_owned(),
        incident: IncidentId::from_u128(1),
        step: None,
        at,
        frozen: Some("ann froze all".to_owned()),
        stand_down: StandDown {
            finding: "T".to_owned(),
            subject: "arn:i".to_owned(),
            account: "1".to_owned(),
            region: "r".to_owned(),
            until: gate::stands_down_until(at),
        },
        steps: vec![step("two", true, vec![one(Fate::ByHand, "do it")]), step("one", false, vec![one(Fate::Stays, "another needs it")])],
    });
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let place = |what: &str| lines.iter().position(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {text}"));
    assert!(place("do it") < place("here the undo stops") && place("here the undo stops") < place("another needs it"));
    assert!(place("until 2026-12-06T12:00:00Z") < place("ann froze all"));
    assert!(!text.contains('\u{1b}'), "{text}");
}
