"""GuardDuty findings, which moto does not have: list, get, archive, samples. The delegated administrator sees its members' findings, and is
the only one that archives them; criteria are those that ListFindings documents, an unknown one is an error.

Seeds findings in the form of GetFindings (`id`, `arn`, `type`, `severity`, `resource`, `service`, …) into the account that owns them. One
that is seeded with `"expired": true` is gone, as after 90 days.
"""

import datetime
import hashlib

from .events import emit
from .organizations import management_of, members_seen_by
from .web import Call, Failure, Pages

PRINCIPAL = "guardduty.amazonaws.com"
store: dict = {}
pages = Pages("BadRequestException")
# https://docs.aws.amazon.com/guardduty/latest/APIReference/API_ListFindings.html, findingCriteria
CRITERIA = {
    "accountId", "region", "confidence", "id", "resource.resourceType", "service.action.actionType", "service.additionalInfo.threatListName",
    "service.archived", "service.ebsVolumeScanDetails.scanId", "service.resourceRole", "severity", "type", "updatedAt",
    *(f"resource.accessKeyDetails.{name}" for name in ("accessKeyId", "principalId", "userName", "userType")),
    *(f"resource.instanceDetails.{name}" for name in ("iamInstanceProfile.id", "imageId", "instanceId", "tags.key", "tags.value")),
    *(
        f"resource.instanceDetails.networkInterfaces.{name}"
        for name in (
            "ipv6Addresses", "privateIpAddresses.privateIpAddress", "publicDnsName", "publicIp", "securityGroups.groupId",
            "securityGroups.groupName", "subnetId", "vpcId",
        )
    ),
    *(
        f"service.action.awsApiCallAction.{name}"
        for name in (
            "api", "callerType", "remoteIpDetails.city.cityName", "remoteIpDetails.country.countryName", "remoteIpDetails.ipAddressV4",
            "remoteIpDetails.organization.asn", "remoteIpDetails.organization.asnOrg", "serviceName",
        )
    ),
    *(f"service.action.dnsRequestAction.{name}" for name in ("domain", "domainWithSuffix")),
    *(
        f"service.action.networkConnectionAction.{name}"
        for name in (
            "blocked", "connectionDirection", "localPortDetails.port", "protocol", "remoteIpDetails.country.countryName",
            "remoteIpDetails.ipAddressV4", "remoteIpDetails.organization.asn", "remoteIpDetails.organization.asnOrg", "remotePortDetails.port",
        )
    ),
}
MOST_VALUES = 50
NOT_OURS = "The request is rejected because the input detectorId is not owned by the current account."


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def check_detector(call: Call) -> str:
    from moto.guardduty.models import guardduty_backends

    detector = call.path["detector"]
    if detector not in guardduty_backends[call.account][call.region].detectors:
        raise Failure("BadRequestException", NOT_OURS)
    return detector


def visible(call: Call) -> dict:
    check_detector(call)
    found = dict(store.get((call.account, call.region), {}))
    for member in members_seen_by(call.account, PRINCIPAL):
        found.update(store.get((member, call.region), {}))
    return found


def values(node, path: str) -> list:
    """All values at a dotted path, through arrays."""
    nodes = [node]
    for key in path.split("."):
        below = [item[key] for item in nodes if isinstance(item, dict) and key in item]
        nodes = [item for value in below for item in (value if isinstance(value, list) else [value])]
    return nodes


