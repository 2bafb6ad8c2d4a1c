"""EC2: what moto lacks of network interfaces.

- Connection tracking timeouts are set, checked and shown; what nobody set is not shown.
- An interface that an AWS service runs cannot be changed by anybody else.
- The interfaces of an endpoint are the endpoint's: run by AWS, in its groups, with addresses of their subnets.
- Seeds (`ec2-attributes`) set what no call sets: who runs an interface, who owns a VPC or a subnet.
"""

from .ec2 import error

TIMEOUTS = {"TcpEstablishedTimeout": (60, 432000), "UdpStreamTimeout": (60, 180), "UdpTimeout": (30, 60)}


def mend() -> None:
    mend_timeouts()
    mend_endpoints()
    mend_owners()


def mend_timeouts() -> None:
    from moto.ec2.models.elastic_network_interfaces import NetworkInterface
    from moto.ec2.responses.elastic_network_interfaces import ElasticNetworkInterfaces as Responses

    NetworkInterface.connection_tracking_configuration = None
    modify = Responses.modify_network_interface_attribute

    def modify_network_interface_attribute(self):
        wanted = self._get_param("ConnectionTrackingSpecification", {}) or {}
        eni = self.ec2_backend.get_network_interface(self._get_param("NetworkInterfaceId"))
        if eni.requester_managed:
            raise error("OperationNotPermitted", f"You do not have permission to modify '{eni.id}', which {eni.requester_id} manages.")
        if not wanted:
            return modify(self)
        found = dict(eni.connection_tracking_configuration or {})
        for name, value in wanted.items():
            least, most = TIMEOUTS[name]
            if not least <= int(value) <= most:
                raise error("InvalidParameterValue", f"Value ({value}) for parameter {name} is invalid. It must be between {least} and {most}.")
            found[name] = int(value)
        self.error_on_dryrun()
        eni.connection_tracking_configuration = found
        from moto.core.responses import EmptyResult

        return EmptyResult()

    Responses.modify_network_interface_attribute = modify_network_interface_attribute


def mend_endpoints() -> None:
    from moto.ec2.models.vpcs import VPCBackend
    from moto.ec2.utils import random_private_ip

    create = VPCBackend.create_vpc_endpoint

    def create_vpc_endpoint(self, *arguments, **more):
        endpoint = create(self, *arguments, **more)
        if (endpoint.vpc_endpoint_type or "").lower() != "interface":
            return endpoint
        if not endpoint.security_group_ids:
            endpoint.security_group_ids = [self.get_default_security_group(endpoint.vpc_id).id]
        for eni_id in endpoint.network_interface_ids:
            eni = self.get_network_interface(eni_id)
            eni._group_set = [self.get_security_group_from_id(group) for group in endpoint.security_group_ids]
            eni.requester_managed, eni.requester_id, eni.interface_type = True, "amazon-vpce", "vpc_endpoint"
            eni.private_ip_address = random_private_ip(eni.subnet.cidr_block)
            eni.private_ip_addresses = [{"Primary": True, "PrivateIpAddress": eni.private_ip_address}]
        return endpoint

    VPCBackend.create_vpc_endpoint = create_vpc_endpoint


def mend_owners() -> None:
    from moto.ec2.models.subnets import Subnet
    from moto.ec2.models.vpcs import VPC

    for shared in (VPC, Subnet):
        owner = shared.owner_id
        shared.owner_id = property(lambda self, owner=owner: getattr(self, "seeded_owner", None) or owner.fget(self))


def seed(account: str, region: str, items: list) -> None:
    """Items have an `id`, and `requester_managed` and `requester_id` of an interface or the `owner` of a VPC or subnet."""
    from moto.ec2.models import ec2_backends

    backend = ec2_backends[account][region]
    for item in items:
        key = item["id"]
        if key.startswith("eni-"):
            eni = backend.get_network_interface(key)
            eni.requester_managed, eni.requester_id = item["requester_managed"], item["requester_id"]
        else:
            shared = backend.vpcs[key] if key.startswith("vpc-") else backend.get_subnet(key)
            shared.seeded_owner = item["owner"]
