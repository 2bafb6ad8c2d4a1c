"""CloudTrail's event history, which moto does not have: LookupEvents over seeded records.

Management events of the last 90 days, by account and Region, newest first, at most 50 on a page, one attribute in a call. What an event names
as its resources is read from its record, as far as tests need it; a change of rules of a security group names none.

Seeds records as CloudTrail writes them into its log files (`eventID`, `eventName`, `eventTime`, `userIdentity`, …).
"""

import datetime
import json

from .web import Call, Failure, Pages

store: dict = {}
pages = Pages("InvalidNextTokenException")
ATTRIBUTES = ("EventId", "EventName", "ReadOnly", "Username", "ResourceType", "ResourceName", "EventSource", "AccessKeyId")
# Where a record names a resource: type, and the way to its name.
RESOURCES = (
    ("AWS::IAM::User", "requestParameters.userName"),
    ("AWS::IAM::User", "responseElements.user.userName"),
    ("AWS::IAM::Role", "requestParameters.roleName"),
    ("AWS::IAM::Role", "requestParameters.roleArn"),
    ("AWS::IAM::Policy", "requestParameters.policyArn"),
    ("AWS::IAM::AccessKey", "responseElements.accessKey.accessKeyId"),
    ("AWS::IAM::AccessKey", "responseElements.credentials.accessKeyId"),
    ("AWS::EC2::SecurityGroup", "requestParameters.groupId"),
    ("AWS::EC2::SecurityGroup", "responseElements.groupId"),
    ("AWS::EC2::Instance", "requestParameters.instanceId"),
    ("AWS::EC2::Instance", "responseElements.instancesSet.items.instanceId"),
    ("AWS::EC2::Instance", "requestParameters.instancesSet.items.instanceId"),
    ("AWS::EC2::Resource", "requestParameters.resourcesSet.items.resourceId"),
)


def values(node, path: str) -> list:
    nodes = [node]
    for key in path.split("."):
        below = [item[key] for item in nodes if isinstance(item, dict) and key in item]
        nodes = [item for value in below for item in (value if isinstance(value, list) else [value])]
    return [value for value in nodes if isinstance(value, str)]


def seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def user_name(record: dict):
    """The name that the event history gives the caller: of a session the session's name."""
    identity = record.get("userIdentity") or {}
    if identity.get("type") == "Root":
        return "root"
    if identity.get("type") == "AssumedRole":
        return (identity.get("principalId") or "").partition(":")[2] or None
    return identity.get("userName")


def resources(record: dict) -> list:
    found = {(kind, name) for kind, path in RESOURCES for name in values(record, path)}
    found |= {(item.get("type") or "", item["ARN"]) for item in record.get("resources") or [] if item.get("ARN")}
    return [{"ResourceType": kind, "ResourceName": name} for kind, name in sorted(found)]


def event(record: dict) -> dict:
    identity = record.get("userIdentity") or {}
    shown = {
        "EventId": record.get("eventID"), "EventName": record.get("eventName"), "ReadOnly": str(record.get("readOnly", False)).lower(),
        "AccessKeyId": identity.get("accessKeyId"), "EventTime": seconds(record["eventTime"]), "EventSource": record.get("eventSource"),
        "Username": user_name(record), "Resources": resources(record), "CloudTrailEvent": json.dumps(record),
    }
    return {name: value for name, value in shown.items() if value is not None}


def meets(shown: dict, key: str, value: str) -> bool:
    if key in ("ResourceName", "ResourceType"):
        return any(resource[key] == value for resource in shown["Resources"])
    return shown.get(key) == value


def lookup_events(call: Call) -> dict:
    attributes = call.body.get("LookupAttributes") or []
    if len(attributes) > 1 or any(item.get("AttributeKey") not in ATTRIBUTES or not item.get("AttributeValue") for item in attributes):
        raise Failure("InvalidLookupAttributesException", "You have specified an invalid attribute. You can use one attribute.")
    size = call.body.get("MaxResults") or 50
    if not 1 <= size <= 50:
        raise Failure("InvalidMaxResultsException", "MaxResults must be from 1 to 50.")
    now = datetime.datetime.now(datetime.timezone.utc).timestamp()
    oldest = now - 90 * 86_400
    start, end = call.body.get("StartTime") or oldest, call.body.get("EndTime") or now
    if start > end or start < oldest - 60:
        raise Failure("InvalidTimeRangeException", "The start time is after the end time, or out of the range of possible values.")
    shown = {record["eventID"]: event(record) for record in store.get((call.account, call.region), []) if record.get("managementEvent", True)}

    def keys() -> list:
        found = [
            key for key, item in shown.items()
            if start <= item["EventTime"] <= end and all(meets(item, one["AttributeKey"], one["AttributeValue"]) for one in attributes)
        ]
        return sorted(found, key=lambda key: shown[key]["EventTime"], reverse=True)

    page, token = pages.cut(keys, call.body.get("NextToken"), size)
    return {"Events": [shown[key] for key in page], **({"NextToken": token} if token else {})}


def seed(account: str, region: str, items: list) -> None:
    store.setdefault((account, region), []).extend(items)


TARGETS = {"LookupEvents": lookup_events}
