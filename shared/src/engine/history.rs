//! A toy organization for histories: the toy world is a set of switches, one to a resource. Every change of it is made through a warrant, and the world itself counts
//! changes made without one, changes that differ from the first attempt's, and switches left behind.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use futures::executor::block_on;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    Command, Entry, FindingNote, Pace, View, expired,
    history_limits::{ACCOUNTS, Where, ous},
    next,
};
use crate::{
    finding::{FindingId, ResourceRole, Subject, SubjectKind, Version},
    freeze::Level,
    gate::{self, Ask, Caps, Decision, Facts, Lease, PolicyAnswer, budget::Spending},
    id::{CellId, IncidentId},
    journal::{Accepted, Journal, JournalError, mem::MemStore, ops},
    mode::Mode,
    plan::{Change, Effect, Plan, Risk, StepKey, Verdict},
    playbook::{Playbook, Work},
};

pub(super) const PLAYBOOK: &str = r#"
name = "toy"
title = "Toy"
subject = "instance"
[[match]]
type = ["Toy"]
[[turns]]
when = "steps.look.outcome.login"
role = "ACTOR"
why = "a login was found"
[[steps]]
id = "look"
action = "toy.look"
[[steps]]
id = "first"
action = "toy.switch"
needs = ["look"]
with = { switches = "${finding.network.remote_ips}" }
ttl = "24h"
on_expiry = "escalate"
[[steps]]
id = "second"
action = "toy.switch"
when = "finding.role == 'ACTOR'"
with = { switches = ["b"] }
[[steps]]
id = "later"
action = "toy.switch"
after = "20m"
even_if = "waiting"
with = { switches = ["c"] }
[[steps]]
id = "again"
action = "toy.look"
needs = ["second"]
after = "20m"
when = "finding.role == 'ACTOR'"
[[steps]]
id = "person"
needs = ["second"]
hold = "a person is needed"
when = "finding.role == 'ACTOR'"
"#;

/// What a move does to the history.
#[derive(Debug, Clone, Copy)]
pub(super) enum Move {
    Step(Fate),
    Crash,
    Wait(i64),
    Finding {
        actor: bool,
        more: bool,
        repeat: bool,
    },
    Drift(u8),
    Approve,
    Deny,
    /// A person ends it, where nothing is under way.
    Close,
    Release,
    Undo,
    /// Somebody else takes a switch that is on for their own.
    Seize(u8),
    /// What was changed back is done again.
    Retry,
    Freeze(Level, Where),
    Thaw,
}

/// How the next call ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    Well,
    CrashBefore,
    CrashAfter,
    LostAnswer,
    Throttled,
    /// Before the last call somebody freezes everything.
    Frozen,
    /// Before the last call another process takes the lease.
    LeaseLost,
    /// Before the last call the warrant's time is over.
    WarrantEnds,
}

pub(super) struct Lab {
    pub(super) store: Arc<MemStore>,
    pub(super) journal: Journal,
    pub(super) lease: Arc<Lease>,
    pub(super) now: Timestamp,
    pub(super) since: Timestamp,
    pub(super) mode: Mode,
    pub(super) caps: Caps,
    /// How many resources may be changed in an hour before a person is asked: in the organization, and in each account.
    pub(super) budget: u32,
    pub(super) of_each: u32,
    /// What the policies say to every change.
    pub(super) policy: PolicyAnswer,
    pub(super) runs: Vec<IncidentId>,
    /// The switches that are on, and who turned each one on.
    pub(super) world: BTreeMap<String, String>,
    pub(super) first: BTreeMap<(IncidentId, StepKey), Value>,
    pub(super) unwarranted: u32,
    /// How old what is known of the organization is.
    pub(super) facts_age: SignedDuration,
    /// Views as they were last read.
    read: RefCell<BTreeMap<IncidentId, View>>,
    pub(super) finding: u32,
    /// Whether the probe finds a login.
    pub(super) login: bool,
}

