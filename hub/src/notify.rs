//! Telling people: takes notices out of the outbox and sends them, each destination in a task of its own beside the driving of incidents.
//!
//! A destination that is slow, refuses or is down delays nobody else and no containment: what it was to be told waits in the outbox.

mod message;
mod plain;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cordon_shared::{
    arn::Arn,
    engine::View,
    journal::{JournalError, Sealed, ops},
    notice::{Audience, Notice, Target},
};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{
        notify::{Notify, Slack, Webhook},
        owner::Owner,
    },
    driver::Hub,
    journal::outbox::{PACED, Slip, TurnedAway},
    owner::{self, Teller},
    secret::Unread,
    slack::{Poster, SLACK},
};

use message::Message;
pub use plain::{SIGNATURE, TIMESTAMP, page_payload, payload};

/// How often the outbox is looked into.
const LOOK: Duration = Duration::from_millis(200);
/// How long a command that ends goes on sending what is left.
pub const DRAIN: Duration = Duration::from_secs(10);
/// The longest time between two tries.
const SELDOM: Duration = Duration::from_secs(60);
/// The longest that a destination is obeyed that says when to come back.
pub(crate) const OBEYED: Duration = Duration::from_secs(3_600);
/// How often a notice is tried that is refused for what a person may mend (a token, a permission, a channel): for a day, at most once a
/// minute. A page is tried until it is told.
const MENDED_WITHIN: u32 = PACED + 24 * 60;

/// Why a notice was not sent.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// The destination says when to come back; nothing came through.
    Limited {
        /// In how long.
        pause: Duration,
        /// Whether nothing else is to be sent there before either.
        all: bool,
    },
    /// It may work later.
    Later {
        /// What happened.
        why: String,
        /// Whether it may have come through all the same.
        unsure: bool,
    },
    /// It is refused for something outside of the message that a person may mend; nothing came through.
    Mendable(String),
    /// It will not work, however often it is tried.
    Never(String),
    /// The journal failed.
    Journal(JournalError),
}

impl From<Unread> for Unsent {
    fn from(unread: Unread) -> Self {
        if unread.may_pass { Self::Later { why: unread.why, unsure: false } } else { Self::Mendable(unread.why) }
    }
}

impl From<JournalError> for Unsent {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

enum Way {
    Slack(Poster),
    Webhook(plain::Hook),
    Topic(plain::Topic),
    Owner(Teller),
    Stdout,
}

struct Destination {
    name: String,
    way: Way,
    failing: Mutex<Failing>,
}

/// What does not come through at a destination.
#[derive(Debug, Default)]
struct Failing {
    /// Whether the last failure was written down, and nothing came through since.
    now: bool,
    /// The messages whose failures were written down, each once: one alone that waits to be mended is no news at each try.
    told: BTreeSet<Slip>,
}

impl Failing {
    /// It failed. Whether that is to be written down: once for each time that the destination begins to fail.
    fn begins(&mut self, slip: Slip) -> bool {
        let begins = !self.now && self.told.insert(slip);
        self.now |= begins;
        begins
    }

