//! What people say: a spent budget asks and is answered with yes, another question with no, and a freeze stops a change until it is lifted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    Cordon, Screen, Watch,
    stage::{Scene, Stage},
};
use crate::{
    LabError, Organization,
    organization::{InstanceShape, OpenGroup, finding::Part, look::open_to_world},
};

/// How long an answer may take to be obeyed.
const PATIENCE: Duration = Duration::from_secs(90);
/// An attacker who comes while everything is frozen.
const LATE: &str = "198.51.100.24";

/// What of the demo's groups may be closed before the budget asks.
pub(super) const BUDGET: usize = 3;

/// The budget of the demo: so many changed resources in the groups' account in an hour.
pub(super) fn budget(stage: &Stage) -> String {
    let account = stage.groups.first().map(|group| group.account.as_str()).unwrap_or_default();
    format!("\n[[budgets]]\nscope = \"{account}\"\nwindow = \"1h\"\nresources = {BUDGET}\n")
}

/// Where it is played.
pub(super) struct Play<'a> {
    pub organization: &'a Organization,
    pub stage: &'a Stage,
    pub cordon: &'a Cordon,
    pub watch: &'a Watch<'a>,
}

/// An incident as `cordon incident show` tells it.
async fn shown(cordon: &Cordon, id: &str) -> Result<Value, LabError> {
    let shown = cordon.run(&["incident", "show", id, "--format", "json"], "").await?;
    shown.objects().into_iter().next().ok_or_else(|| LabError::new(format!("cordon incident show {id}: {}", shown.stderr)))
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The hold of an incident with this code, and the command that answers it.
fn answer(incident: &Value, code: &str) -> Option<(String, Vec<String>)> {
    let holds = incident.get("holds").and_then(Value::as_array)?;
    let hold = holds.iter().find(|hold| text(hold, "code") == code)?;
    let words = text(hold, "release").split_whitespace().skip(1).map(str::to_owned).collect();
    Some((text(hold, "why").to_owned(), words))
}

/// Says a command and runs it.
async fn say(screen: &Screen, cordon: &Cordon, words: &[&str]) -> Result<bool, LabError> {
    screen.line(&format!("$ cordon {}", words.join(" ")));
    Ok(cordon.run(words, "").await?.code == Some(0))
}

/// Waits until an incident is where it should be.
async fn until(cordon: &Cordon, id: &str, there: impl Fn(&Value) -> bool) -> Result<Value, LabError> {
    let end = Instant::now() + PATIENCE;
    loop {
        let incident = shown(cordon, id).await?;
        if there(&incident) || Instant::now() > end {
            return Ok(incident);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn open(organization: &Organization, group: &OpenGroup) -> Result<bool, LabError> {
    Ok(open_to_world(&organization.ingress(&group.account, &group.region, &group.id).await?, 22))
}

impl Play<'_> {
    /// Plays it.
    pub(super) async fn all(&self, screen: &mut Screen) -> Result<(), LabError> {
        self.granted(screen).await?;
        self.denied(screen).await?;
        self.frozen(screen).await
    }

    async fn granted(&self, screen: &mut Screen) -> Result<(), LabError> {
        let Self { organization, stage, cordon, watch } = *self;
        let mut asks = Vec::new();
        for group in &stage.groups {
            let seen = watch.of(&group.arn)?;
            if seen.state == "waiting" {
                asks.push((group, seen.id.clone()));
            }
        }
        let Some((group, id)) = asks.first() else {
            screen.promise(false, "the budget is spent and nobody is asked");
            return Ok(());
        };
        let incident = shown(cordon, id).await?;
        let (why, words) = answer(&incident, "approval").unwrap_or_default();
        let told = cordon.run(&["budget", "show"], "").await?;
        screen.promise(
            asks.len() == stage.groups.len().saturating_sub(BUDGET)
                && open(organization, group).await?
                && told.stdout.contains(&group.account),
            &format!("the budget of the account is spent: {why}"),
        );
        let words: Vec<&str> = words.iter().map(String::as_str).chain(["--yes"]).collect();
        let said = say(screen, cordon, &words).await?;
        let incident = until(cordon, id, |incident| text(incident, "state") == "closed").await?;
        screen.promise(
            said && text(&incident, "state") == "closed" && !open(organization, group).await?,
            &format!("with a yes to exactly that plan {} is closed", group.id),
        );
        Ok(())
    }

    async fn denied(&self, screen: &mut Screen) -> Result<(), LabError> {
        let Self { organization, stage, cordon, watch } = *self;
        let id = watch.incident(stage.user.key(0))?;
        let words = ["approval", "deny", &id, "--step", "contain-user", "--why", "the user deploys tonight; the key is enough", "--yes"];
        let said = say(screen, cordon, &words).await?;
        let state = |incident: &Value| {
            let steps = incident.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
            steps.iter().find(|step| text(step, "id") == "contain-user").map(|step| text(step, "state").to_owned())
        };
        let incident = until(cordon, &id, |incident| state(incident).as_deref() == Some("skipped")).await?;
        let user = &stage.user;
        let policies =
            organization.call(&user.account, "us-east-1", "iam", "list_attached_user_policies", json!({"UserName": user.name})).await?;
        screen.promise(
            said && state(&incident).as_deref() == Some("skipped") && !policies.to_string().contains("AWSDenyAll"),
            "after a no the user keeps what it may do, and only the stolen key stays inactive",
        );
        Ok(())
    }

    async fn frozen(&self, screen: &mut Screen) -> Result<(), LabError> {
        let Self { organization, stage, cordon, .. } = *self;
        let home = organization.home.as_str();
        let beside = stage.actor(Scene::Attacked)?;
        let instance = organization.instance(&beside.account, home, &InstanceShape::named("web-2")).await?;
        let said = say(screen, cordon, &["freeze", "full", "--why", "a change window"]).await?;
        organization.attack(&instance, LATE, Part::Target).await?;
        let end = Instant::now() + PATIENCE;
        let id = loop {
            let listed = cordon.run(&["incident", "list", "--format", "json"], "").await?;
            let found = listed.objects().into_iter().find(|row| text(row, "subject") == instance.arn && text(row, "state") == "held");
            match found {
                Some(row) => break text(&row, "run").to_owned(),
                None if Instant::now() > end => return Err(LabError::new("nothing is held by the freeze")),
                None => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        };
        let incident = shown(cordon, &id).await?;
        let (why, words) = answer(&incident, "frozen").unwrap_or_default();
        let still = organization.open_groups_of(&instance, 22).await?.len();
        screen.promise(
            said && !why.is_empty() && still == instance.groups.len(),
            &format!("web-2 is attacked and nothing is changed: {why}"),
        );
        let words: Vec<&str> = words.iter().map(String::as_str).chain(["--yes"]).collect();
        let said = say(screen, cordon, &words).await?;
        let incident = until(cordon, &id, |incident| text(incident, "state") == "contained").await?;
        let closed = organization.open_groups_of(&instance, 22).await?.is_empty();
        screen.promise(said && closed && text(&incident, "state") == "contained", "after the thaw it goes on by itself: port 22 is closed");
        Ok(())
    }
}