impl Lab {
    pub(super) fn new(mode: Mode) -> Self {
        let store = Arc::new(MemStore::default());
        let lease = Lease::new(store.next_epoch());
        let dynamic: Arc<dyn crate::journal::Store> = store.clone();
        Self {
            journal: Journal::new(dynamic),
            store,
            lease,
            now: "2026-11-24T00:00:00Z".parse().unwrap(),
            since: "2026-11-24T00:00:00Z".parse().unwrap(),
            mode,
            caps: Caps { per_account_hour: 2, per_organization_hour: 3 },
            budget: 100,
            of_each: 100,
            policy: PolicyAnswer::allow("toy"),
            runs: Vec::new(),
            world: BTreeMap::new(),
            first: BTreeMap::new(),
            unwarranted: 0,
            facts_age: SignedDuration::ZERO,
            read: RefCell::default(),
            finding: 0,
            login: false,
        }
    }

    pub(super) fn pace(&self) -> Pace {
        Pace { epoch: self.lease.epoch(), since: self.since, attempt_timeout: SignedDuration::from_secs(10) }
    }

    pub(super) fn crash(&mut self) {
        self.lease.lose();
        self.lease = Lease::new(self.store.next_epoch());
        self.since = self.now;
    }

    pub(super) fn view(&self, run: IncidentId) -> View {
        let entries = self.store.entries_of(run);
        let mut read = self.read.borrow_mut();
        match read.get(&run) {
            Some(view) if entries.len() == usize::try_from(view.seq).unwrap() => view.clone(),
            _ => {
                let view = ops::fold(run, &entries).unwrap();
                read.insert(run, view.clone());
                view
            }
        }
    }

    pub(super) fn append(&self, run: IncidentId, entries: Vec<Entry>) -> Result<(), JournalError> {
        let (now, pace) = (self.now, self.pace());
        block_on(self.journal.with(move |tx| {
            let mut view = ops::load(tx, run)?;
            ops::append(tx, &mut view, entries, now, pace)
        }))
    }

    pub(super) fn arrive(&mut self, instance: u8, actor: bool, more: bool, repeat: bool) {
        if !repeat {
            self.finding += 1;
        }
        let cell = CellId::new(ACCOUNTS[usize::from(instance / 2).min(1)].parse().unwrap(), "us-east-1".parse().unwrap());
        let subject = Subject { cell, kind: SubjectKind::Instance, id: format!("i-{instance}"), arn: None };
        let role = if actor { ResourceRole::Actor } else { ResourceRole::Target };
        // With more, a repetition is a later version that tells more.
        let remote_ips = if more { vec!["192.0.2.1".parse().unwrap()] } else { vec![] };
        let version = Version { updated_at: Some(self.now), count: 1, severity: 20, role: Some(role), remote_ips };
        let switches = match (instance, more) {
            (0 | 1, false) => json!(["a"]),
            (0 | 1, true) => json!(["a", "c"]),
            (_, false) => json!(["d"]),
            (_, true) => json!(["d", "e"]),
        };
        let note = FindingNote {
            id: FindingId(format!("f-{instance}-{}", self.finding)),
            version,
            input: "-".into(),
            finding: json!({ "type": format!("Toy{more}"), "role": role, "network": { "remote_ips": switches } }),
            raw_sha256: String::new(),
        };
        let run = IncidentId::from_u128(self.runs.len() as u128 + 1);
        let playbook = Playbook::parse(PLAYBOOK, "toy.toml").unwrap();
        let entry = Entry::Opened {
            playbook: "toy".into(),
            source: PLAYBOOK.into(),
            digest: playbook.digest,
            subject: subject.clone(),
            finding: Box::new(note.clone()),
            mode: self.mode,
            observe_only: None,
            detected_at: self.now,
        };
        let opening = ops::Opening { run, entry, keys: ops::keys("toy", &[subject]), sweep: None };
        let arrival = ops::Arrival { note, opening: Some(opening), ignored: None };
        let (now, pace) = (self.now, self.pace());
        let accepted = block_on(self.journal.with(move |tx| ops::accept(tx, &arrival, now, pace))).unwrap();
        if let Accepted::Opened(run) = accepted {
            self.runs.push(run);
        }
    }

    /// One command of one run, ending as `fate` says.
    pub(super) fn step(&mut self, fate: Fate) -> bool {
        for run in self.runs.clone() {
            let view = self.view(run);
            let wanted = next(&view, self.now, self.pace());
            if let Some(command) = wanted.commands.into_iter().next() {
                self.obey(&view, command, fate);
                return true;
            }
        }
        false
    }

