//! Faults: what a gateway does wrong on demand.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    parse::Protocol,
    wire::{self, AwsError},
};

/// Which calls a fault is for; what is not said matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// The account a call acts in.
    pub account: Option<String>,
    /// The Region.
    pub region: Option<String>,
    /// IAM's prefix of the service.
    pub service: Option<String>,
    /// The operation; `*` at its end stands for anything.
    pub operation: Option<String>,
    /// A part of the principal's ARN.
    pub principal: Option<String>,
    /// A part of the parameters, as JSON text: a resource's id for example.
    pub param: Option<String>,
    /// Only calls that change something (true) or do not (false).
    pub write: Option<bool>,
}

/// What is done instead of, or besides, answering.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Action {
    /// The service's own throttling error.
    Throttle,
    /// Access denied, as the service says it; or any other error.
    Deny {
        /// Another error code.
        #[serde(default)]
        code: Option<String>,
        /// Another HTTP status.
        #[serde(default)]
        status: Option<u16>,
    },
    /// No answer until the client gives up.
    Hang,
    /// The answer comes later.
    Delay {
        /// By how much.
        ms: u64,
    },
    /// That it was done is answered, and moto never hears of it: the client believes in an effect that is not there.
    Pretend,
    /// The connection is cut before moto hears of the call.
    DropBefore,
    /// The connection is cut after moto has done what was asked: the effect is there, the answer is lost.
    DropAfter,
    /// moto does what was asked, and an error of the server is answered: the effect is there, the client believes it is not.
    FailAfter,
}

/// A fault and what has become of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Which calls it is for.
    #[serde(rename = "match", default)]
    pub matching: Match,
    /// From the how-manyeth matching call on, counted from 1.
    #[serde(default)]
    pub nth: Option<u64>,
    /// How many times; without it always.
    #[serde(default)]
    pub times: Option<u64>,
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
    /// How many calls have matched so far.
    #[serde(default)]
    pub seen: u64,
    /// How many times it was done so far.
    #[serde(default)]
    pub done: u64,
}

impl Fault {
    /// A fault for every call of an operation in an account.
    #[must_use]
    pub fn new(matching: Match, action: Action) -> Self {
        Self { matching, nth: None, times: None, action, seen: 0, done: 0 }
    }

    /// Only so many times.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    /// From the nth matching call on, counted from 1.
    #[must_use]
    pub fn from(self, nth: u64) -> Self {
        Self { nth: Some(nth), ..self }
    }
}

/// What a fault is matched against.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub account: &'a str,
    pub region: &'a str,
    pub service: &'a str,
    pub operation: &'a str,
    pub principal: &'a str,
    pub params: &'a str,
    pub write: bool,
}

impl Match {
    fn covers(&self, subject: &Subject<'_>) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        let within = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| is.contains(wanted));
        let operation = self.operation.as_deref().is_none_or(|wanted| match wanted.strip_suffix('*') {
            Some(start) => subject.operation.starts_with(start),
            None => subject.operation == wanted,
        });
        operation
            && same(&self.account, subject.account)
            && same(&self.region, subject.region)
            && same(&self.service, subject.service)
            && within(&self.principal, subject.principal)
            && within(&self.param, subject.params)
            && self.write.is_none_or(|write| write == subject.write)
    }
}

/// The faults of a gateway; the first that is due is done.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    list: Arc<Mutex<Vec<Fault>>>,
}

impl Faults {
    /// Adds a fault.
    pub fn add(&self, fault: Fault) {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// Takes all faults away.
    pub fn clear(&self) {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The faults, with their counts.
    #[must_use]
    pub fn list(&self) -> Vec<Fault> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn due(&self, subject: &Subject<'_>) -> Option<Action> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        for fault in list.iter_mut().filter(|fault| fault.matching.covers(subject)) {
            fault.seen += 1;
            if fault.nth.is_none_or(|nth| fault.seen >= nth) && fault.times.is_none_or(|times| fault.done < times) {
                fault.done += 1;
                return Some(fault.action.clone());
            }
        }
        None
    }
}

impl Action {
    /// The error that is answered instead of asking moto, if this is of that kind.
    pub(crate) fn error(&self, protocol: Protocol, service: &str) -> Option<AwsError> {
        match self {
            Self::Throttle => Some(wire::throttled(protocol, service)),
            Self::Deny { code, status } => {
                let usual = wire::denied(protocol, "injected by the lab".to_owned());
                Some(AwsError::new(status.unwrap_or(usual.status), code.clone().unwrap_or(usual.code), usual.message))
            }
            _ => None,
        }
    }

    pub(crate) fn delay(&self) -> Option<Duration> {
        if let Self::Delay { ms } = self { Some(Duration::from_millis(*ms)) } else { None }
    }

    /// Its name in the ledger.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::Deny { .. } => "deny",
            Self::Hang => "hang",
            Self::Delay { .. } => "delay",
            Self::Pretend => "pretend",
            Self::DropBefore => "drop-before",
            Self::DropAfter => "drop-after",
            Self::FailAfter => "fail-after",
        }
    }
}
