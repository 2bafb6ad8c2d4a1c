//! `cordon account`: the organization as Cordon sees it.

use std::sync::Arc;

use clap::Subcommand;
use cordon_shared::{
    clock::{Clock, SystemClock},
    id::{AccountId, CellId},
    optout,
};
use cordon_spoke::{
    aws::organization::AccountState,
    limits::{Limits, Rates},
    permission::Permission,
    session::Sessions,
};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use super::{Common, Exit, Failure, freeze, output};
use crate::{
    config::Config,
    org::{Org, OrgError},
    setup,
};

/// The organization.
#[derive(Debug, Subcommand)]
pub(super) enum Account {
    /// Every account: state, OU path, opt-outs, and whether the spoke role lets Cordon in
    List,
    /// One account
    Show {
        /// The account's id
        id: AccountId,
    },
}

#[derive(Debug, Serialize)]
struct Row {
    account: AccountId,
    name: String,
    state: String,
    ou: String,
    opted_out: Vec<String>,
    tags: std::collections::BTreeMap<String, String>,
    spoke: String,
}

/// How many accounts are looked at side by side.
const SIDE_BY_SIDE: usize = 8;

/// Obeys `cordon account`.
pub(super) async fn account(common: &Common, command: Account) -> Result<Exit, Failure> {
    let config = common.load()?;
    freeze::tell_beside(common, &config).await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let sessions = Sessions::new(setup::session_settings(&config), Limits::new(Rates::default()), Arc::clone(&clock))
        .await
        .map_err(setup::SetupError::from)?;
    let org = Org::new(sessions.clone(), clock, &config.opt_out_key);
    let rows = match command {
        Account::List => {
            let accounts = org.accounts().await.map_err(|error| Failure::other(error.to_string()))?;
            futures::stream::iter(accounts)
                .map(|account| row(&config, &org, &sessions, account.id))
                .buffered(SIDE_BY_SIDE)
                .try_collect::<Vec<_>>()
                .await?
        }
        Account::Show { id } => vec![row(&config, &org, &sessions, id).await?],
    };
    output::rows(common.format, &rows, &["account", "name", "state", "OU", "opted out", "spoke"], |row| {
        vec![
            row.account.to_string(),
            crate::text::safe(&row.name),
            row.state.clone(),
            crate::text::safe(&row.ou),
            crate::text::safe(&row.opted_out.join("; ")),
            // The word in a table, the sentence in JSON.
            crate::text::safe(row.spoke.split(':').next().unwrap_or_default()),
        ]
    })?;
    Ok(Exit::Well)
}

async fn row(config: &Config, org: &Org, sessions: &Sessions, id: AccountId) -> Result<Row, Failure> {
    let facts = match org.facts(&id).await {
        Ok(facts) => facts,
        Err(OrgError::Unfit(hold)) if hold.code == "outside-organization" => return Err(Failure::usage(hold.why)),
        Err(error) => return Err(Failure::other(error.to_string())),
    };
    let work = optout::Work { playbook: "", action: None, region: "" };
    let now = SystemClock.now();
    let opted_out = facts
        .opt_outs
        .iter()
        .map(|fact| {
            let remark = optout::read(&fact.value, work, now).remark.map(|remark| format!(" ({remark})")).unwrap_or_default();
            format!("{}: `{}`{remark}", fact.whose, fact.value)
        })
        .collect();
    let active = facts.account.state == AccountState::Active;
    let spoke = if id == config.hub.account {
        "the hub's own account".to_owned()
    } else if active {
        spoke(config, sessions, &id).await
    } else {
        "not asked: the account is not active".to_owned()
    };
    Ok(Row {
        account: id,
        name: facts.account.name.clone(),
        state: match &facts.account.state {
            AccountState::Active => "ACTIVE".to_owned(),
            AccountState::Other(state) => state.clone(),
        },
        ou: facts.path_text(),
        opted_out,
        tags: facts.tags.clone(),
        spoke,
    })
}

/// Whether the spoke role lets the hub in: a read session is opened, and nothing is done with it.
async fn spoke(config: &Config, sessions: &Sessions, id: &AccountId) -> String {
    const ASK: [Permission; 1] = [Permission::new("ec2:DescribeInstances", "*")];
    let cell = CellId::new(id.clone(), config.hub.home_region.clone());
    match sessions.read(&cell, "account-list", &ASK).await {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("{}: {error}", error.code()),
    }
}
