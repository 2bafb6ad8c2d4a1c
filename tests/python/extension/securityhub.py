"""Security Hub findings: real filters, order and pages, updates, and the administrator's view of its members.

- GetFindings filters (an unknown filter is an error, never passed over), sorts, and gives pages of at most 100; the pages of one question hold
  what was found at its first. The delegated administrator sees its members' findings, in the aggregation Region those of all Regions.
- GetFindingHistory tells who changed the workflow status by BatchUpdateFindings: as an ARN of the caller's account, more is not known here.
- BatchUpdateFindings; BatchImportFindings keeps what BatchUpdateFindings set. Both send the event `Security Hub Findings - Imported`.
- Seeds findings in ASFF into an account and Region, without an event.
"""

import datetime
import ipaddress

from .events import emit
from .organizations import management_of, members_seen_by
from .web import Call, Failure, Pages

PRINCIPAL = "securityhub.amazonaws.com"
pages = Pages("InvalidInputException")
aggregators: dict = {}
histories: dict = {}
PATHS = {
    "Type": "Types", "SeverityLabel": "Severity.Label", "SeverityNormalized": "Severity.Normalized", "SeverityProduct": "Severity.Product",
    "WorkflowStatus": "Workflow.Status", "NoteText": "Note.Text", "NoteUpdatedBy": "Note.UpdatedBy", "NoteUpdatedAt": "Note.UpdatedAt",
    "RecommendationText": "Remediation.Recommendation.Text", "SourceUrl": "SourceUrl", "NetworkDestinationIpV4": "Network.DestinationIpV4",
    "NetworkSourceIpV4": "Network.SourceIpV4", "ComplianceAssociatedStandardsId": "Compliance.AssociatedStandards.StandardsId",
    "ComplianceStatus": "Compliance.Status", "ComplianceSecurityControlId": "Compliance.SecurityControlId", "ResourceType": "Resources.Type",
    "ResourceId": "Resources.Id", "ResourcePartition": "Resources.Partition", "ResourceRegion": "Resources.Region",
    "ResourceAwsIamAccessKeyPrincipalName": "Resources.Details.AwsIamAccessKey.PrincipalName",
    "ResourceTags": "Resources.Tags", "ResourceApplicationArn": "Resources.ApplicationArn", "RelatedFindingsId": "RelatedFindings.Id",
    "RelatedFindingsProductArn": "RelatedFindings.ProductArn", "FindingProviderFieldsSeverityLabel": "FindingProviderFields.Severity.Label",
    "FindingProviderFieldsSeverityOriginal": "FindingProviderFields.Severity.Original", "FindingProviderFieldsTypes": "FindingProviderFields.Types",
}
PLAIN = {
    "ProductArn", "AwsAccountId", "AwsAccountName", "Id", "GeneratorId", "Region", "FirstObservedAt", "LastObservedAt", "CreatedAt", "UpdatedAt",
    "Confidence", "Criticality", "Title", "Description", "ProductFields", "ProductName", "CompanyName", "UserDefinedFields", "VerificationState",
    "WorkflowState", "RecordState", "Sample",
}
KEPT = ("Note", "UserDefinedFields", "VerificationState", "Workflow")


def refuse(message: str):
    return Failure("InvalidInputException", message)


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def key_of(finding: dict) -> tuple:
    return (finding.get("ProductArn"), finding["Id"])


def visible(account: str, region: str) -> dict:
    """The findings that an account sees from a Region, by product and id; an older copy gives way to the account's own."""
    from moto.securityhub.models import securityhub_backends

    regions = list(securityhub_backends[account]) if aggregators.get(account, {}).get("Region") == region else [region]
    found: dict = {}
    for holder in [*members_seen_by(account, PRINCIPAL), account]:
        for place in [name for name in regions if name != region] + [region]:
            for item in list(securityhub_backends[holder][place].findings):
                found[key_of(item.data)] = item.data
    return found


