//! The rules of the journal, written once over [`Tx`]: taking findings in, appending, loading.

use jiff::Timestamp;

use super::{Claim, JournalError, RunRow, Sealed, Seen, Tx, UNREADABLE, chain};
use crate::{
    engine::{Entry, FindingNote, Pace, RunState, StepState, View, after_death, next, summary},
    finding::{FindingId, Subject, Version},
    gate,
    id::IncidentId,
    notice::{Standing, for_owners, notices},
    page::Page,
    plan::Verdict,
};

/// Loads a run: checks its chain and folds it.
///
/// # Errors
/// [`JournalError::NoRun`], a broken chain, an entry that does not follow.
pub fn load(tx: &mut dyn Tx, run: IncidentId) -> Result<View, JournalError> {
    fold(run, &tx.entries(run)?)
}

/// Folds a run's entries, checking their chain.
///
/// # Errors
/// As [`load`].
pub fn fold(run: IncidentId, entries: &[Sealed]) -> Result<View, JournalError> {
    let head = chain::verify(run, entries)?;
    let (first, rest) = entries.split_first().ok_or(JournalError::NoRun(run))?;
    let mut view = View::open(run, first.at, &first.entry)?;
    for sealed in rest {
        view.fold(sealed.at, &sealed.entry)?;
    }
    view.head = head;
    Ok(view)
}

/// Loads a run that a finding would join. One that cannot be read is put aside: it keeps no finding from being answered.
fn readable(tx: &mut dyn Tx, run: IncidentId, now: Timestamp) -> Result<Option<View>, JournalError> {
    match load(tx, run) {
        Ok(view) => Ok(Some(view)),
        Err(error) if error.is_of_one_run() => set_aside(tx, run, &error.to_string(), now).map(|()| None),
        Err(error) => Err(error),
    }
}

/// Puts aside a run whose entries cannot be read: a person is needed and told, and nothing happens in it by itself. Its entries stay as they are.
///
/// # Errors
/// Those of the store.
pub fn set_aside(tx: &mut dyn Tx, run: IncidentId, why: &str, now: Timestamp) -> Result<(), JournalError> {
    let Some(row) = tx.run(run)? else { return Ok(()) };
    tx.page(&Page::of_unreadable(&row, why, now))?;
    let aside = RunRow { state: RunState::Stuck, code: UNREADABLE.to_owned(), reason: why.to_owned(), wake: None, over: false, ..row };
    tx.save_run(&aside)
}

/// The row that goes with a view.
#[must_use]
pub fn row(view: &View, now: Timestamp, pace: Pace, sweep: Option<String>) -> RunRow {
    let wanted = next(view, now, pace);
    let sum = summary(view);
    // What is wanted now was due all along: a clock that goes back puts nothing off. What is under way here is nobody's when this
    // process dies, so it is due then.
    let wake =
        if wanted.commands.is_empty() { [wanted.wake, after_death(view, pace)].into_iter().flatten().min() } else { Some(view.opened_at) };
    RunRow {
        run: view.run,
        playbook: view.playbook.name.clone(),
        account: view.subject.cell.account.to_string(),
        region: view.subject.cell.region.to_string(),
        subject: view.subject.name().to_owned(),
        state: sum.state,
        code: sum.code,
        reason: sum.why,
        opened_at: view.opened_at,
        updated_at: view.updated_at,
        wake,
        over: sum.over && wake.is_none(),
        sweep,
    }
}

/// Appends entries to a run that stands where `view` stands, with all that goes with them (locks, claims, the run's row).
/// The view moves on only when everything fits.
///
/// # Errors
/// [`JournalError::LeaseLost`], [`JournalError::Conflict`], [`JournalError::Illegal`].
pub fn append(tx: &mut dyn Tx, view: &mut View, entries: Vec<Entry>, now: Timestamp, pace: Pace) -> Result<(), JournalError> {
    check_lease(tx, pace)?;
    let (found, head) = tx.head(view.run)?.ok_or(JournalError::NoRun(view.run))?;
    if found != view.seq || head != view.head {
        return Err(JournalError::Conflict { run: view.run, expected: view.seq, found });
    }
    let sweep = tx.run(view.run)?.and_then(|row| row.sweep);
    let stood = Standing::of(view);
    // Time never goes back inside a run; what other runs see is the clock's.
    let clock = now;
    let now = now.max(view.updated_at);
    let mut moved = view.clone();
    // A clock that stands behind the run's own time means its waits from then on.
    let behind = now.duration_since(clock);
    for mut entry in entries {
        entry.put_off(behind);
        let to_be_applied = entry.step().and_then(|key| moved.step(key)).is_some_and(|step| matches!(step.state, StepState::Reapply));
        moved.fold(now, &entry)?;
        let sealed = Sealed::new(moved.run, moved.seq, now, entry, &moved.head)?;
        effects(tx, to_be_applied, &moved, &sealed.entry, clock)?;
        tx.push(moved.run, &sealed)?;
        moved.head.clone_from(&sealed.hash);
    }
    for notice in notices(&stood, &moved, sweep.is_some()).into_iter().filter(|notice| notice.everybody) {
        tx.notify(&notice)?;
        if let Some(page) = Page::of_notice(&notice) {
            tx.page(&page)?;
        }
    }
    // An owner hears of what was changed of theirs, a sweep's children included.
    if let Some(notice) = for_owners(&stood, &moved) {
        tx.notify(&notice)?;
    }
    tx.save_run(&row(&moved, now, pace, sweep))?;
    *view = moved;
    Ok(())
}

