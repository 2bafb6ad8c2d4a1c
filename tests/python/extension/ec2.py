"""EC2: interfaces, network ACLs, security groups and pages as AWS has them.

- An interface has its own groups only; the instance shows those of its first interface.
- A network ACL holds at most 20 rules a direction and family, the default deny included; it has its default denies from the start (IPv6 too,
  once the VPC has it); protocols become numbers and CIDRs canonical; DryRun changes nothing; unknown entries are errors of the client.
- Several permissions are authorized or revoked all together or not at all, and the answer names all rules; a rule is the same rule whatever its
  description; descriptions of groups and prefix lists are kept; an unknown rule id has an error of its own; a group in use cannot be deleted.
- MaxResults and NextToken give pages.
"""

import copy
import functools
import ipaddress
import itertools

QUOTA = 20
PROTOCOLS = {"tcp": "6", "udp": "17", "icmp": "1", "icmpv6": "58", "all": "-1"}


def mend() -> None:
    mend_interfaces()
    mend_network_acls()
    mend_security_groups()
    add_pages()


def canonical(cidr):
    """The network that a CIDR names, or the text itself when it is none."""
    try:
        return str(ipaddress.ip_network(cidr, strict=False))
    except ValueError:
        return cidr


def error(code: str, message: str):
    from moto.ec2.exceptions import EC2ClientError

    return EC2ClientError(code, message)


# --- network interfaces ---------------------------------------------------------------------------------------------------------------------


def mend_interfaces() -> None:
    from moto.ec2.exceptions import InvalidSecurityGroupNotFoundError
    from moto.ec2.models import elastic_network_interfaces as models
    from moto.ec2.models import instances

    interface, backend = models.NetworkInterface, models.NetworkInterfaceBackend
    interface.group_set = property(lambda self: self._group_set)

    modify = backend.modify_network_interface_attribute

    def modify_network_interface_attribute(self, eni_id, group_ids, source_dest_check=None, description=None):
        for group_id in group_ids or []:
            if self.get_security_group_from_id(group_id) is None:
                raise InvalidSecurityGroupNotFoundError(group_id)
        modify(self, eni_id, group_ids, source_dest_check, description)
        eni = self.get_network_interface(eni_id)
        if group_ids and eni.instance is not None and eni.device_index == 0:
            eni.instance.security_groups = list(eni._group_set)

    backend.modify_network_interface_attribute = modify_network_interface_attribute

    modify_instance = instances.InstanceBackend.modify_instance_security_groups

    def modify_instance_security_groups(self, instance_id, new_group_id_list):
        instance = modify_instance(self, instance_id, new_group_id_list)
        first = instance.nics.get(0)
        if first is not None:
            first._group_set = list(instance.security_groups)
        return instance

    instances.InstanceBackend.modify_instance_security_groups = modify_instance_security_groups

    look_up = interface.get_filter_value
    more = {
        "status": lambda eni: eni.status,
        "owner-id": lambda eni: eni.owner_id,
        "mac-address": lambda eni: eni.mac_address,
        "interface-type": lambda eni: eni.interface_type,
        "requester-managed": lambda eni: str(eni.requester_managed).lower(),
        "group-name": lambda eni: [group.name for group in eni._group_set],
        "attachment.device-index": lambda eni: str(eni.device_index),
        "attachment.status": lambda eni: "attached" if eni.attachment_id else "detached",
        "association.public-ip": lambda eni: eni.public_ip,
        "addresses.association.public-ip": lambda eni: eni.public_ip,
        "addresses.private-ip-address": lambda eni: [item["PrivateIpAddress"] for item in eni.private_ip_addresses],
        "ipv6-addresses.ipv6-address": lambda eni: list(eni.ipv6_addresses),
    }

    def get_filter_value(self, filter_name, method_name=None):
        return more[filter_name](self) if filter_name in more else look_up(self, filter_name, method_name)

    interface.get_filter_value = get_filter_value


# --- network ACLs ---------------------------------------------------------------------------------------------------------------------------


