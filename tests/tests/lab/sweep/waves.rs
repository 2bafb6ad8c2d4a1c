//! Waves and stop-loss.

use std::collections::BTreeMap;

use cordon_lab::{
    Shape,
    gateway::{Action, Call, Fault, Match},
};

use super::field::{Field, REVOKE, SWEEP, count, summary};

/// The first call that names each group, and the end of its closing, as numbers and times of the ledger.
fn begun(field: &Field) -> Vec<(String, jiff::Timestamp, Option<jiff::Timestamp>)> {
    let ids: Vec<&String> = field.groups.iter().map(|group| &group.id).collect();
    let mut found: BTreeMap<&String, (u64, jiff::Timestamp, Option<jiff::Timestamp>)> = BTreeMap::new();
    for call in field.lab.gateway.ledger().all().iter().filter(|call| call.service == "ec2") {
        let params = call.params.to_string();
        for id in ids.iter().filter(|id| params.contains(id.as_str())) {
            let entry = found.entry(id).or_insert((call.number, call.at, None));
            if call.operation == REVOKE && call.succeeded() {
                entry.2 = Some(call.at);
            }
        }
    }
    let mut order: Vec<_> = found.into_iter().collect();
    order.sort_by_key(|(_, (number, ..))| *number);
    order.into_iter().map(|(id, (_, at, closed))| (id.clone(), at, closed)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_then_a_tenth_then_the_rest() {
    let shape = Shape { members: 3, ..Shape::small() };
    let field = Field::new(&shape, 3, 5).await;
    let output = field.run(&[SWEEP.as_slice(), &["--max", "15", "--format", "json"]].concat()).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(field.still_open(&field.groups).await.len(), 0);
    let order = begun(&field);
    assert_eq!(order.len(), 15);
    // 1, then a tenth of 15 rounded up, then the rest.
    for wave in [1, 3] {
        let closed = order[..wave].iter().map(|(id, _, closed)| closed.unwrap_or_else(|| panic!("{id} was not closed"))).max().unwrap();
        let next = order[wave..].iter().map(|(_, at, _)| *at).min().unwrap();
        assert!(closed < next, "the wave after the first {wave} began before they were done");
    }
}

/// Denied changes in the account that comes second: the sweep does not get to the rest.
#[tokio::test(flavor = "multi_thread")]
async fn failures_stop_the_sweep() {
    let shape = Shape { members: 3, ..Shape::small() };
    let field = Field::new(&shape, 3, 10).await;
    // Security Hub lists account after account; whichever comes first is well for a while.
    let first = field.listed().await.remove(0);
    deny_all_but(&field, &first);
    // Waves of 1, 10 and the rest: the second has one of a denied account.
    let arguments = [SWEEP.as_slice(), &["--max", "100", "--format", "json"]].concat();
    let output = field.run(&arguments).await;
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(output.stderr.contains("stopped") && output.stderr.contains("5 %"), "{output:?}");
    let order = begun(&field);
    assert_eq!(order.len(), 11, "the third wave was begun");
    assert_eq!(field.closed(), 10);
    let rows = summary(&output);
    assert_eq!(count(&rows, "held", "access-denied"), 1, "{rows:#?}");

    // The cause is mended; what failed is tried again by a person, the rest by the same sweep.
    field.lab.gateway.faults().clear();
    let output = field.run(&arguments).await;
    assert!(output.code == Some(0) || output.code == Some(3), "{output:?}");
    let open = field.still_open(&field.groups).await;
    assert_eq!(open.len(), 1, "the one that failed waits for a person");
    field.closed_once(&field.groups.iter().filter(|group| !open.contains(&group.id)).cloned().collect::<Vec<_>>());
}

/// Whatever would change something is denied in all accounts but one.
fn deny_all_but(field: &Field, first: &str) {
    for account in field.organization.members.iter().map(|member| &member.account).filter(|account| *account != first) {
        let denied = Match { account: Some(account.clone()), service: Some("ec2".to_owned()), write: Some(true), ..Match::default() };
        field.lab.gateway.faults().add(Fault::new(denied, Action::Deny { code: None, status: None }));
    }
}

/// The first two waves are well, and in the last everything fails: it does not go on to its end.
#[tokio::test(flavor = "multi_thread")]
async fn failures_in_the_last_wave_stop_it_before_its_end() {
    let regions = Shape::default().regions;
    let mut field = Field::new(&Shape { members: 3, regions, ..Shape::small() }, 3, 7).await;
    // Few at a time: what runs on when the sweep stops is no more than that.
    field.cordon = field.with_limits("organization_slots = 4\naccount_slots = 4\ncell_slots = 4\n");
    let first = field.listed().await.remove(0);
    deny_all_but(&field, &first);
    let output = field.run(&[SWEEP.as_slice(), &["--max", "42", "--format", "json"]].concat()).await;
    assert_eq!(output.code, Some(3), "{:?}", output.stderr);
    assert!(output.stderr.contains("stopped"), "{:?}", output.stderr);
    let tried: Vec<Call> =
        field.lab.gateway.ledger().of_operation("ec2", REVOKE).into_iter().filter(|call| call.account != first).collect();
    assert!(tried.len() < 20, "{} of 28 were tried though nothing but failures came", tried.len());
}
