//! The AWS Security Finding Format, as Security Hub CSPM sends and returns it.
//!
//! Only fields that a customer cannot write decide anything. `BatchUpdateFindings` writes `Confidence`, `Criticality`,
//! `Note`, `RelatedFindings`, `Severity`, `Types`, `UserDefinedFields`, `VerificationState` and `Workflow`, and leaves
//! `UpdatedAt` alone (it moves `ProcessedAt`), so our own note coming back is the same version. The product's severity
//! and types are kept for it in `FindingProviderFields`, which no customer can write and Security Hub fills by itself.

use serde_json::Value;

use super::{
    Rejection,
    common::{self, Context, Owner, arn_part, required},
    control::{self, Sources},
    kind,
    product::Product,
    service::{self, Service},
    severity,
    subject::{self, Resource},
    value::{at, elements, flag, get, number, text, text_at, time_at},
};
use crate::finding::{Credential, Finding, FindingId, Format, HubState, Provider, Raw, Subject};

/// The prefix of GuardDuty's own fields among `ProductFields`.
pub(super) const GUARDDUTY: &str = "aws/guardduty/service/";

/// Reads one finding; `raw` is its document.
pub(super) fn read(value: &Value, raw: &str, cx: &Context) -> Result<Finding, Rejection> {
    let product = Product::of(text_at(value, &["ProductArn"]));
    let own = required(value, "Id").ok_or_else(|| common::no_id(&cx.field(value, "Id")))?;
    let owner = owner(value, own, cx)?;
    if matches!(product.provider, Provider::GuardDuty | Provider::SecurityHub) {
        common::belongs(own, &owner, &cx.field(value, "Id"))?;
    }
    let kind = kind_of(value, own, product.provider).ok_or_else(|| no_type(value, product.provider, cx))?;

    let fields = get(value, "ProductFields").and_then(Value::as_object);
    let told = match product.provider {
        Provider::GuardDuty => service(value, fields),
        _ => Service::default(),
    };
    let record_state = text_at(value, &["RecordState"]).map(str::to_ascii_uppercase);
    let title = ["Title", "Description"].iter().find_map(|name| text_at(value, &[name])).unwrap_or(&kind).to_owned();
    let sample = told.sample || title.starts_with("[SAMPLE]") || get(value, "Sample").and_then(flag) == Some(true);
    let (subjects, written) = subjects(value, &kind, product.provider, &owner);
    let path = format!("{}.Resources[0].Id", cx.path);
    let (primary, subjects) = common::settle(subjects, written.as_deref(), &path, sample, &owner)?;
    Ok(Finding {
        id: FindingId(product.finding_id(own, &owner)),
        provider: product.provider,
        format: Format::Asff,
        severity: severity_of(value, product.provider),
        cell: primary.cell,
        role: told.role,
        credential: credential(value),
        network: told.network,
        first_seen: told.first_seen.or_else(|| time_at(value, &["FirstObservedAt"])).or_else(|| time_at(value, &["CreatedAt"])),
        last_seen: told.last_seen.or_else(|| time_at(value, &["LastObservedAt"])),
        updated_at: time_at(value, &["UpdatedAt"]),
        count: told.count.unwrap_or(1),
        sample,
        // A customer can set `RecordState` (the older `UpdateFindings`): GuardDuty's own word counts for its findings.
        archived: told.archived.unwrap_or_else(|| product.provider != Provider::GuardDuty && record_state.as_deref() == Some("ARCHIVED")),
        hub: HubState {
            record_state,
            workflow: text_at(value, &["Workflow", "Status"]).map(str::to_ascii_uppercase),
            compliance: text_at(value, &["Compliance", "Status"]).map(str::to_ascii_uppercase),
            custom_action: cx.custom_action.clone(),
            product_arn: text_at(value, &["ProductArn"]).map(str::to_owned),
        },
        raw: Raw::new(raw.as_bytes()),
        title,
        kind,
        subjects,
    })
}

/// Account and Region. `Region` is younger than the format: before it, the product's ARN and the resource have it. The
/// envelope's Region is not asked: an aggregated finding's event carries the aggregator's.
fn owner(value: &Value, own: &str, cx: &Context) -> Result<Owner, Rejection> {
    let path = |name: &str| cx.field(value, name);
    let account = get(value, "AwsAccountId").ok_or_else(|| common::no_account(&path("AwsAccountId")))?;
    let account = common::account(account, &path("AwsAccountId"))?;
    let product = text_at(value, &["ProductArn"]).and_then(|arn| arn_part(arn, 3));
    let resource = elements(get(value, "Resources")).find_map(|resource| text_at(resource, &["Region"]));
    let places =
        [(text_at(value, &["Region"]), "Region"), (product, "ProductArn"), (resource, "Resources[0].Region"), (arn_part(own, 3), "Id")];
    let found = places.iter().find_map(|(region, name)| region.map(|region| (region, *name)));
    let (region, name) = found.ok_or_else(|| common::no_region(&path("Region")))?;
    Ok(Owner { account, region: common::region(region, &path(name))? })
}

/// The types the product gave, `FindingProviderFields.Types`. Security Hub fills that object for every finding it keeps,
/// and no customer can take it away: a document without it never went through Security Hub in that form (a product's own
/// output in a file, or an export older than the object), so nobody updated its `Types` either, and those are the
/// product's.
fn types(value: &Value) -> impl Iterator<Item = &str> {
    let given = match get(value, "FindingProviderFields") {
        Some(fields) => get(fields, "Types"),
        None => get(value, "Types"),
    };
    elements(given).filter_map(text)
}

