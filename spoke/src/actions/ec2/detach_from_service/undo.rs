//! Putting the instance back: balancers, target groups, and last the group, which then finds it registered.

use std::{future::Future, time::Duration};

use cordon_shared::plan::{Change as Difference, ChangeKey};
use serde_json::{Value, json};

use super::{
    Before, MINIMUM, Membership, Mode, Pool, Target,
    decide::{DETACHED, IN_SERVICE},
    literal,
    look::Group,
    membership, part, wire,
};
use crate::action::{ActionError, ApplyError, Cx, Undo, Write};

/// After which waits what was put back is read before it counts as not there.
const READ_BACK: [Duration; 5] =
    [Duration::ZERO, Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// An undo under way.
struct Work<'a> {
    cx: Cx<'a>,
    write: Write<'a>,
    id: &'a str,
    only: &'a [ChangeKey],
    done: usize,
    restored: Vec<Difference>,
    by_hand: Vec<String>,
}

pub(super) async fn undo(cx: Cx<'_>, write: Write<'_>, id: &str, before: &Before, only: &[ChangeKey]) -> Result<Undo, ApplyError> {
    let mut work = Work { cx, write, id, only, done: 0, restored: Vec::new(), by_hand: Vec::new() };
    let result = work.all(before).await;
    result.map_err(|error| ApplyError::after(work.done, error))?;
    let Work { restored, mut by_hand, .. } = work;
    if by_hand.is_empty() {
        return Ok(Undo::Restored(restored));
    }
    by_hand.extend(
        restored.iter().map(|change| format!("nothing more to do for `{}` of {}: it was put back", change.attribute, change.resource)),
    );
    Ok(Undo::ByHand(by_hand))
}

/// A name in a command: what is not plain stands between quotes.
fn quoted(name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./:".contains(letter));
    if plain && !name.starts_with('-') { name.to_owned() } else { format!("'{}'", name.replace('\'', "'\\''")) }
}

