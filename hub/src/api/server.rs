//! The listener: who calls is proven, then the same is done as from the command line.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, Path, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use cordon_shared::{
    freeze::{Freeze as Line, Level, Scope},
    id::IncidentId,
};
use cordon_spoke::session::proof::{Proof, Unproven, WINDOW};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use super::{All, Answered, Freeze, Id, Of, PROOF, ReportOf, ReportText, Thaw, UndoOf, Wrong, bound, call, decoded};
use crate::{
    config::people::Person,
    desk::{Desk, DeskError, Frozen, Which, frozen, said},
    doorkeeper::Doorkeeper,
    driver::Hub,
    journal::{Request, requests::Asker},
    listener::{self, Peer},
    people::{self, Identity},
    policy::person::Doing,
    undo_preview,
};

/// The door's name in the audit.
const DOOR: &str = "api";
/// The longest body that is read.
const MOST: usize = 64 << 10;
/// How many proofs are held against STS at the same time, and how long one keeps its place that is nobody's whom Cordon knows: whoever
/// knocks without a right has no more than four calls a second made.
const AT_ONCE: usize = 4;
const AFTER_WRONG: Duration = Duration::from_secs(1);
/// How long a call waits for its place.
const TURN: Duration = Duration::from_secs(10);
/// How long an answer is still waited for once the service ends: shorter than its listeners wait.
const LAST: Duration = Duration::from_secs(2);

struct Door {
    hub: Arc<Hub>,
    desk: Desk,
    keeper: Doorkeeper,
    turns: Arc<Semaphore>,
}

/// Starts to listen, where that is configured.
///
/// # Errors
/// When the address cannot be had.
pub async fn receive(hub: &Arc<Hub>, tasks: &mut JoinSet<()>) -> Result<(), String> {
    let Some(address) = hub.config.api.listen else { return Ok(()) };
    let listener = TcpListener::bind(address).await.map_err(|error| format!("`[api] listen`: {address} cannot be listened on: {error}"))?;
    let door = Door {
        hub: Arc::clone(hub),
        desk: Desk::new(Arc::clone(&hub.store)),
        keeper: Doorkeeper::new(DOOR, Arc::clone(&hub.store), Arc::clone(&hub.clock)),
        turns: Arc::new(Semaphore::new(AT_ONCE)),
    };
    let router = Router::new().route("/v1/health", get(|| async { "ok\n" })).route("/v1/{call}", post(take)).with_state(Arc::new(door));
    tasks.spawn(listener::serve(DOOR, listener, router, MOST, hub.stop.clone()));
    Ok(())
}

/// A call that is not answered as asked.
struct No(StatusCode, String);

impl IntoResponse for No {
    fn into_response(self) -> Response {
        answer(self.0, &Wrong { error: self.1 })
    }
}

