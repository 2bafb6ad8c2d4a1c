use super::*;
use crate::journal::mem::Tables;

fn at(minute: i64) -> Timestamp {
    let start: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
    start + SignedDuration::from_mins(minute)
}

fn budget(scope: Scope, hours: i64, counts: Counts, most: u32) -> Budget {
    Budget { scope, window: SignedDuration::from_hours(hours), counts, most }
}

fn place(account: &str, path: &[&str]) -> Place {
    Place { account: account.to_owned(), path: path.iter().map(|unit| (*unit).to_owned()).collect() }
}

fn one(counts: Counts, resource: &str) -> Use {
    Use { counts, resource: resource.to_owned(), member: String::new(), of: 0 }
}

fn out(group: &str, member: &str, of: u32) -> Use {
    Use { counts: Counts::InService, resource: group.to_owned(), member: member.to_owned(), of }
}

const A: &str = "111122223333";
const B: &str = "444455556666";

/// Asks, and charges when nobody has to be asked: what the gate does in its transaction.
fn goes(tables: &mut Tables, budgets: &[Budget], place: &Place, wanted: &[Use], now: Timestamp) -> bool {
    let asked = spent(tables, budgets, place, wanted, now).unwrap();
    if asked.is_none() {
        charge_all(tables, place, wanted, now);
    }
    asked.is_none()
}

#[test]
fn what_is_spent_of_a_budget_is_told_in_percent_of_it_where_the_uses_count() {
    let (mut tables, here) = (Tables::default(), place(A, &["r-1"]));
    let instances = budget(Scope::EachAccount, 1, Counts::Instances, 4);
    let isolates = [one(Counts::Resources, "i-9"), one(Counts::Instances, "i-9")];
    let percent = |tables: &mut Tables, budget: &Budget, place: &Place, uses: &[Use]| {
        let charged = tables.charges(since(budget, at(10)), budget.counts).unwrap();
        spent_percent(budget, charged, place, uses)
    };
    assert_eq!(percent(&mut tables, &instances, &here, &isolates), Some(0));
    for id in ["i-1", "i-2", "i-3"] {
        charge_all(&mut tables, &here, &[one(Counts::Instances, id)], at(1));
    }
    assert_eq!(percent(&mut tables, &instances, &here, &isolates), Some(75));
    assert_eq!(percent(&mut tables, &instances, &place(B, &["r-1"]), &isolates), Some(0), "another account has its own");
    assert_eq!(percent(&mut tables, &instances, &here, &[one(Counts::Resources, "sg-1")]), None, "it counts against another");
    let zero = budget(Scope::Organization, 1, Counts::Instances, 0);
    assert_eq!(percent(&mut tables, &zero, &here, &isolates), Some(100), "of nothing, nothing is left");
    let unit = budget(Scope::Unit("ou-x".into()), 1, Counts::Instances, 4);
    assert_eq!(percent(&mut tables, &unit, &here, &isolates), None, "it is not below that OU");
    let share = budget(Scope::Organization, 1, Counts::InService, 50);
    charge_all(&mut tables, &here, &[out("g", "i-1", 4), out("h", "i-7", 2)], at(1));
    assert_eq!(percent(&mut tables, &share, &here, &[out("g", "i-2", 4)]), Some(50), "a quarter of g, and h is not meant");
}

fn charge_all(tables: &mut Tables, place: &Place, wanted: &[Use], now: Timestamp) {
    for used in wanted {
        let charge = Charge { at: now, run: IncidentId::from_u128(7), step: StepKey::first("s"), place: place.clone(), used: used.clone() };
        tables.charge(&charge).unwrap();
    }
}

#[test]
fn a_spent_budget_asks_until_its_window_has_slid_on() {
    let (mut tables, here) = (Tables::default(), place(A, &["r-1"]));
    let budgets = [budget(Scope::EachAccount, 1, Counts::Instances, 2)];
    let use_of = |id: &str| [one(Counts::Resources, id), one(Counts::Instances, id)];
    assert!(goes(&mut tables, &budgets, &here, &use_of("i-1"), at(0)));
    assert!(goes(&mut tables, &budgets, &here, &use_of("i-2"), at(30)));
    assert!(!goes(&mut tables, &budgets, &here, &use_of("i-3"), at(40)));
    // The same resource again costs nothing more; another account has its own; another kind is another budget.
    assert!(goes(&mut tables, &budgets, &here, &use_of("i-2"), at(41)));
    assert!(goes(&mut tables, &budgets, &place(B, &["r-1"]), &use_of("i-3"), at(42)));
    assert!(goes(&mut tables, &budgets, &here, &[one(Counts::Credentials, "k")], at(43)));
    let why = spent(&mut tables, &budgets, &here, &use_of("i-3"), at(59)).unwrap().unwrap();
    assert!(why.contains("budget of 2 instances isolated or stopped") && why.contains("each account") && why.contains("inc-"), "{why}");
    assert!(goes(&mut tables, &budgets, &here, &use_of("i-3"), at(61)));
}