    /// It waits no more. `through`: the destination took it.
    fn is_over(&mut self, slip: Slip, through: bool) {
        self.told.remove(&slip);
        self.now &= !through;
    }
}

/// A destination as it is configured.
enum Place<'c> {
    Slack(&'c Slack),
    Webhook(&'c Webhook),
    Topic(&'c Arn),
    OwnersMail(&'c Owner, &'c str),
    OwnersSlack(&'c Owner, &'c Slack),
    Stdout,
}

impl Place<'_> {
    /// What the outbox calls it.
    fn name(&self) -> String {
        match self {
            Self::Slack(_) => SLACK.to_owned(),
            Self::Webhook(hook) => format!("webhook:{}", hook.name),
            Self::Topic(arn) => format!("sns:{arn}"),
            Self::OwnersMail(..) => owner::MAIL.to_owned(),
            Self::OwnersSlack(..) => owner::SLACK.to_owned(),
            Self::Stdout => "stdout".to_owned(),
        }
    }

    /// Whose notices it is told.
    fn audience(&self) -> Audience {
        match self {
            Self::OwnersMail(..) | Self::OwnersSlack(..) => Audience::Owner,
            Self::Slack(_) | Self::Webhook(_) | Self::Topic(_) | Self::Stdout => Audience::Team,
        }
    }

    fn way(&self, hub: &Hub) -> Way {
        match self {
            Self::Slack(slack) => Way::Slack(Poster::new(hub, slack)),
            Self::Webhook(hook) => Way::Webhook(plain::Hook::new(hub, hook)),
            Self::Topic(arn) => Way::Topic(plain::Topic { arn: (*arn).clone() }),
            Self::OwnersMail(owner, from) => Way::Owner(Teller::mail(owner, from)),
            Self::OwnersSlack(owner, slack) => Way::Owner(Teller::slack(hub, owner, slack)),
            Self::Stdout => Way::Stdout,
        }
    }
}

fn configured(notify: &Notify) -> impl Iterator<Item = Place<'_>> {
    let slack = notify.slack.iter().map(Place::Slack);
    let hooks = notify.webhooks.iter().map(Place::Webhook);
    let topics = notify.topics.iter().map(Place::Topic);
    let owner = notify.owner.as_ref();
    let mail = owner.and_then(|owner| Some(Place::OwnersMail(owner, owner.from.as_deref()?)));
    let direct = owner.filter(|owner| owner.slack).zip(notify.slack.as_ref()).map(|(owner, slack)| Place::OwnersSlack(owner, slack));
    slack.chain(hooks).chain(topics).chain(mail).chain(direct).chain(notify.stdout.then_some(Place::Stdout))
}

/// The destinations of a configuration. Standard output is told only where nothing else is written there.
#[must_use]
pub fn targets(notify: &Notify, stdout: bool) -> Vec<Target> {
    let places = configured(notify).filter(|place| stdout || !matches!(place, Place::Stdout));
    places.map(|place| Target { name: place.name(), audience: place.audience() }).collect()
}

/// How long is waited before the next try after so many: 1 second, doubled each time, at most a minute.
pub(crate) fn pause(tries: u32) -> Duration {
    Duration::from_secs(1 << tries.min(PACED)).min(SELDOM)
}

/// Sends until `enough`, then what is due within [`DRAIN`]. Gives back how many notices are left for the next command or service.
///
/// # Errors
/// Those of the journal, when what is left cannot be counted.
pub async fn send(hub: Arc<Hub>, enough: CancellationToken) -> Result<u64, JournalError> {
    let mut tasks = tokio::task::JoinSet::new();
    for place in configured(&hub.config.notify) {
        let destination = Destination { name: place.name(), way: place.way(&hub), failing: Mutex::default() };
        tasks.spawn(serve(Arc::clone(&hub), destination, enough.clone()));
    }
    if tasks.is_empty() {
        return Ok(0);
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a task that tells people died");
        }
    }
    hub.store.outbox_left().await
}

/// Sends to one destination. What is in flight when the time is over is broken off, and found to be unsure when it is taken up again.
async fn serve(hub: Arc<Hub>, destination: Destination, enough: CancellationToken) {
    let over = async {
        enough.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        () = over => {}
        () = tell(&hub, &destination, &enough) => {}
    }
}

async fn tell(hub: &Hub, destination: &Destination, enough: &CancellationToken) {
    let mut until: Option<Timestamp> = None;
    loop {
        let now = hub.clock.now();
        if enough.is_cancelled() {
            let until = *until.get_or_insert_with(|| now.checked_add(DRAIN).unwrap_or(now));
            match message::next(&hub.store, &destination.name).await {
                Ok(Some(next)) if next < until && hub.lease.held() => {}
                _ => return,
            }
        }
        let Some(pause) = round(hub, destination, now).await else { return };
        rest(enough, pause).await;
    }
}

