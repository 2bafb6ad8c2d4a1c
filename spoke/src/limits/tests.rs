use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;

use super::*;

fn cell(account: u64, region: &str) -> CellId {
    CellId::new(format!("{account:012}").parse().unwrap(), region.parse().unwrap())
}

fn charge(payer: u64, class: Class, asking: &CellId) -> Charge {
    Charge { payer: cell(payer, "us-east-1").account, region: asking.region.clone(), class, asking: asking.clone() }
}

/// One a second, two at once.
fn limits() -> Limits {
    Limits::new(Rates::default().with(Class::Ec2Read, Rate::new(1.0, 2)).with(Class::FindingsRead, Rate::new(2.0, 1)))
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

const LONG: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn a_bucket_gives_its_burst_and_then_its_rate() {
    let (limits, here) = (limits(), cell(1, "us-east-1"));
    let charge = charge(1, Class::Ec2Read, &here);
    let start = Instant::now();
    for expected in [0, 0, 1, 2, 3] {
        assert!(spend(&limits, &charge, PATIENCE).await);
        assert_eq!(start.elapsed().as_secs(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_gets_nothing_and_costs_nothing() {
    let (limits, here) = (limits(), cell(1, "us-east-1"));
    let charge = charge(1, Class::Ec2Read, &here);
    let start = Instant::now();
    let asked = join_all((0..8).map(|_| spend(&limits, &charge, PATIENCE))).await;
    // Two of the burst, two in the two seconds; the others were not sent.
    assert_eq!(asked.iter().filter(|sent| **sent).count(), 4);
    assert_eq!(start.elapsed(), PATIENCE);
    // Those who gave up took nothing with them: the third second's token is there.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(spend(&limits, &charge, Duration::from_millis(1)).await);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_spent_goes_back() {
    let (limits, here) = (limits(), cell(1, "us-east-1"));
    let charge = charge(1, Class::Ec2Read, &here);
    for _ in 0..5 {
        drop(limits.take(&charge, Duration::ZERO).await.unwrap());
    }
    assert!(spend(&limits, &charge, Duration::ZERO).await);
    assert!(spend(&limits, &charge, Duration::ZERO).await);
    assert!(!spend(&limits, &charge, Duration::ZERO).await);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_comes_back_goes_to_who_waits_at_once() {
    let (limits, here) = (limits(), cell(1, "us-east-1"));
    let charge = charge(1, Class::Ec2Read, &here);
    let kept = (limits.take(&charge, PATIENCE).await.unwrap(), limits.take(&charge, PATIENCE).await.unwrap());
    let start = Instant::now();
    let waiter = tokio::spawn({
        let (limits, charge) = (limits.clone(), charge.clone());
        async move { spend(&limits, &charge, PATIENCE).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(kept.0);
    kept.1.spend();
    assert!(waiter.await.unwrap());
    assert_eq!(start.elapsed().as_millis(), 100);
}

#[tokio::test(start_paused = true)]
async fn cancelled_waiters_lose_no_token() {
    let (limits, here) = (limits(), cell(1, "us-east-1"));
    let charge = charge(1, Class::Ec2Read, &here);
    let start = Instant::now();
    let mut sent = 0;
    // Callers that are cancelled at every possible moment, among callers that are not.
    for round in 0..200_u64 {
        let cancelled = tokio::spawn({
            let (limits, charge) = (limits.clone(), charge.clone());
            async move { limits.take(&charge, LONG).await.map(drop) }
        });
        tokio::time::sleep(Duration::from_millis(round * 37 % 1_500)).await;
        cancelled.abort();
        let _ = cancelled.await;
        assert!(spend(&limits, &charge, LONG).await);
        sent += 1;
    }
    // At the full rate: the cancelled ones cost nothing. (Time slept while the bucket was full is not counted against it.)
    let full = Duration::from_secs(sent);
    assert!(start.elapsed() <= full + Duration::from_secs(2), "{:?} for {sent}", start.elapsed());
    assert!(start.elapsed() + Duration::from_secs(3) >= full, "{:?} for {sent}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_busy_account_delays_a_quiet_one_by_no_more_than_its_turn() {
    let limits = limits();
    let busy: Vec<_> = (0..50)
        .map(|n| {
            let asking = cell(1, if n % 2 == 0 { "us-east-1" } else { "eu-west-1" });
            let charge = Charge { region: "us-east-1".parse().unwrap(), ..charge(9, Class::FindingsRead, &asking) };
            let limits = limits.clone();
            tokio::spawn(async move { spend(&limits, &charge, LONG).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let quiet = charge(9, Class::FindingsRead, &cell(2, "us-east-1"));
    let start = Instant::now();
    assert!(spend(&limits, &quiet, PATIENCE).await);
    // Two a second: at most the one token already due to the busy account, then the quiet one's.
    assert!(start.elapsed() <= Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(busy.iter().any(|task| !task.is_finished()));
    assert!(join_all(busy).await.into_iter().all(|sent| sent.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn throttling_lowers_one_bucket_only_and_it_recovers() {
    let limits = Limits::new(Rates::default().with(Class::Ec2Read, Rate::new(10.0, 10)));
    let throttled = charge(1, Class::Ec2Read, &cell(1, "us-east-1"));
    let others = [charge(1, Class::Ec2Read, &cell(1, "eu-west-1")), charge(2, Class::Ec2Read, &cell(2, "us-east-1"))];
    assert!(spend(&limits, &throttled, PATIENCE).await);
    // Several answers of one moment count once.
    limits.throttled(&throttled);
    limits.throttled(&throttled);
    let start = Instant::now();
    assert!(spend(&limits, &throttled, PATIENCE).await);
    let spaced = start.elapsed();
    assert!(spaced >= Duration::from_millis(190) && spaced <= Duration::from_millis(200), "half of ten a second: {spaced:?}");
    for other in &others {
        let start = Instant::now();
        for _ in 0..10 {
            assert!(spend(&limits, other, PATIENCE).await);
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let start = Instant::now();
    for _ in 0..10 {
        assert!(spend(&limits, &throttled, PATIENCE).await);
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "whole again, burst and all");
}

#[tokio::test(start_paused = true)]
async fn throttling_that_goes_on_lowers_further_but_never_to_nothing() {
    let limits = Limits::new(Rates::default().with(Class::Ec2Read, Rate::new(10.0, 10)));
    let charge = charge(1, Class::Ec2Read, &cell(1, "us-east-1"));
    for _ in 0..100 {
        limits.throttled(&charge);
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    assert!(spend(&limits, &charge, PATIENCE).await);
    assert!(spend(&limits, &charge, LONG).await);
}

#[tokio::test(start_paused = true)]
async fn idle_buckets_are_forgotten() {
    let limits = limits();
    for account in 0..100 {
        assert!(spend(&limits, &charge(account, Class::Ec2Read, &cell(account, "us-east-1")), PATIENCE).await);
    }
    assert_eq!(limits.buckets(), 100);
    tokio::time::sleep(SWEEP).await;
    assert!(spend(&limits, &charge(7, Class::Ec2Read, &cell(7, "us-east-1")), PATIENCE).await);
    assert!(limits.buckets() <= 2, "{}", limits.buckets());
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
        assert!(rate.per_second() <= quota.per_second() / 2.0 && rate.burst() <= quota.burst(), "{class}");
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
    assert_eq!(Class::of(Service::Sqs, Read, None, "/"), None);
}

#[tokio::test(start_paused = true)]
async fn slots_are_capped_for_the_organization_an_account_and_a_cell() {
    let slots = Slots::new(16, 4, 2);
    let at_work = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..400)
        .map(|n: u64| {
            let (slots, at_work) = (slots.clone(), Arc::clone(&at_work));
            let here = cell(n % 40, if n % 3 == 0 { "us-east-1" } else { "eu-west-1" });
            tokio::spawn(async move {
                let _slot = slots.acquire(&here).await;
                let now = at_work.0.fetch_add(1, Ordering::SeqCst) + 1;
                at_work.1.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(n % 7)).await;
                at_work.0.fetch_sub(1, Ordering::SeqCst);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(at_work.1.load(Ordering::SeqCst), 16);
    assert_eq!(slots.held(), 0);

    let one = cell(1, "us-east-1");
    let _held = (slots.acquire(&one).await, slots.acquire(&one).await);
    assert!(tokio::time::timeout(LONG, slots.acquire(&one)).await.is_err(), "two in a cell");
    let other = cell(1, "eu-west-1");
    let _more = (slots.acquire(&other).await, slots.acquire(&other).await);
    assert!(tokio::time::timeout(LONG, slots.acquire(&cell(1, "eu-north-1"))).await.is_err(), "four in an account");
}

#[tokio::test(start_paused = true)]
async fn no_account_gets_more_than_an_eighth_while_another_waits() {
    let slots = Slots::new(16, 16, 16);
    let mut tasks = Vec::new();
    let held = Arc::new(Mutex::new(HashMap::<u64, usize>::new()));
    let waiting = Arc::new(Mutex::new(HashMap::<u64, usize>::new()));
    for n in 0..300_u64 {
        // The first account asks for most.
        let account = if n % 2 == 0 { 2 + n % 13 } else { 1 };
        let (slots, held, waiting) = (slots.clone(), Arc::clone(&held), Arc::clone(&waiting));
        tasks.push(tokio::spawn(async move {
            *waiting.lock().unwrap().entry(account).or_default() += 1;
            let _slot = slots.acquire(&cell(account, "us-east-1")).await;
            {
                let mut waiting = waiting.lock().unwrap();
                *waiting.get_mut(&account).unwrap() -= 1;
                let mut held = held.lock().unwrap();
                let mine = held.entry(account).or_default();
                *mine += 1;
                // Of those counted here, sixteen may have a slot already and only not know it yet.
                let others = waiting.iter().filter(|(other, _)| **other != account).map(|(_, count)| *count).sum::<usize>() > 16;
                assert!(*mine <= 2 || !others, "account {account} holds {mine} while others wait");
            }
            tokio::time::sleep(Duration::from_millis(5 + n % 11)).await;
            *held.lock().unwrap().get_mut(&account).unwrap() -= 1;
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(slots.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_account_alone_may_have_all_and_gives_way_when_another_comes() {
    let slots = Slots::new(8, 8, 8);
    let (busy, quiet) = (cell(1, "us-east-1"), cell(2, "us-east-1"));
    let mut all = join_all((0..8).map(|_| slots.acquire(&busy))).await;
    let more = tokio::spawn({
        let (slots, busy) = (slots.clone(), busy.clone());
        async move { slots.acquire(&busy).await }
    });
    tokio::task::yield_now().await;
    let quiet = tokio::spawn({
        let slots = slots.clone();
        async move { slots.acquire(&quiet).await }
    });
    tokio::task::yield_now().await;
    all.pop();
    let got = tokio::time::timeout(LONG, quiet).await.unwrap().unwrap();
    assert!(!more.is_finished(), "the busy account was first in the queue and still had to give way");
    drop(got);
    assert!(tokio::time::timeout(LONG, more).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn slots_of_cancelled_waiters_are_not_lost() {
    let slots = Slots::new(2, 2, 2);
    let here = cell(1, "us-east-1");
    for round in 0..100_u64 {
        let held = slots.acquire(&here).await;
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let (slots, here) = (slots.clone(), here.clone());
                tokio::spawn(async move { drop(slots.acquire(&here).await) })
            })
            .collect();
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        drop(held);
        for waiter in &waiters {
            waiter.abort();
        }
        for waiter in waiters {
            let _ = waiter.await;
        }
        assert_eq!(slots.held(), 0, "round {round}");
    }
}
