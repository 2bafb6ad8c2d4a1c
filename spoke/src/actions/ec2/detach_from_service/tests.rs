//! Decisions over what is seen, without any call.

use super::{
    look::{Classic, Entry, Group, Host, Member, Seen, Targets},
    *,
};
use crate::permission::write_policies;
use cordon_shared::plan::Plan as Planned;

const ME: &str = "i-0aaaaaaaaaaaaaaaa";
const ARN: &str = "arn:aws:ec2:eu-west-1:111122223333:instance/i-0aaaaaaaaaaaaaaaa";
const GROUP: &str = "arn:aws:autoscaling:eu-west-1:111122223333:autoScalingGroup:11111111-2222:autoScalingGroupName/web";

fn host() -> Host {
    Host {
        id: ME.to_owned(),
        state: "running".to_owned(),
        vpc: Some("vpc-1".to_owned()),
        addresses: ["10.0.0.7/32", "2001:db8::7/128", "10.0.1.16/28"].iter().map(|net| net.parse().unwrap()).collect(),
        ..Host::default()
    }
}

fn member(id: &str, state: &str) -> Member {
    Member { id: id.to_owned(), state: state.to_owned(), weight: 1 }
}

/// A group with this instance and others, all in service.
fn group(min: i32, max: i32, others: usize) -> Group {
    let mut members = vec![member(ME, "InService")];
    members.extend((0..others).map(|n| member(&format!("i-{n}"), "InService")));
    let desired = i32::try_from(members.len()).unwrap();
    Group { name: "web".into(), arn: GROUP.into(), min, max, desired, members, ..Group::default() }
}

fn entry(id: &str, port: i32, state: &str) -> Entry {
    let target = Target { id: id.to_owned(), port: Some(port), zone: None, quic: None };
    Entry { target, state: state.to_owned(), reason: String::new() }
}

fn targets(name: &str, entries: &[(&str, i32, &str)]) -> Targets {
    Targets {
        arn: format!("arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/{name}/0123456789abcdef"),
        name: name.to_owned(),
        vpc: Some("vpc-1".to_owned()),
        in_use: true,
        port: Some(80),
        entries: entries.iter().map(|(id, port, state)| entry(id, *port, state)).collect(),
        ..Targets::default()
    }
}

fn classic(instances: &[(&str, bool)]) -> Classic {
    let arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/old".to_owned();
    Classic { name: "old".into(), arn, instances: instances.iter().map(|(id, up)| ((*id).to_owned(), *up)).collect(), ..Classic::default() }
}

fn seen() -> Seen {
    Seen { host: host(), ..Seen::default() }
}

fn with(standby: bool) -> Params {
    Params { instance: ME.to_owned(), standby, even_if_managed: false }
}

fn ready(seen: &Seen, with: &Params) -> (Before, Planned) {
    match decide(seen, with, ARN) {
        Plan::Ready { before, plan } => (before, plan),
        other => panic!("{other:?}"),
    }
}

fn attributes(plan: &Planned) -> Vec<String> {
    plan.changes.iter().map(|change| format!("{}: {} -> {}", change.attribute, change.before, change.after)).collect()
}

fn says(plan: &Planned, text: &str) -> bool {
    plan.notes.iter().any(|note| note.contains(text))
}

#[test]
fn a_detached_instance_is_replaced_and_the_capacity_stays() {
    let seen = Seen { group: Some(group(2, 2, 1)), ..seen() };
    let (before, plan) = ready(&seen, &with(false));
    assert_eq!(attributes(&plan), [format!("instance {ME}: \"InService\" -> \"detached\"")], "also at its minimum size");
    assert_eq!(plan.counts, Some([ARN.to_owned()].into()));
    assert_eq!((plan.touches.clone(), plan.ask.clone()), ([GROUP.to_owned()].into(), None));
    assert!(says(&plan, "1 of 2 instances in service remain") && says(&plan, "a replacement starts") && says(&plan, "at its maximum size"));
    let outcome = serde_json::to_value(before.outcome()).unwrap();
    assert_eq!(outcome["auto_scaling"], serde_json::json!({"group": "web", "mode": "detached", "desired": 2, "min_was": 2}));
    let suspended = Seen { group: Some(Group { launches_nothing: true, mixed: true, ..group(1, 4, 1) }), ..seen };
    let (_, plan) = ready(&suspended, &with(false));
    assert!(says(&plan, "no replacement starts: its Launch process is suspended") && says(&plan, "mixes instance types"));
}

