//! Where commands of people go: to the state folder of this computer, or with `[hub] api` to the running service.

use std::sync::Arc;

use cordon_shared::{
    clock::{Clock as _, SystemClock},
    freeze::{Freeze, Level, Scope},
    id::IncidentId,
    journal::RunRow,
    plan::StepKey,
    playbook::Playbook,
};
use cordon_spoke::{
    limits::{Limits, Rates},
    session::Sessions,
};

use super::{Common, Failure};
use crate::{
    api::{
        self, Answered, call,
        client::{CallError, Caller},
    },
    config::{Config, people::Person},
    desk::{Desk, DeskError, Form, Frozen, Listed, Question, Spent, Thawed, Which, frozen},
    driver::{self, Hub, serve_requests},
    incident::IncidentJson,
    journal::{Request, outbox::TurnedAway, requests::Asker, sqlite::SqliteStore},
    org::Org,
    people::{self, Identity},
    policy::{Keeper, person::Doing},
    setup::{self, SetupError, Wanted},
    text::safe,
    undo_preview::{self, Preview},
};

/// Where a command's questions and requests go.
pub(super) enum Door {
    /// The state folder of this computer.
    Here { config: Box<Config>, desk: Desk },
    /// The running service.
    There { config: Box<Config>, client: Box<Caller> },
}

impl From<DeskError> for Failure {
    fn from(error: DeskError) -> Self {
        // One line: freezes that stand are in some of them, in the words of whoever froze.
        let text = safe(&error.to_string());
        match error {
            DeskError::Unknown(_) | DeskError::Wrong(_) | DeskError::Refused(_) => Self::usage(text),
            DeskError::Late(_) | DeskError::Journal(_) => Self::other(text),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let text = safe(&error.to_string());
        match error {
            CallError::Refused(_) | CallError::Unsigned(_) => Self::usage(text),
            CallError::Unanswered { .. } | CallError::Later(_) => Self::other(text),
        }
    }
}

impl Door {
    /// The one that configuration and command line say.
    pub(super) async fn open(common: &Common) -> Result<Self, Failure> {
        Self::of(common, common.load()?).await
    }

    /// The same for a configuration that was read.
    pub(super) async fn of(common: &Common, config: Config) -> Result<Self, Failure> {
        let config = Box::new(config);
        match config.api.url.clone().filter(|_| !common.here) {
            Some(url) => {
                let client = Caller::new(&config, &url).await.map_err(|error| Failure::usage(error.to_string()))?;
                Ok(Self::There { config, client: Box::new(client) })
            }
            None => {
                let desk = Desk::new(SqliteStore::open(&config.hub.state_dir)?);
                Ok(Self::Here { config, desk })
            }
        }
    }

    /// The configuration.
    pub(super) fn config(&self) -> &Config {
        match self {
            Self::Here { config, .. } | Self::There { config, .. } => config,
        }
    }

    /// Whether it is the running service's.
    pub(super) fn is_there(&self) -> bool {
        matches!(self, Self::There { .. })
    }

    pub(super) async fn incidents(&self, which: &Which) -> Result<Vec<RunRow>, Failure> {
        match self {
            Self::Here { desk, .. } => Ok(desk.incidents(which).await?),
            Self::There { client, .. } => Ok(client.call(call::INCIDENTS, which).await?),
        }
    }

    pub(super) async fn incident(&self, id: &str) -> Result<IncidentJson, Failure> {
        match self {
            Self::Here { desk, .. } => Ok(desk.incident(id).await?),
            Self::There { client, .. } => Ok(client.call(call::INCIDENT, &api::Id { id: id.to_owned() }).await?),
        }
    }

    pub(super) async fn find(&self, id: &str) -> Result<IncidentId, Failure> {
        match self {
            Self::Here { desk, .. } => Ok(desk.find(id).await?),
            Self::There { .. } => {
                let found = self.incident(id).await?.incident;
                found.ok_or_else(|| Failure::other(format!("the service knows `{id}` as no incident")))
            }
        }
    }

    pub(super) async fn report(&self, id: &str, form: Form) -> Result<String, Failure> {
        match self {
            Self::Here { desk, .. } => Ok(desk.report(id, form).await?),
            Self::There { client, .. } => {
                let answer: api::ReportText = client.call(call::REPORT, &api::ReportOf { id: id.to_owned(), form }).await?;
                Ok(answer.report)
            }
        }
    }

