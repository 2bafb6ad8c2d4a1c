//! Where it is looked: Security Hub in the aggregation Region, GuardDuty in each configured Region.

use std::{net::IpAddr, time::Duration};

use aws_sdk_securityhub::types::{AwsSecurityFindingFilters, DateFilter, MapFilter, MapFilterComparison, SortOrder};
use cordon_shared::id::Region;
use futures::future::join_all;
use jiff::Timestamp;

use super::{MOST, topic::Topic};
use crate::{
    action::{ActionError, Cx},
    aws::{
        findings::{
            VALUES, equal,
            guardduty::{self, Criteria, Order},
            one_page,
        },
        patiently,
    },
};

/// How long one question waits for the rate limit: Security Hub answers three a second to the whole organization.
const PATIENCE: Duration = Duration::from_secs(60);

type Span = (Timestamp, Timestamp);

/// What was read from one place.
pub(super) struct Read {
    pub place: String,
    pub documents: Vec<Vec<u8>>,
    pub problem: Option<String>,
    /// Whether there is more than was read.
    pub cut_off: bool,
}

/// Reads every place, side by side. What a place refuses is its problem; only where none answered and it may pass is it an error.
pub(super) async fn all(cx: Cx<'_>, topic: &Topic, span: Span) -> Result<Vec<Read>, ActionError> {
    let hub = security_hub(cx, topic, span);
    let regions = join_all(cx.regions.iter().map(|region| guardduty(cx, topic, region, span)));
    let (hub, regions) = futures::join!(hub, regions);
    let hub = (format!("Security Hub in {}", cx.read.cell().region), hub);
    let places = cx.regions.iter().zip(regions).map(|(region, read)| (format!("GuardDuty in {region}"), read));
    let (mut reads, mut passing) = (Vec::new(), None);
    let mut answered = false;
    for (place, (documents, cut_off, error)) in std::iter::once(hub).chain(places) {
        answered |= error.is_none();
        let problem = match error {
            // Nobody's place is the cause.
            Some(error @ (ActionError::Stopped(_) | ActionError::Bug(_))) => return Err(error),
            Some(ActionError::Gone { message, .. }) => Some(message),
            Some(ActionError::Service { code, message, .. }) if code == "InvalidAccessException" => {
                Some(format!("Security Hub is not enabled: {message}"))
            }
            Some(error) => {
                let problem = error.to_string();
                if error.may_pass() {
                    passing.get_or_insert(error);
                }
                Some(problem)
            }
            None => None,
        };
        reads.push(Read { place, documents, problem, cut_off });
    }
    match passing {
        Some(error) if !answered => Err(error),
        _ => Ok(reads),
    }
}

type Documents = (Vec<Vec<u8>>, bool, Option<ActionError>);

async fn security_hub(cx: Cx<'_>, topic: &Topic, span: Span) -> Documents {
    let client = cx.read.securityhub();
    let (mut documents, mut cut_off): (Vec<Vec<u8>>, bool) = (Vec::new(), false);
    for filters in hub_questions(topic, span) {
        let mut token = None;
        let mut read = 0_usize;
        loop {
            let asked = patiently(PATIENCE, || one_page(&client, filters.clone(), Some(SortOrder::Descending), token.clone())).await;
            match asked {
                Ok((page, next)) => {
                    read += page.len();
                    // One finding may answer several questions.
                    for document in page {
                        if !documents.contains(&document) {
                            documents.push(document);
                        }
                    }
                    token = next;
                }
                Err(error) => return (documents, cut_off, Some(error)),
            }
            if token.is_none() || read >= MOST {
                cut_off |= token.is_some();
                break;
            }
        }
    }
    (documents, cut_off, None)
}

/// Attributes are joined by "and", values of one by "or", at most 20 of one attribute
/// (<https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_AwsSecurityFindingFilters.html>): so each attribute is asked by itself.
fn hub_questions(topic: &Topic, (since, until): Span) -> Vec<AwsSecurityFindingFilters> {
    let all = || {
        AwsSecurityFindingFilters::builder()
            .set_aws_account_id(equal([topic.account.as_str()]))
            .set_record_state(equal(["ACTIVE"]))
            .updated_at(DateFilter::builder().start(since.to_string()).end(until.to_string()).build())
    };
    let mut questions = Vec::new();
    for resources in chunks(topic.resources.iter().map(String::as_str)) {
        questions.push(all().set_resource_id(equal(resources)).build());
    }
    for names in chunks(topic.names.iter().map(String::as_str)) {
        questions.push(all().set_resource_aws_iam_access_key_principal_name(equal(names)).build());
    }
    for action in ["networkConnectionAction", "awsApiCallAction"] {
        for version in ["ipAddressV4", "ipAddressV6"] {
            let sources = topic.sources.iter().filter(|ip| ip.is_ipv4() == (version == "ipAddressV4"));
            for filters in chunks(sources.map(|ip| remote(action, version, ip))) {
                questions.push(all().set_product_fields(Some(filters)).build());
            }
        }
    }
    questions
}

