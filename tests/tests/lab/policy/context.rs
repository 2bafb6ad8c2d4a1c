//! What policies are asked, from the tags, clocks and counts of the world to the verdict.

use cordon_lab::organization::InstanceShape;
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use serde_json::json;

use super::*;
use crate::respond::world::members;

/// A time zone in which it is another day and another hour than in Greenwich, for an hour at least.
fn elsewhere() -> TimeZone {
    let early = TimeZone::UTC.to_datetime(Timestamp::now()).hour() < 11;
    TimeZone::get(if early { "Etc/GMT+12" } else { "Pacific/Kiritimati" }).unwrap()
}

fn weekday(at: &DateTime) -> String {
    format!("{:?}", at.weekday()).to_lowercase()
}

/// A condition that is true from now on for ten minutes by the clocks of a zone.
fn now_in(zone: &TimeZone) -> String {
    let at = |minutes: i64| zone.to_datetime(Timestamp::now() + SignedDuration::from_mins(minutes));
    let hour = |at: &DateTime| format!("(context.weekday == \"{}\" && context.hour == {})", weekday(at), at.hour());
    format!("({} || {})", hour(&at(0)), hour(&at(10)))
}

/// Asks one person about changes in an OU, on a condition.
fn asks(name: &str, unit: &str, condition: &str) -> String {
    let head = format!("@id(\"{name}\")\nforbid (principal, action in Action::\"change\", resource in OrgUnit::\"{unit}\")\n");
    format!("{head}when {{ context.seat == \"member\" && context.approvals < 1 && {condition} }};\n")
}

/// Forbids changes in an OU, on a condition.
fn forbids(name: &str, unit: &str, condition: &str) -> String {
    let head = format!("@id(\"{name}\")\nforbid (principal, action in Action::\"change\", resource in OrgUnit::\"{unit}\")\n");
    format!("{head}when {{ context.seat == \"member\" && {condition} }};\n")
}

async fn explained(world: &World, run: &str, step: &str) -> Value {
    let output = world.cordon(&["policy", "explain", run, step, "--format", "json"], "").await;
    assert_eq!(output.code, Some(0), "{output:?}");
    output.objects().remove(0)
}