def values(node, path: str) -> list:
    nodes = [node]
    for key in path.split("."):
        below = [item[key] for item in nodes if isinstance(item, dict) and key in item]
        nodes = [item for value in below for item in (value if isinstance(value, list) else [value])]
    return nodes


def moment(text) -> datetime.datetime:
    try:
        found = datetime.datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        raise refuse(f"Invalid date {text!r}.") from None
    return found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)


def meets_text(found: list, conditions: list) -> bool:
    """Positive conditions are alternatives, negative ones all have to hold."""
    texts = [str(value) for value in found]
    positive, negative = [], []
    for condition in conditions:
        wanted, comparison = str(condition.get("Value", "")), condition.get("Comparison")
        if comparison == "EQUALS":
            positive.append(wanted in texts)
        elif comparison == "PREFIX":
            positive.append(any(text.startswith(wanted) for text in texts))
        elif comparison in ("CONTAINS", "CONTAINS_WORD"):
            positive.append(any(wanted in text for text in texts))
        elif comparison == "NOT_EQUALS":
            negative.append(wanted not in texts)
        elif comparison == "PREFIX_NOT_EQUALS":
            negative.append(not any(text.startswith(wanted) for text in texts))
        elif comparison == "NOT_CONTAINS":
            negative.append(not any(wanted in text for text in texts))
        else:
            raise refuse(f"Invalid comparison {comparison!r}.")
    return all(negative) and (not positive or any(positive))


def meets_map(found: list, conditions: list) -> bool:
    """Conditions on one key as on a text; those on different keys all have to hold."""
    for key in {condition["Key"] for condition in conditions}:
        texts = [item[key] for item in found if isinstance(item, dict) and key in item]
        if not meets_text(texts, [condition for condition in conditions if condition["Key"] == key]):
            return False
    return True


def meets_other(found: list, condition: dict) -> bool:
    """Dates, numbers, addresses and truth values."""
    if "DateRange" in condition:
        span = condition["DateRange"]
        if span.get("Unit") != "DAYS":
            raise refuse("The unit of a date range is DAYS.")
        edge = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=int(span["Value"]))
        older = span.get("Comparison") == "OLDER_THAN"
        return any((moment(value) < edge) if older else (moment(value) >= edge) for value in found)
    if "Start" in condition or "End" in condition:
        start = moment(condition["Start"]) if "Start" in condition else None
        end = moment(condition["End"]) if "End" in condition else None
        return any((start is None or moment(value) >= start) and (end is None or moment(value) <= end) for value in found)
    if "Cidr" in condition:
        network = ipaddress.ip_network(condition["Cidr"], strict=False)
        return any(ipaddress.ip_address(value) in network for value in found)
    if set(condition) & {"Gte", "Lte", "Gt", "Lt", "Eq"}:
        tests = {
            "Gte": lambda value, wanted: value >= wanted, "Lte": lambda value, wanted: value <= wanted, "Gt": lambda value, wanted: value > wanted,
            "Lt": lambda value, wanted: value < wanted, "Eq": lambda value, wanted: value == wanted,
        }
        return any(all(tests[name](float(value), float(wanted)) for name, wanted in condition.items()) for value in found)
    return any(bool(value) == bool(condition.get("Value")) for value in found)


def check_filters(filters: dict) -> list:
    if len(filters) > 10:
        raise refuse("At most 10 finding attributes can be filtered by.")
    checked = []
    for name, conditions in filters.items():
        if name not in PATHS and name not in PLAIN:
            raise refuse(f"Invalid filter {name!r}.")
        if len(conditions) > 20:
            raise refuse(f"At most 20 values can be given for the filter {name}.")
        checked.append((PATHS.get(name, name), conditions))
    return checked


def meets(finding: dict, filters: list) -> bool:
    for path, conditions in filters:
        found = values(finding, path)
        if not conditions:
            continue
        if "Key" in conditions[0]:
            good = meets_map(found, conditions)
        elif "Comparison" in conditions[0]:
            good = meets_text(found, conditions)
        else:
            good = any(meets_other(found, condition) for condition in conditions)
        if not good:
            return False
    return True


