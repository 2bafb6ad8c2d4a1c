//! What sweeps are held on: an organization, open groups in it, and what became of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cordon_lab::{
    Cordon, GatewayOptions, Lab, Organization, Settings, Shape,
    gateway::{Call, Enforcement, Outcome},
    organization::{OpenGroup, look::open_to_world},
    shared,
};
use futures::future::try_join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(super) const REVOKE: &str = "RevokeSecurityGroupIngress";
pub(super) const SWEEP: [&str; 4] = ["sweep", "--control", "EC2.13", "--yes"];

/// An organization with a backlog, and Cordon in it.
pub(super) struct Field {
    pub lab: Lab,
    pub organization: Organization,
    pub cordon: Cordon,
    pub groups: Vec<OpenGroup>,
    folder: TempDir,
}

impl Field {
    /// An organization with so many open groups in each cell of the first `members` members, whose findings are in Security Hub.
    pub async fn new(shape: &Shape, members: usize, each: usize) -> Self {
        let lab = tokio::task::spawn_blocking(shared).await.unwrap().unwrap();
        let lab = lab.beside(GatewayOptions { enforcement: Enforcement::all(), throttle: None }).unwrap();
        let organization = Organization::build(&lab, shape).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::acting(&folder.path().join("state"));
        settings.attempt_timeout = "2s".to_owned();
        let cordon = Cordon::new(&lab, &organization, folder.path(), &settings).await.unwrap();
        let mut field = Self { lab, organization, cordon, groups: Vec::new(), folder };
        let accounts: Vec<String> = field.organization.members.iter().take(members).map(|member| member.account.clone()).collect();
        field.groups = field.open(&accounts, each).await;
        field.organization.backlog(&field.groups).await.unwrap();
        field
    }

    /// Open groups in these accounts, so many in each Region; account after account, which is the order that Security Hub has them in.
    pub async fn open(&self, accounts: &[String], each: usize) -> Vec<OpenGroup> {
        let cells = accounts.iter().flat_map(|account| self.organization.regions.iter().map(move |region| (account, region)));
        let made = try_join_all(cells.map(|(account, region)| self.organization.open_groups(account, region, each))).await.unwrap();
        made.into_iter().flatten().collect()
    }

    /// One more group, with its finding.
    pub async fn one_more(&self, account: &str, region: &str) -> OpenGroup {
        let group = self.organization.open_groups(account, region, 1).await.unwrap().remove(0);
        self.organization.backlog(std::slice::from_ref(&group)).await.unwrap();
        group
    }

    pub fn account(&self, number: usize) -> String {
        self.organization.members[number].account.clone()
    }

    /// The accounts in the order in which Security Hub lists their findings.
    pub async fn listed(&self) -> Vec<String> {
        let organization = &self.organization;
        let found =
            organization.hand.all(&organization.security, &organization.home, "securityhub", "get_findings", json!({})).await.unwrap();
        let mut order: Vec<String> = Vec::new();
        for finding in found["Findings"].as_array().unwrap() {
            let account = finding["AwsAccountId"].as_str().unwrap().to_owned();
            if !order.contains(&account) {
                order.push(account);
            }
        }
        order
    }

    /// Cordon with more settings in `[limits]`.
    pub fn with_limits(&self, more: &str) -> Cordon {
        let text = std::fs::read_to_string(&self.cordon.config).unwrap();
        self.cordon.configured(&text.replace("[limits]\n", &format!("[limits]\n{more}"))).unwrap()
    }

    pub async fn run(&self, arguments: &[&str]) -> cordon_lab::cordon::Output {
        tokio::time::timeout(Duration::from_secs(120), self.cordon.run(arguments, "")).await.unwrap().unwrap()
    }

    pub fn log(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// The ids of those of these groups that the world can still reach on port 22, read by the hand.
    pub async fn still_open(&self, groups: &[OpenGroup]) -> BTreeSet<String> {
        let cells: BTreeSet<(&str, &str)> = groups.iter().map(|group| (group.account.as_str(), group.region.as_str())).collect();
        let read = cells.into_iter().map(|(account, region)| async move {
            self.organization.hand.all(account, region, "ec2", "describe_security_groups", json!({})).await
        });
        let answers: Vec<Value> = try_join_all(read).await.unwrap();
        let found = answers.iter().flat_map(|answer| answer["SecurityGroups"].as_array().unwrap());
        let open = found.filter(|group| open_to_world(group["IpPermissions"].as_array().unwrap(), 22));
        let open: BTreeSet<String> = open.map(|group| group["GroupId"].as_str().unwrap().to_owned()).collect();
        groups.iter().map(|group| group.id.clone()).filter(|id| open.contains(id)).collect()
    }

    /// The revocations of each group.
    pub fn revocations(&self) -> BTreeMap<String, Vec<Call>> {
        let mut found: BTreeMap<String, Vec<Call>> = BTreeMap::new();
        for call in self.lab.gateway.ledger().of_operation("ec2", REVOKE) {
            found.entry(call.params["GroupId"].as_str().unwrap().to_owned()).or_default().push(call);
        }
        found
    }

    /// How many groups were closed so far.
    pub fn closed(&self) -> usize {
        self.revocations().values().filter(|calls| calls.iter().any(Call::succeeded)).count()
    }

    /// No group was closed twice, and each of these was: a call whose answer nobody took may have been the one.
    pub fn closed_once(&self, groups: &[OpenGroup]) {
        let revocations = self.revocations();
        for group in groups {
            let calls = revocations.get(&group.id).map(Vec::as_slice).unwrap_or_default();
            let (answered, lost): (Vec<&Call>, Vec<&Call>) =
                calls.iter().filter(|call| call.forwarded).partition(|call| !matches!(call.outcome, Outcome::Pending | Outcome::Dropped));
            let done = answered.iter().filter(|call| call.succeeded()).count();
            assert!(done == 1 || (done == 0 && lost.len() == 1), "{}: {done} done, {} lost: {calls:#?}", group.id, lost.len());
        }
    }

    /// The calls of sessions in members that would change something.
    pub fn writes(&self, mark: u64) -> Vec<Call> {
        self.lab.gateway.ledger().since(mark).into_iter().filter(|call| call.write).collect()
    }
}

/// The summary that a sweep prints last: how many incidents by account, Region and outcome.
pub(super) fn summary(output: &cordon_lab::cordon::Output) -> Vec<Value> {
    let last = output.objects().pop().unwrap_or_else(|| panic!("nothing was printed: {output:?}"));
    assert_eq!(last["schema"], "cordon.sweep/1", "{output:?}");
    last["summary"].as_array().unwrap().clone()
}

/// How many incidents of a summary are in a state, for a reason.
pub(super) fn count(summary: &[Value], state: &str, reason: &str) -> u64 {
    let fits = |line: &&Value| line["state"] == state && (reason.is_empty() || line["reason_code"] == reason);
    summary.iter().filter(fits).map(|line| line["incidents"].as_u64().unwrap()).sum()
}
