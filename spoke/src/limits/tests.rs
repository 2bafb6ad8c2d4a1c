//! Rates here are either so slow that time adds nothing, or only bounded from below: a busy computer fails no test.

use futures::future::join_all;

use super::*;

fn cell(account: u64, region: &str) -> CellId {
    CellId::new(format!("{account:012}").parse().unwrap(), region.parse().unwrap())
}

fn charge(payer: u64, class: Class, asking: &CellId) -> Charge {
    Charge { payer: cell(payer, "us-east-1").account, region: asking.region.clone(), class, asking: asking.clone() }
}

/// Twice at once, then for a quarter of an hour nothing.
fn nearly_still() -> Limits {
    Limits::new(Rates::default().with(Class::Ec2Read, Rate::new(0.001, 2)).with(Class::FindingsRead, Rate::new(0.001, 1)))
}

async fn spend(limits: &Limits, charge: &Charge, patience: Duration) -> bool {
    match limits.take(charge, patience).await {
        Some(token) => {
            token.spend();
            true
        }
        None => false,
    }
}

const SOON: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(300);

async fn until(mut so: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not come to it");
}

#[tokio::test]
async fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
    let limits = Limits::new(Rates::default().with(Class::Ec2Read, Rate::new(100.0, 5)));
    let charge = charge(1, Class::Ec2Read, &cell(1, "us-east-1"));
    let start = Instant::now();
    let sent = join_all((0..25).map(|_| spend(&limits, &charge, LONG))).await;
    assert!(sent.into_iter().all(|sent| sent));
    assert!(start.elapsed() >= Duration::from_millis(199), "{:?}", start.elapsed());
}

#[tokio::test]
async fn who_waits_too_long_gets_nothing() {
    let (limits, here) = (nearly_still(), cell(1, "us-east-1"));
    let charge = charge(1, Class::Ec2Read, &here);
    let start = Instant::now();
    let sent = join_all((0..8).map(|_| spend(&limits, &charge, SOON))).await;
    assert_eq!(sent.iter().filter(|sent| **sent).count(), 2);
    assert!(start.elapsed() >= SOON);
    // Another Region has its own bucket.
    assert!(spend(&limits, &self::charge(1, Class::Ec2Read, &cell(1, "eu-west-1")), SOON).await);
}

#[tokio::test]
async fn a_token_that_is_not_spent_goes_back() {
    let (limits, here) = (nearly_still(), cell(1, "us-east-1"));
    let charge = charge(1, Class::Ec2Read, &here);
    for _ in 0..5 {
        drop(limits.take(&charge, Duration::ZERO).await.unwrap());
    }
    assert!(spend(&limits, &charge, Duration::ZERO).await);
    assert!(spend(&limits, &charge, Duration::ZERO).await);
    assert!(!spend(&limits, &charge, Duration::ZERO).await);
}

#[tokio::test]
async fn a_token_that_comes_back_goes_to_who_waits() {
    let (limits, here) = (nearly_still(), cell(1, "us-east-1"));
    let charge = charge(1, Class::Ec2Read, &here);
    let kept = (limits.take(&charge, SOON).await.unwrap(), limits.take(&charge, SOON).await.unwrap());
    let (mine, theirs) = (limits.clone(), charge.clone());
    let waiter = tokio::spawn(async move { spend(&mine, &theirs, LONG).await });
    until(|| limits.waiting(&charge) == 1).await;
    drop(kept.0);
    assert!(waiter.await.unwrap());
    kept.1.spend();
    assert!(!spend(&limits, &charge, SOON).await, "two tokens, both spent");
}

#[tokio::test]
async fn cancelled_waiters_lose_no_token() {
    let (limits, here) = (nearly_still(), cell(1, "us-east-1"));
    let charge = charge(1, Class::Ec2Read, &here);
    for round in 0..200 {
        let kept = (limits.take(&charge, SOON).await.unwrap(), limits.take(&charge, SOON).await.unwrap());
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let (limits, charge) = (limits.clone(), charge.clone());
                tokio::spawn(async move { limits.take(&charge, LONG).await.map(drop) })
            })
            .collect();
        until(|| limits.waiting(&charge) == 3).await;
        drop(kept);
        // Cancelled before the pump runs, between its answer and the waiter's waking, and after.
        for _ in 0..round % 4 {
            tokio::task::yield_now().await;
        }
        for waiter in &waiters {
            waiter.abort();
        }
        for waiter in waiters {
            drop(waiter.await);
        }
        assert_eq!(limits.waiting(&charge), 0);
    }
    assert!(spend(&limits, &charge, SOON).await && spend(&limits, &charge, SOON).await, "both are still there");
    assert!(!spend(&limits, &charge, SOON).await, "and no third");
}

