"""Amazon EC2 Auto Scaling: attaching, detaching and standing by as AWS has them.

- An instance is detached only while it is a member, enters standby only above the minimum size, comes back only below the maximum size; what
  AWS refuses is a ValidationError with its sizes. A member of a group cannot be attached to another.
- Attaching raises the desired capacity by what was attached, whatever the group has.
- Who leaves a group, or stands by, leaves its target groups and classic balancers; a group keeps only members in service in them.
- A group whose Launch process is suspended starts nothing; a group that is updated keeps its policy of mixed instances.
"""


def mend() -> None:
    mend_members()
    mend_groups()


def refused(message: str):
    from moto.autoscaling.exceptions import ValidationError

    return ValidationError(message)


def group_of(backend, name: str):
    group = backend.autoscaling_groups.get(name)
    if group is None:
        raise refused("AutoScalingGroup name not found - null")
    return group


def members_of(group, instance_ids, *states: str) -> list:
    """The members with these ids; each has to be one, in one of these states."""
    found = []
    for identifier in instance_ids:
        member = next((one for one in group.instance_states if one.instance.id == identifier), None)
        if member is None:
            raise refused(f"The instance {identifier} is not part of Auto Scaling group {group.name}.")
        if member.lifecycle_state not in states:
            raise refused(f"The instance {identifier} is not in {' or '.join(states)}.")
        found.append(member)
    return found


def sizes(group, verb: str, count: int):
    what = f"min-size={group.min_size}, max-size={group.max_size}, and desired-size={group.desired_capacity}"
    text = f"AutoScalingGroup {group.name} has {what}. To {verb} {count} instance, please update the AutoScalingGroup sizes appropriately."
    return refused(text)


def leave_balancers(backend, group, instance_ids) -> None:
    for arn in group.target_groups_there():
        port = int(backend.elbv2_backend.target_groups[arn].port)
        backend.elbv2_backend.deregister_targets(arn, [{"Id": identifier, "Port": port} for identifier in instance_ids])
    for name in group.load_balancer_names or []:
        if name in backend.elb_backend.load_balancers:
            backend.elb_backend.deregister_instances(name, instance_ids)


def mend_members() -> None:
    from moto.autoscaling.models import ASG_NAME_TAG, AutoScalingBackend, InstanceState

    detach, enter, leave = (
        AutoScalingBackend.detach_instances,
        AutoScalingBackend.enter_standby_instances,
        AutoScalingBackend.exit_standby_instances,
    )

    def attach_instances(self, group_name, instance_ids):
        group = group_of(self, group_name)
        for identifier in instance_ids:
            member = next((one for one in self.describe_auto_scaling_instances([identifier])), None)
            if member is not None:
                raise refused(f"Instance {identifier} is already part of AutoScalingGroup {member.auto_scaling_group_name}.")
            if self.ec2_backend.get_instance(identifier).state != "running":
                raise refused(f"Instance {identifier} is not in correct state. Instance(s) must be in running state.")
        if group.desired_capacity + len(instance_ids) > group.max_size:
            raise sizes(group, "attach", len(instance_ids))
        for identifier in instance_ids:
            instance = self.ec2_backend.get_instance(identifier)
            instance.autoscaling_group = group
            member = InstanceState(instance, protected_from_scale_in=group.new_instances_protected_from_scale_in)
            self.ec2_backend.create_tags([identifier], {ASG_NAME_TAG: group.name})
            group.instance_states.append(member)
        group.desired_capacity += len(instance_ids)
        self.update_attached_elbs(group_name)
        self.update_attached_target_groups(group_name)

    def detach_instances(self, group_name, instance_ids, should_decrement):
        group = group_of(self, group_name)
        members_of(group, instance_ids, "InService")
        if should_decrement and group.desired_capacity - len(instance_ids) < group.min_size:
            raise sizes(group, "detach", len(instance_ids))
        leave_balancers(self, group, instance_ids)
        return detach(self, group_name, instance_ids, should_decrement)

    def enter_standby_instances(self, group_name, instance_ids, should_decrement):
        group = group_of(self, group_name)
        members_of(group, instance_ids, "InService")
        if should_decrement and group.desired_capacity - len(instance_ids) < group.min_size:
            raise sizes(group, "place into standby", len(instance_ids))
        leave_balancers(self, group, instance_ids)
        return enter(self, group_name, instance_ids, should_decrement)

    def exit_standby_instances(self, group_name, instance_ids):
        group = group_of(self, group_name)
        members_of(group, instance_ids, "Standby")
        if group.desired_capacity + len(instance_ids) > group.max_size:
            raise sizes(group, "exit standby for", len(instance_ids))
        return leave(self, group_name, instance_ids)

    AutoScalingBackend.attach_instances, AutoScalingBackend.detach_instances = attach_instances, detach_instances
    AutoScalingBackend.enter_standby_instances = enter_standby_instances
    AutoScalingBackend.exit_standby_instances = exit_standby_instances


def mend_groups() -> None:
    from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup

    launch, update = FakeAutoScalingGroup.replace_autoscaling_group_instances, FakeAutoScalingGroup.update

    def target_groups_there(self) -> list:
        known = self.autoscaling_backend.elbv2_backend.target_groups
        return [arn for arn in self.target_group_arns or [] if arn in known]

    def replace_autoscaling_group_instances(self, count_needed, propagated_tags):
        if not any(process["ProcessName"] == "Launch" for process in self.suspended_processes):
            launch(self, count_needed, propagated_tags)

    def keep_policy(self, *args, mixed_instances_policy=None, **kwargs):
        update(self, *args, mixed_instances_policy=mixed_instances_policy or self.mixed_instances_policy, **kwargs)

    def update_attached_target_groups(self, group_name):
        group = self.autoscaling_groups[group_name]
        for arn in group.target_groups_there():
            target_group = self.elbv2_backend.target_groups[arn]
            known = {target["Id"] for target in target_group.targets.values()}
            new = [one.instance.id for one in group.active_instances() if one.instance.id not in known]
            self.elbv2_backend.register_targets(arn, [{"Id": identifier, "Port": target_group.port} for identifier in new])

    FakeAutoScalingGroup.target_groups_there = target_groups_there
    FakeAutoScalingGroup.replace_autoscaling_group_instances = replace_autoscaling_group_instances
    FakeAutoScalingGroup.update = keep_policy
    AutoScalingBackend.update_attached_target_groups = update_attached_target_groups