    pub(super) fn obey(&mut self, view: &View, command: Command, fate: Fate) {
        let run = view.run;
        match command {
            Command::Admit => self.append(run, vec![Entry::Admitted { account: json!({}) }]).unwrap(),
            Command::Turn(turn) => {
                let turn = &view.playbook.turns[turn];
                self.append(run, vec![Entry::Turned { role: turn.role, why: turn.why.clone() }]).unwrap();
            }
            Command::Begin(key) => self.begin(view, &key, fate),
            Command::Renew(key) => {
                let step = view.step(&key).unwrap();
                let definition = view.definition(step).unwrap();
                let generation = view.generation;
                let entry = if view.asks_for_more(step, definition) {
                    Entry::Renewed { step: key.next(), generation }
                } else {
                    Entry::Kept { step: key, generation }
                };
                self.append(run, vec![entry]).unwrap();
            }
            Command::Expire(key) => {
                let entry = expired(view, &key, self.now, SignedDuration::from_hours(1));
                self.append(run, vec![entry]).unwrap();
            }
            Command::Poll(_) | Command::Timeout(_) => panic!("toy actions give no tickets"),
            Command::Verify(key) => {
                let verdict = self.verdict(view, &key);
                let entries = match verdict {
                    Verdict::InEffect => vec![Entry::Verified { step: key, verdict, again: None }],
                    other => vec![
                        Entry::Verified { step: key.clone(), verdict: other, again: None },
                        Entry::Failed { step: key, code: "not-in-effect".into(), why: "toy".into() },
                    ],
                };
                self.append(run, entries).unwrap();
            }
            Command::Recover(key) => {
                let verdict = self.verdict(view, &key);
                self.append(run, vec![Entry::Recovered { step: key, verdict }]).unwrap();
            }
            Command::Undo(key, cause) => self.undo(view, &key, cause, fate),
            Command::StopUndo(step, at) => self.append(run, vec![Entry::UndoStopped { step, at }]).unwrap(),
            Command::Look(key) => self.look(view, &key, fate),
        }
    }

