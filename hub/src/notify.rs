//! Telling people: takes notices out of the outbox and sends them, each destination in a task of its own beside the driving of incidents.
//!
//! A destination that is slow, refuses or is down delays nobody else and no containment: what it was to be told waits in the outbox.

mod message;
mod plain;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cordon_shared::{
    arn::Arn,
    engine::View,
    journal::{JournalError, Sealed, ops},
    notice::{Audience, Notice, Target},
};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{
        notify::{Notify, Slack, Webhook},
        owner::Owner,
    },
    driver::Hub,
    journal::outbox::TurnedAway,
    owner::{self, Teller},
    slack::{Poster, SLACK},
};

use message::Message;
pub use plain::{SIGNATURE, TIMESTAMP, page_payload, payload};

/// How often the outbox is looked into.
const LOOK: Duration = Duration::from_millis(200);
/// How long a command that ends goes on sending what is left.
pub const DRAIN: SignedDuration = SignedDuration::from_secs(10);
/// The longest time between two tries.
const SELDOM: Duration = Duration::from_secs(60);
/// The longest that a destination is obeyed that says when to come back.
const OBEYED: Duration = Duration::from_secs(3_600);

/// Why a notice was not sent.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// The destination says when to come back; nothing came through.
    Limited(Duration),
    /// It may work later.
    Later {
        /// What happened.
        why: String,
        /// Whether it may have come through all the same.
        unsure: bool,
    },
    /// It will not work, however often it is tried.
    Never(String),
    /// The journal failed.
    Journal(JournalError),
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
    /// Whether the last try failed.
    failing: AtomicBool,
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
    Duration::from_secs(1 << tries.min(6)).min(SELDOM)
}

/// Sends until `enough`, then what is due within [`DRAIN`]. Gives back how many notices are left for the next command or service.
///
/// # Errors
/// Those of the journal, when what is left cannot be counted.
pub async fn send(hub: Arc<Hub>, enough: CancellationToken) -> Result<u64, JournalError> {
    let mut tasks = tokio::task::JoinSet::new();
    for place in configured(&hub.config.notify) {
        let destination = Destination { name: place.name(), way: place.way(&hub), failing: AtomicBool::new(false) };
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

async fn serve(hub: Arc<Hub>, destination: Destination, enough: CancellationToken) {
    let mut until: Option<Timestamp> = None;
    loop {
        let now = hub.clock.now();
        if enough.is_cancelled() {
            let until = *until.get_or_insert_with(|| now.checked_add(DRAIN).unwrap_or(now));
            match message::next(&hub.store, &destination.name).await {
                Ok(Some(next)) if next < until && now < until && hub.lease.held() => {}
                _ => return,
            }
        }
        let due = match message::due(&hub.store, &destination.name, now).await {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(%error, "the outbox cannot be read");
                Vec::new()
            }
        };
        let mut again = false;
        for due in due {
            let left = until.map_or(OBEYED, |until| until.duration_since(hub.clock.now()).unsigned_abs());
            if !hub.lease.held() || until.is_some_and(|until| hub.clock.now() >= until) {
                return;
            }
            // What is broken off in the middle is found to be unsure when it is taken up again.
            match tokio::time::timeout(left, one(&hub, &destination, due)).await {
                Ok(Ok(None)) => again = true,
                Ok(Ok(Some(pause))) => {
                    rest(&enough, pause).await;
                    break;
                }
                Ok(Err(error)) => tracing::error!(%error, "what became of a notice cannot be written"),
                Err(_) => return,
            }
        }
        if !again {
            rest(&enough, LOOK).await;
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
    let entries = hub.store.entries(notice.run).await?;
    match ops::fold(notice.run, &entries) {
        Ok(view) => Ok((entries, view)),
        Err(error @ JournalError::Store(_)) => Err(error.into()),
        // Whoever can read it may tell it: another version of Cordon, or this one once it is mended.
        Err(error @ JournalError::Unreadable(_)) => Err(Unsent::Later { why: error.to_string(), unsure: false }),
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
        (Way::Webhook(hook), due) => hook.send(hub, due.payload()).await,
        (Way::Topic(topic), due) => topic.send(hub, due).await,
        (Way::Owner(teller), Message::Notice(due)) => teller.send(hub, due).await,
        (Way::Owner(_), Message::Page(_)) => Err(Unsent::Never("owners are told of no pages".to_owned())),
        (Way::Stdout, due) => {
            crate::cli::output::line(&due.payload().to_string());
            Ok(())
        }
    };
    let now = hub.clock.now();
    let later = |pause: Duration| now.checked_add(SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX);
    let (target, what) = (destination.name.as_str(), due.name());
    // Once for each time that it begins to fail.
    let begins = async |why: &str| match destination.failing.swap(true, Ordering::Relaxed) {
        true => Ok(()),
        false => hub.store.turn_away(TurnedAway::not_told(now, target, &what, why)).await,
    };
    match sent {
        Ok(()) => {
            destination.failing.store(false, Ordering::Relaxed);
            hub.store.outbox_done(slip, now).await.map(|()| None)
        }
        Err(Unsent::Limited(pause)) => {
            let pause = pause.clamp(Duration::from_secs(1), OBEYED);
            tracing::warn!(target, %what, seconds = pause.as_secs(), "a notice waits: too many messages");
            // What may have come through before is as unsure as it was.
            hub.store.outbox_again(slip, later(pause), was_unsure, "too many messages").await?;
            begins("too many messages").await?;
            Ok(Some(pause))
        }
        Err(Unsent::Later { why, unsure }) => {
            let pause = pause(tries);
            tracing::warn!(target, %what, %why, seconds = pause.as_secs(), "a notice is not sent and tried again");
            hub.store.outbox_again(slip, later(pause), unsure || was_unsure, &why).await?;
            begins(&why).await?;
            Ok(None)
        }
        Err(Unsent::Never(why)) => {
            tracing::error!(target, %what, %why, "a notice is given up");
            hub.store.outbox_gave_up(slip, target, &what, &why, now).await.map(|()| None)
        }
        Err(Unsent::Journal(error)) => Err(error),
    }
}
