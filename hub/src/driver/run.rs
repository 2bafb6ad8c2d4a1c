//! One run being driven: its view, and how results reach the journal.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cordon_shared::{
    engine::{Command, Entry, View, next},
    gate::Facts,
    id::IncidentId,
    journal::{JournalError, ops},
    plan::StepKey,
};
use cordon_spoke::actions::cloudtrail::date_tag::Calls;
use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use tokio::{sync::Mutex, task::JoinSet};

use super::{Hub, work};

/// A run in the hands of this process.
pub(crate) struct Run {
    /// All that a run is driven with.
    pub hub: Arc<Hub>,
    /// Which.
    pub id: IncidentId,
    view: Mutex<View>,
    /// The findings and versions that their provider stands by; each is asked for once, before the first change.
    pub confirmed: Mutex<BTreeSet<String>>,
    /// What CloudTrail has of the opt-out tags of resources, by resource and when the attack began; it is asked once for each.
    pub dated: Mutex<BTreeMap<(String, Timestamp), Calls>>,
}

impl Run {
    /// A copy of the view as it stands.
    pub async fn view(&self) -> View {
        self.view.lock().await.clone()
    }

    /// Writes what came of beginning a step. When a later finding has begun a new generation meanwhile, it came of the wrong question:
    /// [`JournalError::Conflict`], and the step is begun again.
    pub async fn append_of(&self, generation: u32, entries: Vec<Entry>) -> Result<(), JournalError> {
        self.write(Some(generation), entries).await
    }

    /// Writes results. A run that has moved on by somebody else's entry (a joined finding, a person's answer) is read again first.
    pub async fn append(&self, entries: Vec<Entry>) -> Result<(), JournalError> {
        self.write(None, entries).await
    }

    async fn write(&self, generation: Option<u32>, entries: Vec<Entry>) -> Result<(), JournalError> {
        let mut view = self.view.lock().await;
        let (id, now, pace) = (self.id, self.hub.clock.now(), self.hub.pace);
        let known = view.clone();
        let moved = self
            .hub
            .journal
            .with(move |tx| {
                let mut moved = match tx.head(id)? {
                    Some((seq, _)) if seq == known.seq => known,
                    _ => ops::load(tx, id)?,
                };
                if generation.is_some_and(|generation| generation != moved.generation) {
                    return Err(JournalError::Conflict { run: id, expected: moved.seq, found: moved.seq });
                }
                ops::append(tx, &mut moved, entries, now, pace)?;
                Ok(moved)
            })
            .await?;
        *view = moved;
        Ok(())
    }

    /// Runs a gate commit on the current view; `decide` gets the view and gives back the one that was written.
    pub async fn decide<T, W>(&self, decide: impl FnOnce(View) -> W) -> Result<T, JournalError>
    where
        W: Future<Output = Result<(View, T), JournalError>>,
    {
        let mut view = self.view.lock().await;
        let (moved, value) = decide(view.clone()).await?;
        *view = moved;
        Ok(value)
    }

    /// Puts the run down; its row says when it wants to be taken up again.
    async fn put_down(&self, wake: Option<Timestamp>) -> Result<Parked, JournalError> {
        let (view, now, pace) = (self.view().await, self.hub.clock.now(), self.hub.pace);
        self.hub.journal.with(move |tx| ops::refresh(tx, &view, now, pace)).await?;
        Ok(Parked { wake })
    }

    async fn reload(&self) -> Result<(), JournalError> {
        let id = self.id;
        let mut view = self.view.lock().await;
        *view = self.hub.store.view(id).await?;
        Ok(())
    }

    /// What the organization says about the run's account, as the gate wants it.
    pub async fn facts(&self, view: &View) -> Result<Facts, String> {
        let refused = self.hub.refuses(view);
        match self.hub.org.facts(&view.subject.cell.account).await {
            Ok(facts) => Ok(Facts {
                read_at: facts.read_at,
                opt_outs: facts.opt_outs.clone(),
                path: facts.path.ids().map(str::to_owned).collect(),
                unfit: facts.unfit(),
                refused,
                ous: Some(facts.ous()),
                ..Facts::default()
            }),
            Err(crate::org::OrgError::Passing(why)) => Err(why),
            Err(crate::org::OrgError::Unfit(hold)) => {
                Ok(Facts { read_at: self.hub.clock.now(), unfit: Some(hold), refused, ..Facts::default() })
            }
        }
    }
}