def get_findings(call: Call) -> dict:
    size = call.body.get("MaxResults") or 100
    if not 1 <= size <= 100:
        raise refuse("MaxResults must be a number between 1 and 100.")
    filters = check_filters(call.body.get("Filters") or {})
    found = visible(call.account, call.region)

    def keys() -> list:
        chosen = [item for item in found.values() if meets(item, filters)]
        for order in reversed(call.body.get("SortCriteria") or []):
            path = PATHS.get(order["Field"], order["Field"])
            chosen.sort(key=lambda item: str((values(item, path) or [""])[0]), reverse=order.get("SortOrder") == "desc")
        return [key_of(item) for item in chosen]

    page, token = pages.cut(keys, call.body.get("NextToken"), size)
    return {"Findings": [found[key] for key in page if key in found], **({"NextToken": token} if token else {})}


def batch_update(call: Call) -> dict:
    identifiers = call.body.get("FindingIdentifiers") or []
    if not 1 <= len(identifiers) <= 100:
        raise refuse("FindingIdentifiers must hold between 1 and 100 findings.")
    note, workflow = call.body.get("Note"), call.body.get("Workflow")
    if note is not None and not (0 < len(note.get("Text", "")) <= 512 and note.get("UpdatedBy")):
        raise refuse("A note needs a text of at most 512 characters and who wrote it.")
    if workflow is not None and workflow.get("Status") not in ("NEW", "NOTIFIED", "RESOLVED", "SUPPRESSED"):
        raise refuse("Invalid workflow status.")
    found = visible(call.account, call.region)
    processed, unprocessed, changed = [], [], []
    for identifier in identifiers:
        finding = found.get((identifier.get("ProductArn"), identifier.get("Id")))
        if finding is None:
            reason = {"ErrorCode": "FindingNotFound", "ErrorMessage": "Finding does not exist or is not visible to this account."}
            unprocessed.append({"FindingIdentifier": identifier, **reason})
            continue
        if note is not None:
            finding["Note"] = {**note, "UpdatedAt": now()}
        if workflow is not None:
            remember(call.account, finding, workflow["Status"])
            finding["Workflow"] = dict(workflow)
            finding["WorkflowState"] = workflow["Status"] if workflow["Status"] in ("NEW", "RESOLVED") else "NEW"
        if "Severity" in call.body:
            finding["Severity"] = {**finding.get("Severity", {}), **call.body["Severity"]}
        for name in ("VerificationState", "Confidence", "Criticality", "Types", "UserDefinedFields", "RelatedFindings"):
            if name in call.body:
                finding[name] = call.body[name]
        finding["ProcessedAt"] = now()
        processed.append(identifier)
        changed.append(finding)
    announce(call.account, call.region, changed)
    return {"ProcessedFindings": processed, "UnprocessedFindings": unprocessed}


def remember(account: str, finding: dict, status: str) -> None:
    """A change of the workflow status goes into the finding's history."""
    identity = f"arn:aws:sts::{account}:assumed-role/lab/hand"
    old = finding.get("Workflow", {}).get("Status", "NEW")
    histories.setdefault(key_of(finding), []).append({
        "FindingIdentifier": {"Id": finding["Id"], "ProductArn": finding.get("ProductArn")}, "UpdateTime": now(), "FindingCreated": False,
        "UpdateSource": {"Type": "BATCH_UPDATE_FINDINGS", "Identity": identity},
        "Updates": [{"UpdatedField": "Workflow.Status", "OldValue": old, "NewValue": status}],
    })


def history(call: Call) -> dict:
    identifier = call.body.get("FindingIdentifier") or {}
    key = (identifier.get("ProductArn"), identifier.get("Id"))
    if key not in visible(call.account, call.region):
        raise refuse("The finding does not exist or is not visible to this account.")
    return {"Records": histories.get(key, [])[-100:]}