def number(value):
    """Numbers compare as they are, times as milliseconds."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value)
    try:
        return datetime.datetime.fromisoformat(str(value).replace("Z", "+00:00")).timestamp() * 1000
    except ValueError:
        try:
            return float(value)
        except ValueError:
            return None


def as_text(value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def meets(finding: dict, field: str, condition: dict) -> bool:
    found = values(finding, field)
    texts = [as_text(value) for value in found]
    numbers = [value for value in map(number, found) if value is not None]
    for name, wanted in condition.items():
        if name in ("eq", "equals"):
            good = any(as_text(value) in texts for value in wanted)
        elif name in ("neq", "notEquals"):
            good = not any(as_text(value) in texts for value in wanted)
        elif name in ("gt", "greaterThan"):
            good = any(value > wanted for value in numbers)
        elif name in ("gte", "greaterThanOrEqual"):
            good = any(value >= wanted for value in numbers)
        elif name in ("lt", "lessThan"):
            good = any(value < wanted for value in numbers)
        elif name in ("lte", "lessThanOrEqual"):
            good = any(value <= wanted for value in numbers)
        else:
            raise Failure("BadRequestException", f"The request is rejected because the condition {name} is not valid.")
        if not good:
            return False
    return True


def check_criteria(criteria: dict) -> None:
    for field, condition in criteria.items():
        if field not in CRITERIA:
            raise Failure("BadRequestException", f"The request is rejected because the criterion {field} is not valid.")
        if any(isinstance(values, list) and len(values) > MOST_VALUES for values in condition.values()):
            raise Failure("BadRequestException", f"The request is rejected because the criterion {field} has too many values.")


def list_findings(call: Call) -> dict:
    found = visible(call)
    criteria = (call.body.get("findingCriteria") or {}).get("criterion") or {}
    check_criteria(criteria)
    order = call.body.get("sortCriteria") or {}
    size = int(call.body.get("maxResults") or 50)
    if not 1 <= size <= 50:
        raise Failure("BadRequestException", "The request is rejected because the parameter maxResults is out of bounds.")

    def keys() -> list:
        chosen = [item for item in found.values() if all(meets(item, field, condition) for field, condition in criteria.items())]
        field = order.get("attributeName") or "updatedAt"
        chosen.sort(key=lambda item: as_text((values(item, field) or [""])[0]), reverse=order.get("orderBy") == "DESC")
        return [item["id"] for item in chosen]

    page, token = pages.cut(keys, call.body.get("nextToken"), size)
    return {"findingIds": page, **({"nextToken": token} if token else {})}


def get_findings(call: Call) -> dict:
    wanted = call.body.get("findingIds") or []
    if not 1 <= len(wanted) <= 50:
        raise Failure("BadRequestException", "The request is rejected because the number of findingIds is out of bounds.")
    found = visible(call)
    return {"findings": [found[key] for key in wanted if key in found]}


def is_member(account: str) -> bool:
    """Whether another account administers its GuardDuty."""
    management = management_of(account)
    admins = [admin.account.id for admin in management.admins if PRINCIPAL in admin.services] if management is not None else []
    return bool(admins) and account not in admins


def set_archived(archived: bool):
    def change(call: Call) -> dict:
        found = visible(call)
        if archived and is_member(call.account):
            raise Failure("BadRequestException", "The request is rejected because a member account cannot archive findings.")
        if not 0 <= len(call.body.get("findingIds") or []) <= 50:
            raise Failure("BadRequestException", "The request is rejected because the number of findingIds is out of bounds.")
        for key in call.body.get("findingIds") or []:
            if key not in found:
                raise Failure("BadRequestException", f"The request is rejected because the finding {key} was not found.")
        for key in call.body.get("findingIds") or []:
            found[key].setdefault("service", {})["archived"] = archived
        return {}

    return change


def create_samples(call: Call) -> dict:
    detector = check_detector(call)
    for kind in call.body.get("findingTypes") or ["UnauthorizedAccess:EC2/SSHBruteForce"]:
        key = hashlib.md5(f"{detector}{kind}".encode()).hexdigest()
        item = {
            "schemaVersion": "2.0", "accountId": call.account, "region": call.region, "partition": "aws", "id": key,
            "arn": f"arn:aws:guardduty:{call.region}:{call.account}:detector/{detector}/finding/{key}", "type": kind,
            "resource": {"resourceType": "Instance", "instanceDetails": {"instanceId": "i-99999999", "instanceState": "running"}},
            "service": {
                "serviceName": "guardduty", "detectorId": detector, "resourceRole": "TARGET", "archived": False, "count": 1,
                "additionalInfo": {"value": '{"sample":true}', "type": "default"}, "eventFirstSeen": now(), "eventLastSeen": now(),
            },
            "severity": 2.0, "title": f"[SAMPLE] {kind}", "description": f"[SAMPLE] {kind}", "createdAt": now(), "updatedAt": now(),
        }
        seed(call.account, call.region, [item])
        event = {**item, "service": {**item["service"], "additionalInfo": {"sample": True}}}
        emit(call.account, call.region, "aws.guardduty", "GuardDuty Finding", event)
    return {}


def seed(account: str, region: str, items: list) -> None:
    kept = store.setdefault((account, region), {})
    for item in items:
        if item.get("expired"):
            kept.pop(item["id"], None)
            continue
        item.setdefault("service", {}).setdefault("archived", False)
        kept[item["id"]] = item


ROUTES = [
    ("POST", "/detector/{detector}/findings", list_findings),
    ("POST", "/detector/{detector}/findings/get", get_findings),
    ("POST", "/detector/{detector}/findings/archive", set_archived(True)),
    ("POST", "/detector/{detector}/findings/unarchive", set_archived(False)),
    ("POST", "/detector/{detector}/findings/create", create_samples),
]