#[test]
fn standby_at_the_minimum_size_lowers_it_first_and_says_so() {
    let (before, plan) = ready(&Seen { group: Some(group(2, 3, 1)), ..seen() }, &with(true));
    assert_eq!(attributes(&plan), [format!("instance {ME}: \"InService\" -> \"Standby\""), "minimum size: 2 -> 1".to_owned()]);
    assert!(says(&plan, "its minimum size is lowered to 1 first, and its desired capacity goes to 1"));
    let membership = before.group.clone().unwrap();
    assert_eq!((membership.min, membership.lower_to, membership.desired_after()), (2, Some(1), 1));
    let (before, plan) = ready(&Seen { group: Some(group(1, 3, 1)), ..seen() }, &with(true));
    assert_eq!((before.group.unwrap().lower_to, plan.changes.len()), (None, 1), "there is room");
    // Of a weighted group the instance is more than one.
    let mut weighted = group(4, 9, 1);
    weighted.members[0].weight = 3;
    weighted.desired = 6;
    let (before, _) = ready(&Seen { group: Some(weighted), ..seen() }, &with(true));
    assert_eq!(before.group.unwrap().lower_to, Some(3));
}

#[test]
fn what_is_leaving_or_stands_by_is_as_wanted_and_other_states_are_told() {
    let state = |state: &str| {
        let mut group = group(1, 3, 1);
        group.members[0].state = state.to_owned();
        Seen { group: Some(group), ..seen() }
    };
    for (at, word) in [("Standby", "Standby"), ("EnteringStandby", "Standby"), ("Detaching", "detached")] {
        for standby in [false, true] {
            let (before, plan) = ready(&state(at), &with(standby));
            assert!(plan.changes.is_empty() && before.group.is_none());
            assert_eq!(plan.already[0].after, serde_json::json!(word), "{at}");
        }
    }
    for at in ["Pending", "Pending:Wait", "Terminating", "Terminating:Wait", "Warmed:Stopped"] {
        let Plan::Refuse { code, why } = decide(&state(at), &with(false), ARN) else { panic!("{at}") };
        assert!(code == "not-in-service" && why.contains(at), "{why}");
        // What it is registered in is left all the same.
        let seen = Seen { target_groups: vec![targets("api", &[(ME, 80, "healthy"), ("i-1", 80, "healthy")])], ..state(at) };
        let (_, plan) = ready(&seen, &with(false));
        assert!(plan.changes.len() == 1 && says(&plan, at));
    }
}

#[test]
fn standby_claims_what_the_group_keeps_its_members_in() {
    let mut standing = group(1, 3, 1);
    standing.members[0].state = "Standby".to_owned();
    let kept = targets("kept", &[("i-1", 80, "healthy")]);
    standing.target_groups = vec![kept.arn.clone()];
    standing.balancers = vec!["old".to_owned()];
    let (_, plan) = ready(&Seen { group: Some(standing), target_groups: vec![kept.clone()], ..seen() }, &with(true));
    let already: Vec<(&str, &str)> = plan.already.iter().map(|one| (one.resource.as_str(), one.attribute.as_str())).collect();
    let (target, instance) = (format!("target {ME} port 80"), format!("instance {ME}"));
    assert_eq!(already, [(GROUP, instance.as_str()), (kept.arn.as_str(), target.as_str()), (classic(&[]).arn.as_str(), instance.as_str())]);
}

#[test]
fn an_instance_taken_out_of_service_is_charged_to_its_groups() {
    let twice = targets("twice", &[(ME, 80, "healthy"), (ME, 81, "healthy"), ("i-0", 80, "healthy")]);
    let ill = targets("ill", &[(ME, 80, "unhealthy"), ("i-0", 80, "healthy")]);
    let (_, plan) = ready(&Seen { group: Some(group(1, 9, 3)), target_groups: vec![twice, ill], ..seen() }, &with(false));
    let short: Vec<_> = plan.shares.iter().map(|share| (share.group.as_str(), share.member.clone(), share.of)).collect();
    let twice = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/twice/0123456789abcdef";
    assert_eq!(short, [(GROUP, ARN.to_owned(), 4), (twice, ARN.to_owned(), 3), (twice, format!("{ARN} (2)"), 3)]);
    assert_eq!(plan.counted(), [ARN.to_owned()].into());
}

