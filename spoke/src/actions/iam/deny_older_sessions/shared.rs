//! Who shares a role: its instances and functions in every configured Region, and the services that may assume it.

use std::collections::BTreeSet;

use cordon_shared::{id::Region, plan::TagSeen};
use futures::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::{
    super::super::ec2::look::{Machine, chunks, filter, machines_where, pairs},
    role::Role,
};
use crate::action::{ActionError, Cx, classify};

/// How many Regions are looked at at the same time.
const AT_A_TIME: usize = 8;
/// How many are named in a question.
const NAMED: usize = 10;

/// Who shares a role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedWith {
    /// ARNs of the instances whose profile has it; of the other ones, where one instance is meant.
    pub instances: BTreeSet<String>,
    /// ARNs of the Lambda functions that run with it.
    pub functions: BTreeSet<String>,
    /// The services that its trust policy names.
    pub services: BTreeSet<String>,
    /// Regions that could not be looked at, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_looked_in: Vec<NotLooked>,
}

/// A Region that could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NotLooked {
    /// The Region.
    pub region: String,
    /// Why.
    pub why: String,
}

/// What was found in one Region.
#[derive(Default)]
struct Here {
    machines: Vec<Machine>,
    functions: Vec<String>,
}

/// Who shares a role, and the opt-out tags of its instances. `strict`: an error that may pass ends it, so that it is looked again.
pub(super) async fn shared(cx: Cx<'_>, role: &Role, strict: bool) -> Result<(SharedWith, Vec<TagSeen>), ActionError> {
    let iam = cx.read.iam();
    let profiles = iam.list_instance_profiles_for_role().role_name(&role.name).into_paginator().items().send();
    let profiles = profiles.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("iam:ListInstanceProfilesForRole", error))?;
    let profiles: Vec<String> = profiles.iter().map(|profile| profile.arn().to_owned()).collect();
    // No function runs with a role that Lambda may not assume.
    let runs = |name: &String| name == "*" || name.contains("lambda.amazonaws.com");
    let functions = role.services.iter().chain(&role.others).any(runs);
    let mut regions: BTreeSet<Region> = cx.regions.iter().cloned().collect();
    if cx.cell.region != Region::global() {
        regions.insert(cx.cell.region.clone());
    }
    let (profiles, arn) = (profiles.as_slice(), role.arn.as_str());
    let found: Vec<(Region, Result<Here, ActionError>)> = stream::iter(regions)
        .map(|region| async move {
            let here = look(cx, &region, profiles, functions.then_some(arn)).await;
            (region, here)
        })
        .buffered(AT_A_TIME)
        .collect()
        .await;
    let mut shared = SharedWith { services: role.services.clone(), ..SharedWith::default() };
    let mut opt_outs = Vec::new();
    for (region, here) in found {
        match here {
            Ok(here) => {
                for machine in &here.machines {
                    let arn = format!("arn:{}:ec2:{region}:{}:instance/{}", region.partition(), cx.cell.account, machine.id);
                    opt_outs.extend(cx.opt_out(&arn, pairs(&machine.tags)));
                    shared.instances.insert(arn);
                }
                shared.functions.extend(here.functions);
            }
            Err(error @ (ActionError::Stopped(_) | ActionError::Session(_))) => return Err(error),
            Err(error) if strict && error.may_pass() => return Err(error),
            Err(error) => shared.not_looked_in.push(NotLooked { region: region.to_string(), why: error.to_string() }),
        }
    }
    Ok((shared, opt_outs))
}

async fn look(cx: Cx<'_>, region: &Region, profiles: &[String], role: Option<&str>) -> Result<Here, ActionError> {
    let clients = cx.read.in_region(region);
    let mut here = Here::default();
    for profiles in chunks(profiles) {
        let found = machines_where(&clients.ec2(), filter("iam-instance-profile.arn", profiles)).await?;
        here.machines.extend(found.into_values().filter(|machine| !machine.is_gone()));
    }
    if let Some(role) = role {
        let functions = clients.lambda().list_functions().into_paginator().items().send();
        let functions = functions.collect::<Result<Vec<_>, _>>().await.map_err(|error| classify("lambda:ListFunctions", error))?;
        let with_it = functions.iter().filter(|function| function.role() == Some(role));
        here.functions.extend(with_it.filter_map(|function| function.function_arn()).map(str::to_owned));
    }
    Ok(here)
}

/// What an ARN of an instance or a function says in short: `i-… in eu-west-1`.
fn short(arn: &str) -> String {
    let region = arn.split(':').nth(3).unwrap_or_default();
    let name = arn.rsplit([':', '/']).next().unwrap_or(arn);
    format!("{name} in {region}")
}

/// `2 instances (a, b)`; at most so many are named.
pub(super) fn counted(what: &str, all: &BTreeSet<String>, most: usize) -> String {
    let names: Vec<String> = all.iter().take(most).map(|name| if name.starts_with("arn:") { short(name) } else { name.clone() }).collect();
    let s = if all.len() == 1 { "" } else { "s" };
    match all.len().checked_sub(names.len()) {
        _ if all.is_empty() => format!("no {what}s"),
        Some(more) if more > 0 => format!("{} {what}{s} ({} and {more} more)", all.len(), names.join(", ")),
        _ => format!("{} {what}{s} ({})", all.len(), names.join(", ")),
    }
}

impl SharedWith {
    /// The question before all sessions of a role are denied.
    pub(super) fn question(&self, role: &Role) -> String {
        let unread = if self.not_looked_in.is_empty() { String::new() } else { format!("; {}", self.unread()) };
        format!(
            "all sessions of role {} that are older than the cut-off are denied: it is shared by {}, {} and {}{unread}",
            role.name,
            counted("instance", &self.instances, NAMED),
            counted("Lambda function", &self.functions, NAMED),
            counted("service", &self.services, NAMED),
        )
    }

    /// Everybody, for the report.
    pub(super) fn notes(&self, role: &Role) -> Vec<String> {
        let mut notes = Vec::new();
        for (what, all) in [("instance", &self.instances), ("Lambda function", &self.functions), ("service", &self.services)] {
            if !all.is_empty() {
                notes.push(format!("role {} is shared by {}", role.name, counted(what, all, usize::MAX)));
            }
        }
        if !role.others.is_empty() {
            let others: Vec<&str> = role.others.iter().map(String::as_str).collect();
            notes.push(format!("the trust policy of role {} also lets in {}", role.name, others.join(", ")));
        }
        if !self.not_looked_in.is_empty() {
            notes.push(self.unread());
        }
        notes
    }

    /// Where nobody looked.
    pub(super) fn unread(&self) -> String {
        let regions: Vec<String> = self.not_looked_in.iter().map(|one| format!("{} ({})", one.region, one.why)).collect();
        format!("who else shares it could not be read in {}", regions.join(", "))
    }
}