    pub(super) async fn questions(&self) -> Result<Vec<Question>, Failure> {
        match self {
            Self::Here { desk, .. } => Ok(desk.questions().await?),
            Self::There { client, .. } => Ok(client.call(call::QUESTIONS, &api::Of::default()).await?),
        }
    }

    pub(super) async fn questions_of(&self, run: IncidentId) -> Result<Vec<Question>, Failure> {
        match self {
            Self::Here { desk, .. } => Ok(desk.questions_of(run).await?),
            Self::There { client, .. } => Ok(client.call(call::QUESTIONS, &api::Of { id: Some(run.to_string()) }).await?),
        }
    }

    pub(super) async fn freezes(&self, all: bool) -> Result<Vec<Listed>, Failure> {
        match self {
            Self::Here { desk, .. } => Ok(desk.freezes(all).await?),
            Self::There { client, .. } => Ok(client.call(call::FREEZES, &api::All { all }).await?),
        }
    }

    /// Freezes. Nobody is asked who they are who does so on the state folder itself.
    pub(super) async fn freeze(&self, line: Freeze) -> Result<Frozen, Failure> {
        match self {
            Self::Here { config, desk } => {
                let line = desk.freeze(line, &playbooks(config)).await?;
                let warning = doubt(config, &line.scope).await;
                Ok(Frozen { line, warning })
            }
            Self::There { client, .. } => {
                let Freeze { scope, level, why, hard, .. } = line;
                Ok(client.call(call::FREEZE, &api::Freeze { scope, level, why, hard }).await?)
            }
        }
    }

    pub(super) async fn thaw(&self, line: Freeze) -> Result<Thawed, Failure> {
        match self {
            Self::Here { config, desk } => {
                let asker = known(desk.store(), "thaw", permitted(config, Doing::Thaw).await).await?;
                Ok(desk.thaw(Freeze { by: asker.by, level: Level::Off, ..line }, &playbooks(config)).await?)
            }
            Self::There { client, .. } => {
                let Freeze { scope, why, hard, .. } = line;
                Ok(client.call(call::THAW, &api::Thaw { scope, why, hard }).await?)
            }
        }
    }

    pub(super) async fn budgets(&self) -> Result<Vec<Spent>, Failure> {
        match self {
            Self::Here { config, desk } => Ok(desk.budgets(&config.budgets, SystemClock.now()).await?),
            Self::There { client, .. } => {
                let nothing = serde_json::json!({});
                Ok(client.call(call::BUDGETS, &nothing).await?)
            }
        }
    }

    /// What an undo would put back. Here it is looked at beside whichever process drives.
    pub(super) async fn undo_preview(&self, run: IncidentId, step: Option<&StepKey>) -> Result<Preview, Failure> {
        match self {
            Self::Here { config, .. } => {
                let wanted = Wanted { what: "incident undo --plan", looks_only: true, ..Wanted::default() };
                let hub = setup::hub((**config).clone(), wanted).await?;
                undo_preview::preview(&hub, run, step).await.map_err(|error| Failure::usage(error.to_string()))
            }
            Self::There { client, .. } => {
                let of = api::UndoOf { id: run.to_string(), step: step.cloned() };
                Ok(client.call(call::UNDO_PREVIEW, &of).await?)
            }
        }
    }

    /// Remembers an answer that there is no question for; from afar nothing was asked for.
    pub(super) async fn turned_away(&self, what: &str, why: &str) -> Result<(), Failure> {
        match self {
            Self::Here { desk, .. } => turn_away(desk.store(), what, why).await,
            Self::There { .. } => Ok(()),
        }
    }

