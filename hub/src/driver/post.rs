//! Where a step works: its cell, the read session there, and the way to other accounts.

use cordon_shared::{
    engine::View,
    id::{CellId, IncidentId, Region},
    plan::{Seat, StepKey},
};
use cordon_spoke::{
    action::{Action, ActionError, Cx, Reach, TagsRead},
    permission::Permission,
    session::Clients,
};
use futures::future::BoxFuture;

use super::{Hub, run::Run};
use crate::org::OrgError;

/// The cell that a step of this seat works in: the subject's own or the hub's, in the step's Region where it names one.
pub(super) fn cell(run: &Run, view: &View, action: &Action, region: Option<&Region>) -> CellId {
    cell_in(&run.hub, view, action, region)
}

/// The same, of a run that nobody drives.
pub(super) fn cell_in(hub: &Hub, view: &View, action: &Action, region: Option<&Region>) -> CellId {
    let own = match action.seat {
        Seat::Hub => &hub.own_cell,
        Seat::Member => &view.subject.cell,
    };
    region.map_or_else(|| own.clone(), |region| CellId::new(own.account.clone(), region.clone()))
}

/// A step's place of work, with its read session open.
pub(super) struct Post<'a> {
    hub: &'a Hub,
    run: IncidentId,
    cell: CellId,
    read: Clients,
    copy_key: Option<String>,
    elsewhere: Elsewhere<'a>,
    /// What plans read of tags.
    pub(super) tags: TagsRead,
}

impl<'a> Post<'a> {
    /// Opens the read session of a step's seat.
    pub(super) async fn open(run: &'a Run, view: &'a View, action: &Action, region: Option<&Region>) -> Result<Self, ActionError> {
        Self::open_in(&run.hub, run.id, view, action, region).await
    }

    /// The same, of a run that nobody drives.
    pub(super) async fn open_in(
        hub: &'a Hub,
        run: IncidentId,
        view: &'a View,
        action: &Action,
        region: Option<&Region>,
    ) -> Result<Self, ActionError> {
        let cell = cell_in(hub, view, action, region);
        let reads = hub.reads(&view.playbook, action.name);
        let read = match action.seat {
            Seat::Hub => hub.sessions.hub(&cell.region),
            Seat::Member => hub.sessions.read(&cell, &view.playbook.name, &reads).await?,
        };
        let elsewhere = Elsewhere { hub, playbook: &view.playbook.name, reads };
        Ok(Self { hub, run, copy_key: hub.config.copy_key_in(&cell.region), cell, read, elsewhere, tags: TagsRead::default() })
    }

    /// The read session.
    pub(super) fn read(&self) -> &Clients {
        &self.read
    }

    /// What an action works with here.
    pub(super) fn cx<'p>(&'p self, view: &View, key: &'p StepKey) -> Cx<'p> {
        let hub = self.hub;
        let moment = |name: &str| {
            let found = view.findings.last().and_then(|note| note.finding.get(name));
            found.and_then(|at| at.as_str()).and_then(|at| at.parse().ok())
        };
        Cx {
            cell: &self.cell,
            read: &self.read,
            clock: hub.clock.as_ref(),
            evidence: hub.evidence.as_ref(),
            run: self.run,
            step: key,
            opt_out_key: &hub.config.opt_out_key,
            protected: &hub.protected.names,
            known: &hub.known_nets,
            logs: &hub.logs,
            regions: &hub.config.hub.regions,
            hub: &hub.config.hub.account,
            copy_key: self.copy_key.as_deref(),
            reach: &self.elsewhere,
            tags: &self.tags,
            window: (moment("first_seen"), moment("last_seen")),
        }
    }
}

/// Read sessions in other accounts of the organization, with what the step reads with.
struct Elsewhere<'a> {
    hub: &'a Hub,
    playbook: &'a str,
    reads: Vec<Permission>,
}

impl std::fmt::Debug for Elsewhere<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Elsewhere").field("playbook", &self.playbook).finish_non_exhaustive()
    }
}

impl Reach for Elsewhere<'_> {
    fn read<'a>(&'a self, cell: &'a CellId) -> BoxFuture<'a, Result<Clients, ActionError>> {
        Box::pin(async move {
            if cell.account == self.hub.config.hub.account {
                return Ok(self.hub.sessions.hub(&cell.region));
            }
            match self.hub.org.facts(&cell.account).await {
                Ok(_) => Ok(self.hub.sessions.read(cell, self.playbook, &self.reads).await?),
                Err(OrgError::Passing(why)) => {
                    Err(ActionError::Transient { call: "organizations:DescribeAccount".to_owned(), message: why })
                }
                Err(OrgError::Unfit(hold)) => Err(ActionError::Gone { what: format!("account {}", cell.account), message: hold.why }),
            }
        })
    }
}