#[tokio::test]
async fn a_busy_account_delays_a_quiet_one_by_no_more_than_its_turn() {
    let limits = nearly_still();
    let shared = |asking: &CellId| Charge { region: "us-east-1".parse().unwrap(), ..charge(9, Class::FindingsRead, asking) };
    let kept = limits.take(&shared(&cell(9, "us-east-1")), SOON).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for n in 0..52 {
        let asking = match n {
            50 => cell(2, "us-east-1"),
            51 => cell(3, "us-east-1"),
            n if n % 2 == 0 => cell(1, "us-east-1"),
            _ => cell(1, "eu-west-1"),
        };
        let (limits, order, charge) = (limits.clone(), Arc::clone(&order), shared(&asking));
        let queued = limits.clone();
        let copy = charge.clone();
        tasks.push(tokio::spawn(async move {
            // The one token goes from hand to hand: unspent, it goes to the next in turn.
            let token = limits.take(&charge, LONG).await.unwrap();
            order.lock().unwrap().push(charge.asking.to_string());
            drop(token);
        }));
        until(|| queued.waiting(&copy) == n + 1).await;
    }
    drop(kept);
    assert!(join_all(tasks).await.into_iter().all(|task| task.is_ok()));
    let order = order.lock().unwrap().clone();
    // The busy account, whose turn it was, the quiet ones, and then the busy one again, its cells in turn.
    let expected =
        ["000000000001/us-east-1", "000000000002/us-east-1", "000000000003/us-east-1", "000000000001/eu-west-1", "000000000001/us-east-1"];
    assert_eq!(order.iter().take(5).map(String::as_str).collect::<Vec<_>>(), expected);
    assert_eq!(order.len(), 52);
}

#[tokio::test]
async fn throttling_lowers_one_bucket_only() {
    let limits = Limits::default();
    let throttled = charge(1, Class::Ec2Read, &cell(1, "us-east-1"));
    limits.throttled(&throttled);
    assert!(limits.pace(&throttled) < 0.9);
    for other in [
        charge(1, Class::Ec2Read, &cell(1, "eu-west-1")),
        charge(2, Class::Ec2Read, &cell(2, "us-east-1")),
        charge(1, Class::Ec2Write, &cell(1, "us-east-1")),
    ] {
        assert!((limits.pace(&other) - 1.0).abs() < 1e-9, "{other}");
    }
}

#[tokio::test]
async fn buckets_that_nobody_uses_are_forgotten() {
    let limits = Limits::default();
    for account in 0..100 {
        assert!(spend(&limits, &charge(account, Class::Ec2Read, &cell(account, "us-east-1")), SOON).await);
    }
    assert_eq!(limits.buckets(), 100);
    let later = Instant::now() + SWEEP * 2;
    limits.0.buckets.lock().unwrap().sweep(later);
    assert_eq!(limits.buckets(), 0);
}

#[tokio::test]
async fn calls_on_behalf_of_a_cell_wait_in_its_turn() {
    let (hub, member) = (cell(9, "us-east-1"), cell(1, "eu-west-1"));
    assert_eq!(asking(&hub), hub);
    assert_eq!(on_behalf(&member, async { asking(&hub) }).await, member);
}

#[test]
fn defaults_are_a_quarter_of_the_quota_for_writes_and_half_for_reads() {
    let rates = Rates::default();
    assert_eq!(rates.of(Class::Ec2Read), Rate::new(10.0, 50));
    assert_eq!(rates.of(Class::Ec2Write), Rate::new(1.25, 12));
    assert_eq!(rates.of(Class::FindingsRead), Rate::new(1.5, 3));
    assert_eq!(rates.of(Class::FindingsWrite), Rate::new(2.5, 7));
    for class in Class::ALL {
        let (rate, quota) = (rates.of(*class), class.quota());
        // Few others look events up, and two a second are few: all of it is taken.
        let most = if *class == Class::Trail { 1.0 } else { 0.5 };
        assert!(rate.per_second() <= quota.per_second() * most && rate.burst() <= quota.burst(), "{class}");
    }
}

#[test]
fn calls_are_sorted_into_classes() {
    use Access::{Read, Write};
    assert_eq!(Class::of(Service::Ec2, Read, None, "/"), Some(Class::Ec2Read));
    assert_eq!(Class::of(Service::Ec2, Write, None, "/"), Some(Class::Ec2Write));
    assert_eq!(Class::of(Service::Logs, Read, Some("Logs_20140328.FilterLogEvents"), "/"), Some(Class::LogsSearch));
    assert_eq!(Class::of(Service::Logs, Read, Some("Logs_20140328.DescribeLogGroups"), "/"), Some(Class::Logs));
    assert_eq!(Class::of(Service::SecurityHub, Read, None, "/findings"), Some(Class::FindingsRead));
    assert_eq!(Class::of(Service::SecurityHub, Read, None, "/findings/batchupdate"), Some(Class::FindingsWrite));
    assert_eq!(Class::of(Service::Account, Read, None, "/getAlternateContact"), Some(Class::Account));
    assert_eq!(Class::of(Service::Ses, Read, None, "/v2/email/outbound-emails"), None);
    assert_eq!(Class::of(Service::Sqs, Read, None, "/"), None);
}
