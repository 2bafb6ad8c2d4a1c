//! `cordon respond` and `cordon plan`: findings from files or standard input, each incident run until it ends or waits.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufReader, IsTerminal as _, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Args;
use cordon_shared::{
    engine::RunState,
    finding::Finding,
    id::IncidentId,
    intake::{self, Item, Origin, Rejection},
    journal::Accepted,
};
use futures::StreamExt as _;
use tokio::sync::mpsc;

use super::{Common, Exit, Failure, Format, exit::Tally, freeze, output};
use crate::{
    alarm,
    driver::{self, Hub, serve_requests},
    incident::{FindingRef, IncidentJson, RejectedJson},
    intake::{Taken as TakenIn, take},
    setup::{self, Wanted},
    table::IncidentRow,
};

/// Findings to take in.
#[derive(Debug, Args)]
pub(super) struct Intake {
    /// EventBridge events, ASFF, OCSF, GuardDuty or Inspector findings: JSON, NDJSON or arrays. `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Observe sample findings instead of ignoring them
    #[arg(long)]
    allow_samples: bool,
}

/// How many findings are on their way into the journal at a time.
const IN_FLIGHT: usize = 128;

type Read1 = (Origin, Item);

/// Takes the findings and runs their incidents.
pub(super) async fn respond(common: &Common, intake: Intake, plan: bool) -> Result<Exit, Failure> {
    let fail_on = common.states()?;
    let what = if plan { "plan" } else { "respond" };
    let config = common.load_here(what)?;
    // Every file is opened before anything is done.
    let sources = intake.files.iter().map(|file| open(file)).collect::<Result<Vec<_>, Failure>>()?;
    let (told, put_down) = mpsc::unbounded_channel();
    let hub = setup::hub(
        config,
        Wanted { what, rehearsal: plan, allow_samples: intake.allow_samples, put_down: Some(told), ..Wanted::default() },
    )
    .await?;
    freeze::tell_of(&hub.store).await?;
    let session = Session {
        hub: Arc::clone(&hub),
        format: common.format,
        tally: Tally::new(fail_on),
        pending: BTreeSet::new(),
        shown: BTreeMap::new(),
    };
    setup::holding(&hub, session.run(sources, put_down)).await
}

/// Opens a file of findings, `-` for standard input.
pub(super) fn open(file: &str) -> Result<(String, Box<dyn Read + Send>), Failure> {
    if file == "-" {
        return Ok((file.to_owned(), Box::new(std::io::stdin())));
    }
    let wrong = |why: String| Failure::usage(format!("{file} cannot be read: {why}"));
    let opened = std::fs::File::open(file).map_err(|error| wrong(error.to_string()))?;
    if opened.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(wrong("it is a folder".to_owned()));
    }
    Ok((file.to_owned(), Box::new(opened)))
}

/// Reads documents on a thread of its own and hands their items on.
fn read_all(sources: Vec<(String, Box<dyn Read + Send>)>, items: &mpsc::Sender<Read1>) {
    for (input, source) in sources {
        let mut empty = true;
        for item in intake::items(BufReader::new(source), &input) {
            empty = false;
            if items.blocking_send(item).is_err() {
                return;
            }
        }
        if empty {
            let rejection = Rejection::new(intake::codes::SYNTAX, "the input is empty: there is no JSON document in it");
            if items.blocking_send((Origin { input, line: 1 }, Item::Rejected(rejection))).is_err() {
                return;
            }
        }
    }
}

struct Session {
    hub: Arc<Hub>,
    format: Format,
    tally: Tally,
    /// Incidents of this command that have not been shown at rest.
    pending: BTreeSet<IncidentId>,
    /// Incidents that were shown, by state, for the table.
    shown: BTreeMap<IncidentId, IncidentRow>,
}

