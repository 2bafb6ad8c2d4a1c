//! `cargo demo`: an organization is built on this computer, attacked, and answered by the real `cordon serve`, in less than a minute.
//!
//! Everything that is shown is checked: what did not happen as promised is said, and the demo fails. Its state stays in the target folder's
//! `cordon-demo`, where `cordon` can look at it afterwards; nothing that runs stays.

mod person;
mod proof;
mod screen;
mod stage;
mod watch;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;

use self::{
    person::Play,
    screen::Screen,
    stage::{Scene, Stage},
    watch::Watch,
};
use crate::{
    Cordon, GatewayOptions, Lab, LabError, LabOptions, Organization, Running, Settings, Shape, cordon_binary, gateway::Enforcement,
    organization::look::Passage, python::target_folder,
};

/// How long the incidents may take to come to rest.
const REST: Duration = Duration::from_secs(180);
/// How long `cordon serve` may take to start and to stop.
const START: Duration = Duration::from_secs(60);

/// What the demo was asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Let the lab and the service go on until interrupted.
    pub keep: bool,
}

/// Runs it. Gives whether everything was as promised.
///
/// # Errors
/// When something did not start.
pub async fn run(options: Options) -> Result<bool, LabError> {
    let mut screen = Screen::new();
    let folder = target_folder().join("cordon-demo");
    let _lock = claim(&folder)?;
    screen.title("Cordon: an attack on a whole AWS organization, on this computer");

    screen.section("Setting up");
    let binary = tokio::task::spawn_blocking(cordon_binary).await.map_err(|error| LabError::new(error.to_string()))??;
    screen.step("cordon", "built");
    let gateway = GatewayOptions { enforcement: Enforcement::all(), throttle: None };
    let lab = tokio::task::spawn_blocking(move || Lab::start(LabOptions { plain: false, gateway })).await;
    let lab = lab.map_err(|error| LabError::new(error.to_string()))??;
    screen.step("AWS", "moto, behind a gateway that enforces roles, external ids and session policies");
    let organization = Organization::build(&lab, &Shape::default()).await?;
    let stage = Stage::set(&organization, &lab.endpoint()).await?;
    let what = format!(
        "{} accounts in {} Regions: {} instances, {} security groups open to the world",
        organization.members.len() + 2,
        organization.regions.len(),
        stage.cast.len(),
        stage.cast.len() * 2 + stage.groups.len(),
    );
    screen.step("organization", &what);
    let mut settings = Settings::serving(&folder.join("state"));
    settings.attempt_timeout = "5s".to_owned();
    settings.more = person::budget(&stage);
    let cordon = Cordon::new(&lab, &organization, &folder, &settings).await?;
    let mut service = cordon.spawn(&["serve"])?;
    ready(&mut service).await?;
    screen.step("cordon serve", "mode act; the spoke role is all that the member accounts have deployed");

    let result = perform(&mut screen, &lab, &organization, &stage, &cordon, &folder).await;
    if let Err(error) = &result {
        screen.promise(false, &format!("the demo came to its end: {error}"));
    }
    let main = result.ok();
    if options.keep && screen.failures() == 0 {
        keep(&mut screen, &cordon, &folder, binary)?;
        interrupted().await;
    }
    service.terminate();
    let ended = service.wait(START).await;
    screen.promise_quietly(ended == Some(0), &format!("cordon serve ends well when it is asked to: {ended:?}"));
    let log = service.log();
    write(&folder.join("serve.log"), &log)?;
    lab.gateway.ledger().write_ndjson(&folder.join("ledger.ndjson")).map_err(|error| LabError::new(error.to_string()))?;
    if screen.failures() > 0 {
        screen.failed(&folder, &log);
        return Ok(false);
    }
    audited(&mut screen, &cordon).await?;
    if let Some(main) = main {
        next(&mut screen, &folder, binary, &main, options.keep);
    }
    Ok(screen.failures() == 0)
}

/// The folder of the demo, emptied; held while the lock lives.
fn claim(folder: &Path) -> Result<fs::File, LabError> {
    let wrong = |error: std::io::Error| LabError::new(format!("{}: {error}", folder.display()));
    let lock = fs::File::create(folder.with_extension("lock")).map_err(wrong)?;
    if lock.try_lock().is_err() {
        return Err(LabError::new("another demo is running in this target folder; there is one at a time"));
    }
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(wrong)?;
    }
    fs::create_dir_all(folder).map_err(wrong)?;
    Ok(lock)
}

