use cordon_shared::clock::ManualClock;
use futures::future::join_all;
use jiff::Timestamp;
use serde_json::Value;

use super::*;
use crate::{
    aws::fake::{NOW, World},
    connector::tests::{Asked, Reply, Stand},
    limits::Rates,
};

const READS: &[Permission] = &[Permission::new("ec2:DescribeInstances", "*")];

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn cell(account: &str, region: &str) -> CellId {
    CellId::new(account.parse().unwrap(), region.parse().unwrap())
}

fn member() -> CellId {
    cell("111122223333", "eu-west-1")
}

/// An answer of AssumeRole, in the account of the role or another.
fn assumed(account: Option<&str>, asked: &Asked, expires: Timestamp) -> Reply {
    let role: Arn = asked.field("RoleArn").unwrap().parse().unwrap();
    let own = role.account().unwrap();
    let account = account.unwrap_or(own.as_str());
    Reply::Now(
        200,
        format!(
            "<AssumeRoleResponse><AssumeRoleResult><AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId>\
             <Arn>arn:aws:sts::{account}:assumed-role/CordonSpoke/x</Arn></AssumedRoleUser><Credentials><AccessKeyId>ASIAMEMBER</AccessKeyId>\
             <SecretAccessKey>verysecret</SecretAccessKey><SessionToken>verylong</SessionToken><Expiration>{expires}</Expiration></Credentials>\
             </AssumeRoleResult></AssumeRoleResponse>"
        ),
    )
}

fn sts_error(status: u16, code: &str) -> Reply {
    Reply::Now(
        status,
        format!("<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>said so</Message></Error></ErrorResponse>"),
    )
}

fn hour(asked: &Asked) -> Reply {
    assumed(None, asked, now() + jiff::SignedDuration::from_hours(1))
}

struct Hub {
    stand: Stand,
    clock: Arc<ManualClock>,
    sessions: Sessions,
}

impl Hub {
    async fn new(answer: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(answer, |_| {}).await
    }
    async fn with(answer: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static, change: impl FnOnce(&mut SessionSettings)) -> Self {
        let stand = Stand::new(answer).await;
        let clock = Arc::new(ManualClock::at(now()));
        let mut settings = SessionSettings::new("222222222222".parse().unwrap(), "us-east-1".parse().unwrap());
        settings.attempt_timeout = Duration::from_millis(500);
        change(&mut settings);
        let sessions = Sessions::at_endpoint(settings, Limits::new(Rates::scaled(1000.0)), clock.clone(), &stand.endpoint()).unwrap();
        Self { stand, clock, sessions }
    }
    fn asked(&self) -> Vec<Asked> {
        self.stand.asked()
    }
}

async fn warrant() -> Warrant {
    World::new(|_, _| (200, Value::Null)).await.warrant().await
}

#[tokio::test]
async fn a_read_session_says_who_reads_and_may_only_read() {
    let hub = Hub::new(|_, asked| hour(asked)).await;
    let clients = hub.sessions.read(&member(), "ec2-brute-force", READS).await.unwrap();
    assert_eq!(clients.cell(), &member());
    let asked = hub.asked();
    let [asked] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(asked.field("Action").as_deref(), Some("AssumeRole"));
    assert_eq!(asked.field("RoleArn").as_deref(), Some("arn:aws:iam::111122223333:role/CordonSpoke"));
    assert_eq!(asked.field("ExternalId").as_deref(), Some("111122223333"));
    assert_eq!(asked.field("SourceIdentity").as_deref(), Some("cordon-read"));
    assert_eq!(asked.field("RoleSessionName").as_deref(), Some("cordon-read-ec2-brute-force"));
    assert_eq!(asked.field("DurationSeconds").as_deref(), Some("3600"));
    assert!(asked.field("Policy").unwrap().contains("ec2:DescribeInstances"));
    assert_eq!(asked.region(), "eu-west-1", "STS is called in the target's Region");
}