/// How a drive of a run ended.
#[derive(Debug)]
pub(crate) struct Parked {
    /// When it wants to be driven again by itself.
    pub wake: Option<Timestamp>,
}

/// A wait shorter than this is waited out here; a longer one gives the slot back.
const SHORT: SignedDuration = SignedDuration::from_millis(1_500);

/// How often in a row other writers may come first before the run is put down for a moment.
const CONFLICTS: u32 = 50;

/// Drives a run until it wants nothing more now.
pub(crate) async fn drive(hub: Arc<Hub>, id: IncidentId) -> Result<Parked, JournalError> {
    let view = hub.store.view(id).await?;
    let run = Arc::new(Run { hub: Arc::clone(&hub), id, view: Mutex::new(view), confirmed: Mutex::default(), dated: Mutex::default() });
    // Tasks of their own: they share the view, so none may wait to be polled while another waits for it.
    let mut tasks: JoinSet<Done> = JoinSet::new();
    let mut busy: Vec<Option<StepKey>> = Vec::new();
    let mut conflicts = 0_u32;
    let mut failed: Option<JournalError> = None;
    let mut changed = hub.changed.subscribe();
    loop {
        let wanted = next(&run.view().await, hub.clock.now(), hub.pace);
        let ending = hub.stop.is_cancelled() || failed.is_some();
        if ending && tasks.is_empty() {
            // Only now: what was under way has been heard of.
            return match failed {
                Some(error) => Err(error),
                None => Ok(Parked { wake: wanted.wake }),
            };
        }
        if !ending {
            for command in wanted.commands {
                let key = command.step().cloned();
                if !busy.contains(&key) {
                    busy.push(key.clone());
                    tasks.spawn(start(Arc::clone(&run), key, command));
                }
            }
        }
        let pause = wanted.wake.map(|wake| wake.duration_since(hub.clock.now()).max(SignedDuration::ZERO));
        if tasks.is_empty() {
            match pause {
                Some(pause) if pause <= SHORT => sleep(pause).await,
                _ => return run.put_down(wanted.wake).await,
            }
            continue;
        }
        tokio::select! {
            Some(ended) = tasks.join_next() => {
                let (key, result) = ended.map_err(|error| JournalError::Store(format!("a step's task died: {error}")))?;
                busy.retain(|held| *held != key);
                match result {
                    Ok(()) => conflicts = 0,
                    Err(error @ (JournalError::Conflict { .. } | JournalError::Illegal(_))) => {
                        // Somebody else's entry came first: look at the run as it is now.
                        conflicts += 1;
                        if conflicts > CONFLICTS {
                            failed.get_or_insert(error);
                        } else {
                            run.reload().await?;
                            sleep(SignedDuration::from_millis(i64::from(conflicts.min(20)) * 5)).await;
                        }
                    }
                    Err(error) => {
                        failed.get_or_insert(error);
                    }
                }
            }
            () = sleep(pause.unwrap_or(SignedDuration::from_hours(1))) => {}
            Ok(()) = changed.changed() => run.reload().await?,
        }
    }
}

async fn sleep(pause: SignedDuration) {
    tokio::time::sleep(pause.unsigned_abs()).await;
}

/// A command that was obeyed: for which step, and what came of it.
type Done = (Option<StepKey>, Result<(), JournalError>);

/// A command as a task of its own, so that a panic in it is an answer that was lost and no more.
async fn start(run: Arc<Run>, key: Option<StepKey>, command: Command) -> Done {
    let cell = run.view().await.subject.cell;
    let work = cordon_spoke::limits::on_behalf(&cell, work::obey(Arc::clone(&run), command.clone()));
    let result = match std::panic::AssertUnwindSafe(work).catch_unwind().await {
        Ok(result) => result,
        Err(_) => work::after_panic(&run, &command).await,
    };
    (key, result)
}
