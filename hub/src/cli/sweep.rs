//! `cordon sweep`: one playbook over the open findings of the whole organization, in waves, with a stop-loss.

mod backlog;
mod feed;

use std::{
    collections::BTreeMap,
    io::IsTerminal as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::Args;
use cordon_shared::{
    engine::RunState,
    id::{AccountId, IncidentId},
};
use cordon_spoke::aws::findings::FindingsFilter;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use feed::{FAILURES, feed};

use super::{Common, Exit, Failure, Format, exit::Tally, freeze, output, respond::interrupted};
use crate::{
    driver::{self, Hub, serve_requests},
    incident::IncidentJson,
    setup::{self, Wanted},
};

/// What to sweep. A sweep needs a filter and a limit.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["control", "kind"]))]
pub(super) struct Sweep {
    /// Failed findings of this Security Hub control, such as EC2.13; may be given again
    #[arg(long)]
    control: Vec<String>,
    /// Findings of this type; may be given again
    #[arg(long = "type", id = "kind")]
    kind: Vec<String>,
    /// Only accounts in this OU or below it: its id or its name
    #[arg(long)]
    ou: Vec<String>,
    /// Only this account; may be given again
    #[arg(long)]
    account: Vec<AccountId>,
    /// At most so many incidents are begun
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    max: u32,
    /// Say what the whole sweep would change, and change nothing
    #[arg(long)]
    plan: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Obeys `cordon sweep`.
pub(super) async fn sweep(common: &Common, sweep: Sweep) -> Result<Exit, Failure> {
    let fail_on = common.states()?;
    let config = common.load_here("sweep")?;
    if !sweep.plan {
        output::confirmed(sweep.yes, &format!("Begin up to {} incidents for {}?", sweep.max, sweep.words()))?;
    }
    let (told, put_down) = mpsc::unbounded_channel();
    let hub = setup::hub(config, Wanted { what: "sweep", rehearsal: sweep.plan, put_down: Some(told), ..Wanted::default() }).await?;
    freeze::tell_of(&hub.store).await?;
    setup::holding(&hub, run(common, &hub, &sweep, put_down, fail_on)).await
}

impl Sweep {
    fn words(&self) -> String {
        self.control.iter().chain(&self.kind).cloned().collect::<Vec<_>>().join(", ")
    }

    /// The same sweep begun again is the same sweep: its incidents are counted together.
    fn id(&self) -> String {
        let text = format!("{:?} {:?} {:?} {:?}", self.control, self.kind, self.ou, self.account);
        hex::encode(Sha256::digest(text.as_bytes())).chars().take(12).collect()
    }

    fn filter(&self) -> FindingsFilter {
        let open = if self.kind.is_empty() {
            FindingsFilter::failed_controls(self.control.clone())
        } else {
            FindingsFilter { controls: self.control.clone(), ..FindingsFilter::open() }
        };
        FindingsFilter { types: self.kind.clone(), accounts: self.account.clone(), ..open }
    }
}

async fn run(
    common: &Common,
    hub: &Arc<Hub>,
    sweep: &Sweep,
    mut put_down: mpsc::UnboundedReceiver<IncidentId>,
    fail_on: Vec<String>,
) -> Result<Exit, Failure> {
    let over = AtomicBool::new(false);
    let mut driving = std::pin::pin!(driver::drive(Arc::clone(hub), async |hub: &Hub| {
        serve_requests(hub).await?;
        Ok(over.load(Ordering::SeqCst) && hub.store.running().await? == 0)
    }));
    let mut tally = Tally::new(fail_on);
    let mut feeding = std::pin::pin!(feed(hub, sweep));
    let mut fed = None;
    let mut interrupt = std::pin::pin!(interrupted());
    let live = std::io::stderr().is_terminal();
    let mut tick = tokio::time::interval(if live { Duration::from_millis(500) } else { Duration::from_secs(5) });
    let mut told = String::new();
    loop {
        tokio::select! {
            result = &mut feeding, if fed.is_none() => {
                fed = Some(result);
                break;
            }
            // It ends only when it is told to; before that it is an error.
            result = &mut driving => {
                result?;
                return Err(Failure::other("the driver ended by itself"));
            }
            Some(id) = put_down.recv() => show(common, hub, sweep, id).await?,
            () = &mut interrupt => {
                tally.interrupted = true;
                output::tell("interrupted: finishing the calls under way; start the same sweep again to go on");
                hub.stop.cancel();
                break;
            }
            _ = tick.tick() => progress(hub, &sweep.id(), live, &mut told).await?,
        }
    }
    over.store(true, Ordering::SeqCst);
    hub.poke.notify_one();
    driving.await?;
    while let Ok(id) = put_down.try_recv() {
        show(common, hub, sweep, id).await?;
    }
    progress(hub, &sweep.id(), live, &mut told).await?;
    if live {
        output::tell("");
    }
    let stopped = match fed {
        Some(Ok(stopped)) => stopped,
        Some(Err(failure)) => return Err(failure),
        None => None,
    };
    summary(common, hub, &sweep.id(), &mut tally).await?;
    if let Some(why) = stopped {
        output::tell(&why);
    }
    Ok(tally.exit())
}

/// Shows what one incident of a planned sweep would change.
async fn show(common: &Common, hub: &Arc<Hub>, sweep: &Sweep, id: IncidentId) -> Result<(), Failure> {
    let Some(row) = hub.store.run(id).await? else { return Ok(()) };
    if row.state == RunState::Running || (common.format == Format::Table && !sweep.plan) {
        return Ok(());
    }
    let view = hub.store.view(id).await?;
    let incident = IncidentJson::new(&view, None);
    match common.format {
        Format::Json => output::object(&incident)?,
        Format::Table => output::line(&crate::show::incident(&incident)),
    }
    Ok(())
}

async fn progress(hub: &Hub, sweep: &str, live: bool, told: &mut String) -> Result<(), Failure> {
    let mut states: BTreeMap<String, u64> = BTreeMap::new();
    for count in hub.store.count_by_state(Some(sweep)).await? {
        *states.entry(count.state.to_string()).or_default() += count.n;
    }
    let text = states.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", ");
    if live {
        use std::io::Write as _;
        drop(write!(std::io::stderr().lock(), "\r\x1b[K{text}"));
    } else if text != *told {
        output::tell(&text);
        *told = text;
    }
    Ok(())
}

#[derive(Debug, Serialize)]
struct Line {
    account: String,
    region: String,
    state: RunState,
    reason_code: String,
    incidents: u64,
}

async fn summary(common: &Common, hub: &Hub, sweep: &str, tally: &mut Tally) -> Result<(), Failure> {
    let lines: Vec<Line> = hub
        .store
        .count_by_state(Some(sweep))
        .await?
        .into_iter()
        .map(|count| Line { account: count.account, region: count.region, state: count.state, reason_code: count.code, incidents: count.n })
        .collect();
    for line in &lines {
        tally.state(line.state);
        if line.state == RunState::Held && FAILURES.contains(&line.reason_code.as_str()) {
            tally.state(RunState::Failed);
        }
    }
    let cells = |line: &Line| {
        vec![line.account.clone(), line.region.clone(), line.state.to_string(), line.reason_code.clone(), line.incidents.to_string()]
    };
    match common.format {
        Format::Table => output::rows(common.format, &lines, &["account", "region", "state", "reason", "incidents"], cells),
        Format::Json => output::object(&serde_json::json!({ "schema": "cordon.sweep/1", "sweep": sweep, "summary": lines })),
    }
}
