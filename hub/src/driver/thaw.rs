//! After a thaw, in whichever process: what a freeze had stopped is looked at again by itself, beside all other work. Where an OU's freeze
//! matters Organizations is asked, and nobody waits for that but what is frozen.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cordon_shared::{
    engine::View,
    freeze::{self, Freeze, Level, Place, Scope},
    gate::{looked_at_again, waits_for_a_thaw},
    id::{AccountId, IncidentId},
    journal::{JournalError, ops},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::Hub;
use crate::{org::OrgError, serve::wait, text::safe};

/// How often a new freeze or thaw is looked for.
const LOOK: Duration = Duration::from_millis(250);
/// How long Organizations may take for one account.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long Organizations is left alone after it did not answer: at first, twice as long each time, and at most.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);

/// How far this process has looked at freezes and thaws.
#[derive(Debug, Default)]
pub struct Looked(Mutex<Stand>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stand {
    /// Nobody looks.
    #[default]
    Nobody,
    /// It is being looked, or is about to be.
    Looking,
    /// All was looked at up to the line of this number.
    UpTo(i64),
    /// Something could not be looked at, and is after a pause.
    Pausing,
}

impl Looked {
    fn get(&self) -> Stand {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, stand: Stand) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stand;
    }
}

/// Looks at the freezes whenever one was written or lifted, until the hub is stopped, and lets go on what they stop no longer.
pub fn watch(hub: &Arc<Hub>) -> JoinHandle<()> {
    hub.thawed.set(Stand::Looking);
    let hub = Arc::clone(hub);
    tokio::spawn(async move {
        let mut looker = Looker { looked: -1, told: -1, tried: -1, done: BTreeSet::new(), tries: 0, again: Instant::now() };
        loop {
            let pause = match looker.look(&hub).await {
                Ok(()) => LOOK,
                Err(error) => {
                    tracing::error!(%error, "what was thawed cannot be looked at");
                    looker.stand(&hub, Stand::Pausing);
                    PAUSE
                }
            };
            if !wait(&hub, pause).await {
                return;
            }
        }
    })
}

/// Whether a command that ends by itself may end: what a thaw lets go on is in the journal, or cannot be known now.
pub(super) async fn rests(hub: &Hub) -> Result<bool, JournalError> {
    match hub.thawed.get() {
        Stand::Nobody | Stand::Pausing => Ok(true),
        Stand::Looking => Ok(false),
        Stand::UpTo(line) => Ok(hub.store.newest_freeze().await? == line),
    }
}

/// The one who looks. Lines go by their numbers; -1: none yet.
struct Looker {
    /// Up to here all was looked at.
    looked: i64,
    /// Up to here the log has them.
    told: i64,
    /// The newest one when it was last tried, the runs that were looked at since, and how many tries there were.
    tried: i64,
    done: BTreeSet<IncidentId>,
    tries: u32,
    /// When it is tried again.
    again: Instant,
}

impl Looker {
    fn stand(&mut self, hub: &Hub, stand: Stand) {
        if stand == Stand::Pausing {
            self.tries = self.tries.saturating_add(1);
            self.again = Instant::now() + LONGEST.min(PAUSE.saturating_mul(1 << (self.tries - 1).min(8)));
        }
        hub.thawed.set(stand);
        // A command may wait for that.
        hub.poke.notify_one();
    }

    async fn look(&mut self, hub: &Hub) -> Result<(), JournalError> {
        let newest = hub.store.newest_freeze().await?;
        if newest == self.looked || (newest == self.tried && Instant::now() < self.again) {
            return Ok(());
        }
        hub.thawed.set(Stand::Looking);
        let lines = hub.store.freezes_and_thaws().await?;
        let newest = lines.last().map_or(0, number);
        if self.tried != newest {
            (self.tried, self.tries) = (newest, 0);
            self.done.clear();
        }
        self.tell(&lines);
        // A freeze lets nothing go on.
        let thaws = self.looked < 0 || lines.iter().any(|line| line.level == Level::Off && number(line) > self.looked);
        if !lines.is_empty() && thaws && !self.let_go_on(hub, &lines).await? {
            self.stand(hub, Stand::Pausing);
            return Ok(());
        }
        self.looked = newest;
        self.done.clear();
        self.stand(hub, Stand::UpTo(newest));
        Ok(())
    }

    fn tell(&mut self, lines: &[Freeze]) {
        for line in lines.iter().filter(|line| self.told >= 0 && number(line) > self.told) {
            match line.level {
                Level::Off => tracing::warn!(by = %safe(&line.by.0), why = %safe(&line.why), "{} is thawed", safe(&line.scope.to_string())),
                _ => tracing::warn!("{}", safe(&line.to_string())),
            }
        }
        self.told = lines.last().map_or(0, number);
    }