#[test]
fn every_target_is_taken_out_on_its_own_port_by_id_and_by_address() {
    let by_id = targets("ids", &[(ME, 443, "healthy"), (ME, 8443, "unhealthy"), ("i-1", 443, "healthy"), (ME, 9, "draining")]);
    let mut by_address = targets("ips", &[("10.0.0.7", 80, "healthy"), ("10.0.1.20", 81, "initial"), ("10.0.0.8", 80, "healthy")]);
    by_address.by_address = true;
    by_address.entries[0].target.zone = Some("eu-west-1a".to_owned());
    let mut ipv6 = targets("six", &[("2001:db8::7", 80, "healthy"), ("2001:db8::8", 80, "healthy")]);
    ipv6.by_address = true;
    let mut foreign = targets("far", &[("10.0.0.7", 80, "healthy")]);
    (foreign.by_address, foreign.vpc) = (true, Some("vpc-2".to_owned()));
    let seen =
        Seen { target_groups: vec![by_id, by_address, ipv6, foreign], balancers: vec![classic(&[(ME, true), ("i-1", true)])], ..seen() };
    let (before, plan) = ready(&seen, &with(false));
    let names: Vec<&str> = plan.changes.iter().map(|change| change.attribute.as_str()).collect();
    assert_eq!(
        names,
        [
            format!("target {ME} port 443"),
            format!("target {ME} port 8443"),
            "target 10.0.0.7 port 80".to_owned(),
            "target 10.0.1.20 port 81".to_owned(),
            "target 2001:db8::7 port 80".to_owned(),
            format!("instance {ME}"),
        ]
    );
    assert_eq!(plan.already.len(), 1, "what drains is out already");
    assert_eq!(before.target_groups[1].targets[0].zone.as_deref(), Some("eu-west-1a"));
    assert_eq!((plan.ask, plan.touches.len()), (None, 4));
    assert!(plan.notes.iter().any(|note| note.contains("another VPC") && note.contains("left alone")), "two VPCs may have one address");
    assert!(plan.notes.iter().any(|note| note == "1 of 2 healthy targets remain in target group ids"), "{:?}", plan.notes);
    assert_eq!(before.remaining.last().map(|share| (share.remaining, share.of)), Some((1, 2)));
}

#[test]
fn the_last_one_in_service_asks_and_names_the_group() {
    let asks = |seen: Seen| ready(&seen, &with(false)).1.ask;
    let pool = |entries: &[(&str, i32, &str)]| Seen { target_groups: vec![targets("api", entries)], ..seen() };
    assert!(asks(pool(&[(ME, 80, "healthy"), ("i-1", 80, "unhealthy")])).unwrap().contains("last healthy target of target group api"));
    assert!(asks(pool(&[(ME, 80, "healthy"), (ME, 81, "healthy")])).is_some(), "its own other port is no other target");
    assert!(asks(pool(&[(ME, 80, "unhealthy")])).is_some(), "the only one gets the traffic");
    assert_eq!(asks(pool(&[(ME, 80, "unhealthy"), ("i-1", 80, "unhealthy")])), None, "it is down already");
    assert_eq!(asks(pool(&[(ME, 80, "healthy"), ("i-1", 80, "healthy")])), None);
    let mut unused = pool(&[(ME, 80, "unused")]);
    unused.target_groups[0].in_use = false;
    assert_eq!(asks(unused), None, "no balancer uses it");
    let mut unchecked = pool(&[(ME, 80, "unavailable"), ("i-1", 80, "unavailable")]);
    for entry in &mut unchecked.target_groups[0].entries {
        entry.reason = "Target.HealthCheckDisabled".to_owned();
    }
    assert_eq!(asks(unchecked), None, "without health checks each counts");
    let alone = asks(Seen { group: Some(group(0, 3, 0)), ..seen() }).unwrap();
    assert!(alone.contains("last instance in service of Auto Scaling group web"), "{alone}");
    let old = asks(Seen { balancers: vec![classic(&[(ME, true), ("i-1", false)])], ..seen() }).unwrap();
    assert!(old.contains("classic load balancer old"), "{old}");
}

#[test]
fn nothing_that_serves_with_it_is_moot_and_so_is_an_instance_that_is_gone() {
    let Plan::Moot { why } = decide(&seen(), &with(false), ARN) else { panic!() };
    assert_eq!(why, format!("no Auto Scaling group, target group or balancer has {ME}"));
    let gone = Seen { host: Host { state: "terminated".into(), ..host() }, group: Some(group(1, 2, 1)), ..Seen::default() };
    let Plan::Moot { why } = decide(&gone, &with(false), ARN) else { panic!() };
    assert!(why.contains("is terminated"));
}

