//! `cordon serve`: findings by EventBridge and SQS, what cannot be used, a service that is killed, the poll, and what people ask of a running
//! service from another process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail as tests do")]

use std::time::{Duration, Instant};

use cordon_lab::{
    Cordon, GatewayOptions, Lab, Organization, Running, Settings, Shape,
    gateway::{Action, Call, Enforcement, Fault, Match},
    organization::{
        Instance, InstanceShape,
        finding::{Part, brute_force, event},
    },
    shared,
};
use serde_json::Value;
use tempfile::TempDir;

const HOME: &str = "us-east-1";
const ATTACKER: &str = "198.51.100.23";
const PATIENCE: Duration = Duration::from_secs(40);

/// An organization with an attacked instance, and a Cordon that is configured to serve it.
struct World {
    lab: Lab,
    organization: Organization,
    web: Instance,
    cordon: Cordon,
    _folder: TempDir,
}

impl World {
    async fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let gateway = GatewayOptions { enforcement: Enforcement::all(), throttle: None };
        let lab = shared().unwrap().beside(gateway).unwrap();
        let shape = Shape { queue: true, regions: vec![HOME.to_owned(), "eu-west-1".to_owned()], ..Shape::small() };
        let organization = Organization::build(&lab, &shape).await.unwrap();
        let account = organization.ordinary(0).unwrap().account.clone();
        let web = organization.instance(&account, HOME, &InstanceShape::named("web-1")).await.unwrap();
        organization.log_attack(&web, ATTACKER, None).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings { attempt_timeout: "2s".to_owned(), ..Settings::serving(&folder.path().join("state")) };
        change(&mut settings);
        let cordon = Cordon::new(&lab, &organization, folder.path(), &settings).await.unwrap();
        Self { lab, organization, web, cordon, _folder: folder }
    }

    /// A running service.
    async fn serve(&self) -> Running {
        let mut service = self.cordon.spawn(&["serve"]).unwrap();
        let until = Instant::now() + PATIENCE;
        while !service.log().contains("serving account") {
            assert!(service.is_running() && Instant::now() < until, "{}", service.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        service
    }

    async fn attack(&self) -> Value {
        self.organization.attack(&self.web, ATTACKER, Part::Target).await.unwrap()
    }

    async fn incidents(&self) -> Vec<Value> {
        let listed = self.cordon.run(&["incident", "list", "--format", "json"], "").await.unwrap();
        assert_eq!(listed.code, Some(0), "{}", listed.stderr);
        listed.objects()
    }

    /// The incident about a subject once it is in a state.
    async fn incident(&self, subject: &str, state: &str, service: &Running) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let rows = self.incidents().await;
            if let Some(row) = rows.iter().find(|row| row["subject"] == subject && row["state"] == state) {
                return row.clone();
            }
            assert!(Instant::now() < until, "no incident about {subject} is {state}: {rows:#?}\n{}", service.log());
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    async fn drained(&self) {
        let until = Instant::now() + PATIENCE;
        while self.organization.waiting().await.unwrap() != (0, 0) {
            assert!(Instant::now() < until, "the queue does not become empty");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The calls that changed something in the member's account.
    fn changes(&self) -> Vec<Call> {
        self.lab.gateway.ledger().writes_in(&self.web.account).into_iter().filter(Call::succeeded).collect()
    }

    async fn is_contained(&self) {
        assert_eq!(self.organization.open_groups_of(&self.web, 22).await.unwrap(), Vec::<String>::new());
        let passage = self.organization.passes(&self.web, ATTACKER.parse().unwrap(), 22).await.unwrap();
        assert!(!passage.inward && !passage.outward, "{passage:?}");
    }
}

fn id(row: &Value) -> String {
    row["run"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_finding_comes_by_eventbridge_and_sqs_and_the_same_again_changes_nothing() {
    let world = World::new(|_| {}).await;
    let mut service = world.serve().await;
    let finding = world.attack().await;
    world.incident(&world.web.arn, "contained", &service).await;
    world.is_contained().await;
    world.drained().await;

    let before = world.changes().len();
    world.organization.emit(&event(&world.organization.security, &finding)).await.unwrap();
    world.drained().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((world.incidents().await.len(), world.changes().len()), (1, before));
    assert_eq!(world.organization.put_aside().await.unwrap(), 0);

    service.terminate();
    assert_eq!(service.wait(PATIENCE).await, Some(0), "{}", service.log());
}

/// GuardDuty's events stay in their Region: the other Region's bus hands them on.
#[tokio::test]
async fn a_finding_of_another_region_comes_too() {
    let world = World::new(|_| {}).await;
    let far = world.organization.instance(&world.web.account, "eu-west-1", &InstanceShape::named("far-1")).await.unwrap();
    let service = world.serve().await;
    world.organization.attack(&far, ATTACKER, Part::Target).await.unwrap();
    world.incident(&far.arn, "contained", &service).await;
    assert_eq!(world.organization.open_groups_of(&far, 22).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn what_cannot_be_used_is_put_aside_with_the_reason_and_stops_nothing() {
    let world = World::new(|_| {}).await;
    let mut strange = event(&world.organization.security, &world.attack().await);
    strange["detail"]["accountId"] = "12345".into();
    for body in ["no JSON at all", "{\"version\": \"0\", \"detail\": {", &strange.to_string()] {
        world.organization.send(body).await.unwrap();
    }
    let service = world.serve().await;
    world.incident(&world.web.arn, "contained", &service).await;
    world.drained().await;
    assert_eq!(world.organization.put_aside().await.unwrap(), 3);
    let letters = world.organization.dead_letters().await.unwrap();
    assert_eq!(letters.len(), 3);
    for letter in letters {
        let attributes: Vec<&str> =
            letter["MessageAttributes"].as_object().unwrap().values().filter_map(|one| one["StringValue"].as_str()).collect();
        assert!(attributes.iter().any(|text| text.starts_with("CDN-")), "{letter:#}");
        assert!(attributes.iter().any(|text| text.contains(' ') && text.len() > 15), "the reason in words: {letter:#}");
    }
    assert_eq!(world.incidents().await.len(), 1);
}

/// Killed between two calls of one change: the port is closed, one of the two entries is made, the other is on its way.
#[tokio::test]
async fn killed_in_the_middle_it_goes_on_and_repeats_no_change() {
    let world = World::new(|_| {}).await;
    let slow = Match { operation: Some("CreateNetworkAclEntry".into()), ..Match::default() };
    world.lab.gateway.faults().add(Fault::new(slow, Action::Hang).from(2).times(1));
    let mut service = world.serve().await;
    let finding = world.attack().await;
    let until = Instant::now() + PATIENCE;
    let entries = || world.lab.gateway.ledger().of_operation("ec2", "CreateNetworkAclEntry");
    while entries().len() < 2 {
        assert!(Instant::now() < until, "{}", service.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    service.kill();
    assert_eq!(service.wait(PATIENCE).await, Some(137));
    assert_eq!(world.incidents().await[0]["state"], "running");

    let again = world.serve().await;
    world.incident(&world.web.arn, "contained", &again).await;
    world.is_contained().await;
    // A queue delivers more than once. What it hands to the dead service's two open polls stays invisible for a minute.
    for _ in 0..3 {
        world.organization.emit(&event(&world.organization.security, &finding)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let until = Instant::now() + PATIENCE;
    while world.organization.waiting().await.unwrap().0 > 0 {
        assert!(Instant::now() < until, "{}", again.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.incidents().await.len(), 1);

    let changes = world.changes();
    let mut done: Vec<String> = changes.iter().map(|call| format!("{} {}", call.operation, call.params)).collect();
    done.sort();
    let all = done.len();
    done.dedup();
    assert_eq!(done.len(), all, "a change was made twice: {done:#?}");
    assert_eq!(done.iter().filter(|call| call.starts_with("CreateNetworkAclEntry")).count(), 2, "{done:#?}");
    assert_eq!(done.iter().filter(|call| call.starts_with("RevokeSecurityGroupIngress")).count(), 2, "{done:#?}");
}

#[tokio::test]
async fn the_poll_finds_what_the_queue_did_not_bring() {
    let world = World::new(|settings| {
        settings.queue = false;
        settings.poll_every = "30s".to_owned();
    })
    .await;
    let groups = world.organization.open_groups(&world.web.account, HOME, 2).await.unwrap();
    world.organization.backlog(&groups).await.unwrap();
    let service = world.serve().await;
    for group in &groups {
        world.incident(&group.arn, "closed", &service).await;
        let rules = world.organization.ingress(&group.account, &group.region, &group.id).await.unwrap();
        assert!(!cordon_lab::organization::look::open_to_world(&rules, 22), "{rules:#?}");
    }
}

/// The home Region's GuardDuty fails at the first poll: the other Region's is read all the same, and the home Region's at the next poll.
#[tokio::test]
async fn the_poll_reads_guardduty_in_each_region_and_copies_of_a_finding_are_one() {
    let world = World::new(|settings| settings.poll_every = "30s".to_owned()).await;
    let far = world.organization.instance(&world.web.account, "eu-west-1", &InstanceShape::named("far-1")).await.unwrap();
    let (here, there) = (brute_force(&world.web, ATTACKER, Part::Target), brute_force(&far, ATTACKER, Part::Target));
    for native in [&here, &there] {
        world.organization.notice(native).await.unwrap();
    }
    let home = Match { operation: Some("ListFindings".into()), region: Some(HOME.into()), ..Match::default() };
    world.lab.gateway.faults().add(Fault::new(home, Action::Deny { code: None, status: None }).times(1));
    let service = world.serve().await;
    world.incident(&far.arn, "contained", &service).await;
    assert_eq!(world.incidents().await.len(), 1, "the home Region cannot be read yet");
    assert!(service.log().contains("guardduty/us-east-1"), "{}", service.log());
    world.incident(&world.web.arn, "contained", &service).await;
    world.is_contained().await;

    // The same by the queue, and from Security Hub at a later poll.
    let polls = || world.lab.gateway.ledger().of_operation("guardduty", "ListFindings").len();
    let before = polls();
    for native in [&here, &there] {
        world.organization.know(native).await.unwrap();
        world.organization.emit(&event(&world.organization.security, native)).await.unwrap();
    }
    // The next poll begins up to half a minute from now.
    let until = Instant::now() + PATIENCE * 2;
    let changes = world.changes().len();
    while polls() < before + 2 {
        assert!(Instant::now() < until, "{}", service.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world.drained().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((world.incidents().await.len(), world.changes().len()), (2, changes));
}

#[tokio::test]
async fn a_running_service_answers_what_people_ask_in_other_processes() {
    let world = World::new(|settings| settings.mode = "ask".to_owned()).await;
    let service = world.serve().await;
    world.attack().await;
    let row = world.incident(&world.web.arn, "waiting", &service).await;
    assert!(world.changes().is_empty(), "nothing is changed before a yes");

    let asked = world.cordon.run(&["approval", "list", "--format", "json"], "").await.unwrap().objects();
    assert_eq!((asked.len(), asked[0]["step"].as_str()), (1, Some("close-ingress")), "{asked:#?}");
    let wrong = world.cordon.run(&["approval", "grant", &id(&row), "--digest", "0000000000000000", "--yes"], "").await.unwrap();
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    assert!(world.changes().is_empty(), "a yes to another plan is none");
    let granted = world.cordon.run(&["approval", "grant", &id(&row), "--step", "close-ingress", "--yes"], "").await.unwrap();
    assert_eq!(granted.code, Some(0), "{}", granted.stderr);
    assert_eq!(world.organization.open_groups_of(&world.web, 22).await.unwrap(), Vec::<String>::new());

    let until = Instant::now() + PATIENCE;
    let step = loop {
        let asked = world.cordon.run(&["approval", "list", "--format", "json"], "").await.unwrap().objects();
        if let Some(step) = asked.first().and_then(|asked| asked["step"].as_str()) {
            break step.to_owned();
        }
        assert!(Instant::now() < until, "{:#?}\n{}", world.incidents().await, service.log());
        tokio::time::sleep(Duration::from_millis(150)).await;
    };
    assert_eq!(step, "block-source");
    let granted = world.cordon.run(&["approval", "grant", &id(&row), "--yes"], "").await.unwrap();
    assert_eq!(granted.code, Some(0), "{}", granted.stderr);
    world.is_contained().await;

    let undone = world.cordon.run(&["incident", "undo", &id(&row), "--step", "block-source", "--yes"], "").await.unwrap();
    assert_eq!(undone.code, Some(0), "{}", undone.stderr);
    let passage = world.organization.passes(&world.web, ATTACKER.parse().unwrap(), 22).await.unwrap();
    assert!(passage.inward && passage.outward, "{passage:?}");
    assert_eq!(world.organization.open_groups_of(&world.web, 22).await.unwrap(), Vec::<String>::new(), "it is closed until it is named");
}

#[tokio::test]
async fn there_is_one_service_at_a_time() {
    let world = World::new(|_| {}).await;
    let _service = world.serve().await;
    let mut second = world.cordon.spawn(&["serve"]).unwrap();
    assert_eq!(second.wait(PATIENCE).await, Some(2), "{}", second.log());
}
