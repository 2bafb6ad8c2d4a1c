//! One account that throttles, denies or hangs delays no other.

use std::time::{Duration, Instant};

use cordon_lab::{
    Shape,
    gateway::{Action, Fault, Match},
};
use jiff::Timestamp;

use super::field::{Field, SWEEP};

/// How long the quiet accounts may take, however bad the others are.
const QUIET: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_throttles_denies_or_hangs_delays_no_other() {
    let shape = Shape { members: 5, ..Shape::small() };
    let field = Field::new(&shape, 5, 4).await;
    let quiet = [field.account(0), field.account(1)];
    let bad = [
        (field.account(2), Action::Throttle),
        (field.account(3), Action::Deny { code: None, status: None }),
        (field.account(4), Action::Hang),
    ];
    for (account, action) in &bad {
        // Its reads too: nothing of it works.
        let matching = Match { account: Some(account.clone()), service: Some("ec2".to_owned()), ..Match::default() };
        field.lab.gateway.faults().add(Fault::new(matching, action.clone()));
    }
    // One by itself comes first: it is of a quiet account, so that the bad ones begin beside the others and not before them.
    let one = field.run(&[SWEEP.as_slice(), &["--max", "1", "--account", &quiet[0]]].concat()).await;
    assert_eq!(one.code, Some(0), "{one:?}");
    assert_eq!(field.closed(), 1);

    let others: Vec<_> = field.groups.iter().filter(|group| quiet.contains(&group.account)).cloned().collect();
    let began = Timestamp::now();
    let started = Instant::now();
    let mut sweep = field.cordon.spawn(&[SWEEP.as_slice(), &["--max", "1000", "--format", "json"]].concat()).unwrap();
    while !field.still_open(&others).await.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(60), "the quiet accounts are not done: {}", sweep.log());
        assert!(sweep.is_running(), "it ended before the quiet accounts were done: {}", sweep.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(sweep.is_running(), "the bad accounts ended first");
    let ended = field.revocations().into_values().flatten().filter(|call| quiet.contains(&call.account)).map(|call| call.at).max().unwrap();
    let took = ended.duration_since(began).unsigned_abs();
    assert!(took < QUIET, "the quiet accounts took {took:?}");

    // Mended, the bad ones end too: last.
    field.lab.gateway.faults().clear();
    let code = sweep.wait(Duration::from_secs(90)).await;
    assert!(code.is_some(), "it does not end: {} {}", field.log(), sweep.log());
    let hanging = &bad[2].0;
    let last = field.revocations().into_values().flatten().filter(|call| call.account == *hanging).map(|call| call.at).max();
    assert!(last.is_none_or(|last| last > ended), "the account that hung ended before those that did not");
    field.closed_once(&others);
}

/// In the last wave too, when what hangs is more than a sweep has under way at a time.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_hangs_with_much_to_do_delays_none_behind_it() {
    let shape = Shape { members: 3, ..Shape::small() };
    let field = Field::new(&shape, 3, 10).await;
    let order = field.listed().await;
    let [_, hanging, behind] = order.as_slice() else { panic!("{order:?}") };
    let matching = Match { account: Some(hanging.clone()), service: Some("ec2".to_owned()), ..Match::default() };
    field.lab.gateway.faults().add(Fault::new(matching, Action::Hang));
    let others: Vec<_> = field.groups.iter().filter(|group| group.account == *behind).cloned().collect();
    // Waves of 1, 3 and the rest: the first two are of the account that comes first.
    let mut sweep = field.cordon.spawn(&[SWEEP.as_slice(), &["--max", "30", "--format", "json"]].concat()).unwrap();
    let started = Instant::now();
    while !field.still_open(&others).await.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(40), "{} still wait: {}", field.still_open(&others).await.len(), sweep.log());
        assert!(sweep.is_running(), "it ended: {}", sweep.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(sweep.is_running(), "the account that hangs ended first");
}