/// Writes a run's row anew, where it still stands where `view` stands: when it wants to be looked at again may have changed without an entry.
///
/// # Errors
/// [`JournalError::LeaseLost`], and those of the store.
pub fn refresh(tx: &mut dyn Tx, view: &View, now: Timestamp, pace: Pace) -> Result<(), JournalError> {
    check_lease(tx, pace)?;
    if tx.head(view.run)?.is_some_and(|(seq, _)| seq == view.seq) {
        let known = tx.run(view.run)?;
        let sweep = known.as_ref().and_then(|row| row.sweep.clone());
        let row = row(view, now, pace, sweep);
        if known.as_ref() != Some(&row) {
            tx.save_run(&row)?;
        }
    }
    Ok(())
}

fn check_lease(tx: &mut dyn Tx, pace: Pace) -> Result<(), JournalError> {
    let now = tx.epoch()?;
    if now == pace.epoch { Ok(()) } else { Err(JournalError::LeaseLost { ours: pace.epoch, now }) }
}

/// What an entry does to the tables. `to_be_applied`: the world was read before it, and the step's change is not there.
fn effects(tx: &mut dyn Tx, to_be_applied: bool, view: &View, entry: &Entry, now: Timestamp) -> Result<(), JournalError> {
    let Some(step) = entry.step() else { return Ok(()) };
    if entry.unlocks() {
        tx.unlock(view.run, step, now)?;
    }
    match entry {
        Entry::AlreadyDone { claims, .. } => {
            for from in claims {
                tx.claim(&Claim { run: view.run, step: step.clone(), from: from.clone() })?;
            }
        }
        // A no is remembered beyond its incident, which it may have ended.
        Entry::Refused { .. } => tx.save_stand_down(&gate::no_key(view, step), Some(gate::stands_down_until(now)))?,
        Entry::ApplyStarted { .. } => {
            tx.save_stand_down(&gate::no_key(view, step), None)?;
            for from in view.step(step).map(|step| step.claims.clone()).unwrap_or_default() {
                tx.claim(&Claim { run: view.run, step: step.clone(), from })?;
            }
        }
        // It is there after all, by us or by somebody who did it in the meantime: what was let go of is held again.
        Entry::Recovered { verdict: Verdict::InEffect, .. } => {
            for from in view.step(step).map(|step| step.claims.clone()).unwrap_or_default() {
                tx.claim(&Claim { run: view.run, step: step.clone(), from })?;
            }
        }
        // A change that is known not to be there leaves no claim behind.
        Entry::Failed { .. } if to_be_applied => tx.unclaim(view.run, step)?,
        Entry::Undone { .. } => tx.unclaim(view.run, step)?,
        Entry::LetGo { .. } => {
            tx.unclaim(view.run, step)?;
            for from in view.step(step).map(|step| step.claims.clone()).unwrap_or_default() {
                tx.claim(&Claim { run: view.run, step: step.clone(), from })?;
            }
        }
        Entry::Verified { verdict: Verdict::Drifted { .. }, .. } | Entry::ByHand { .. } => tx.unclaim(view.run, step)?,
        _ => {}
    }
    Ok(())
}

/// A finding at the journal's door.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The finding.
    pub note: FindingNote,
    /// Its subject in the playbook's eyes, with the run to open for it; `None`: no playbook answers it.
    pub opening: Option<Opening>,
    /// Why it is ignored, where it is.
    pub ignored: Option<String>,
}

/// The run to open, if it comes to that.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The id it would get.
    pub run: IncidentId,
    /// The first entry: [`Entry::Opened`].
    pub entry: Entry,
    /// What it correlates by, apart from the playbook's name.
    pub keys: Vec<String>,
    /// The sweep it belongs to.
    pub sweep: Option<String>,
}

/// What became of a finding at the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// A run was opened for it.
    Opened(IncidentId),
    /// It joined an open run; `renews` says whether it told something new.
    Joined {
        /// The run.
        run: IncidentId,
        /// Whether a new generation begins.
        renews: bool,
    },
    /// The same version again, or a repetition that tells nothing new.
    Duplicate(IncidentId),
    /// It opens nothing.
    Ignored {
        /// Why.
        why: String,
        /// Whether that was known before.
        again: bool,
    },
}

/// The correlation keys of a finding's subjects, for one playbook.
#[must_use]
pub fn keys(playbook: &str, subjects: &[Subject]) -> Vec<String> {
    subjects.iter().map(|subject| format!("{playbook} {} {}", subject.cell.account, subject.name())).collect()
}