def mend_network_acls() -> None:
    from moto.ec2.exceptions import InvalidNetworkAclIdError
    from moto.ec2.models.network_acls import NetworkAclBackend as Backend
    from moto.ec2.models.network_acls import NetworkAclEntry
    from moto.ec2.responses.network_acls import NetworkACLs

    create_acl, create_entry, describe = Backend.create_network_acl, Backend.create_network_acl_entry, Backend.describe_network_acls
    delete_entry, associate = Backend.delete_network_acl_entry, Backend.replace_network_acl_association

    def default_entries(self, acl) -> None:
        """The rules that nobody made: denies, and in a VPC's own ACL allows."""
        wanted = [(32767, "deny", "0.0.0.0/0", None)]
        vpc = self.vpcs.get(acl.vpc_id)
        if vpc is not None and vpc.get_cidr_block_association_set(ipv6=True) and not getattr(acl, "has_ipv6", False):
            acl.has_ipv6 = True
            wanted.append((32768, "deny", None, "::/0"))
            if acl.default:
                wanted.append((101, "allow", None, "::/0"))
        taken = {(entry.egress, entry.rule_number) for entry in acl.network_acl_entries}
        for (number, action, ipv4, ipv6), egress in itertools.product(wanted, (True, False)):
            if (egress, number) not in taken:
                acl.network_acl_entries.append(
                    NetworkAclEntry(self, acl.id, number, "-1", action, egress, ipv4, None, None, None, None, ipv6)
                )

    def add_default_entries(self, network_acl_id):
        acl = self.get_network_acl(network_acl_id)
        for egress in (True, False):
            acl.network_acl_entries.append(NetworkAclEntry(self, acl.id, 100, "-1", "allow", egress, "0.0.0.0/0", None, None, None, None, None))
        default_entries(self, acl)

    def create_network_acl(self, vpc_id, tags=None, default=False):
        acl = create_acl(self, vpc_id, tags, default)
        default_entries(self, acl)
        return acl

    def create_network_acl_entry(
        self, network_acl_id, rule_number, protocol, rule_action, egress, cidr_block, icmp_code, icmp_type, port_range_from, port_range_to,
        ipv6_cidr_block,
    ):
        number, egress = int(rule_number), egress in (True, "true", "True")
        acl = self.get_network_acl(network_acl_id)
        if not 1 <= number <= 32766:
            raise error("InvalidParameterValue", f"Value ({number}) for parameter ruleNumber is invalid. It must be between 1 and 32766.")
        if bool(cidr_block) == bool(ipv6_cidr_block):
            raise error("InvalidParameterCombination", "Exactly one of CidrBlock and Ipv6CidrBlock must be given.")
        protocol = PROTOCOLS.get(str(protocol).lower(), str(protocol))
        if protocol in ("6", "17") and (port_range_from is None or port_range_to is None):
            raise error("MissingParameter", "The request must contain the parameter PortRange for TCP and UDP.")
        default_entries(self, acl)
        family = [
            entry
            for entry in acl.network_acl_entries
            if entry.egress == egress and bool(entry.ipv6_cidr_block) == bool(ipv6_cidr_block) and entry.rule_number != number
        ]
        if len(family) >= QUOTA:
            raise error(
                "NetworkAclEntryLimitExceeded",
                f"The maximum number of network acl entries per network acl ({QUOTA}) has been reached for '{network_acl_id}'.",
            )
        return create_entry(
            self, network_acl_id, number, protocol, rule_action, egress, canonical(cidr_block) if cidr_block else cidr_block, icmp_code,
            icmp_type, port_range_from, port_range_to, canonical(ipv6_cidr_block) if ipv6_cidr_block else ipv6_cidr_block,
        )

    def delete_network_acl_entry(self, network_acl_id, rule_number, egress):
        number = int(rule_number)
        if number > 32766:
            raise error("InvalidParameterValue", f"The default rule {number} of a network acl cannot be deleted.")
        if not any(entry.egress == egress and entry.rule_number == number for entry in self.get_network_acl(network_acl_id).network_acl_entries):
            direction = "egress" if egress else "ingress"
            raise error("InvalidNetworkAclEntry.NotFound", f"The {direction} entry {number} in network acl '{network_acl_id}' does not exist.")
        return delete_entry(self, network_acl_id, number, egress)

    def replace_network_acl_entry(self, network_acl_id, rule_number, protocol, rule_action, egress, *rest, **more):
        acl = self.get_network_acl(network_acl_id)
        before = list(acl.network_acl_entries)
        delete_network_acl_entry(self, network_acl_id, rule_number, egress)
        try:
            return create_network_acl_entry(self, network_acl_id, rule_number, protocol, rule_action, egress, *rest, **more)
        except Exception:
            acl.network_acl_entries[:] = before
            raise

    def replace_network_acl_association(self, association_id, network_acl_id):
        self.get_network_acl(network_acl_id)
        if not any(association_id in acl._associations for acl in self.network_acls.values()):
            raise error("InvalidAssociationID.NotFound", f"The association ID '{association_id}' does not exist")
        return associate(self, association_id, network_acl_id)

    def describe_network_acls(self, network_acl_ids=None, filters=None):
        for acl_id in network_acl_ids or []:
            if acl_id not in self.network_acls:
                raise InvalidNetworkAclIdError(acl_id)
        for acl in list(self.network_acls.values()):
            default_entries(self, acl)
        return describe(self, network_acl_ids, filters)

    for function in (
        add_default_entries, create_network_acl, create_network_acl_entry, delete_network_acl_entry, replace_network_acl_entry, replace_network_acl_association,
        describe_network_acls,
    ):
        setattr(Backend, function.__name__, function)
    for name in (
        "create_network_acl", "create_network_acl_entry", "delete_network_acl", "delete_network_acl_entry", "replace_network_acl_entry",
        "replace_network_acl_association", "describe_network_acls",
    ):
        setattr(NetworkACLs, name, dry_run(getattr(NetworkACLs, name)))