/// Sends what is due now, and before each notice a page that is due by then. Gives back how long nothing is to be sent; `None`: the lease is
/// lost.
async fn round(hub: &Hub, destination: &Destination, now: Timestamp) -> Option<Duration> {
    let notices = message::notices(&hub.store, &destination.name, now).await.unwrap_or_else(|error| {
        tracing::error!(%error, "the outbox cannot be read");
        Vec::new()
    });
    let (mut notices, mut pause) = (notices.into_iter(), LOOK);
    loop {
        let page = message::page(&hub.store, &destination.name, hub.clock.now()).await.unwrap_or_else(|error| {
            tracing::error!(%error, "the pages of the outbox cannot be read");
            None
        });
        let Some(due) = page.or_else(|| notices.next()) else { return Some(pause) };
        if !hub.lease.held() {
            return None;
        }
        match one(hub, destination, due).await {
            Ok(None) => pause = Duration::ZERO,
            Ok(Some(pause)) => return Some(pause),
            Err(error) => {
                tracing::error!(%error, "what became of a notice cannot be written");
                return Some(LOOK);
            }
        }
    }
}

/// Waits; not longer than a command that ends has time for.
async fn rest(enough: &CancellationToken, pause: Duration) {
    if enough.is_cancelled() {
        tokio::time::sleep(pause.min(LOOK)).await;
    } else {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = enough.cancelled() => {}
        }
    }
}

/// The incident that a notice tells of, with its entries. One whose journal makes no sense is never told.
pub(crate) async fn told_of(hub: &Hub, notice: &Notice) -> Result<(Vec<Sealed>, View), Unsent> {
    let later = |error: JournalError| Unsent::Later { why: error.to_string(), unsure: false };
    // Whoever can read it may tell it: another version of Cordon, or this one once it is mended.
    let entries = hub.store.entries(notice.run).await.map_err(later)?;
    match ops::fold(notice.run, &entries) {
        Ok(view) => Ok((entries, view)),
        Err(error @ (JournalError::Store(_) | JournalError::Unreadable(_))) => Err(later(error)),
        Err(error) => Err(Unsent::Never(error.to_string())),
    }
}