#[test]
fn a_budget_of_zero_asks_each_time() {
    let (mut tables, here) = (Tables::default(), place(A, &[]));
    let budgets = [budget(Scope::Organization, 24, Counts::Credentials, 0)];
    assert!(!goes(&mut tables, &budgets, &here, &[one(Counts::Credentials, "k")], at(0)));
    // Also for what a person let go on before.
    charge_all(&mut tables, &here, &[one(Counts::Credentials, "k")], at(1));
    assert!(!goes(&mut tables, &budgets, &here, &[one(Counts::Credentials, "k")], at(2)));
    assert!(goes(&mut tables, &budgets, &here, &[one(Counts::Resources, "k")], at(2)));
}

#[test]
fn a_units_budget_counts_what_is_below_it_and_only_that() {
    let mut tables = Tables::default();
    let budgets =
        [budget(Scope::Unit("ou-prod".into()), 1, Counts::Resources, 2), budget(Scope::Unit("r-1".into()), 1, Counts::Resources, 3)];
    let (deep, prod, dev) =
        (place(A, &["r-1", "ou-prod", "ou-web"]), place(B, &["r-1", "ou-prod"]), place("777788889999", &["r-1", "ou-dev"]));
    assert!(goes(&mut tables, &budgets, &deep, &[one(Counts::Resources, "a")], at(0)));
    assert!(goes(&mut tables, &budgets, &prod, &[one(Counts::Resources, "b")], at(0)));
    assert!(!goes(&mut tables, &budgets, &deep, &[one(Counts::Resources, "c")], at(1)));
    assert!(goes(&mut tables, &budgets, &dev, &[one(Counts::Resources, "d")], at(1)));
    let why = spent(&mut tables, &budgets, &dev, &[one(Counts::Resources, "e")], at(1)).unwrap().unwrap();
    assert!(why.contains("OU r-1"), "{why}");
    // Elsewhere nothing of it counts.
    assert!(goes(&mut tables, &budgets, &place(A, &["r-2"]), &[one(Counts::Resources, "e")], at(1)));
    let account = [budget(Scope::Account(A.parse().unwrap()), 1, Counts::Resources, 0)];
    assert!(spent(&mut tables, &account, &prod, &[one(Counts::Resources, "f")], at(1)).unwrap().is_none());
    assert!(spent(&mut tables, &account, &deep, &[one(Counts::Resources, "f")], at(1)).unwrap().is_some());
}

#[test]
fn a_share_is_of_the_members_that_were_in_service_and_replacements_do_not_hide_what_was_taken() {
    let (mut tables, here) = (Tables::default(), place(A, &[]));
    let budgets = [budget(Scope::EachAccount, 24, Counts::InService, 34)];
    assert!(goes(&mut tables, &budgets, &here, &[out("asg", "i-1", 3)], at(0)));
    // A replacement has come: again three in service. Two of three were taken out all the same.
    assert!(!goes(&mut tables, &budgets, &here, &[out("asg", "i-2", 3)], at(10)));
    let why = spent(&mut tables, &budgets, &here, &[out("asg", "i-2", 3)], at(10)).unwrap().unwrap();
    assert!(why.contains("34 % of asg") && why.contains("67 %"), "{why}");
    assert!(goes(&mut tables, &budgets, &here, &[out("asg", "i-1", 2)], at(11)));
    assert!(goes(&mut tables, &budgets, &here, &[out("other", "i-2", 100)], at(12)));
    // Nothing was in service: nothing of it is taken.
    assert!(goes(&mut tables, &budgets, &here, &[out("idle", "i-3", 0)], at(12)));
}

#[test]
fn each_group_is_held_against_its_own_share() {
    let (mut tables, here) = (Tables::default(), place(A, &[]));
    let budgets = [budget(Scope::EachAccount, 24, Counts::InService, 33)];
    charge_all(&mut tables, &here, &[out("x", "i-1", 2), out("y", "i-2", 4)], at(0));
    // Of x nothing more is taken, though it is over its share already; y would be over it with a second of four.
    let why = spent(&mut tables, &budgets, &here, &[out("x", "i-1", 2), out("y", "i-1", 4)], at(1)).unwrap().unwrap();
    assert!(why.contains("25 % of y") && why.contains("50 %"), "{why}");
    assert_eq!(spent(&mut tables, &budgets, &here, &[out("x", "i-1", 2)], at(1)).unwrap(), None);
}