def dry_run(function):
    @functools.wraps(function)
    def checked(self):
        self.error_on_dryrun()
        return function(self)

    return checked


# --- security groups ------------------------------------------------------------------------------------------------------------------------


def mend_security_groups() -> None:
    from moto.core.responses import ActionResult
    from moto.ec2.models.security_groups import GroupedSecurityRuleView, SecurityGroupBackend, SecurityGroupRule
    from moto.ec2.responses.security_groups import SecurityGroups

    make = SecurityGroupRule.__init__

    def __init__(self, ec2_backend, ip_protocol, group_id, from_port, to_port, ip_range, source_group=None, prefix_list_id=None, *rest, **more):
        if isinstance(ip_range, dict):
            ip_range = {key: canonical(value) if key in ("CidrIp", "CidrIpv6") else value for key, value in ip_range.items()}
        make(self, ec2_backend, ip_protocol, group_id, from_port, to_port, ip_range, source_group, prefix_list_id, *rest, **more)
        self.prefix_list_description = (prefix_list_id or {}).get("Description")

    def identity(rule):
        ports = (None, None) if rule.ip_protocol == "-1" else (rule.from_port, rule.to_port)
        return (
            rule.ip_protocol, *ports, rule.ip_range.get("CidrIp"), rule.ip_range.get("CidrIpv6"), rule.source_group.get("GroupId"),
            rule.prefix_list_id,
        )

    SecurityGroupRule.__init__ = __init__
    SecurityGroupRule.__eq__ = lambda self, other: identity(self) == identity(other)
    SecurityGroupRule.__hash__ = lambda self: hash(self.id)
    SecurityGroupRule.description = property(
        lambda self: self.ip_range.get("Description") or self.source_group.get("Description") or self.prefix_list_description
    )

    add_source_group = SecurityGroupBackend._add_source_group

    def _add_source_group(self, source_groups, vpc_id):
        """A group of another account, reached over a peering, is taken as it is."""
        theirs = [group for group in source_groups or [] if group.get("UserId") not in (None, self.account_id)]
        ours = [group for group in source_groups or [] if group.get("UserId") in (None, self.account_id)]
        return add_source_group(self, ours, vpc_id) + theirs

    SecurityGroupBackend._add_source_group = _add_source_group

    delete = SecurityGroupBackend._delete_security_group

    def _delete_security_group(self, vpc_id, group_id):
        # moto leaves a terminated instance its interfaces.
        used = any(
            group.id == group_id
            for eni in self.enis.values()
            if eni.instance is None or eni.instance.state != "terminated"
            for group in eni._group_set
        )
        named = any(
            rule.source_group.get("GroupId") == group_id and group.id != group_id
            for groups in self.groups.values()
            for group in groups.values()
            for rule in group.ingress_rules + group.egress_rules
        )
        if used or named:
            raise error("DependencyViolation", f"resource {group_id} has a dependent object")
        delete(self, vpc_id, group_id)

    SecurityGroupBackend._delete_security_group = _delete_security_group

    def atomically(direction: str, verb: str):
        kept = "ingress_rules" if direction == "ingress" else "egress_rules"

        def change(self):
            self.error_on_dryrun()
            requests = list(self._process_rules_from_querystring())
            name = requests[0]["group_name_or_id"] if requests else None
            group = self.ec2_backend.get_security_group_by_name_or_id(name) if name else None
            if verb == "revoke" and group is not None:
                known = {rule.id for rule in getattr(group, kept)}
                for rule_id in self._get_param("SecurityGroupRuleIds", []):
                    if rule_id not in known:
                        raise error("InvalidSecurityGroupRuleId.NotFound", f"The security group rule ID '{rule_id}' does not exist")
            before = list(getattr(group, kept)) if group is not None else []
            added = []
            try:
                for request in requests:
                    if verb == "revoke":
                        del request["sgrule_tags"]
                        getattr(self.ec2_backend, f"revoke_security_group_{direction}")(**request)
                    else:
                        rules, _ = getattr(self.ec2_backend, f"authorize_security_group_{direction}")(**request)
                        added += rules
            except Exception:
                if group is not None:
                    setattr(group, kept, before)
                raise
            if verb == "authorize":
                return ActionResult({"Return": True, "SecurityGroupRules": [with_ports(rule) for rule in added]})
            left = {rule.id for rule in getattr(group, kept)} if group is not None else set()
            gone = [revoked(rule) for rule in before if rule.id not in left]
            return ActionResult({"Return": True, "RevokedSecurityGroupRules": gone})

        return change

    for direction, verb in itertools.product(("ingress", "egress"), ("authorize", "revoke")):
        setattr(SecurityGroups, f"{verb}_security_group_{direction}", atomically(direction, verb))
        update = getattr(SecurityGroups, f"update_security_group_rule_descriptions_{direction}")
        if verb == "authorize":
            setattr(SecurityGroups, f"update_security_group_rule_descriptions_{direction}", describe_rules(update, direction))
    mend_prefix_lists(GroupedSecurityRuleView)