    pub(super) fn begin(&mut self, view: &View, key: &StepKey, fate: Fate) {
        let run = view.run;
        let step = view.step(key).unwrap();
        let definition = view.definition(step).unwrap();
        if fate == Fate::Throttled {
            let until = self.now + SignedDuration::from_secs(1);
            return self
                .append(run, vec![Entry::Deferred { step: Some(key.clone()), why: "throttled".into(), until, counts: true }])
                .unwrap();
        }
        let wants = view.wants(definition).unwrap();
        if !step.fixed && wants.is_empty() {
            return self.append(run, vec![Entry::Skipped { step: key.clone(), why: "when".into() }]).unwrap();
        }
        let action = match &definition.work {
            Work::Hold(why) => {
                return self.append(run, vec![Entry::Held { step: Some(key.clone()), hold: gate::hold("playbook", why.clone()) }]).unwrap();
            }
            Work::Action(action) => action.clone(),
        };
        let demand = view.demand(step, definition, &wants).unwrap();
        if !step.fixed && demand.is_none() {
            return self.append(run, vec![Entry::Skipped { step: key.clone(), why: "others".into() }]).unwrap();
        }
        let with = demand.as_ref().filter(|_| !step.fixed).map_or(&step.with, |demand| &demand.with).clone();
        if action == "toy.look" {
            return self
                .append(run, vec![Entry::ProbeDone { step: key.clone(), with, outcome: json!({ "login": self.login }), evidence: vec![] }])
                .unwrap();
        }
        if !step.fixed && demand.is_some_and(|demand| demand.more) {
            return self.append(run, vec![Entry::Renewed { step: key.next(), generation: view.generation }]).unwrap();
        }
        let plan = if step.fixed { step.plan.clone().unwrap() } else { self.plan(&with) };
        let ask = Ask {
            step: key.clone(),
            action: "toy.switch",
            risk: Risk::Reversible,
            with,
            region: None,
            plan: plan.clone(),
            mode: self.mode,
            ask: false,
            planned_at: self.now + SignedDuration::from_nanos(1),
            facts: Facts { read_at: self.now - self.facts_age, path: ous(view), ous: Some(ous(view)), ..Facts::default() },
            policy: self.policy.clone(),
            caps: self.caps,
            spending: Spending { budgets: self.budgets().into(), counts: &[] },
            question_lasts: SignedDuration::from_hours(1),
            stand_down: gate::stand_down_key(view),
            uncounted: false,
            rehearsal: false,
        };
        let counted = self.counted(view);
        // So many persons said yes to exactly this, or it is only finished.
        let asked = view.steps.iter().find(|step| step.key == *key).unwrap();
        let persons: std::collections::BTreeSet<&str> = asked.approvals.iter().map(|yes| yes.by.0.as_str()).collect();
        let said_yes = asked.finishing || (!persons.is_empty() && persons.len() >= usize::from(self.policy.people()));
        let given = self.now;
        let (view, decision) = block_on(gate::commit(&self.journal, &self.lease, view, ask, self.now, self.pace())).unwrap();
        let Decision::Go(warrant) = decision else { return };
        self.assert_within(&view, counted, said_yes);
        assert!(said_yes || self.policy.people() == 0, "nobody was asked");
        // `before` never changes once a warrant was given.
        let before = self.first.entry((run, key.clone())).or_insert_with(|| plan.before.clone());
        assert_eq!(*before, plan.before);
        let watch = warrant.watch();
        assert_eq!(self.halted(&watch), None, "the gate said yes to what may not be done");
        if fate == Fate::CrashBefore {
            return self.crash();
        }
        let mut effect = Effect::None;
        for (number, change) in (1..).zip(&plan.changes) {
            if number == plan.changes.len() {
                self.meanwhile(fate);
            }
            if let Some(error) = self.halted(&watch) {
                return self.broken_off(run, Entry::ApplyFailed { step: key.clone(), effect, error, again: Some(self.now), counts: false });
            }
            self.called(&view, given, false);
            self.world.entry(change.resource.clone()).or_insert_with(|| "ours".into());
            effect = Effect::Partial;
        }
        drop(warrant);
        assert!(watch.stopped(self.now).is_some(), "a warrant outlived its use");
        match fate {
            Fate::CrashAfter => self.crash(),
            Fate::LostAnswer => {
                let again = Some(self.now + SignedDuration::from_secs(2));
                self.append(
                    view.run,
                    vec![Entry::ApplyFailed { step: key.clone(), effect: Effect::Unknown, error: "lost".into(), again, counts: true }],
                )
                .unwrap();
            }
            _ => self.append(view.run, vec![Entry::Applied { step: key.clone(), outcome: json!({}) }]).unwrap(),
        }
    }

    pub(super) fn plan(&self, with: &Value) -> Plan {
        let mut plan = Plan { before: json!(self.world), ..Plan::default() };
        for switch in with["switches"].as_array().unwrap() {
            let resource = switch.as_str().unwrap().to_owned();
            let change = Change { resource: resource.clone(), attribute: "on".into(), before: json!(false), after: json!(true) };
            plan.touches.insert(resource.clone());
            if self.world.contains_key(&resource) { plan.already.push(change) } else { plan.changes.push(change) }
        }
        plan
    }

    pub(super) fn verdict(&self, view: &View, key: &StepKey) -> Verdict {
        let plan = view.step(key).unwrap().plan.clone().unwrap();
        let missing: Vec<_> = plan.changes.iter().filter(|change| !self.world.contains_key(&change.resource)).collect();
        if missing.is_empty() { Verdict::InEffect } else { Verdict::NotInEffect { detail: "off".into() } }
    }

    /// Lets everything that is due happen, well, for some days.
    pub(super) fn settle(&mut self) {
        self.thaw();
        for _ in 0..2000 {
            for _ in 0..400 {
                if !self.step(Fate::Well) {
                    break;
                }
            }
            let wake = self.runs.iter().filter_map(|run| next(&self.view(*run), self.now, self.pace()).wake).min();
            match wake {
                Some(wake) => self.now = wake,
                None => return,
            }
        }
        panic!("the runs do not come to rest");
    }
}