async fn ready(service: &mut Running) -> Result<(), LabError> {
    let until = Instant::now() + START;
    while !service.log().contains("serving account") {
        if !service.is_running() || Instant::now() > until {
            return Err(LabError::new(format!("cordon serve did not start:\n{}", service.log())));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The attack and the answer. Gives the main incident's id.
async fn perform(
    screen: &mut Screen,
    lab: &Lab,
    organization: &Organization,
    stage: &Stage,
    cordon: &Cordon,
    folder: &Path,
) -> Result<String, LabError> {
    screen.section("Findings, by EventBridge and SQS");
    for line in stage.lines(organization) {
        screen.line(&line);
    }
    let before = stage.states(organization).await?;
    let finding = stage.announce(organization).await?;

    screen.section("What Cordon does");
    let mut watch = Watch::new(cordon, organization, stage);
    watch.until_at_rest(screen, REST).await?;
    drained(organization).await?;
    let main = watch.incident(stage.actor(Scene::Attacked)?.arn.as_str())?;

    let known = watch.count();
    let writes = proof::changes(lab);
    stage.announce_again(organization, &finding).await?;
    drained(organization).await?;
    watch.look(screen).await?;
    let again = proof::changes(lab);

    screen.section("Incidents");
    watch.table(screen);

    screen.section("Read back with boto3");
    proof::incidents(screen, &watch, stage)?;
    screen.promise(
        watch.count() == known && again == writes,
        "the same finding again and a sample finding: no new incident, nothing changed",
    );
    proof::world(screen, organization, stage, &before).await?;
    proof::login(screen, cordon, &watch, stage).await?;
    // Before the thief tries: what is denied from here on is meant to be.
    proof::ledger(screen, lab);
    proof::contained(screen, lab, organization, &watch, stage).await?;
    proof::credentials(screen, lab, organization, cordon, &watch, stage).await?;

    screen.section("What people say");
    Play { organization, stage, cordon, watch: &watch }.all(screen).await?;

    screen.section("Undo");
    undo(screen, organization, stage, cordon, &main).await?;

    let report = cordon.run(&["incident", "report", &main], "").await?;
    write(&folder.join("report.md"), &report.stdout)?;
    let entered = watch.incident(stage.actor(Scene::Entered)?.arn.as_str())?;
    let page = cordon.run(&["incident", "report", &entered, "--html"], "").await?;
    write(&folder.join("intrusion.html"), &page.stdout)?;
    write(&folder.join("intrusion.md"), &cordon.run(&["incident", "report", &entered], "").await?.stdout)?;
    screen.section("Times, from when Cordon took the finding in");
    let attacker = watch.incident(stage.actor(Scene::Attacker)?.arn.as_str())?;
    let key = watch.incident(stage.user.key(0))?;
    let mut told = vec![
        ("attacked: port closed, source denied", main.clone()),
        ("entered: isolated, credentials cut", entered),
        ("attacker: isolated, credentials cut", attacker),
        ("stolen key: inactive", key),
    ];
    if let Some(group) = stage.groups.first() {
        told.push(("open port: closed", watch.incident(&group.arn)?));
    }
    for (what, id) in &told {
        let data = cordon.run(&["incident", "report", id, "--format", "json"], "").await?;
        times(screen, what, &data.objects())?;
    }
    Ok(main)
}

/// Waits until the queue is empty and nothing is being worked on.
async fn drained(organization: &Organization) -> Result<(), LabError> {
    let until = Instant::now() + START;
    while organization.waiting().await? != (0, 0) {
        if Instant::now() > until {
            return Err(LabError::new("the queue does not become empty"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn undo(screen: &mut Screen, organization: &Organization, stage: &Stage, cordon: &Cordon, main: &str) -> Result<(), LabError> {
    let (web, attacker) = (stage.actor(Scene::Attacked)?, stage.attacker(Scene::Attacked)?);
    let entries = organization.entries(&web.account, &web.region, &web.acl).await?.len();
    screen.line(&format!("$ cordon incident undo {main} --step block-source --yes"));
    let said = cordon.run(&["incident", "undo", main, "--step", "block-source", "--yes"], "").await?;
    let passage = organization.passes(web, attacker, 22).await?;
    let left = organization.entries(&web.account, &web.region, &web.acl).await?.len();
    screen.promise(
        passage == (Passage { inward: true, outward: true }) && left + 2 == entries && said.code == Some(0),
        &format!("both entries are gone from {}, through the running service", web.acl),
    );
    let open = organization.open_groups_of(web, 22).await?;
    screen.promise(open.is_empty(), "port 22 stays closed: opening it again has to be named");
    Ok(())
}

/// When an incident was detected, first acted on, contained and over.
fn times(screen: &mut Screen, what: &str, report: &[Value]) -> Result<(), LabError> {
    let report = report.first().ok_or_else(|| LabError::new("the report is not JSON"))?;
    let at = |name: &str| {
        let text = report.pointer(&format!("/incident/{name}")).and_then(Value::as_str);
        text.and_then(|text| text.parse::<jiff::Timestamp>().ok())
    };
    let (Some(detected), Some(first)) = (at("detected_at"), at("first_change_at")) else {
        return Err(LabError::new(format!("the report does not say when it was first acted on ({what})")));
    };
    let seconds = |to: jiff::Timestamp| to.duration_since(detected).as_secs_f64();
    screen.step_at("detected", &format!("{what}; {detected:.3}"), 0.0);
    screen.step_at("first change", "after record, plan and decision", seconds(first));
    match at("contained_at") {
        Some(contained) => screen.step_at("contained", "all that contains was read back", seconds(contained)),
        None => screen.no_time("contained", "not wholly: a person is asked about the rest"),
    }
    match at("ended_at") {
        Some(ended) => screen.step_at("ended", "nothing is owed", seconds(ended)),
        None => screen.no_time("ended", "not yet: something is undone, or looked at again, later"),
    }
    Ok(())
}

async fn audited(screen: &mut Screen, cordon: &Cordon) -> Result<(), LabError> {
    let audit = cordon.run(&["audit", "verify"], "").await?;
    screen.section("Journal and evidence, checked offline");
    screen.promise(audit.code == Some(0), audit.stdout.trim());
    Ok(())
}

fn keep(screen: &mut Screen, cordon: &Cordon, folder: &Path, binary: &Path) -> Result<(), LabError> {
    let mut text = String::new();
    for (name, value) in &cordon.environment {
        text.push_str(&format!("export {name}='{value}'\n"));
    }
    text.push_str(&format!("export CORDON_CONFIG='{}'\n", cordon.config.display()));
    text.push_str(&format!("export PATH='{}':\"$PATH\"\n", binary.parent().unwrap_or_else(|| Path::new(".")).display()));
    let file = folder.join("environment.sh");
    write(&file, &text)?;
    screen.section("The lab and the service go on until Ctrl-C. In another terminal:");
    screen.line(&format!(". {}", shown(&file)));
    for command in ["cordon account list", "cordon incident list", "cordon approval list", "cordon incident undo ID --step close-ingress"] {
        screen.line(command);
    }
    Ok(())
}

fn next(screen: &mut Screen, folder: &Path, binary: &Path, main: &str, kept: bool) {
    let (cordon, config) = (shown(binary), shown(&folder.join("cordon.toml")));
    screen.section("The report, and what to try next");
    screen.line(&shown(&folder.join("report.md")));
    screen.line("");
    screen.line(&format!("export CORDON_CONFIG={config}"));
    screen.line(&format!("{cordon} incident show {main}"));
    screen.line(&format!("{cordon} incident report {main}"));
    screen.line(&format!("{cordon} incident list --state held"));
    screen.line(&format!("{cordon} audit verify"));
    if !kept {
        screen.line("cargo demo --keep");
    }
    screen.end();
}

/// A path as one would type it.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let short: PathBuf = path.strip_prefix(&here).map_or_else(|_| path.to_owned(), Path::to_owned);
    short.display().to_string()
}

fn write(path: &Path, text: &str) -> Result<(), LabError> {
    fs::write(path, text).map_err(|error| LabError::new(format!("{}: {error}", path.display())))
}

/// Ready when the demo is asked to end.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}