def announce(account: str, region: str, findings: list) -> None:
    """The event of each finding: in its own account, and in the administrator's."""
    for finding in findings:
        owner = finding.get("AwsAccountId") or account
        places = {(owner, finding.get("Region") or region), (account, region)}
        management = management_of(owner)
        for admin in management.admins if management is not None else []:
            if PRINCIPAL in admin.services:
                places.add((admin.account.id, finding.get("Region") or region))
                if admin.account.id in aggregators:
                    places.add((admin.account.id, aggregators[admin.account.id]["Region"]))
        for place in places:
            emit(*place, "aws.securityhub", "Security Hub Findings - Imported", {"findings": [finding]}, [f"{finding.get('ProductArn')}/{finding['Id']}"])


def complete(finding: dict, account: str, region: str) -> dict:
    """What Security Hub adds by itself."""
    finding.setdefault("AwsAccountId", account)
    finding.setdefault("Region", region)
    finding.setdefault("RecordState", "ACTIVE")
    finding.setdefault("Workflow", {"Status": "NEW"})
    finding.setdefault("WorkflowState", "NEW")
    severity = finding.setdefault("Severity", {"Label": "INFORMATIONAL"})
    finding.setdefault("FindingProviderFields", {"Severity": dict(severity), "Types": list(finding.get("Types", []))})
    finding["ProcessedAt"] = now()
    return finding


def put(account: str, region: str, findings: list) -> list:
    from moto.securityhub.models import Finding, securityhub_backends

    backend = securityhub_backends[account][region]
    known = {key_of(item.data): item for item in backend.findings}
    for data in findings:
        old = known.get(key_of(data))
        if old is None:
            item = Finding(data["Id"], complete(data, account, region))
            known[key_of(data)] = item
            backend.findings.append(item)
        else:
            old.data.update({name: value for name, value in data.items() if name not in KEPT})
            old.data["ProcessedAt"] = now()
    return [known[key_of(data)].data for data in findings]


def seed(account: str, region: str, items: list) -> None:
    put(account, region, items)


def import_findings(call: Call) -> dict:
    findings = call.body.get("Findings") or []
    if not 1 <= len(findings) <= 100:
        raise refuse("Findings must hold between 1 and 100 findings.")
    needed = ("Id", "ProductArn", "AwsAccountId", "CreatedAt", "UpdatedAt", "GeneratorId", "SchemaVersion", "Title", "Description", "Resources")
    good, failed = [], []
    for finding in findings:
        missing = [name for name in needed if not finding.get(name)]
        if missing:
            failed.append({"Id": finding.get("Id", ""), "ErrorCode": "InvalidInput", "ErrorMessage": f"Finding does not adhere to the format: {missing}"})
        else:
            good.append(finding)
    announce(call.account, call.region, put(call.account, call.region, good))
    return {"FailedCount": len(failed), "SuccessCount": len(good), "FailedFindings": failed}


def create_aggregator(call: Call) -> dict:
    if call.account in aggregators:
        raise refuse("A finding aggregator exists already.")
    arn = f"arn:aws:securityhub:{call.region}:{call.account}:finding-aggregator/cordon-lab"
    aggregators[call.account] = {"Region": call.region, "Arn": arn, "Mode": call.body.get("RegionLinkingMode", "ALL_REGIONS")}
    return {"FindingAggregatorArn": arn, "FindingAggregationRegion": call.region, "RegionLinkingMode": aggregators[call.account]["Mode"]}


def list_aggregators(call: Call) -> dict:
    found = aggregators.get(call.account)
    return {"FindingAggregators": [{"FindingAggregatorArn": found["Arn"]}] if found else []}


def mend() -> None:
    """Nothing of moto's own is patched: its list of findings is shared, its operations on it are replaced by the routes below."""


ROUTES = [
    ("POST", "/findings", get_findings),
    ("PATCH", "/findings/batchupdate", batch_update),
    ("POST", "/findings/import", import_findings),
    ("POST", "/findingHistory/get", history),
    ("POST", "/findingAggregator/create", create_aggregator),
    ("GET", "/findingAggregator/list", list_aggregators),
]
