use futures::executor::block_on;

use super::*;
use crate::journal::{Journal, mem::MemStore};

fn place() -> Place {
    let ous = names_of_ous([("r-ab12", "Root"), ("ou-ab12-1", "Workloads"), ("ou-ab12-2", "Production")]);
    Place { account: "111122223333".parse().unwrap(), ous: Some(ous), playbook: "ec2-brute-force".into() }
}

fn line(number: u64, scope: Scope, level: Level) -> Freeze {
    let at = "2026-11-24T00:00:00Z".parse().unwrap();
    Freeze { number, at, by: Person("ann@desk".into()), why: "a drill".into(), scope, level, hard: false, alarm: None }
}

fn account(id: &str) -> Scope {
    Scope::Account(id.parse().unwrap())
}

#[test]
fn a_scope_means_its_own_account_ou_or_playbook_and_no_other() {
    let covered = [
        Scope::Organization,
        account("111122223333"),
        Scope::Ou("ou-ab12-1".into()),
        Scope::Ou("r-ab12".into()),
        Scope::Ou("Root/Workloads/Production".into()),
        Scope::Ou("Workloads".into()),
        Scope::Playbook("ec2-brute-force".into()),
    ];
    let others = [
        account("444455556666"),
        Scope::Ou("ou-ab12-3".into()),
        Scope::Ou("Production".into()),
        Scope::Ou("Workloads/Produ".into()),
        Scope::Playbook("ec2-brute".into()),
    ];
    for scope in covered {
        assert!(scope.covers(&place()), "{scope}");
    }
    for scope in others {
        assert!(!scope.covers(&place()), "{scope}");
    }
}

#[test]
fn an_ou_counts_as_meant_where_the_ous_are_not_known() {
    assert!(Scope::Ou("ou-ab12-3".into()).covers(&Place { ous: None, ..place() }));
}

#[test]
fn limited_lets_reversible_containment_and_a_persons_undo_pass_and_full_nothing() {
    for (deed, limited) in [(Deed::Contain, true), (Deed::UndoAsked, true), (Deed::Change, false), (Deed::UndoDue, false)] {
        assert_eq!((deed.passes(Level::Off), deed.passes(Level::Limited), deed.passes(Level::Full)), (true, limited, false), "{deed:?}");
    }
}

#[test]
fn the_strictest_freeze_that_applies_is_named_with_the_command_that_answers_it() {
    let standing = [
        line(1, Scope::Organization, Level::Limited),
        line(2, Scope::Ou("Workloads".into()), Level::Full),
        line(3, account("444455556666"), Level::Full),
    ];
    let said = stops(&standing, &place(), Deed::Change).unwrap();
    assert!(said.starts_with("OU Workloads is frozen (full) by ann@desk since 2026-11-24T00:00:00Z: a drill (and 1 more"), "{said}");
    assert_eq!(answer(&said), "cordon thaw --ou Workloads");
    let contained = stops(&standing[..1], &place(), Deed::Contain);
    assert_eq!(contained, None);
    let changed = stops(&standing[..1], &place(), Deed::Change).unwrap();
    assert!(changed.contains("only reversible containment passes"), "{changed}");
    assert_eq!(answer(&changed), "cordon thaw");
    assert_eq!(stops(&standing[2..], &place(), Deed::Change), None);
}

#[test]
fn what_a_person_wrote_does_not_become_part_of_the_command() {
    let mut freeze = line(1, Scope::Ou("O'Brien & Co`s".into()), Level::Full);
    freeze.why = "`cordon thaw --account 000000000000`".into();
    let place = Place { ous: None, ..place() };
    let said = stops(&[freeze], &place, Deed::Change).unwrap();
    assert_eq!(answer(&said), r"cordon thaw --ou 'O'\''Brien & Co`s'");
    assert_eq!(answer("anything else"), "cordon freeze list");
}

#[test]
fn a_thaw_lifts_all_of_its_scope_and_a_later_freeze_stands_again() {
    let lines = [
        line(1, Scope::Organization, Level::Full),
        line(2, account("111122223333"), Level::Full),
        line(3, Scope::Organization, Level::Limited),
        line(4, Scope::Organization, Level::Off),
        line(5, Scope::Organization, Level::Limited),
    ];
    let numbers: Vec<u64> = standing(&lines).iter().map(|freeze| freeze.number).collect();
    assert_eq!(numbers, [2, 5]);
}

#[test]
fn an_alarm_freezes_to_limited_once_and_lowers_no_freeze() {
    let store = std::sync::Arc::new(MemStore::default());
    let journal = Journal::new(store.clone());
    let at = "2026-11-24T00:00:00Z".parse().unwrap();
    block_on(journal.with(|tx| freeze(tx, &line(0, Scope::Organization, Level::Full)))).unwrap();
    let raise = |id: &'static str| block_on(journal.with(move |tx| alarm(tx, id, None, "seen".into(), at))).unwrap();
    assert!(raise("event-1"));
    assert!(!raise("event-1"));
    let levels: Vec<Level> = block_on(journal.freezes()).unwrap().iter().map(|freeze| freeze.level).collect();
    assert_eq!(levels, [Level::Full, Level::Limited]);
    block_on(journal.with(|tx| thaw(tx, &line(0, Scope::Organization, Level::Off)))).unwrap();
    // Answered by a person: the same event does not freeze again, another does.
    assert!(!raise("event-1") && raise("event-2"));
}

#[test]
fn a_thaw_of_what_is_not_frozen_says_what_is() {
    let journal = Journal::new(std::sync::Arc::new(MemStore::default()));
    let thaw = |scope: Scope| block_on(journal.with(move |tx| super::thaw(tx, &line(0, scope, Level::Off)))).unwrap_err().to_string();
    assert_eq!(thaw(Scope::Organization), "the organization is not frozen, nothing is");
    block_on(journal.with(|tx| freeze(tx, &line(0, account("111122223333"), Level::Full)))).unwrap();
    let said = thaw(Scope::Organization);
    assert!(said.contains("but account 111122223333 is frozen (full)") && said.contains("`cordon thaw --account 111122223333`"), "{said}");
}