#[tokio::test]
async fn a_read_session_is_opened_once_shared_and_renewed_five_minutes_early() {
    let hub = Hub::new(|n, asked| assumed(None, asked, now() + jiff::SignedDuration::from_hours(i64::try_from(n).unwrap() + 1))).await;
    let target = member();
    let all = join_all((0..50).map(|_| hub.sessions.read(&target, "p", READS))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(hub.asked().len(), 1, "single flight");
    // Another Region of the account shares it; another playbook does not.
    hub.sessions.read(&cell("111122223333", "us-west-2"), "p", READS).await.unwrap();
    assert_eq!(hub.asked().len(), 1);
    hub.sessions.read(&target, "q", READS).await.unwrap();
    assert_eq!(hub.asked().len(), 2);
    hub.clock.advance(54 * 60_000);
    hub.sessions.read(&target, "p", READS).await.unwrap();
    assert_eq!(hub.asked().len(), 2);
    hub.clock.advance(60_000);
    let all = join_all((0..50).map(|_| hub.sessions.read(&target, "p", READS))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(hub.asked().len(), 3);
}

#[tokio::test]
async fn clients_of_a_read_session_outlive_its_credentials() {
    let hub = Hub::new(|n, asked| match asked.field("Action").as_deref() {
        Some("AssumeRole") => assumed(None, asked, now() + jiff::SignedDuration::from_hours(i64::try_from(n).unwrap() + 1)),
        _ => Reply::Now(200, "<DescribeRegionsResponse/>".into()),
    })
    .await;
    let ec2 = hub.sessions.read(&member(), "p", READS).await.unwrap().ec2();
    ec2.describe_regions().send().await.unwrap();
    hub.clock.advance(56 * 60_000);
    ec2.describe_regions().send().await.unwrap();
    let actions: Vec<_> = hub.asked().iter().filter_map(|asked| asked.field("Action")).collect();
    assert_eq!(actions, ["AssumeRole", "DescribeRegions", "AssumeRole", "DescribeRegions"]);
    assert!(hub.asked()[1].header("authorization").contains("ASIAMEMBER"));
    assert_eq!(hub.asked()[1].region(), "eu-west-1");
}

#[tokio::test]
async fn a_session_in_another_account_is_dropped() {
    let hub = Hub::new(|_, asked| assumed(Some("999999999999"), asked, now() + jiff::SignedDuration::from_hours(1))).await;
    let error = hub.sessions.read(&member(), "p", READS).await.unwrap_err();
    assert_eq!(error.code(), "wrong-account");
    assert!(!error.may_pass());
    // It was not kept either.
    assert!(hub.sessions.read(&member(), "p", READS).await.is_err());
    assert_eq!(hub.asked().len(), 2);
}

#[tokio::test]
async fn a_missing_role_says_what_to_deploy_and_is_not_asked_for_again_at_once() {
    let hub = Hub::new(|_, _| sts_error(403, "AccessDenied")).await;
    let error = hub.sessions.read(&member(), "p", READS).await.unwrap_err();
    assert_eq!(error.code(), "role-missing");
    assert!(error.to_string().contains("cordon infra render") && error.to_string().contains("111122223333"), "{error}");
    assert_eq!(hub.sessions.read(&member(), "p", READS).await.unwrap_err(), error);
    assert_eq!(hub.asked().len(), 1, "denied is denied at home too, and for five seconds nobody asks");
}

#[tokio::test]
async fn a_failure_that_may_pass_is_not_remembered() {
    let hub = Hub::new(|n, asked| if n < 4 { sts_error(500, "InternalFailure") } else { hour(asked) }).await;
    let error = hub.sessions.read(&member(), "p", READS).await.unwrap_err();
    assert!(error.may_pass(), "{error}");
    hub.sessions.read(&member(), "p", READS).await.unwrap();
}

#[tokio::test]
async fn the_home_region_answers_for_a_region_whose_sts_does_not() {
    for reply in [
        Reply::Never,
        sts_error(503, "ServiceUnavailable"),
        sts_error(403, "RegionDisabledException"),
        sts_error(403, "InvalidClientTokenId"),
    ] {
        let hub = Hub::new(move |_, asked| if asked.region() == "eu-west-1" { reply.clone() } else { hour(asked) }).await;
        hub.sessions.read(&member(), "p", READS).await.unwrap();
        let regions: Vec<_> = hub.asked().iter().map(Asked::region).collect();
        assert_eq!(regions, ["eu-west-1", "us-east-1"]);
    }
    // A global service's cell is entered from home.
    let hub = Hub::new(|_, asked| hour(asked)).await;
    hub.sessions.read(&cell("111122223333", "global"), "p", READS).await.unwrap();
    assert_eq!(hub.asked()[0].region(), "us-east-1");
}

#[tokio::test]
async fn a_write_session_carries_its_incident_and_is_never_shared() {
    let hub = Hub::new(|_, asked| assumed(None, asked, now() + jiff::SignedDuration::from_mins(15))).await;
    let warrant = warrant().await;
    let step = StepKey::first("step");
    for _ in 0..2 {
        hub.sessions.write(&member(), warrant.run(), &step, "{}".into(), &warrant).await.unwrap();
    }
    let asked = hub.asked();
    assert_eq!(asked.len(), 2);
    let run = warrant.run().to_string();
    let asked = &asked[0];
    assert_eq!(asked.field("SourceIdentity"), Some(format!("cordon-{run}")));
    assert_eq!(asked.field("RoleSessionName").as_deref(), Some("cordon-000000000001-step"));
    assert_eq!(asked.field("DurationSeconds").as_deref(), Some("900"));
    assert_eq!(asked.field("Policy").as_deref(), Some("{}"));
    assert_eq!(asked.field("ExternalId").as_deref(), Some("111122223333"));
    assert_eq!((asked.field("Tags.member.1.Key"), asked.field("Tags.member.1.Value")), (Some("cordon:run".into()), Some(run)));
    assert_eq!((asked.field("Tags.member.2.Key"), asked.field("Tags.member.2.Value")), (Some("cordon:step".into()), Some("step".into())));
}

#[tokio::test]
async fn a_warrant_opens_its_own_step_only_and_only_while_it_lives() {
    let hub = Hub::new(|_, asked| hour(asked)).await;
    let warrant = warrant().await;
    let (step, other) = (StepKey::first("step"), StepKey::first("step").next());
    let error = hub.sessions.write(&member(), warrant.run(), &other, "{}".into(), &warrant).await.unwrap_err();
    assert_eq!(error.code(), "stopped");
    let error = hub.sessions.write(&member(), IncidentId::from_u128(2), &step, "{}".into(), &warrant).await.unwrap_err();
    assert_eq!(error.code(), "stopped");
    hub.clock.advance(15 * 60_000);
    let error = hub.sessions.write(&member(), warrant.run(), &step, "{}".into(), &warrant).await.unwrap_err();
    assert_eq!(error.code(), "stopped");
    assert!(hub.asked().is_empty());
}

#[tokio::test]
async fn a_warrant_that_only_looks_opens_no_write_session_and_no_call_leaves_with_it() {
    let hub = Hub::new(|_, asked| hour(asked)).await;
    let preview = World::new(|_, _| (200, Value::Null)).await.preview().await;
    let step = StepKey::first("step");
    let error = hub.sessions.write(&member(), preview.run(), &step, "{}".into(), &preview).await.unwrap_err();
    assert_eq!(error.code(), "stopped");
    assert!(hub.asked().is_empty(), "STS is not asked");
    let read = hub.sessions.read(&member(), "p", READS).await.unwrap();
    let error = hub.sessions.looking(&read, &warrant().await).unwrap_err();
    assert_eq!(error.code(), "stopped", "with a warrant to change something nobody only looks");
    let looking = hub.sessions.looking(&read, &preview).unwrap();
    for clients in [looking.clone(), looking.in_region(&"us-east-1".parse().unwrap())] {
        let error = clients.ec2().delete_security_group().group_id("sg-1").send().await.unwrap_err();
        assert!(matches!(crate::action::classify("ec2:DeleteSecurityGroup", error), crate::action::ActionError::OnlyLooking));
    }
    assert_eq!(hub.asked().len(), 1, "only the read session was opened");
    // The read session's own clients are not taken for those.
    assert!(read.ec2().describe_regions().send().await.is_err() && hub.asked().len() > 1);
}

#[tokio::test]
async fn the_organization_is_read_with_the_reader_role_or_the_hubs_own_rights() {
    let hub = Hub::new(|_, asked| hour(asked)).await;
    assert_eq!(hub.sessions.organization().await.unwrap().cell(), &cell("222222222222", "global"));
    assert!(hub.asked().is_empty());
    let role = "arn:aws:iam::333333333333:role/CordonOrganizationReader";
    let hub = Hub::with(|_, asked| hour(asked), |settings| settings.org_read_role = Some(role.into())).await;
    assert_eq!(hub.sessions.organization().await.unwrap().cell(), &cell("333333333333", "global"));
    assert_eq!(hub.asked()[0].field("RoleArn").as_deref(), Some(role));
    assert_eq!(hub.asked()[0].field("ExternalId").as_deref(), Some("333333333333"));
}

#[tokio::test]
async fn the_caller_is_asked_once() {
    let answer = "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>222222222222</Account></GetCallerIdentityResult></GetCallerIdentityResponse>";
    let hub = Hub::new(move |n, _| if n == 0 { sts_error(403, "ExpiredToken") } else { Reply::Now(200, answer.into()) }).await;
    assert_eq!(hub.sessions.caller().await.unwrap_err().code(), "no-credentials");
    for _ in 0..3 {
        assert_eq!(hub.sessions.caller().await.unwrap().as_str(), "222222222222");
    }
    assert_eq!(hub.asked().len(), 2);
}

#[tokio::test]
async fn a_session_that_cannot_be_renewed_is_named_by_the_call_that_needed_it() {
    let hub = Hub::new(|n, asked| if n == 0 { hour(asked) } else { sts_error(403, "AccessDenied") }).await;
    let ec2 = hub.sessions.read(&member(), "p", READS).await.unwrap().ec2();
    hub.clock.advance(3_600_000);
    let error = ec2.describe_regions().send().await.unwrap_err();
    let error = crate::action::classify("ec2:DescribeRegions", error);
    assert_eq!(error.code(), "role-missing", "{error}");
}

#[tokio::test]
async fn hub_services_are_paid_by_the_hub_and_the_others_by_the_member() {
    let hub = Hub::new(|_, asked| hour(asked)).await;
    let clients = hub.sessions.read(&member(), "p", READS).await.unwrap();
    let meter = |service| {
        let config = clients.base.config(&clients.session.site, service);
        format!("{:?}", config.http_client())
    };
    use crate::limits::Service;
    for (service, text) in [
        (Service::Ec2, "ec2 Read of 111122223333/eu-west-1 for 111122223333/eu-west-1"),
        (Service::Iam, "iam Read of 111122223333/global for 111122223333/eu-west-1"),
        (Service::SecurityHub, "securityhub Read of 222222222222/eu-west-1 for 111122223333/eu-west-1"),
        (Service::Sts, "sts Read of 222222222222/eu-west-1 for 111122223333/eu-west-1"),
        (Service::Organizations, "organizations Read of 222222222222/global for 111122223333/eu-west-1"),
    ] {
        assert!(meter(service).contains(text), "{}", meter(service));
    }
}

#[tokio::test]
async fn clients_are_kept_but_not_without_end_and_not_longer_than_a_write_session() {
    let hub = Hub::new(|_, asked| assumed(None, asked, now() + jiff::SignedDuration::from_mins(15))).await;
    let pool = Arc::clone(&hub.sessions.0.pool);
    let regions = [
        "us-east-1",
        "us-east-2",
        "us-west-1",
        "us-west-2",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "eu-north-1",
        "sa-east-1",
        "ca-central-1",
    ];
    for account in 0..30 {
        for region in regions {
            let target = cell(&format!("{account:012}"), region);
            let site = Site { cell: target, access: Access::Read, credentials: None, watch: None };
            drop(hub.sessions.clients(SessionKey::Read(Arc::from("k")), site).sts());
        }
    }
    assert_eq!(pool.len(), 256);
    pool.forget(&SessionKey::Read(Arc::from("k")));
    let warrant = warrant().await;
    let clients = hub.sessions.write(&member(), warrant.run(), &StepKey::first("step"), "{}".into(), &warrant).await.unwrap();
    let (_, _, _) = (clients.sts(), clients.sts(), clients.clone().sqs());
    assert_eq!(pool.len(), 2);
    drop(clients);
    assert_eq!(pool.len(), 0);
}

#[tokio::test]
async fn nothing_that_is_printed_holds_a_credential() {
    let hub = Hub::new(|_, asked| hour(asked)).await;
    let clients = hub.sessions.read(&member(), "p", READS).await.unwrap();
    let printed = format!("{clients:?} {:?} {:?}", hub.sessions, clients.ec2());
    assert!(!printed.contains("verysecret") && !printed.contains("made up") && !printed.contains("verylong"));
    assert!(printed.starts_with("Clients(read, 111122223333/eu-west-1)"));
}

#[test]
fn settings_that_open_nothing_are_refused() {
    let good = SessionSettings::new("222222222222".parse().unwrap(), "us-east-1".parse().unwrap());
    assert!(good.check().is_ok());
    for bad in [
        SessionSettings { role_name: "a b".into(), ..good.clone() },
        SessionSettings { role_name: String::new(), ..good.clone() },
        SessionSettings { external_id: "é{account}".into(), ..good.clone() },
        SessionSettings { external_id: "x".into(), ..good.clone() },
        SessionSettings { org_read_role: Some("CordonReader".into()), ..good.clone() },
        SessionSettings { home_region: Region::global(), ..good.clone() },
    ] {
        assert_eq!(bad.check().unwrap_err().code(), "configuration", "{bad:?}");
    }
}

#[test]
fn session_names_are_what_sts_takes() {
    assert_eq!(session_name("cordon-000000000001-block-source#2"), "cordon-000000000001-block-source-2");
    assert_eq!(session_name(&"é".repeat(100)).len(), 64);
}
