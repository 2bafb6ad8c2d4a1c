//! Is a finding to be believed, as far as it tells by itself: its age, and who wrote it. What its provider says is asked before the first
//! change (`driver::confirm`).

use cordon_shared::{
    finding::{Finding, Provider},
    intake::{imported_by, reserved},
};
use jiff::{SignedDuration, Timestamp};

use crate::{config::Findings, intake::Ignored};

/// How far a provider's clock may be ahead of ours.
pub const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Why a finding's time speaks against answering it.
///
/// # Errors
/// It says it was updated in the future, or so long ago that the world has moved on. `asked_for`: a person names findings by a sweep, and
/// each resource is read again, so that age does not count.
pub fn timely(finding: &Finding, now: Timestamp, findings: &Findings, asked_for: bool) -> Result<(), Ignored> {
    let newest = [finding.updated_at, finding.last_seen, finding.first_seen].into_iter().flatten().max();
    if let Some(future) = newest.filter(|at| at.duration_since(now) > SKEW) {
        let why =
            format!("it says {future:.0}, and it is {now:.0}: a provider does not write of the future; look at this computer's clock");
        return Err(Ignored { code: "future-dated", why });
    }
    let updated = finding.updated_at.or(finding.last_seen).or(finding.first_seen);
    let old = updated.filter(|at| findings.stale_after.is_some_and(|most| now.duration_since(*at) > most));
    if let (Some(at), Some(most), false) = (old, findings.stale_after, asked_for) {
        let why = format!("its provider last updated it at {at:.0}, more than {most:#} ago (`[findings] stale_after`)");
        return Err(Ignored { code: "stale", why });
    }
    Ok(())
}

/// Why a finding is only observed: its product is none of AWS's own, and the configuration does not name it.
#[must_use]
pub fn only_observed(finding: &Finding, findings: &Findings) -> Option<String> {
    if finding.provider != Provider::Other {
        return None;
    }
    let Some(product) = &finding.hub.product_arn else {
        return Some("its product has no ARN, so anybody may have written it: it is only observed".to_owned());
    };
    if reserved(product).is_some() {
        return None;
    }
    if let Some(owner) = imported_by(product).filter(|owner| *owner != finding.cell.account) {
        return Some(format!("it is about account {} and was imported by account {owner}: it is only observed", finding.cell.account));
    }
    let region = product.split(':').nth(3).unwrap_or_default();
    let product = product.replace(":productv2/", ":product/");
    let named = findings.act_on_products.iter().any(|named| named.replace("{region}", region) == product);
    (!named).then(|| {
        format!("product {product} is none of AWS's own: its findings are only observed, unless `[findings] act_on_products` names it")
    })
}

/// Why no playbook answers a finding that one would answer from the service it pretends to be of.
#[must_use]
pub fn pretends(finding: &Finding, answers: impl Fn(Provider) -> Option<String>) -> Option<Ignored> {
    if finding.provider != Provider::Other {
        return None;
    }
    let whom = [(Provider::GuardDuty, "GuardDuty"), (Provider::SecurityHub, "Security Hub"), (Provider::Inspector, "Inspector")];
    let (playbook, name) = whom.into_iter().find_map(|(provider, name)| Some((answers(provider)?, name)))?;
    let product = finding.hub.product_arn.as_deref().unwrap_or("no ARN");
    let why = format!(
        "playbook `{playbook}` answers this type of {name} alone, and the product that wrote it ({product}) is not that service's own"
    );
    Some(Ignored { code: "not-the-providers", why })
}

#[cfg(test)]
mod tests;
