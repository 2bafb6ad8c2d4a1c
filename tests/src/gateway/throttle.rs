//! AWS's token buckets, with the rates that it publishes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use serde_json::Value;

use super::parse;

/// A bucket's size and how many tokens a second it gets back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Size.
    pub burst: f64,
    /// Tokens a second.
    pub per_second: f64,
}

/// The buckets of a gateway: one for each account, Region and class of calls.
#[derive(Debug, Clone, Default)]
pub struct Throttle {
    on: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    scale: Option<f64>,
    buckets: HashMap<(String, String, &'static str), (f64, Instant)>,
}

impl Throttle {
    /// Buckets with AWS's rates times a factor, all full.
    pub fn enable(&self, scale: f64) {
        *self.on.lock().unwrap_or_else(PoisonError::into_inner) = State { scale: Some(scale), buckets: HashMap::new() };
    }

    /// No buckets.
    pub fn disable(&self) {
        *self.on.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    /// Takes a token; false when there is none. Services without a published rate are not limited.
    pub(crate) fn take(&self, account: &str, region: &str, service: &str, operation: &str, params: &Value) -> bool {
        let mut state = self.on.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(scale), Some((class, rate))) = (state.scale, class(service, operation, params)) else { return true };
        let now = Instant::now();
        let burst = (rate.burst * scale).max(1.0);
        let (tokens, since) = state.buckets.entry((account.to_owned(), region.to_owned(), class)).or_insert((burst, now));
        *tokens = (*tokens + now.duration_since(*since).as_secs_f64() * rate.per_second * scale).min(burst);
        *since = now;
        if *tokens < 1.0 {
            return false;
        }
        *tokens -= 1.0;
        true
    }
}

/// The bucket that a call draws from.
fn class(service: &str, operation: &str, params: &Value) -> Option<(&'static str, Rate)> {
    let rate = |burst, per_second| Rate { burst, per_second };
    Some(match (service, operation) {
        ("ec2", "AuthorizeSecurityGroupIngress" | "RevokeSecurityGroupIngress") => ("ec2 resource-intensive", rate(50.0, 5.0)),
        ("ec2", _) if parse::is_write(service, operation) => ("ec2 mutating", rate(50.0, 5.0)),
        ("ec2", _) if params.as_object().is_none_or(serde_json::Map::is_empty) => ("ec2 unfiltered", rate(50.0, 10.0)),
        ("ec2", _) => ("ec2 non-mutating", rate(100.0, 20.0)),
        ("sts", _) => ("sts", rate(600.0, 600.0)),
        ("securityhub", "GetFindings") => ("securityhub GetFindings", rate(6.0, 3.0)),
        ("securityhub", "BatchUpdateFindings") => ("securityhub BatchUpdateFindings", rate(30.0, 10.0)),
        ("securityhub", "BatchImportFindings") => ("securityhub BatchImportFindings", rate(30.0, 10.0)),
        ("securityhub", _) => ("securityhub", rate(30.0, 10.0)),
        _ => return None,
    })
}