    /// Whether all that waits could be looked at. What was looked at is not once more, until there is another line.
    async fn let_go_on(&mut self, hub: &Hub, lines: &[Freeze]) -> Result<bool, JournalError> {
        let standing = freeze::standing(lines);
        let ou_stands = standing.iter().any(of_an_ou);
        let mut asked = Asked::default();
        for run in hub.store.maybe_frozen().await? {
            if hub.stop.is_cancelled() {
                return Ok(false);
            }
            if self.done.contains(&run) {
                continue;
            }
            let view = match hub.store.view(run).await {
                Ok(view) if waits_for_a_thaw(&view) => view,
                Ok(_) => continue,
                // The driver puts it aside; it keeps nothing else from going on.
                Err(error) if error.is_of_one_run() => {
                    tracing::warn!(%run, %error, "whether a freeze stops this incident cannot be read");
                    self.done.insert(run);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let account = &view.subject.cell.account;
            let place = Place { account: account.clone(), ous: Some(Vec::new()), playbook: view.playbook.name.clone() };
            let waits_on = standing.iter().any(|line| line.level == Level::Full && line.scope.covers(&place));
            // One that stood before the incident began stopped nothing of it.
            let lifted = |line: &Freeze| of_an_ou(line) && number(line) > self.looked && line.at >= view.opened_at;
            let ous = match waits_on {
                true => None,
                false if ou_stands || lines.iter().any(lifted) => match asked.ous(hub, account).await {
                    Some(ous) => Some(ous),
                    // It waits on.
                    None => continue,
                },
                false => Some(Some(Vec::new())),
            };
            if let Some(ous) = ous
                && one(hub, run, ous, lines.to_vec()).await?
            {
                hub.ring();
            }
            self.done.insert(run);
        }
        Ok(!asked.silent)
    }
}

/// What Organizations said in one round.
#[derive(Default)]
struct Asked {
    /// What the OUs above each account go by; `None`: nobody will know before a person has looked.
    known: BTreeMap<AccountId, Option<Vec<String>>>,
    /// It did not answer once, and is asked no more.
    silent: bool,
}

impl Asked {
    /// What the OUs above an account go by; `None`: it is not known now.
    async fn ous(&mut self, hub: &Hub, account: &AccountId) -> Option<Option<Vec<String>>> {
        if let Some(known) = self.known.get(account) {
            return Some(known.clone());
        }
        if self.silent {
            return None;
        }
        let answer = tokio::select! {
            answer = timeout(PATIENCE, hub.org.facts(account)) => answer,
            () = hub.stop.cancelled() => {
                self.silent = true;
                return None;
            }
        };
        let ous = match answer {
            Ok(Ok(facts)) => Ok(Some(facts.ous())),
            // Each OU's freeze counts as its own then; what it goes on with is held with that reason.
            Ok(Err(OrgError::Unfit(hold))) => {
                tracing::warn!(%account, why = %hold.why, "which OUs are above this account is not known");
                Ok(None)
            }
            Ok(Err(OrgError::Passing(why))) => Err(why),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        match ous {
            Ok(ous) => {
                self.known.insert(account.clone(), ous.clone());
                Some(ous)
            }
            Err(why) => {
                tracing::warn!(%account, %why, "whether an OU's freeze still stops incidents is not known; they wait on");
                self.silent = true;
                None
            }
        }
    }
}

fn number(line: &Freeze) -> i64 {
    i64::try_from(line.number).unwrap_or(i64::MAX)
}

fn of_an_ou(line: &Freeze) -> bool {
    matches!(line.scope, Scope::Ou(_))
}

async fn one(hub: &Hub, run: IncidentId, ous: Option<Vec<String>>, lines: Vec<Freeze>) -> Result<bool, JournalError> {
    let (now, pace) = (hub.clock.now(), hub.pace);
    hub.journal
        .with(move |tx| {
            let mut view = ops::load(tx, run)?;
            let Some(entry) = looked_at_again(&view, ous, &lines) else { return Ok(false) };
            ops::append(tx, &mut view, vec![entry], now, pace)?;
            Ok(true)
        })
        .await
}

/// The names of the OUs above a run's account, where a freeze of an OU makes them matter; `None`: not known.
///
/// # Errors
/// Those of the journal.
pub(crate) async fn ous(hub: &Hub, view: &View) -> Result<Option<Vec<String>>, JournalError> {
    let matter = hub.journal.freezes().await?.iter().any(of_an_ou);
    Ok(if matter { hub.org.facts(&view.subject.cell.account).await.ok().map(|facts| facts.ous()) } else { None })
}