def with_ports(rule):
    """A rule as answers show it: all ports are -1."""
    shown = copy.copy(rule)
    shown.from_port = -1 if rule.from_port is None else rule.from_port
    shown.to_port = -1 if rule.to_port is None else rule.to_port
    return shown


def revoked(rule) -> dict:
    found = {
        "SecurityGroupRuleId": rule.id,
        "GroupId": rule.group_id,
        "IsEgress": rule.is_egress,
        "IpProtocol": rule.ip_protocol,
        "FromPort": -1 if rule.from_port is None else rule.from_port,
        "ToPort": -1 if rule.to_port is None else rule.to_port,
        "CidrIpv4": rule.cidr_ipv4,
        "CidrIpv6": rule.cidr_ipv6,
        "PrefixListId": rule.prefix_list_id,
        "ReferencedGroupId": rule.source_group.get("GroupId"),
        "Description": rule.description,
    }
    return {key: value for key, value in found.items() if value is not None}


def describe_rules(update, direction: str):
    """Descriptions set by rule id, which moto passes over."""

    def change(self):
        self.error_on_dryrun()
        wanted = self._get_param("SecurityGroupRuleDescriptions", [])
        if not wanted:
            return update(self)
        from moto.core.responses import ActionResult

        group = self.ec2_backend.get_security_group_by_name_or_id(self._get_param("GroupId") or self._get_param("GroupName"))
        rules = {rule.id: rule for rule in (group.ingress_rules if direction == "ingress" else group.egress_rules)}
        for item in wanted:
            rule = rules.get(item.get("SecurityGroupRuleId"))
            if rule is None:
                raise error("InvalidSecurityGroupRuleId.NotFound", f"The security group rule ID '{item.get('SecurityGroupRuleId')}' does not exist")
            place = rule.ip_range or rule.source_group
            if place:
                place["Description"] = item.get("Description", "")
            else:
                rule.prefix_list_description = item.get("Description", "")
        return ActionResult({"Return": True})

    return change


