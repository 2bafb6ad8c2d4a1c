"""EC2: what an instance says of itself and lets be changed, as AWS has it.

- `InstanceInitiatedShutdownBehavior` can be modified (moto takes the request for one about security groups and empties them); attributes that
  a Spot Instance or an instance-store root does not support, unknown devices and terminated instances are errors.
- Metadata options that a request does not name are kept; an answer to a change says `pending`, a description `applied`.
- Replacing an association with an instance profile gives it another id and shows on the instance; a profile that is not there, has no role, or
  was made in this very moment is an invalid parameter to EC2; a terminated instance has no association.
"""

import copy
import datetime

from .ec2 import error

# How long a new instance profile is unknown to EC2: IAM is eventually consistent.
UNKNOWN_FOR = datetime.timedelta(milliseconds=200)
GONE = ("terminated", "shutting-down")


def mend() -> None:
    mend_attributes()
    mend_metadata_options()
    mend_associations()


def living(backend, instance_id):
    instance = backend.get_instance(instance_id)
    if instance.state in GONE:
        raise error("IncorrectInstanceState", f"This instance '{instance_id}' is not in a valid state for this operation.")
    return instance


def mend_attributes() -> None:
    from moto.core.responses import EmptyResult
    from moto.ec2.responses.instances import InstanceResponse

    modify = InstanceResponse.modify_instance_attribute

    def modify_instance_attribute(self):
        instance = living(self.ec2_backend, self._get_param("InstanceId"))
        protections = [name for name in ("DisableApiTermination", "DisableApiStop") if self._get_param(f"{name}.Value") is not None]
        behaviour = self._get_param("InstanceInitiatedShutdownBehavior.Value")
        if behaviour is not None:
            protections.append("InstanceInitiatedShutdownBehavior")
        for name in protections:
            if instance.lifecycle == "spot":
                raise error("UnsupportedOperation", f"The attribute '{name}' cannot be modified for a Spot Instance.")
            if instance.root_device_type == "instance-store" and name != "DisableApiTermination":
                raise error("UnsupportedOperation", f"The attribute '{name}' is not supported for instance-store backed instances.")
        for mapping in self._get_param("BlockDeviceMappings", []):
            device = mapping.get("DeviceName")
            if device not in instance.block_device_mapping:
                raise error("InvalidInstanceAttributeValue", f"No device is currently mapped at {device}")
        if behaviour is not None:
            self.error_on_dryrun()
            if behaviour not in ("stop", "terminate"):
                raise error("InvalidParameterValue", f"Value ({behaviour}) for parameter instanceInitiatedShutdownBehavior is invalid.")
            instance.instance_initiated_shutdown_behavior = behaviour
            return EmptyResult()
        return modify(self)

    InstanceResponse.modify_instance_attribute = modify_instance_attribute


def mend_metadata_options() -> None:
    from moto.ec2.models.instances import InstanceBackend

    def modify_instance_metadata_options(
        self, instance_id, http_tokens=None, hop_limit=None, http_endpoint=None, dry_run=False, http_protocol=None, metadata_tags=None
    ):
        options = living(self, instance_id).metadata_options
        named = {
            "http_tokens": http_tokens,
            "http_put_response_hop_limit": hop_limit,
            "http_endpoint": http_endpoint,
            "http_protocol_ipv6": http_protocol,
            "instance_metadata_tags": metadata_tags,
        }
        for name, value in named.items():
            if value is not None:
                setattr(options, name, value)
        options.state = "applied"
        answer = copy.copy(options)
        answer.state = "pending"
        return answer

    InstanceBackend.modify_instance_metadata_options = modify_instance_metadata_options


def mend_associations() -> None:
    from moto.core.utils import utcnow
    from moto.ec2.models.iam_instance_profile import IamInstanceProfileAssociationBackend as Backend
    from moto.ec2.utils import random_iam_instance_profile_association_id
    from moto.iam.models import iam_backends

    describe = Backend.describe_iam_instance_profile_associations

    def profile_of(self, name, arn):
        profiles = list(iam_backends[self.account_id][self.partition].get_instance_profiles())
        found = next((profile for profile in profiles if profile.arn == arn or (arn is None and profile.name == name)), None)
        kind = "arn" if arn else "name"
        invalid = f"Value ({arn or name}) for parameter iamInstanceProfile.{kind} is invalid. Invalid IAM Instance Profile {kind}"
        if found is None or not found.roles or utcnow() - found.create_date < UNKNOWN_FOR:
            raise error("InvalidParameterValue", invalid)
        return found

    def replace_iam_instance_profile_association(self, association_id, iam_instance_profile_name=None, iam_instance_profile_arn=None):
        association = next(
            (item for item in self.iam_instance_profile_associations.values() if item.association_id == association_id), None
        )
        if association is None:
            raise error("InvalidAssociationID.NotFound", f"An invalid association-id of '{association_id}' was given")
        living(self, association.instance.id)
        profile = profile_of(self, iam_instance_profile_name, iam_instance_profile_arn)
        replaced = copy.copy(association)
        replaced.association_id = random_iam_instance_profile_association_id()
        replaced.iam_instance_profile = profile
        self.iam_instance_profile_associations[association.instance.id] = replaced
        self.modify_instance_attribute(association.instance.id, "iam_instance_profile", {"Arn": profile.arn, "Id": profile.id})
        return replaced

    def describe_iam_instance_profile_associations(self, association_ids, filters=None, max_results=100, next_token=None):
        for instance_id, association in list(self.iam_instance_profile_associations.items()):
            if association.instance.state == "terminated":
                del self.iam_instance_profile_associations[instance_id]
        return describe(self, association_ids, filters, max_results, next_token)

    Backend.replace_iam_instance_profile_association = replace_iam_instance_profile_association
    Backend.describe_iam_instance_profile_associations = describe_iam_instance_profile_associations
