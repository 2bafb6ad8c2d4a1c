//! After a thaw, in whichever process: what a freeze had stopped is looked at again by itself.

use std::sync::atomic::Ordering;

use cordon_shared::{
    engine::View,
    freeze::{Freeze, Level, Scope},
    gate::{looked_at_again, waits_for_a_thaw},
    id::IncidentId,
    journal::{JournalError, ops},
};

use super::Hub;
use crate::text::safe;

/// Looks at the freezes, where one was written since this process last did, and lets go on what they stop no longer.
///
/// # Errors
/// Those of the journal.
pub async fn look(hub: &Hub) -> Result<(), JournalError> {
    let newest = hub.store.newest_freeze().await?;
    let known = hub.thawed.load(Ordering::SeqCst);
    if newest == known {
        return Ok(());
    }
    if newest > 0 {
        let lines = hub.store.freezes_and_thaws().await?;
        for line in lines.iter().filter(|line| known >= 0 && i64::try_from(line.number).is_ok_and(|number| number > known)) {
            match line.level {
                Level::Off => tracing::warn!(by = %safe(&line.by.0), why = %safe(&line.why), "{} is thawed", safe(&line.scope.to_string())),
                _ => tracing::warn!("{}", safe(&line.to_string())),
            }
        }
        if !let_go_on(hub, &lines).await? {
            // The organization could not be read: at the next look.
            return Ok(());
        }
    }
    hub.thawed.store(newest, Ordering::SeqCst);
    Ok(())
}

/// Whether all that waits could be looked at.
async fn let_go_on(hub: &Hub, lines: &[Freeze]) -> Result<bool, JournalError> {
    let (mut complete, mut freed) = (true, false);
    let by_ou = lines.iter().any(|line| matches!(line.scope, Scope::Ou(_)));
    for run in hub.store.maybe_frozen().await? {
        let view = match hub.store.view(run).await {
            Ok(view) if waits_for_a_thaw(&view) => view,
            Ok(_) => continue,
            // The driver puts it aside; it keeps nothing else from going on.
            Err(error) if error.is_of_one_run() => {
                tracing::warn!(%run, %error, "whether a freeze stops this incident cannot be read");
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut ous = Some(Vec::new());
        if by_ou {
            match hub.org.facts(&view.subject.cell.account).await {
                Ok(facts) => ous = Some(facts.ous()),
                Err(error) => {
                    tracing::warn!(%run, %error, "whether an OU's freeze still stops this incident is not known; it waits on");
                    complete = false;
                    continue;
                }
            }
        }
        freed |= one(hub, run, ous, lines.to_vec()).await?;
    }
    if freed {
        hub.ring();
    }
    Ok(complete)
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
    let matter = hub.journal.freezes().await?.iter().any(|line| matches!(line.scope, Scope::Ou(_)));
    Ok(if matter { hub.org.facts(&view.subject.cell.account).await.ok().map(|facts| facts.ous()) } else { None })
}