def mend_prefix_lists(view) -> None:
    """DescribeSecurityGroups shows a prefix list's description too."""
    from moto.ec2.models.security_groups import SecurityGroup

    for name, kept in (("ip_permissions", "ingress_rules"), ("ip_permissions_egress", "egress_rules")):
        shown = getattr(SecurityGroup, name, None)
        if not isinstance(shown, property):
            continue

        def with_descriptions(self, shown=shown, kept=kept):
            views = shown.fget(self)
            texts = {}
            for rule in getattr(self, kept):
                if rule.prefix_list_id and rule.prefix_list_description:
                    texts[(rule.ip_protocol, rule.from_port, rule.to_port, rule.prefix_list_id)] = rule.prefix_list_description
            for item in views:
                for place, entry in enumerate(item.prefix_list_ids):
                    text = texts.get((item.ip_protocol, item.from_port, item.to_port, entry.get("PrefixListId")))
                    if text:
                        item.prefix_list_ids[place] = {**entry, "Description": text}
            return views

        setattr(SecurityGroup, name, property(with_descriptions))


# --- pages ----------------------------------------------------------------------------------------------------------------------------------


def add_pages() -> None:
    from moto.ec2.responses import elastic_network_interfaces, nat_gateways, network_acls, security_groups, subnets, vpcs

    for holder, name, key, ids in (
        (security_groups.SecurityGroups, "describe_security_groups", "SecurityGroups", "GroupIds"),
        (security_groups.SecurityGroups, "describe_security_group_rules", "SecurityGroupRules", "SecurityGroupRuleIds"),
        (network_acls.NetworkACLs, "describe_network_acls", "NetworkAcls", "NetworkAclIds"),
        (elastic_network_interfaces.ElasticNetworkInterfaces, "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceIds"),
        (nat_gateways.NatGateways, "describe_nat_gateways", "NatGateways", "NatGatewayIds"),
        (subnets.Subnets, "describe_subnets", "Subnets", "SubnetIds"),
        (vpcs.VPCs, "describe_vpcs", "Vpcs", "VpcIds"),
    ):
        if hasattr(holder, name):
            setattr(holder, name, paged(getattr(holder, name), key, ids))


def paged(function, key: str, ids: str):
    @functools.wraps(function)
    def describe(self):
        size, token = self._get_int_param("MaxResults"), self._get_param("NextToken")
        if size is not None and self._get_param(ids, []):
            raise error("InvalidParameterCombination", f"The parameter {ids} cannot be used with the parameter maxResults")
        if size is not None and not 5 <= size <= 1000:
            raise error("InvalidParameterValue", f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value between 5 and 1000.")
        answer = function(self)
        if size is None and not token:
            return answer
        try:
            start = int(token.removeprefix("page-")) if token else 0
        except ValueError:
            raise error("InvalidParameterValue", f"Value ( {token} ) for parameter nextToken is invalid.") from None
        result = copy.copy(answer.result)
        items = list(result[key])
        end = start + (size or 1000)
        result[key] = items[start:end]
        if end < len(items):
            result["NextToken"] = f"page-{end}"
        return type(answer)(result)

    return describe