    /// Hands a request to the process that drives, or drives it here.
    pub(super) async fn request(&self, request: Request) -> Result<Answered, Failure> {
        let (config, desk) = match self {
            Self::There { client, .. } => return Ok(client.call(call::REQUEST, &request).await?),
            Self::Here { config, desk } => (config, desk),
        };
        let store = desk.store();
        let what = format!("{} of {}", request.doing().word(), request.run());
        let asker = known(store, &what, who(config).await.map(|(_, asker)| asker)).await?;
        let id = store.append_request(&request, &asker, SystemClock.now()).await?;
        match setup::hub((**config).clone(), Wanted { what: "incident", ..Wanted::default() }).await {
            Ok(hub) => {
                let driving = async {
                    serve_requests(&hub).await?;
                    if store.answer_of(id).await?.is_some_and(|answer| answer.ok) {
                        driver::drive(Arc::clone(&hub), async |hub: &Hub| Ok(hub.store.running().await? == 0)).await?;
                    }
                    Ok::<_, Failure>(())
                };
                setup::holding(&hub, driving).await?;
            }
            Err(SetupError::Lease(held)) => super::output::tell(&format!("handed on: {held}")),
            Err(error) => return Err(error.into()),
        }
        let answer = desk.answered(id, request.run()).await?;
        Ok(Answered { answer, incident: desk.incident(&request.run().to_string()).await? })
    }
}

/// The playbooks; none where they cannot be read, which keeps nobody from freezing.
fn playbooks(config: &Config) -> Vec<Arc<Playbook>> {
    setup::registry().and_then(|registry| setup::playbooks(config, &registry)).unwrap_or_default()
}

/// What there is to be said of a frozen OU, with the AWS credentials of this command line.
async fn doubt(config: &Config, scope: &Scope) -> Option<String> {
    if !matches!(scope, Scope::Ou(_)) {
        return None;
    }
    let clock = Arc::new(SystemClock);
    let sessions = Sessions::new(setup::session_settings(config), Limits::new(Rates::default()), clock.clone()).await;
    let org = sessions.map(|sessions| Org::new(sessions, clock, &config.opt_out_key)).map_err(|error| error.to_string());
    frozen::doubt(scope, org.as_ref().map_err(Clone::clone)).await
}

/// Whoever is turned away at the command line is remembered.
pub(super) async fn known(store: &SqliteStore, what: &str, asker: Result<Asker, Failure>) -> Result<Asker, Failure> {
    if let Err(failure) = &asker {
        turn_away(store, what, &failure.text).await?;
    }
    asker
}

/// By whom is what the computer says: nobody is proven here.
async fn turn_away(store: &SqliteStore, what: &str, why: &str) -> Result<(), Failure> {
    let (at, door, who) = (SystemClock.now(), "command-line".to_owned(), super::person().0);
    Ok(store.turn_away(TurnedAway { at, door, who, what: what.to_owned(), why: why.to_owned() }).await?)
}

/// Who sits here: the person of `[[people]]` that AWS says the credentials of the environment belong to.
async fn who(config: &Config) -> Result<(&Person, Asker), Failure> {
    let sessions = Sessions::new(setup::session_settings(config), Limits::new(Rates::default()), Arc::new(SystemClock)).await;
    let caller = match sessions {
        Ok(sessions) => sessions.who_am_i().await,
        Err(error) => Err(error),
    };
    let caller = caller.map_err(|error| Failure::usage(format!("it is not known who you are: {error}")))?;
    people::asker(&config.people, &Identity::Aws(caller.arn)).map_err(|error| Failure::usage(error.to_string()))
}

/// The same, where the policies let them do this.
pub(super) async fn permitted(config: &Config, doing: Doing) -> Result<Asker, Failure> {
    let (person, asker) = who(config).await?;
    let policies = Keeper::load(config.policy.dir.as_deref(), &setup::registry()?).map_err(SetupError::from)?.in_force();
    policies.may(person, doing, None, SystemClock.now(), &config.policy.time_zone).map_err(Failure::usage)?;
    Ok(asker)
}

#[cfg(test)]
mod tests {
    use cordon_shared::journal::JournalError;

    use super::*;

    #[test]
    fn what_people_wrote_into_the_journal_is_one_line_of_an_error() {
        let said = "not frozen, but account 1 is frozen (full) by a\u{1b}[2J since now: x\nerror: nothing\u{9b}31m\u{202e}".to_owned();
        for failure in [
            Failure::from(DeskError::Refused(said.clone())),
            Failure::from(DeskError::Unknown(said.clone())),
            Failure::from(DeskError::Journal(JournalError::Store(said.clone()))),
            Failure::from(CallError::Refused(said.clone())),
            Failure::from(CallError::Later(said.clone())),
            Failure::from(JournalError::Refused(said.clone())),
        ] {
            assert!(!failure.text.contains(['\u{1b}', '\u{9b}', '\n', '\u{202e}']), "{failure:?}");
            assert!(failure.text.contains("a\\u{1b}[2J since now: x\\nerror: nothing\\u{9b}31m\\u{202e}"), "{failure:?}");
        }
    }
}