impl Session {
    async fn run(
        mut self,
        sources: Vec<(String, Box<dyn Read + Send>)>,
        mut put_down: mpsc::UnboundedReceiver<IncidentId>,
    ) -> Result<Exit, Failure> {
        let (send, receive) = mpsc::channel(IN_FLIGHT);
        let reader = tokio::task::spawn_blocking(move || read_all(sources, &send));
        let over = AtomicBool::new(false);
        let mut driving = std::pin::pin!(driver::drive(Arc::clone(&self.hub), async |hub: &Hub| {
            serve_requests(hub).await?;
            Ok(over.load(Ordering::SeqCst) && hub.store.running().await? == 0)
        }));
        let mut ended = None;
        let mut taken = std::pin::pin!(taken(Arc::clone(&self.hub), receive).fuse());
        let mut reading = true;
        let mut interrupt = std::pin::pin!(interrupted());
        let progress = std::io::stderr().is_terminal();
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(500));
        while reading || ended.is_none() {
            tokio::select! {
                item = taken.next(), if reading => match item {
                    Some(item) => self.item(item?).await?,
                    None => {
                        reading = false;
                        over.store(true, Ordering::SeqCst);
                        self.hub.poke.notify_one();
                    }
                },
                result = &mut driving, if ended.is_none() => {
                    result?;
                    ended = Some(());
                    if reading {
                        // Stopped while findings were still coming in.
                        break;
                    }
                }
                Some(id) = put_down.recv() => self.settled(id).await?,
                () = &mut interrupt, if !self.tally.interrupted => {
                    self.tally.interrupted = true;
                    output::tell("interrupted: finishing the calls under way; start the same command again to go on");
                    self.hub.stop.cancel();
                }
                _ = tick.tick(), if progress => self.progress().await?,
            }
        }
        if !self.tally.interrupted {
            reader.await.map_err(|error| Failure::other(format!("reading died: {error}")))?;
        }
        while let Ok(id) = put_down.try_recv() {
            self.settled(id).await?;
        }
        for id in std::mem::take(&mut self.pending) {
            self.show(id, None).await?;
        }
        if progress {
            output::tell("");
        }
        if self.format == Format::Table && !self.shown.is_empty() {
            let rows: Vec<IncidentRow> = self.shown.values().cloned().collect();
            output::line(&crate::table::incidents(&rows, output::look()));
        }
        Ok(self.tally.exit())
    }

    async fn progress(&self) -> Result<(), Failure> {
        let counts = self.hub.store.states().await?;
        let text: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
        use std::io::Write as _;
        drop(write!(std::io::stderr().lock(), "\r\x1b[K{}", text.join(", ")));
        Ok(())
    }

    async fn item(&mut self, (origin, taken): (Origin, Taken)) -> Result<(), Failure> {
        match taken {
            Taken::Rejected(rejection) => {
                self.tally.rejected();
                match self.format {
                    Format::Json => output::object(&RejectedJson::new(origin.to_string(), &rejection))?,
                    Format::Table => {
                        output::tell(&format!("{origin}: rejected {}: {}", rejection.code, crate::text::safe(&rejection.reason)))
                    }
                }
            }
            Taken::Ignored(ignored) => {
                self.tally.state(RunState::Ignored);
                match self.format {
                    Format::Json => output::object(&ignored)?,
                    Format::Table => output::tell(&format!("{origin}: ignored: {}", crate::text::safe(&ignored.reason))),
                }
            }
            Taken::Runs { new, duplicates } => {
                self.pending.extend(new);
                for id in duplicates {
                    self.duplicate(&origin, id).await?;
                }
            }
        }
        Ok(())
    }

    async fn duplicate(&mut self, origin: &Origin, id: IncidentId) -> Result<(), Failure> {
        if self.pending.contains(&id) {
            return Ok(());
        }
        if self.state(id).await? == RunState::Running {
            // Left in the middle by an earlier command: it is shown when it has come to rest.
            self.pending.insert(id);
            return Ok(());
        }
        if self.format == Format::Json {
            return self.show(id, Some(id)).await;
        }
        output::tell(&format!("{origin}: nothing new: it belongs to {id}"));
        if let Some(row) = self.hub.store.run(id).await? {
            self.tally.state(row.state);
            self.shown.insert(id, (&row).into());
        }
        Ok(())
    }

    async fn state(&self, id: IncidentId) -> Result<RunState, Failure> {
        Ok(self.hub.store.run(id).await?.map_or(RunState::Running, |row| row.state))
    }

    async fn settled(&mut self, id: IncidentId) -> Result<(), Failure> {
        if self.pending.contains(&id) && self.state(id).await? != RunState::Running {
            self.pending.remove(&id);
            self.show(id, None).await?;
        }
        Ok(())
    }

    async fn load(&self, id: IncidentId, duplicate_of: Option<IncidentId>) -> Result<IncidentJson, Failure> {
        let view = self.hub.store.view(id).await?;
        Ok(IncidentJson::new(&view, duplicate_of))
    }

    async fn show(&mut self, id: IncidentId, duplicate_of: Option<IncidentId>) -> Result<(), Failure> {
        let incident = self.load(id, duplicate_of).await?;
        let state = self.state(id).await?;
        self.tally.state(state);
        match self.format {
            Format::Json => output::object(&incident)?,
            Format::Table => {
                if self.hub.rehearsal {
                    output::line(&crate::show::incident(&incident));
                }
                if let Some(row) = self.hub.store.run(id).await? {
                    self.shown.insert(id, (&row).into());
                }
            }
        }
        Ok(())
    }
}