#[test]
fn what_another_controller_runs_is_refused_unless_the_playbook_says_otherwise() {
    let in_group = group(1, 3, 1);
    let managed = Seen {
        host: Host { controller: Some("Amazon EKS (tag `eks:cluster-name`)".into()), ..host() },
        group: Some(in_group.clone()),
        ..seen()
    };
    let Plan::Refuse { code, .. } = decide(&managed, &with(false), ARN) else { panic!() };
    assert_eq!(code, "run-by-controller");
    let (_, plan) = ready(&managed, &Params { even_if_managed: true, ..with(false) });
    assert!(plan.changes.len() == 1 && says(&plan, "it may put the instance back"));
    // A group that a service alone may change is left to it; balancers are not.
    let operated = Group { operator: Some("eks.amazonaws.com".into()), ..in_group };
    let pool = targets("api", &[(ME, 80, "healthy"), ("i-1", 80, "healthy")]);
    let operated = Seen { group: Some(operated), target_groups: vec![pool], ..seen() };
    assert!(matches!(decide(&operated, &with(false), ARN), Plan::Refuse { code: "run-by-controller", .. }));
    let (before, plan) = ready(&operated, &Params { even_if_managed: true, ..with(false) });
    assert!(before.group.is_none() && before.target_groups.len() == 1 && says(&plan, "changed by eks.amazonaws.com alone"));
}

#[test]
fn a_spot_instance_is_taken_out_with_a_word_about_it() {
    let spot = Seen { host: Host { spot: true, ..host() }, group: Some(group(1, 3, 1)), ..seen() };
    assert!(says(&ready(&spot, &with(false)).1, "Spot Instance"));
}

#[test]
fn forty_target_groups_are_split_over_sessions_and_a_hundred_and_fifty_are_refused() {
    let cell = cordon_shared::id::CellId::new("111122223333".parse().unwrap(), "ap-southeast-2".parse().unwrap());
    let scopes = |count: usize| {
        let pools = (0..count).map(|n| targets(&format!("{:x<29}{n:03}", "t"), &[(ME, 80, "healthy"), ("i-1", 80, "healthy")]));
        let (group, balancers) = (Some(group(2, 3, 1)), vec![classic(&[(ME, true), ("i-1", true)])]);
        let seen = Seen { group, balancers, target_groups: pools.collect(), ..seen() };
        let (before, _) = ready(&seen, &with(true));
        write_policies(DetachFromService::WRITES, &cell, &DetachFromService.bind(&with(true), &before))
    };
    let forty = scopes(40).unwrap();
    assert!(forty.len() > 1);
    let bound: Vec<&str> = forty.iter().flat_map(|scope| scope.bindings.ids("target_group")).collect();
    assert_eq!(bound.len(), 40);
    assert!(
        forty
            .iter()
            .all(|scope| scope.policy.len() <= 2048 && scope.bindings.has("group", "web") && !scope.policy.contains("targetgroup/*"))
    );
    assert!(scopes(150).is_err());
}

#[test]
fn a_groups_name_stands_for_nothing_but_itself_in_a_policy() {
    assert_eq!(literal("web-1"), "web-1");
    assert_eq!(literal("*"), "${*}");
    assert_eq!(literal("a?${b}"), "a${?}${$}{b}");
}

#[test]
fn only_what_a_plan_has_is_in_its_sessions_policy() {
    let cell = cordon_shared::id::CellId::new("111122223333".parse().unwrap(), "eu-west-1".parse().unwrap());
    let policy = |seen: &Seen, standby: bool| {
        let (before, _) = ready(seen, &with(standby));
        write_policies(DetachFromService::WRITES, &cell, &DetachFromService.bind(&with(standby), &before)).unwrap().remove(0).policy
    };
    let in_group = |min| Seen { group: Some(group(min, 3, 1)), ..seen() };
    assert!(!policy(&in_group(2), false).contains("UpdateAutoScalingGroup"), "the minimum is not touched");
    assert!(policy(&in_group(2), true).contains("UpdateAutoScalingGroup"));
    assert!(!policy(&in_group(2), true).contains("elasticloadbalancing"));
    let pool = Seen { target_groups: vec![targets("api", &[(ME, 80, "healthy"), ("i-1", 80, "healthy")])], ..seen() };
    assert!(!policy(&pool, false).contains("autoscaling") && !policy(&pool, false).contains("loadbalancer/"));
}