/// Where Security Hub's copy of a GuardDuty finding has the address of the other side. One question has one key: only of filters on the same
/// field is it said that one is enough (<https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_MapFilter.html>).
fn remote(action: &str, version: &str, ip: &IpAddr) -> MapFilter {
    let key = format!("aws/guardduty/service/action/{action}/remoteIpDetails/{version}");
    MapFilter::builder().key(key).value(ip.to_string()).comparison(MapFilterComparison::Equals).build()
}

fn chunks<T>(values: impl Iterator<Item = T>) -> Vec<Vec<T>> {
    let mut chunks: Vec<Vec<T>> = Vec::new();
    for value in values {
        match chunks.last_mut() {
            Some(last) if last.len() < VALUES => last.push(value),
            _ => chunks.push(vec![value]),
        }
    }
    chunks
}

async fn guardduty(cx: Cx<'_>, topic: &Topic, region: &Region, span: Span) -> Documents {
    let mut read = (Vec::new(), false, None);
    let questions = guardduty_questions(topic, span);
    if let Err(error) = guardduty_in(cx, region, questions, &mut read).await {
        read.2 = Some(error);
    }
    read
}

async fn guardduty_in(cx: Cx<'_>, region: &Region, questions: Vec<Criteria>, read: &mut Documents) -> Result<(), ActionError> {
    if questions.is_empty() {
        return Ok(());
    }
    let clients = cx.read.in_region(region);
    let client = clients.guardduty();
    let detector = patiently(PATIENCE, || guardduty::detector(&clients)).await?;
    let mut ids: Vec<String> = Vec::new();
    for criteria in questions {
        let mut token = None;
        let mut listed = 0_usize;
        loop {
            let (page, next) =
                patiently(PATIENCE, || guardduty::ids(&client, &detector, &criteria, Order::NewestFirst, token.clone())).await?;
            listed += page.len();
            for id in page {
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
            token = next;
            if token.is_none() || listed >= MOST {
                read.1 |= token.is_some();
                break;
            }
        }
    }
    for ids in ids.chunks(guardduty::PAGE) {
        read.0.extend(patiently(PATIENCE, || guardduty::documents(&client, &detector, ids)).await?);
    }
    Ok(())
}

/// Criteria are joined by "and", so each is asked by itself; those that `ListFindings` takes
/// (<https://docs.aws.amazon.com/guardduty/latest/APIReference/API_ListFindings.html>, `findingCriteria`): of the other side's addresses
/// IPv4 alone, an IPv6 source is found in Security Hub's copy. Archived ones too: an earlier incident's are.
fn guardduty_questions(topic: &Topic, span: Span) -> Vec<Criteria> {
    let texts = |values: &std::collections::BTreeSet<String>| values.iter().cloned().collect::<Vec<_>>();
    let sources: Vec<String> = topic.sources.iter().filter(|ip| ip.is_ipv4()).map(IpAddr::to_string).collect();
    let asked = [
        ("resource.instanceDetails.instanceId", texts(&topic.instances)),
        ("resource.accessKeyDetails.accessKeyId", texts(&topic.keys)),
        ("resource.accessKeyDetails.userName", texts(&topic.names)),
        ("service.action.networkConnectionAction.remoteIpDetails.ipAddressV4", sources.clone()),
        ("service.action.awsApiCallAction.remoteIpDetails.ipAddressV4", sources),
    ];
    let account = ("accountId", vec![topic.account.to_string()]);
    let mut questions = Vec::new();
    for (field, values) in asked {
        for values in values.chunks(guardduty::VALUES) {
            let equals = vec![account.clone(), (field, values.to_vec())];
            questions.push(Criteria { equals, archived: None, updated: Some(span) });
        }
    }
    questions
}