impl Work<'_> {
    async fn all(&mut self, before: &Before) -> Result<(), ActionError> {
        let host = wire::host(&self.cx.read.ec2(), self.id).await?;
        // Of an instance that is gone there is nothing to put back but what its group was made to be.
        let state = host.filter(|host| !host.is_gone()).map(|host| host.state);
        if let Some(state) = &state {
            for balancer in before.balancers.iter().rev() {
                if self.wants(&balancer.arn, &membership(self.id)) {
                    self.balancer(&balancer.name, &balancer.arn, state).await?;
                }
            }
            for pool in before.target_groups.iter().rev() {
                let targets = self.wanted(pool);
                if !targets.is_empty() {
                    self.pool(pool, &targets, &before.ids, state).await?;
                }
            }
        }
        let Some(group) = &before.group else { return Ok(()) };
        let mut now = None;
        if let Some(state) = &state
            && self.wants(&group.arn, &membership(self.id))
        {
            now = self.come_back(group, state).await?;
        } else if let Some(state) = &state
            && self.write.only_looks()
            && self.wants(&group.arn, MINIMUM)
        {
            now = self.foreseen(group, state).await?;
        }
        match group.lower_to {
            Some(lower_to) if self.wants(&group.arn, MINIMUM) => self.minimum(group, lower_to, now).await,
            _ => Ok(()),
        }
    }

    /// Gives the instance its place in the group back. Gives the desired capacity since then.
    async fn come_back(&mut self, group: &Membership, state: &str) -> Result<Option<i32>, ActionError> {
        match group.mode {
            Mode::Detached => self.attach(group, state).await,
            Mode::Standby => self.exit(group, state).await,
        }
    }

    /// A look goes attribute by attribute: the desired capacity that the minimum will find, where the instance comes back before it.
    async fn foreseen(&mut self, group: &Membership, state: &str) -> Result<Option<i32>, ActionError> {
        let told = self.by_hand.len();
        let comes_back = matches!(self.come_back(group, state).await, Err(ActionError::OnlyLooking));
        self.by_hand.truncate(told);
        let now = wire::group(&self.cx.read.autoscaling(), &group.name).await?.filter(|_| comes_back);
        Ok(now.map(|now| now.desired.saturating_add(group.weight)))
    }

    fn wants(&self, resource: &str, attribute: &str) -> bool {
        self.only.iter().any(|key| key.resource == resource && key.attribute == attribute)
    }

    fn wanted(&self, pool: &Pool) -> Vec<Target> {
        pool.targets.iter().filter(|target| self.wants(&pool.arn, &target.attribute())).cloned().collect()
    }

    fn put_back(&mut self, resource: &str, attribute: String, before: Value, after: Value) {
        self.done += 1;
        self.restored.push(Difference { resource: resource.to_owned(), attribute, before, after });
    }

    /// What a person does, and why.
    fn person(&mut self, why: &str, command: &str) {
        let cell = self.cx.cell;
        let command = command.replacen(' ', &format!(" --region {} ", cell.region), 1);
        self.by_hand.push(format!("{why}. If it shall be as before, in account {}: aws {command}", cell.account));
    }

    /// Reads until it is so.
    async fn read_back<F: Future<Output = Result<bool, ActionError>>>(
        &self,
        call: &str,
        what: &str,
        is_so: impl Fn() -> F,
    ) -> Result<(), ActionError> {
        for wait in READ_BACK {
            tokio::time::sleep(wait).await;
            if is_so().await? {
                return Ok(());
            }
        }
        let message = format!("{what} was put back and cannot be read");
        Err(ActionError::Service { call: call.to_owned(), code: "NotReadBack".to_owned(), message })
    }

    async fn balancer(&mut self, name: &str, arn: &str, state: &str) -> Result<(), ActionError> {
        let read = self.cx.read.elb();
        let id = self.id;
        let command = format!("elb register-instances-with-load-balancer --load-balancer-name {} --instances {id}", quoted(name));
        match wire::has(&read, name, id).await? {
            Some(true) => return Ok(()),
            None => {
                self.by_hand.push(format!(
                    "classic load balancer {arn} was deleted: {id} cannot be registered there again; register it where it is to serve now"
                ));
                return Ok(());
            }
            Some(false) if state != "running" => {
                self.person(&format!("{id} is {state}, not running: it was not registered with {arn}; start it first"), &command);
                return Ok(());
            }
            Some(false) => {}
        }
        wire::join(&self.write.on("balancer", name).elb(), name, id).await?;
        self.put_back(arn, membership(id), json!("deregistered"), json!("registered"));
        let is_so = || async { Ok(wire::has(&read, name, id).await? != Some(false)) };
        self.read_back("elasticloadbalancing:RegisterInstancesWithLoadBalancer", &format!("{id} in {arn}"), is_so).await
    }

    async fn pool(
        &mut self,
        pool: &Pool,
        wanted: &[Target],
        ids: &std::collections::BTreeSet<String>,
        state: &str,
    ) -> Result<(), ActionError> {
        let (read, arn) = (self.cx.read.elbv2(), &pool.arn);
        let Some(entries) = wire::health(&read, arn).await? else {
            let told: Vec<String> = wanted.iter().map(Target::attribute).collect();
            self.by_hand.push(format!(
                "target group {arn} was deleted with {} out of it: register them where they are to serve now",
                told.join(", ")
            ));
            return Ok(());
        };
        let there: Vec<Target> = entries.into_iter().filter(|entry| entry.registered()).map(|entry| entry.target).collect();
        let absent: Vec<Target> = wanted.iter().filter(|target| !there.iter().any(|other| other.is(target))).cloned().collect();
        if absent.is_empty() {
            return Ok(());
        }
        let described: Vec<String> = absent
            .iter()
            .map(|target| {
                let port = target.port.map(|port| format!(",Port={port}")).unwrap_or_default();
                let zone = target.zone.as_ref().filter(|_| pool.by_address);
                format!("Id={}{port}{}", target.id, zone.map(|zone| format!(",AvailabilityZone={zone}")).unwrap_or_default())
            })
            .collect();
        let command = format!("elbv2 register-targets --target-group-arn {arn} --targets {}", described.join(" "));
        let stranger = there.iter().find(|other| ids.contains(&other.id) && !pool.targets.iter().any(|target| target.is(other)));
        if let Some(other) = stranger {
            self.person(&format!("{arn}: somebody registered {} meanwhile", other.attribute()), &command);
            return Ok(());
        }
        if state != "running" && !pool.by_address {
            self.person(&format!("{} is {state}, not running: it was not registered in {arn}; start it first", self.id), &command);
            return Ok(());
        }
        match wire::register(&self.write.on("target_group", part(arn)).elbv2(), pool, &absent).await {
            Ok(()) => {}
            // It cannot be a target, or there is no room for more of them.
            Err(ActionError::Service { code, message, .. }) if code == "InvalidTarget" || code.starts_with("TooMany") => {
                self.person(&format!("{arn} does not take it back: {code}: {message}"), &command);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        for target in &absent {
            self.put_back(arn, target.attribute(), json!("deregistered"), json!("registered"));
        }
        let (read, absent) = (&read, &absent);
        let is_so = || async move {
            let Some(entries) = wire::health(read, arn).await? else { return Ok(true) };
            Ok(absent.iter().all(|target| entries.iter().any(|entry| entry.registered() && entry.target.is(target))))
        };
        self.read_back("elasticloadbalancing:RegisterTargets", &format!("a target of {arn}"), is_so).await
    }

    /// The group, if the instance's place in it can be given back; why not is told.
    async fn room(&mut self, group: &Membership, state: &str, command: &str) -> Result<Option<Group>, ActionError> {
        let Some(now) = wire::group(&self.cx.read.autoscaling(), &group.name).await? else {
            self.by_hand.push(format!("Auto Scaling group {} was deleted: {} cannot come back to it", group.arn, self.id));
            return Ok(None);
        };
        if state != "running" {
            self.person(&format!("{} is {state}, not running: it did not come back to {}; start it first", self.id, group.arn), command);
            return Ok(None);
        }
        if now.desired.saturating_add(group.weight) > now.max {
            let name = quoted(&group.name);
            let why = format!(
                "{} is at its maximum size ({} of {}): {} cannot come back. Make room first: raise the maximum (aws autoscaling update-auto-scaling-group --auto-scaling-group-name {name} --max-size {}), or take out the replacement (aws autoscaling terminate-instance-in-auto-scaling-group --should-decrement-desired-capacity --instance-id ID)",
                group.arn,
                now.desired,
                now.max,
                self.id,
                now.desired.saturating_add(group.weight)
            );
            self.person(&why, command);
            return Ok(None);
        }
        Ok(Some(now))
    }

    /// Attaches the instance again. Gives the desired capacity since then.
    async fn attach(&mut self, group: &Membership, state: &str) -> Result<Option<i32>, ActionError> {
        let id = self.id;
        let read = self.cx.read.autoscaling();
        let command = format!("autoscaling attach-instances --instance-ids {id} --auto-scaling-group-name {}", quoted(&group.name));
        if let Some(standing) = wire::standing(&read, id).await? {
            if standing.group != group.name {
                self.by_hand.push(format!(
                    "somebody made {id} a member of Auto Scaling group {}: it does not come back to {}",
                    standing.group, group.arn
                ));
            } else if DETACHED.contains(&standing.state.as_str()) {
                return Err(leaving(id, &standing));
            }
            return Ok(None);
        }
        let Some(now) = self.room(group, state, &command).await? else { return Ok(None) };
        let client = self.write.on("group", &literal(&group.name)).autoscaling();
        match wire::attach(&client, &group.name, id).await {
            Ok(()) => {}
            // What AWS refuses a second time was done the first time, or it is a person's.
            Err(ActionError::Service { code, message, .. }) if code == "ValidationError" => {
                if wire::standing(&read, id).await?.is_none() {
                    self.person(&format!("{} does not take {id} back: {message}", group.arn), &command);
                    return Ok(None);
                }
            }
            Err(error) => return Err(error),
        }
        let desired = now.desired.saturating_add(group.weight);
        let after = json!({
            "lifecycle": IN_SERVICE,
            "desired": desired,
            "note": format!(
                "the desired capacity is {} more than before, while the replacement lives. If it is not needed: aws autoscaling terminate-instance-in-auto-scaling-group --region {} --should-decrement-desired-capacity --instance-id ID",
                group.weight, self.cx.cell.region
            ),
        });
        self.put_back(&group.arn, membership(id), json!(Mode::Detached.word()), after);
        let read = &read;
        let is_so = || async move { Ok(wire::standing(read, id).await?.is_some()) };
        self.read_back("autoscaling:AttachInstances", &format!("{id} in {}", group.arn), is_so).await?;
        Ok(Some(desired))
    }

    /// Takes the instance out of standby. Gives the desired capacity since then.
    async fn exit(&mut self, group: &Membership, state: &str) -> Result<Option<i32>, ActionError> {
        let id = self.id;
        let read = self.cx.read.autoscaling();
        let command = format!("autoscaling exit-standby --instance-ids {id} --auto-scaling-group-name {}", quoted(&group.name));
        let standing = wire::standing(&read, id).await?;
        match standing {
            Some(standing) if standing.group == group.name => match standing.state.as_str() {
                "Standby" => {}
                "EnteringStandby" => return Err(leaving(id, &standing)),
                _ => return Ok(None),
            },
            Some(standing) => {
                self.by_hand.push(format!(
                    "somebody made {id} a member of Auto Scaling group {}: it does not come back to {}",
                    standing.group, group.arn
                ));
                return Ok(None);
            }
            None => {
                let attach = command.replace("exit-standby", "attach-instances");
                self.person(&format!("somebody took {id} out of {}", group.arn), &attach);
                return Ok(None);
            }
        }
        let Some(now) = self.room(group, state, &command).await? else { return Ok(None) };
        let client = self.write.on("group", &literal(&group.name)).autoscaling();
        let stands_by = |standing: Option<wire::Standing>| standing.is_some_and(|standing| standing.state == "Standby");
        match wire::exit_standby(&client, &group.name, id).await {
            Ok(()) => {}
            Err(ActionError::Service { code, message, .. }) if code == "ValidationError" => {
                if stands_by(wire::standing(&read, id).await?) {
                    self.person(&format!("{} does not take {id} back: {message}", group.arn), &command);
                    return Ok(None);
                }
            }
            Err(error) => return Err(error),
        }
        self.put_back(&group.arn, membership(id), json!(Mode::Standby.word()), json!(IN_SERVICE));
        let read = &read;
        let is_so = || async move { Ok(!stands_by(wire::standing(read, id).await?)) };
        self.read_back("autoscaling:ExitStandby", &format!("{id} in {}", group.arn), is_so).await?;
        Ok(Some(now.desired.saturating_add(group.weight)))
    }

    /// Puts the minimum size back, once the desired capacity allows it: AWS would start instances to reach it
    /// (<https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_UpdateAutoScalingGroup.html>).
    async fn minimum(&mut self, group: &Membership, lower_to: i32, desired: Option<i32>) -> Result<(), ActionError> {
        let read = self.cx.read.autoscaling();
        // Of a group that is not there nothing is to be put back.
        let Some(now) = wire::group(&read, &group.name).await? else { return Ok(()) };
        if now.min == group.min {
            return Ok(());
        }
        let name = quoted(&group.name);
        let command = format!("autoscaling update-auto-scaling-group --auto-scaling-group-name {name} --min-size {}", group.min);
        if now.min != lower_to {
            let why = format!("somebody changed the minimum size of {} from {lower_to} to {}; it was {}", group.arn, now.min, group.min);
            self.person(&why, &command);
            return Ok(());
        }
        let desired = desired.unwrap_or_default().max(now.desired);
        if desired < group.min {
            let why = format!(
                "the minimum size of {} stays {lower_to}: its desired capacity is {desired}, and a minimum of {} would start another instance",
                group.arn, group.min
            );
            self.person(&why, &command);
            return Ok(());
        }
        wire::set_minimum(&self.write.on("standby_group", &literal(&group.name)).autoscaling(), &group.name, group.min).await?;
        self.put_back(&group.arn, MINIMUM.to_owned(), json!(lower_to), json!(group.min));
        let (read, min) = (&read, group.min);
        let is_so = || async move { Ok(wire::group(read, &group.name).await?.is_none_or(|now| now.min == min)) };
        self.read_back("autoscaling:UpdateAutoScalingGroup", &format!("the minimum size of {}", group.arn), is_so).await
    }
}

/// It is on its way out and can come back only when it has left: tried again later.
fn leaving(id: &str, standing: &wire::Standing) -> ActionError {
    ActionError::Transient {
        call: "autoscaling:DescribeAutoScalingInstances".to_owned(),
        message: format!("{id} is still {} in Auto Scaling group {}: its connections drain", standing.state, standing.group),
    }
}