fn kind_of(value: &Value, own: &str, provider: Provider) -> Option<String> {
    let generator = text_at(value, &["GeneratorId"]);
    match provider {
        Provider::GuardDuty => types(value).find_map(kind::native).or_else(|| types(value).next().map(str::to_owned)),
        Provider::SecurityHub => {
            let url = ["ProductFields", "Remediation"].iter().zip([&["RecommendationUrl"][..], &["Recommendation", "Url"]]);
            let sources = Sources {
                control: text_at(value, &["Compliance", "SecurityControlId"]),
                generator,
                id: Some(own),
                standards_control: text_at(value, &["ProductFields", "StandardsControlArn"]),
                url: url.into_iter().find_map(|(first, rest)| get(value, first).and_then(|inner| text_at(inner, rest))),
            };
            control::id(sources).or_else(|| types(value).next().or(generator).map(str::to_owned))
        }
        Provider::Inspector => types(value).next().map(inspector_kind).or_else(|| generator.map(str::to_owned)),
        Provider::Other => types(value).next().or(generator).map(str::to_owned),
    }
}

/// Inspector's own name for the type that Security Hub gives it.
pub(super) fn inspector_kind(asff: &str) -> String {
    let plain = asff.to_ascii_lowercase();
    let own = match plain.rsplit('/').next() {
        Some("cve") => "PACKAGE_VULNERABILITY",
        Some(last) if last.starts_with("network reachability") => "NETWORK_REACHABILITY",
        Some("code vulnerabilities" | "code") => "CODE_VULNERABILITY",
        _ => asff,
    };
    own.to_owned()
}

fn no_type(value: &Value, provider: Provider, cx: &Context) -> Rejection {
    match (provider, get(value, "FindingProviderFields")) {
        (Provider::GuardDuty, Some(_)) => common::no_type(&format!("{}.FindingProviderFields.Types", cx.path)),
        _ => common::no_type(&cx.field(value, "Types")),
    }
}

/// The product's severity, `FindingProviderFields.Severity`; without that object the top-level one, for the reason given
/// at [`types`]. GuardDuty's own number is in `Product` or `Original`; its `Normalized` is not on GuardDuty's scale.
fn severity_of(value: &Value, provider: Provider) -> u8 {
    let given = match get(value, "FindingProviderFields") {
        Some(fields) => get(fields, "Severity"),
        None => get(value, "Severity"),
    };
    let Some(given) = given else { return 0 };
    let of = |name: &str| get(given, name).and_then(number);
    let label = || ["Label", "Original"].iter().find_map(|name| severity::of_label(text_at(given, &[name])?, provider));
    let scale = || of("Normalized").map(severity::on_scale);
    let found = if provider == Provider::GuardDuty {
        let native = [of("Product"), of("Original")].into_iter().flatten().find(|number| (0.0..=10.0).contains(number));
        native.map(severity::of_guardduty).or_else(label).or_else(scale)
    } else {
        scale().or_else(label).or_else(|| of("Product").map(severity::on_scale))
    };
    found.unwrap_or(0)
}

/// GuardDuty's `service` part: put together from `ProductFields`, with the network side from `Action` where it has none.
fn service(value: &Value, fields: Option<&serde_json::Map<String, Value>>) -> Service {
    let mut told = service::read(&service::unflatten(fields.into_iter().flatten(), GUARDDUTY));
    if told.network.remote_ips.is_empty()
        && let Some(action) = get(value, "Action")
    {
        let (network, interface) = service::network(action);
        (told.network, told.interface) = (network, told.interface.or(interface));
    }
    told
}

/// The credentials it is about, from the details of its access key.
fn credential(value: &Value) -> Option<Credential> {
    elements(get(value, "Resources")).find_map(|resource| {
        let key = at(resource, &["Details", "AwsIamAccessKey"])?;
        let id = text_at(resource, &["Id"]).and_then(|id| id.strip_prefix("AWS::IAM::AccessKey:"));
        let name = ["PrincipalName", "UserName"].iter().find_map(|name| text_at(key, &[name]));
        let id = text_at(key, &["AccessKeyId"]).or(id);
        Credential::new(id, text_at(key, &["PrincipalId"]), text_at(key, &["PrincipalType"]), name)
    })
}

/// The subjects, and the id of the primary one as it stands in the document.
fn subjects(value: &Value, kind: &str, provider: Provider, owner: &Owner) -> (Vec<Subject>, Option<String>) {
    let mut found: Vec<(Subject, Option<&str>)> = Vec::new();
    for resource in elements(get(value, "Resources")) {
        let Some(id) = text_at(resource, &["Id"]) else { continue };
        let (type_name, region) = (text_at(resource, &["Type"]).unwrap_or_default(), text_at(resource, &["Region"]));
        found.push((Resource { kind: type_name, id, region }.subject(owner), Some(id)));
        if let Some(key) = at(resource, &["Details", "AwsIamAccessKey"]) {
            let name = ["PrincipalName", "UserName", "PrincipalId"].iter().find_map(|name| text_at(key, &[name]));
            let user_type = text_at(key, &["PrincipalType"]);
            found.extend(name.map(|name| (subject::principal(user_type, name, owner), None)));
        }
    }
    let mut subjects: Vec<Subject> = found.iter().map(|(subject, _)| subject.clone()).collect();
    if provider == Provider::GuardDuty {
        subject::order(kind, &mut subjects, owner);
    }
    let written = found.into_iter().find(|(subject, _)| Some(subject) == subjects.first()).and_then(|(_, id)| id);
    (subjects, written.map(str::to_owned))
}

#[cfg(test)]
#[path = "asff_tests.rs"]
mod tests;