/// Takes a finding in, in one transaction: deduplicates it, joins it to an open run or opens one. Durable before the queue forgets it.
///
/// # Errors
/// Those of the store, and of a run that cannot be read.
pub fn accept(tx: &mut dyn Tx, arrival: &Arrival, now: Timestamp, pace: Pace) -> Result<Accepted, JournalError> {
    accept_as(tx, &arrival.note.id, arrival, now, pace)
}

/// The same for one of several subjects of a finding: the journal remembers under `id` that this one has been taken in.
///
/// # Errors
/// As [`accept`].
pub fn accept_as(tx: &mut dyn Tx, id: &FindingId, arrival: &Arrival, now: Timestamp, pace: Pace) -> Result<Accepted, JournalError> {
    check_lease(tx, pace)?;
    let seen = tx.seen(id)?;
    if let Some(why) = &arrival.ignored {
        let again = seen.is_some();
        if !again {
            remember(tx, id, None, &arrival.note.version, Some(why.clone()), now)?;
        }
        return Ok(Accepted::Ignored { why: why.clone(), again });
    }
    let Some(opening) = &arrival.opening else {
        return Err(JournalError::Refused(format!("finding {} has neither a run to open nor a reason to be ignored", id.0)));
    };
    if let Some(Seen { run: Some(run), version, .. }) = &seen {
        let over = tx.run(*run)?.is_none_or(|row| !row.takes_findings());
        let version_now = &arrival.note.version;
        if version_now == version || older(version_now, version) {
            return Ok(Accepted::Duplicate(*run));
        }
        if !over && let Some(mut view) = readable(tx, *run, now)? {
            let renews = version_now.adds_to(version);
            if renews || version_now.updated_at != version.updated_at || version_now.count != version.count {
                let mut known = version_now.clone();
                // What was once seen stays seen: a later event that leaves a source out does not make it new again.
                known.severity = known.severity.max(version.severity);
                known.remote_ips.extend(version.remote_ips.iter().copied());
                known.remote_ips.sort_unstable();
                known.remote_ips.dedup();
                remember(tx, id, Some(*run), &known, None, now)?;
            }
            if !renews {
                return Ok(Accepted::Duplicate(*run));
            }
            join(tx, &mut view, arrival, true, now, pace)?;
            return Ok(Accepted::Joined { run: *run, renews: true });
        }
        // The run is over, or cannot be read. A repetition that tells nothing new within its time is still only a repetition.
        let ended = tx.run(*run)?.map_or(now, |row| row.updated_at);
        // A look at what it did prolongs nothing.
        let ended = load(tx, *run).map_or(ended, |view| view.acted_at);
        let went_on = version_now.updated_at.is_some_and(|updated| updated > ended);
        // A run that was only observed left nothing behind that could have worn off.
        let observed = tx.run(*run)?.is_some_and(|row| row.state == RunState::Planned);
        if !version_now.adds_to(version) && (observed || !went_on) {
            return Ok(Accepted::Duplicate(*run));
        }
    }
    for key in &opening.keys {
        if let Some(run) = tx.open_run_with_key(key)?
            && let Some(mut view) = readable(tx, run, now)?
        {
            let earlier = view.findings.iter().rev().find(|known| known.id == arrival.note.id);
            let renews = earlier.is_none_or(|known| arrival.note.version.adds_to(&known.version));
            join(tx, &mut view, arrival, renews, now, pace)?;
            remember(tx, id, Some(run), &arrival.note.version, None, now)?;
            for key in &opening.keys {
                tx.save_key(run, key)?;
            }
            return Ok(Accepted::Joined { run, renews });
        }
    }
    let sealed = Sealed::new(opening.run, 1, now, opening.entry.clone(), "")?;
    let mut view = View::open(opening.run, now, &opening.entry)?;
    view.head.clone_from(&sealed.hash);
    tx.save_run(&row(&view, now, pace, opening.sweep.clone()))?;
    tx.push(opening.run, &sealed)?;
    for key in &opening.keys {
        tx.save_key(opening.run, key)?;
    }
    remember(tx, id, Some(opening.run), &arrival.note.version, None, now)?;
    Ok(Accepted::Opened(opening.run))
}

fn older(now: &Version, before: &Version) -> bool {
    match (now.updated_at, before.updated_at) {
        (Some(now_at), Some(before_at)) => now_at < before_at && !now.adds_to(before),
        _ => false,
    }
}

fn join(tx: &mut dyn Tx, view: &mut View, arrival: &Arrival, renews: bool, now: Timestamp, pace: Pace) -> Result<(), JournalError> {
    append(tx, view, vec![Entry::FindingJoined { finding: Box::new(arrival.note.clone()), renews }], now, pace)
}

fn remember(
    tx: &mut dyn Tx,
    id: &FindingId,
    run: Option<IncidentId>,
    version: &Version,
    ignored: Option<String>,
    at: Timestamp,
) -> Result<(), JournalError> {
    tx.save_seen(id, &Seen { run, version: version.clone(), ignored, at })
}