/// What became of one item.
enum Taken {
    /// The incidents of its subjects: those that it opened or joined, and those to which it tells nothing new.
    Runs {
        new: Vec<IncidentId>,
        duplicates: Vec<IncidentId>,
    },
    Ignored(Box<IncidentJson>),
    Rejected(Rejection),
}

/// Takes items in, several at a time, in their order.
fn taken(hub: Arc<Hub>, receive: mpsc::Receiver<Read1>) -> impl futures::Stream<Item = Result<(Origin, Taken), Failure>> {
    let items = futures::stream::unfold(receive, |mut receive| async move { receive.recv().await.map(|item| (item, receive)) });
    items
        .map(move |(origin, item)| {
            let hub = Arc::clone(&hub);
            async move {
                let taken = match item {
                    Item::Rejected(rejection) => Taken::Rejected(rejection),
                    Item::NotAFinding { what, record } => {
                        alarm::call(&hub, record.as_deref()).await?;
                        Taken::Ignored(Box::new(not_a_finding(&hub, &origin, &what)))
                    }
                    Item::Finding(finding) => {
                        let taken =
                            take(&hub, &origin, &finding, None).await.map_err(|error| Failure::other(format!("{origin}: {error}")))?;
                        sorted(&hub, &origin, &finding, taken)
                    }
                };
                Ok((origin, taken))
            }
        })
        .buffered(IN_FLIGHT)
}

fn sorted(hub: &Hub, origin: &Origin, finding: &Finding, taken: TakenIn) -> Taken {
    let (mut new, mut duplicates) = (Vec::new(), Vec::new());
    for accepted in taken.accepted {
        match accepted {
            Accepted::Opened(run) | Accepted::Joined { run, .. } => new.push(run),
            Accepted::Duplicate(run) => duplicates.push(run),
            Accepted::Ignored { why, .. } => {
                let code = taken.ignored.as_ref().map_or("ignored", |ignored| ignored.code);
                return Taken::Ignored(Box::new(IncidentJson::ignored(finding, origin.to_string(), code, why, hub.clock.now())));
            }
        }
    }
    Taken::Runs { new, duplicates }
}

/// A well-formed document that is no finding.
fn not_a_finding(hub: &Hub, origin: &Origin, what: &str) -> IncidentJson {
    let now = hub.clock.now();
    IncidentJson {
        schema: crate::incident::SCHEMA.to_owned(),
        incident: None,
        playbook: None,
        account: String::new(),
        region: String::new(),
        subject: String::new(),
        state: RunState::Ignored,
        reason_code: "not-a-finding".to_owned(),
        reason: format!("not a finding: {what}"),
        duplicate_of: None,
        findings: vec![FindingRef { id: String::new(), input: origin.to_string() }],
        detected_at: now,
        first_change_at: None,
        contained_at: None,
        ended_at: Some(now),
        holds: Vec::new(),
        steps: Vec::new(),
        evidence: Vec::new(),
        owner: Vec::new(),
    }
}

/// Ready when the process is asked to end.
pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
