"""Elastic Load Balancing: targets and instances of balancers as AWS has them.

- A target is its id and its port: one instance may be several targets of a group. Addresses have an Availability Zone, and keep it.
- What is deregistered drains for the group's deregistration delay, and is shown until then; deregistering what is not there is no error.
- A target of a group that no load balancer uses is unused, and goes at once.
- A classic balancer has an instance once, and gives it up whoever registered it.
"""

import time


def mend() -> None:
    mend_targets()
    mend_classic()


# --- target groups --------------------------------------------------------------------------------------------------------------------------


def mend_targets() -> None:
    from moto.elbv2.exceptions import TargetGroupNotFoundError, TargetNotRunning
    from moto.elbv2.models import ELBv2Backend, FakeHealthStatus, FakeTargetGroup

    FakeHealthStatus.target = property(shown)

    def register(self, targets) -> None:
        for target in targets:
            instance = self.ec2_backend.get_instance_by_id(target["Id"])
            if instance is not None and instance.state != "running":
                raise TargetNotRunning(instance_id=target["Id"])
        for target in targets:
            port = int(target.get("Port") or self.port)
            made = {"Id": target["Id"], "Port": port}
            if self.target_type == "ip":
                made["AvailabilityZone"] = target.get("AvailabilityZone") or zone_of(self, target["Id"])
            self.targets[(target["Id"], port)] = made
            self.deregistered_targets.pop((target["Id"], port), None)

    def deregister(self, targets) -> None:
        for target in targets:
            key = (target["Id"], int(target.get("Port") or self.port))
            gone = self.targets.pop(key, None)
            if gone is not None and self.load_balancer_arns:
                self.deregistered_targets[key] = (gone, time.monotonic())

    def deregister_terminated_instances(self, instance_ids) -> None:
        deregister(self, [target for target in self.targets.values() if target["Id"] in instance_ids])

    def draining(self) -> list:
        delay = float(self.attributes.get("deregistration_delay.timeout_seconds", 300))
        for key, (_, since) in list(self.deregistered_targets.items()):
            if time.monotonic() - since >= delay:
                self.deregistered_targets.pop(key, None)
        return [target for target, _ in self.deregistered_targets.values()]

    def health_for(self, target, ec2_backend):
        key = (target["Id"], int(target.get("Port") or self.port))
        leaving = next((one for one in draining(self) if (one["Id"], one["Port"]) == key), None)
        found = self.targets.get(key)
        if found is None and leaving is None:
            state = ("unused", "Target.NotRegistered", "Target is not registered to the target group")
        elif found is None:
            state = ("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
        elif not self.load_balancer_arns:
            state = ("unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer")
        elif stopped(found["Id"], ec2_backend):
            state = ("unused", "Target.InvalidState", "Target is in the stopped state")
        else:
            state = ("healthy", None, None)
        status = FakeHealthStatus(key[0], key[1], self.health_check_port, *state)
        status.zone = (found or leaving or {}).get("AvailabilityZone")
        return status

    def describe_target_health(self, target_group_arn, targets):
        group = self.target_groups.get(target_group_arn)
        if group is None:
            raise TargetGroupNotFoundError()
        return [group.health_for(target, self.ec2_backend) for target in targets or [*group.targets.values(), *draining(group)]]

    FakeTargetGroup.register, FakeTargetGroup.deregister = register, deregister
    FakeTargetGroup.deregister_terminated_instances, FakeTargetGroup.health_for = deregister_terminated_instances, health_for
    ELBv2Backend.describe_target_health = describe_target_health


def shown(status) -> dict:
    target = {"Id": status.instance_id, "Port": status.port}
    if getattr(status, "zone", None):
        target["AvailabilityZone"] = status.zone
    return target


def stopped(identifier: str, ec2_backend) -> bool:
    instance = ec2_backend.get_instance_by_id(identifier) if identifier.startswith("i-") else None
    return instance is not None and instance.state == "stopped"


def zone_of(group, address: str) -> str:
    """The zone of the VPC's subnet that an address is in; an address that is in none is of all zones."""
    import ipaddress

    for subnet in group.ec2_backend.describe_subnets(filters={"vpc-id": [group.vpc_id]}):
        if ipaddress.ip_address(address) in ipaddress.ip_network(subnet.cidr_block):
            return subnet.availability_zone
    return "all"


# --- classic balancers ----------------------------------------------------------------------------------------------------------------------


def mend_classic() -> None:
    from moto.elb.models import ELBBackend

    register = ELBBackend.register_instances

    def register_instances(self, load_balancer_name, instance_ids, from_autoscaling=False):
        known = set(self.get_load_balancer(load_balancer_name).instance_ids)
        return register(self, load_balancer_name, [one for one in instance_ids if one not in known], from_autoscaling)

    def deregister_instances(self, load_balancer_name, instance_ids, from_autoscaling=False):
        balancer = self.get_load_balancer(load_balancer_name)
        names = ["instance_autoscaling_ids"] if from_autoscaling else ["instance_autoscaling_ids", "instance_sparse_ids"]
        for name in names:
            setattr(balancer, name, [one for one in getattr(balancer, name) if one not in set(instance_ids)])
        return balancer

    ELBBackend.register_instances, ELBBackend.deregister_instances = register_instances, deregister_instances