/// One try. `Some`: nothing more is to be sent there for so long.
async fn one(hub: &Hub, destination: &Destination, due: Message) -> Result<Option<Duration>, JournalError> {
    let (slip, tries, was_unsure) = due.standing();
    hub.store.outbox_begun(slip).await?;
    let sent = match (&destination.way, &due) {
        (Way::Slack(poster), Message::Notice(due)) => poster.send(hub, due).await,
        (Way::Slack(poster), Message::Page(due)) => poster.page(hub, due).await,
        (Way::Webhook(hook), due) => hook.send(hub, due.payload(), was_unsure).await,
        (Way::Topic(topic), due) => topic.send(hub, due).await,
        (Way::Owner(teller), Message::Notice(due)) => teller.send(hub, due).await,
        (Way::Owner(_), Message::Page(_)) => Err(Unsent::Never("owners are told of no pages".to_owned())),
        (Way::Stdout, due) => {
            crate::cli::output::line(&due.payload().to_string());
            Ok(())
        }
    };
    let now = hub.clock.now();
    let later = |pause: Duration| now.checked_add(pause).unwrap_or(Timestamp::MAX);
    let (target, what) = (destination.name.as_str(), due.name());
    let failing = || destination.failing.lock().unwrap_or_else(PoisonError::into_inner);
    let begins = async |why: &str| {
        let begins = failing().begins(slip);
        if begins { hub.store.turn_away(TurnedAway::not_told(now, target, &what, why)).await } else { Ok(()) }
    };
    match sent {
        Ok(()) => {
            failing().is_over(slip, true);
            hub.store.outbox_done(slip, now).await.map(|()| None)
        }
        Err(Unsent::Limited { pause, all }) => {
            let pause = pause.clamp(Duration::from_secs(1), OBEYED);
            tracing::warn!(target, %what, seconds = pause.as_secs(), "a notice waits: too many messages");
            // What may have come through before is as unsure as it was.
            hub.store.outbox_again(slip, later(pause), was_unsure, "too many messages").await?;
            begins("too many messages").await?;
            Ok(all.then_some(pause))
        }
        Err(Unsent::Later { why, unsure }) => {
            let pause = pause(tries);
            tracing::warn!(target, %what, %why, seconds = pause.as_secs(), "a notice is not sent and tried again");
            hub.store.outbox_again(slip, later(pause), unsure || was_unsure, &why).await?;
            begins(&why).await?;
            Ok(None)
        }
        Err(Unsent::Mendable(why)) if !due.is_given_up_after(tries) => {
            let pause = pause(tries);
            tracing::error!(target, %what, %why, seconds = pause.as_secs(), "a notice is refused, and tried again until somebody mends that");
            hub.store.outbox_refused(slip, later(pause), was_unsure, &why).await?;
            begins(&why).await?;
            Ok(None)
        }
        Err(Unsent::Mendable(why)) => give_up(hub, destination, &due, &format!("{why}; nobody mended that within a day")).await,
        Err(Unsent::Never(why)) => give_up(hub, destination, &due, &why).await,
        // Where it was written down in vain that it came through, it did.
        Err(Unsent::Journal(error)) => {
            tracing::error!(target, %what, %error, "the journal failed while a notice was sent; it is tried again");
            hub.store.outbox_again(slip, later(pause(tries)), true, &error.to_string()).await?;
            Ok(None)
        }
    }
}

async fn give_up(hub: &Hub, destination: &Destination, due: &Message, why: &str) -> Result<Option<Duration>, JournalError> {
    let (target, what, (slip, ..)) = (destination.name.as_str(), due.name(), due.standing());
    tracing::error!(target, %what, %why, "a notice is given up");
    destination.failing.lock().unwrap_or_else(PoisonError::into_inner).is_over(slip, false);
    hub.store.outbox_gave_up(slip, target, &what, why, hub.clock.now()).await.map(|()| None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_may_mend_is_tried_for_a_day_with_growing_pauses() {
        let pauses: Vec<Duration> = (0..MENDED_WITHIN).map(pause).collect();
        let all: Duration = pauses.iter().sum();
        assert!(all >= Duration::from_secs(86_400) && all < Duration::from_secs(86_400 + 120), "{all:?}");
        assert!(pauses.is_sorted() && pauses.first() == Some(&Duration::from_secs(1)) && pauses.last() == Some(&SELDOM));
    }

    #[test]
    fn a_secret_that_cannot_be_read_for_a_moment_is_not_for_a_person_to_mend() {
        let unread = |may_pass| Unsent::from(Unread { why: "the parameter /x cannot be read: throttled".to_owned(), may_pass });
        assert!(matches!(unread(true), Unsent::Later { unsure: false, .. }));
        assert!(matches!(unread(false), Unsent::Mendable(_)));
    }

    #[test]
    fn a_destination_that_begins_to_fail_is_listed_once_and_so_is_a_message_that_waits_alone() {
        let mut failing = Failing::default();
        let (one, two, three) = (Slip::Notice(1), Slip::Notice(2), Slip::Page(1));
        assert!(failing.begins(one) && !failing.begins(two) && !failing.begins(one));
        failing.is_over(two, true);
        assert!(!failing.begins(one), "it waits alone, and was listed");
        assert!(failing.begins(three) && !failing.begins(one), "it fails for others, too");
        failing.is_over(one, false);
        assert!(!failing.begins(one), "what was given up says nothing of the destination");
        failing.is_over(three, true);
        assert!(failing.begins(one));
    }
}
