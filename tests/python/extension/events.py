"""EventBridge: patterns that look into arrays of objects, targets in other accounts, whole events (moto leaves out the account, and changes it
from bus to bus), and events that only AWS may send.

Seeds whole events ({"source", "detail-type", "detail", "resources", "time"}): they are matched by the rules of the account's default bus.
"""

import copy
import datetime
import json
import uuid


def mend() -> None:
    from moto.events import models

    def matches_event(self, event):
        return not self._pattern or matches(self, json.loads(json.dumps(event)), self._pattern)

    def matches(self, node, pattern) -> bool:
        for key, wanted in pattern.items():
            if key == "$or":
                if not any(matches(self, node, branch) for branch in wanted):
                    return False
                continue
            value = node.get(key, models.UNDEFINED) if isinstance(node, dict) else models.UNDEFINED
            if isinstance(wanted, dict):
                # One element of an array has to match as a whole.
                elements = value if isinstance(value, list) else [value]
                if not any(matches(self, element, wanted) for element in elements or [models.UNDEFINED]):
                    return False
            elif not isinstance(wanted, list) or not self._does_item_match_filters(value, wanted):
                return False
        return True

    models.EventPattern.matches_event = matches_event

    send = models.Rule.send_to_targets

    def send_to_targets(self, original_event, transform_input=True):
        if getattr(self, "state", "ENABLED") == "DISABLED" or not self.event_pattern.matches_event(original_event):
            return
        here = copy.copy(self)
        here.targets = []
        for target in self.targets:
            arn = models.parse_arn(target["Arn"])
            if arn.service == "events" and arn.resource_type == "event-bus":
                # The event stays as it is: its account and Region are those where it arose.
                bus = models.events_backends[arn.account][arn.region].event_buses.get(arn.resource_id)
                for rule in list(bus.rules.values()) if bus else []:
                    rule.send_to_targets(copy.deepcopy(original_event))
            else:
                here.targets.append(target)
        send(here, original_event, transform_input)

    models.Rule.send_to_targets = send_to_targets
    transform = models.EventTemplateParser.parse

    def parse(input_template, input_paths_map, event):
        if input_template:
            return transform(input_template, input_paths_map, event)
        return {name: copy.deepcopy(value) for name, value in event.items() if name != "ingestion-time"}

    models.EventTemplateParser.parse = staticmethod(parse)
    send_to_queue = models.Rule._send_to_sqs_queue

    def _send_to_sqs_queue(self, resource_id, event, group_id=None):
        """To the queue that the target's ARN names, in whatever account and Region; one that is not there loses the event, as in AWS."""
        from moto.sqs import sqs_backends

        for target in self.targets:
            arn = models.parse_arn(target["Arn"])
            if arn.service == "sqs" and arn.resource_id == resource_id and arn.account != self.account_id:
                text = json.dumps({**event, "time": stamp(event["time"])} if isinstance(event, dict) and "time" in event else event)
                if resource_id in sqs_backends[arn.account][arn.region].queues:
                    sqs_backends[arn.account][arn.region].send_message(queue_name=resource_id, message_body=text, group_id=group_id)
                return
        if resource_id in sqs_backends[self.account_id][self.region_name].queues:
            send_to_queue(self, resource_id, event, group_id)

    models.Rule._send_to_sqs_queue = _send_to_sqs_queue


def stamp(time) -> str:
    """AWS's form of an event's time."""
    if isinstance(time, str):
        return time
    moment = datetime.datetime.fromtimestamp(float(time), datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def emit(account: str, region: str, source: str, detail_type: str, detail: dict, resources=(), time=None) -> None:
    """Sends an event that a service of AWS sends by itself."""
    from moto.core.utils import unix_time
    from moto.events.models import events_backends

    bus = events_backends[account][region].event_buses["default"]
    moment = datetime.datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() if time else unix_time()
    event = {
        "version": "0", "id": str(uuid.uuid4()), "detail-type": detail_type, "source": source, "account": account, "time": moment,
        "ingestion-time": unix_time(), "region": region, "resources": list(resources), "detail": detail,
    }
    for rule in list(bus.rules.values()):
        rule.send_to_targets(copy.deepcopy(event))


def seed(account: str, region: str, items: list) -> None:
    for item in items:
        emit(account, region, item["source"], item["detail-type"], item["detail"], item.get("resources", ()), item.get("time"))