/// Verdict, persons, and the policies that decided.
fn decided(explained: &Value) -> (&str, u64, Vec<&str>) {
    let names = explained["policies"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    (text(explained, "/verdict"), explained["people"].as_u64().unwrap(), names)
}

/// Two policies for each circumstance: one that asks because of it, and one that would forbid if it were anything else.
#[tokio::test]
async fn policies_are_asked_by_local_clock_tags_ou_age_reach_and_what_was_spent() {
    let world = World::with(members(3, &[HOME]), |settings| {
        let policies = Some(folder(&settings, &[]));
        Settings { caps: (6, 60), policies, ..settings }
    })
    .await;
    let (organization, management) = (&world.organization, &world.organization.management);
    let other = organization.ordinary(2).unwrap().account.clone();
    let parent = async |child: &str| {
        let parents = world.hand(management, "organizations", "list_parents", json!({"ChildId": child})).await;
        text(&parents, "/Parents/0/Id").to_owned()
    };
    let (production, development) = (parent(&world.account).await, parent(&other).await);
    let workloads = parent(&production).await;
    assert_eq!((production == development, parent(&development).await == workloads), (false, true));
    let tag = json!({"ResourceId": world.account, "Tags": [{"Key": "Environment", "Value": "Staging"}]});
    world.hand(management, "organizations", "tag_resource", tag).await;
    let first = world.shaped(&InstanceShape::named("first").tagged("criticality", "High")).await;
    let of_other = async |name: &str| organization.instance(&other, HOME, &InstanceShape::named(name)).await.unwrap();
    let (second, beside, late) = futures::join!(world.instance("second"), of_other("beside"), of_other("late"));

    let zone = elsewhere();
    let (here, greenwich) = (now_in(&zone), now_in(&TimeZone::UTC));
    let spent =
        "context.spent.account == 2 && context.spent.organization == 5 && context.caps.account == 6 && context.caps.organization == 60";
    let policies = [
        asks("by-clock", &production, &here),
        forbids("by-clock-not", &production, &format!("(!{here} || {greenwich})")),
        asks("by-ou", &production, "true"),
        forbids("by-ou-not", &development, "true"),
        asks("by-ou-above", &workloads, &format!("resource in OrgUnit::\"{production}\"")),
        forbids("by-ou-above-not", &workloads, &format!("!(resource in OrgUnit::\"{production}\")")),
        asks("by-environment", &production, "resource.environments.contains(\"staging\")"),
        forbids("by-environment-not", &production, "resource.environments != [\"staging\"]"),
        asks(
            "by-criticality",
            &production,
            "resource.hasTag(\"criticality\") && resource.getTag(\"criticality\") == \"High\" && resource.criticalities == [\"high\"]",
        ),
        asks("by-age", &production, "context.finding_age >= 840 && context.finding_age < 1440"),
        forbids("by-age-not", &production, "(context.finding_age < 840 || context.finding_age >= 1440)"),
        asks("by-reach", &production, "context.blast_radius == 2"),
        forbids("by-reach-not", &production, "!([1, 2].contains(context.blast_radius))"),
        asks("by-spent", &production, spent),
        forbids("by-half-of-the-cap", &production, "context.spent.account * 2 >= context.caps.account"),
    ];
    // What forbids all in the other OU comes later: something is to be changed there first.
    let (elsewhere_only, here_only): (Vec<&String>, Vec<&String>) =
        policies.iter().partition(|policy| policy.contains("by-ou-not") || policy.contains("by-ou-above-not"));
    let write = |policies: &[&String]| {
        let texts: Vec<&str> = policies.iter().map(|policy| policy.as_str()).collect();
        fs::write(world.settings.policies.clone().unwrap().join("around.cedar"), texts.concat()).unwrap();
    };
    write(&here_only);
    let name = zone.iana_name().unwrap();
    let config = organization.config_toml(&world.settings).replace("[policy]\n", &format!("[policy]\ntime_zone = \"{name}\"\n"));
    assert!(config.contains(name));
    world.cordon.configured(&config).unwrap();

    // Nothing of it is about the other OU: two groups and a network ACL are changed there.
    let contained = world.one(&world.attack(&beside)).await;
    assert_eq!(state(&contained), "contained", "{contained:#}");
    write(&[here_only, elsewhere_only].concat());

    let begun = Timestamp::now();
    let asked = world.one(&world.attack(&first)).await;
    let run = id(&asked);
    assert_eq!((state(&asked), &step(&asked, "close-ingress")["state"]), ("waiting", &json!("waiting")), "{asked:#}");
    let close = explained(&world, &run, "close-ingress").await;
    let all = ["by-age", "by-clock", "by-criticality", "by-environment", "by-ou", "by-ou-above", "by-reach"];
    assert_eq!(decided(&close), ("ask", 1, all.to_vec()), "{close:#}");
    assert!(text(&close, "/then").starts_with("a person is asked"), "{close:#}");
    let around = &close["asked"]["around"];
    let end: Timestamp = text(&close, "/at").parse().unwrap();
    let mut moments = (0..=end.duration_since(begun).as_secs() + 1).map(|seconds| {
        let at = zone.to_datetime(begun + SignedDuration::from_secs(seconds));
        (json!(weekday(&at)), json!(at.hour()), json!(at.minute()))
    });
    let clock = (around["weekday"].clone(), around["hour"].clone(), around["minute"].clone());
    assert!(moments.any(|moment| moment == clock), "{around:#} is not between {begun} and {end} in {name}");
    assert_eq!((&around["spent"], &around["caps"], &around["blast_radius"]), (&json!([0, 3]), &json!([6, 60]), &json!(2)), "{around:#}");
    let account = &close["asked"]["account"];
    assert_eq!((text(account, "/tags/Environment"), text(account, "/path/2/id")), ("Staging", production.as_str()), "{account:#}");

    // With a yes the next step is asked about: of one resource, with two spent.
    let granted = world.incident(&["approval", "grant", &run, "--step", "close-ingress", "--yes"]).await;
    assert_eq!(step(&granted, "block-source")["state"], "waiting", "{granted:#}");
    let block = explained(&world, &run, "block-source").await;
    let (verdict, people, names) = decided(&block);
    assert_eq!((verdict, people), ("ask", 1), "{block:#}");
    for (name, there) in [("by-spent", true), ("by-clock", true), ("by-reach", false)] {
        assert_eq!(names.contains(&name), there, "{name}: {block:#}");
    }
    assert_eq!(block["asked"]["around"]["spent"], json!([2, 5]), "{block:#}");
    let granted = world.incident(&["approval", "grant", &run, "--step", "block-source", "--yes"]).await;
    assert_eq!(state(&granted), "contained", "{granted:#}");

    // Half of the cap is spent now, and in the other OU nothing goes any more.
    for (instance, deciding) in [(&second, vec!["by-half-of-the-cap"]), (&late, vec!["by-ou-above-not", "by-ou-not"])] {
        let before = world.state(instance).await;
        let held = world.one(&world.attack(instance)).await;
        let no = explained(&world, &id(&held), "close-ingress").await;
        assert_eq!(decided(&no), ("deny", 0, deciding), "{no:#}");
        assert!(text(&no, "/then").starts_with("held (policy)"), "{no:#}");
        assert_eq!(world.state(instance).await, before);
    }
}