impl From<DeskError> for No {
    fn from(error: DeskError) -> Self {
        let status = match &error {
            DeskError::Unknown(_) => StatusCode::NOT_FOUND,
            DeskError::Wrong(_) => StatusCode::BAD_REQUEST,
            DeskError::Refused(_) => StatusCode::CONFLICT,
            DeskError::Late(_) | DeskError::Journal(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

fn answer(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_string(value).unwrap_or_else(|error| json!({ "error": error.to_string() }).to_string());
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

async fn take(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match door.obey(&name, peer.address, &headers, &body).await {
        Ok(value) => answer(StatusCode::OK, &value),
        Err(no) => no.into_response(),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, No> {
    serde_json::from_slice(body).map_err(|error| No(StatusCode::BAD_REQUEST, format!("the body is not what this call takes: {error}")))
}

fn told(value: impl Serialize) -> Result<Value, No> {
    serde_json::to_value(value).map_err(|error| No(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

impl Door {
    async fn obey(self: &Arc<Self>, name: &str, from: SocketAddr, headers: &HeaderMap, body: &[u8]) -> Result<Value, No> {
        let (person, asker) = self.proven(name, from, headers, body).await?;
        let looks = |doing| self.may(person, doing, name);
        match name {
            call::INCIDENTS => {
                looks(Doing::Look).await?;
                told(self.desk.incidents(&read::<Which>(body)?).await?)
            }
            call::INCIDENT => {
                looks(Doing::Look).await?;
                told(self.desk.incident(&read::<Id>(body)?.id).await?)
            }
            call::REPORT => {
                looks(Doing::Look).await?;
                let ReportOf { id, form } = read(body)?;
                told(ReportText { report: self.desk.report(&id, form).await? })
            }
            call::UNDO_PREVIEW => {
                looks(Doing::Look).await?;
                let UndoOf { id, step } = read(body)?;
                let run = self.desk.find(&id).await?;
                told(undo_preview::preview(&self.hub, run, step.as_ref()).await.map_err(DeskError::from)?)
            }
            call::QUESTIONS => {
                looks(Doing::Look).await?;
                told(match read::<Of>(body)?.id {
                    Some(id) => self.desk.questions_of(self.desk.find(&id).await?).await?,
                    None => self.desk.questions().await?,
                })
            }
            call::FREEZES => {
                looks(Doing::Look).await?;
                told(self.desk.freezes(read::<All>(body)?.all).await?)
            }
            call::BUDGETS => {
                looks(Doing::Look).await?;
                told(self.desk.budgets(&self.hub.config.budgets, self.hub.clock.now()).await?)
            }
            call::FREEZE => {
                looks(Doing::Freeze).await?;
                let Freeze { scope, level, why, hard } = read(body)?;
                if level == Level::Off {
                    return Err(No(StatusCode::BAD_REQUEST, "a freeze has a level, limited or full".to_owned()));
                }
                let line = self.desk.freeze(self.line(&asker, scope, level, why, hard), &self.hub.playbooks).await?;
                let warning = frozen::doubt(&line.scope, Ok(&self.hub.org)).await;
                told(Frozen { line, warning })
            }
            call::THAW => {
                looks(Doing::Thaw).await?;
                let Thaw { scope, why, hard } = read(body)?;
                told(self.desk.thaw(self.line(&asker, scope, Level::Off, why, hard), &self.hub.playbooks).await?)
            }
            call::REQUEST => {
                let request: Request = read(body)?;
                // Whether the person may is for the process that drives to say, as for each request.
                let id = self.hub.store.append_request(&request, &asker, self.hub.clock.now()).await.map_err(DeskError::from)?;
                let answer = self.answered(id, request.run()).await?;
                told(Answered { answer, incident: self.desk.incident(&request.run().to_string()).await? })
            }
            _ => Err(No(StatusCode::NOT_FOUND, format!("there is no call `{name}`"))),
        }
    }

    /// The answer to a request. Where the service ends, what is known by then.
    async fn answered(&self, id: i64, run: IncidentId) -> Result<String, DeskError> {
        let ends = async {
            self.hub.stop.cancelled().await;
            tokio::time::sleep(LAST).await;
        };
        tokio::select! {
            answer = self.desk.answered(id, run) => answer,
            () = ends => match self.hub.store.answer_of(id).await? {
                Some(answer) => said(answer),
                None => Err(DeskError::Late(format!(
                    "the service ends and has not answered; the request stands, look again with `cordon incident show {run}`"
                ))),
            },
        }
    }

    fn line(&self, asker: &Asker, scope: Scope, level: Level, why: String, hard: bool) -> Line {
        Line { number: 0, at: self.hub.clock.now(), by: asker.by.clone(), why, scope, level, hard, alarm: None }
    }

    async fn may(&self, person: &Person, doing: Doing, what: &str) -> Result<(), No> {
        let hub = &self.hub;
        match hub.policies.in_force().may(person, doing, None, hub.clock.now(), &hub.config.policy.time_zone) {
            Ok(()) => Ok(()),
            Err(why) => {
                self.keeper.turn_away(&person.name, what, &why).await;
                Err(No(StatusCode::FORBIDDEN, why))
            }
        }
    }

    /// Who calls.
    async fn proven(self: &Arc<Self>, name: &str, from: SocketAddr, headers: &HeaderMap, body: &[u8]) -> Result<(&Person, Asker), No> {
        let unproven = async |why: &str| {
            self.keeper.turn_away(&from.to_string(), name, why).await;
            Err(No(StatusCode::UNAUTHORIZED, format!("it is not proven who you are: {why}")))
        };
        let Some(header) = headers.get(PROOF).and_then(|value| value.to_str().ok()) else {
            return unproven("there is no header `cordon-proof`").await;
        };
        let Some(proof) = decoded(header) else { return unproven("the header `cordon-proof` holds no proof").await };
        let Ok(Ok(turn)) = tokio::time::timeout(TURN, Arc::clone(&self.turns).acquire_owned()).await else {
            return Err(No(StatusCode::SERVICE_UNAVAILABLE, "too many calls at once: try again".to_owned()));
        };
        let bound = bound(&self.hub.config.hub.account, &format!("/v1/{name}"), body);
        let (door, name) = (Arc::clone(self), name.to_owned());
        // A task of its own, so that hanging up gives no place back early.
        let known = tokio::spawn(async move {
            let known = door.known(&proof, &bound, from, &name).await;
            if known.is_err() {
                tokio::time::sleep(AFTER_WRONG).await;
            }
            drop(turn);
            known
        });
        let asker = known.await.map_err(|error| No(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))??;
        let person = people::named(&self.hub.config.people, &asker.by);
        person.map(|person| (person, asker)).ok_or_else(|| No(StatusCode::FORBIDDEN, "nobody is configured with this name".to_owned()))
    }

    /// Whose a proof is: somebody's whom Cordon knows, and for the first time.
    async fn known(&self, proof: &Proof, bound: &str, from: SocketAddr, name: &str) -> Result<Asker, No> {
        let unproven = async |why: &str| {
            self.keeper.turn_away(&from.to_string(), name, why).await;
            Err(No(StatusCode::UNAUTHORIZED, format!("it is not proven who you are: {why}")))
        };
        let now = self.hub.clock.now();
        let caller = match self.hub.sessions.identify(proof, bound, now).await {
            Ok(caller) => caller,
            Err(Unproven::Unasked(why)) => {
                return Err(No(StatusCode::SERVICE_UNAVAILABLE, format!("AWS could not be asked who you are: {why}")));
            }
            Err(why) => return unproven(&why.to_string()).await,
        };
        // Before anything is written: of strangers nothing is, but that they were here.
        let asker = match people::asker(&self.hub.config.people, &Identity::Aws(caller.arn.clone())) {
            Ok((_, asker)) => asker,
            Err(stranger) => {
                self.keeper.turn_away(&caller.arn, name, "no person is configured with this identity").await;
                return Err(No(StatusCode::FORBIDDEN, stranger.to_string()));
            }
        };
        let until = now.checked_add(WINDOW.saturating_mul(2)).unwrap_or(now);
        if self.hub.store.take_proof(proof.signature(), until, now).await.map_err(DeskError::from)? {
            Ok(asker)
        } else {
            unproven("this proof was received before").await
        }
    }
}