#[test]
fn a_share_of_a_group_that_was_scaled_in_is_of_what_it_is_now_and_what_was_taken_before() {
    let (mut tables, here) = (Tables::default(), place(A, &[]));
    let budgets = [budget(Scope::EachAccount, 24, Counts::InService, 20)];
    let told = |tables: &mut Tables, member: &str, of: u32| spent(tables, &budgets, &here, &[out("asg", member, of)], at(20)).unwrap();
    assert!(goes(&mut tables, &budgets, &here, &[out("asg", "i-1", 100)], at(0)));
    // Scaled in to ten: one more is two of eleven, and two more at once three of eleven.
    assert_eq!(told(&mut tables, "i-2", 10), None);
    let two = [out("asg", "i-2", 10), out("asg", "i-3", 10)];
    let why = spent(&mut tables, &budgets, &here, &two, at(20)).unwrap().unwrap();
    assert!(why.contains("10 % of asg was taken out") && why.contains("make it 28 %"), "{why}");
    assert!(goes(&mut tables, &budgets, &here, &[out("asg", "i-2", 10)], at(20)));
    let why = told(&mut tables, "i-3", 9).unwrap();
    assert!(why.contains("19 % of asg was taken out") && why.contains("make it 28 %"), "{why}");
    // Who was counted costs nothing more, however small the group is by now.
    assert_eq!(told(&mut tables, "i-1", 2), None);
    // Scaled out again, it is no larger than it was when the first was taken from it.
    assert_eq!(told(&mut tables, "i-3", 100), None);
    let shares = budget(Scope::EachAccount, 24, Counts::InService, 20);
    let charges = tables.charges(Timestamp::MIN, Counts::InService).unwrap();
    assert_eq!(standings(&shares, &charges, at(20))[0].spent, 19);
    assert_eq!(spent_percent(&shares, charges, &here, &[out("asg", "i-3", 9)]), Some(95));
}

#[test]
fn a_clock_that_goes_back_frees_nothing() {
    let (mut tables, here) = (Tables::default(), place(A, &[]));
    let budgets = [budget(Scope::Organization, 1, Counts::Resources, 1)];
    assert!(goes(&mut tables, &budgets, &here, &[one(Counts::Resources, "a")], at(0)));
    for minute in [-600, -61, -1, 0, 59] {
        assert!(!goes(&mut tables, &budgets, &here, &[one(Counts::Resources, "b")], at(minute)), "{minute}");
    }
    assert!(goes(&mut tables, &budgets, &here, &[one(Counts::Resources, "b")], at(60)));
}

#[test]
fn what_is_spent_is_told_with_who_spent_it_and_when_it_frees() {
    let mut tables = Tables::default();
    let each = budget(Scope::EachAccount, 1, Counts::Resources, 5);
    let told = |tables: &mut Tables, budget: &Budget, now: Timestamp| {
        standings(budget, &tables.charges(Timestamp::MIN, budget.counts).unwrap(), now)
    };
    assert_eq!(told(&mut tables, &each, at(0)), [Standing { whose: None, spent: 0, by: BTreeSet::new(), frees_at: None }]);
    charge_all(&mut tables, &place(A, &[]), &[one(Counts::Resources, "a"), one(Counts::Resources, "b")], at(0));
    charge_all(&mut tables, &place(A, &[]), &[one(Counts::Resources, "a")], at(20));
    charge_all(&mut tables, &place(B, &[]), &[one(Counts::Resources, "a"), out("asg", "i-1", 4)], at(30));
    let standing = told(&mut tables, &each, at(40));
    let short: Vec<_> = standing.iter().map(|one| (one.whose.as_deref(), one.spent, one.frees_at)).collect();
    assert_eq!(short, [(Some(A), 2, Some(at(60))), (Some(B), 1, Some(at(90)))]);
    assert_eq!(standing[0].by.len(), 1);
    let share = told(&mut tables, &budget(Scope::Organization, 1, Counts::InService, 50), at(40));
    assert_eq!((share[0].whose.as_deref(), share[0].spent), (Some("asg"), 25));
    assert_eq!(told(&mut tables, &each, at(85))[0].whose.as_deref(), Some(B));
}
