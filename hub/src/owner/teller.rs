//! Notices of the outbox, sent to owners: by Amazon SES, and in Slack.
//!
//! Each way is a destination of its own, so that one that is down holds up no other. Who the owner is is found out by each when it sends.
//! After a lost answer a message is sent again: it may come twice, and is never lost.

use std::time::Duration;

use cordon_shared::{
    engine::View,
    id::{AccountId, CellId, Region},
};
use cordon_spoke::{
    action::ActionError,
    aws::{
        contact,
        mail::{self, Mail},
    },
};
use moka::future::Cache;

use super::{
    Told,
    address::Address,
    find::{Clue, Found, Place, of_account, of_resources},
    letter::Letter,
};
use crate::{
    config::{notify::Slack, owner::Owner},
    driver::Hub,
    journal::outbox::Due,
    notify::{self, Unsent},
    org::OrgError,
    slack::{Direct, Undelivered},
};

/// How long an account's contact is kept: a sweep has many messages for one account.
const CONTACT_LASTS: Duration = Duration::from_secs(60);
/// How many are kept at most.
const CONTACTS: u64 = 10_000;
/// What read sessions for contacts are called, as others are after their playbook.
const PURPOSE: &str = "owner";

/// Tells owners by one way.
#[derive(Debug)]
pub(crate) struct Teller {
    settings: Owner,
    way: Way,
    /// What accounts have named as their contact for security.
    contacts: Cache<AccountId, Option<String>>,
}

#[derive(Debug)]
enum Way {
    Mail(String),
    Slack(Direct),
}

impl Teller {
    /// By e-mail, from this address.
    pub(crate) fn mail(settings: &Owner, from: &str) -> Self {
        Self::new(settings, Way::Mail(from.to_owned()))
    }

    /// In Slack.
    pub(crate) fn slack(hub: &Hub, settings: &Owner, slack: &Slack) -> Self {
        Self::new(settings, Way::Slack(Direct::new(hub, slack)))
    }

    fn new(settings: &Owner, way: Way) -> Self {
        let contacts = Cache::builder().max_capacity(CONTACTS).time_to_live(CONTACT_LASTS).build();
        Self { settings: settings.clone(), way, contacts }
    }

    /// Sends a notice, and keeps who was told.
    pub(crate) async fn send(&self, hub: &Hub, due: &Due) -> Result<(), Unsent> {
        let (entries, view) = notify::told_of(hub, &due.notice).await?;
        let found = self.find(hub, &view).await?;
        let Some((address, place)) = &found.address else {
            // Said once, by the first way that there is.
            let first = matches!(self.way, Way::Mail(_)) || self.settings.from.is_none();
            return if first { Err(Unsent::Never(found.nobody())) } else { Ok(()) };
        };
        let letter = Letter::new(&view, &entries, &due.notice, &found, &self.settings.contact);
        let sent = match (&self.way, address) {
            (Way::Mail(from), Address::Mail(to)) => self.by_mail(hub, due, (from, to), &letter).await?,
            // It has no address, and is told in Slack.
            (Way::Mail(_), Address::Slack(_)) => None,
            (Way::Slack(direct), address) => self.in_slack(direct, address, &letter).await?,
        };
        if let Some(who) = sent {
            let told = Told { who, found: place.to_string(), passed_over: found.passed_over.clone() };
            hub.store.outbox_told(due.slip, &told).await?;
        }
        Ok(())
    }

    async fn by_mail(&self, hub: &Hub, due: &Due, (from, to): (&str, &str), letter: &Letter) -> Result<Option<String>, Unsent> {
        let clients = hub.sessions.hub(&hub.config.hub.home_region);
        let (subject, body) = (letter.subject(), letter.body());
        let sent = mail::send(&clients, Mail { from, to, subject: &subject, body: &body }).await;
        match sent {
            Ok(id) => {
                tracing::info!(run = %due.notice.run, key = due.notice.key, %id, "an owner is told by e-mail");
                Ok(Some(to.to_owned()))
            }
            Err(error) if error.may_pass() => {
                let unsure = matches!(error, ActionError::Transient { .. });
                Err(Unsent::Later { why: error.to_string(), unsure })
            }
            Err(error) if mail::mendable(&error) => Err(Unsent::Mendable(format!("{to} cannot be written to: {error}"))),
            Err(error) => Err(Unsent::Never(format!("{to} cannot be written to: {error}"))),
        }
    }

    async fn in_slack(&self, direct: &Direct, address: &Address, letter: &Letter) -> Result<Option<String>, Unsent> {
        match direct.tell(address, &letter.card()).await {
            Ok(()) => Ok(Some(address.text().to_owned())),
            // Whoever is no user of Slack has e-mail.
            Err(Undelivered::NoUser) => match address {
                Address::Mail(_) if self.settings.from.is_some() => Ok(None),
                Address::Mail(mail) => Err(Unsent::Never(format!("Slack has no user with the address {mail}"))),
                Address::Slack(id) => Err(Unsent::Never(format!("Slack shows Cordon no user and no channel with the id {id}"))),
            },
            Err(Undelivered::Unsent(unsent)) => Err(unsent),
        }
    }

    /// The owner, from place to place, no further than needed. What cannot be read is passed over, unless it may be read in a moment.
    async fn find(&self, hub: &Hub, view: &View) -> Result<Found, Unsent> {
        let later = |why: String| Unsent::Later { why, unsure: false };
        let (settings, account) = (&self.settings, &view.subject.cell.account);
        let mut found = Found::default().look(of_resources(view, &settings.tag_key), settings);
        if found.address.is_some() {
            return Ok(found);
        }
        match hub.org.facts(account).await {
            Ok(facts) => found = found.look(of_account(account.as_str(), &facts.tags, &settings.tag_key), settings),
            Err(OrgError::Passing(why)) => return Err(later(format!("the tags of account {account} cannot be read: {why}"))),
            Err(OrgError::Unfit(hold)) => found.passed_over.push(format!("the tags of account {account} cannot be read: {}", hold.why)),
        }
        if found.address.is_some() {
            return Ok(found);
        }
        match self.security_contact(hub, account).await {
            Ok(contact) => {
                let clue = contact.map(|text| Clue { place: Place::Contact(account.to_string()), text });
                Ok(found.look(clue, settings))
            }
            Err(error) if error.may_pass() => Err(later(format!("the security contact of account {account} cannot be read: {error}"))),
            Err(error) => {
                found.passed_over.push(format!("the security contact of account {account} cannot be read: {error}"));
                Ok(found)
            }
        }
    }

    /// The account's alternate contact for security, read in the account itself. Failures are not kept.
    async fn security_contact(&self, hub: &Hub, account: &AccountId) -> Result<Option<String>, ActionError> {
        if let Some(known) = self.contacts.get(account).await {
            return Ok(known);
        }
        let clients = hub.sessions.read(&CellId::new(account.clone(), Region::global()), PURPOSE, contact::READS).await?;
        let found = contact::security(&clients).await?;
        self.contacts.insert(account.clone(), found.clone()).await;
        Ok(found)
    }
}
