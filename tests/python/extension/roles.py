"""Roles as AWS has them: instances are found by the ARN of their profile; a role's inline policies have 10,240 characters together, white
space not counted."""

ROOM = 10_240


def mend() -> None:
    from moto.ec2 import utils
    from moto.ec2.models.instances import Instance
    from moto.iam.exceptions import LimitExceededException
    from moto.iam.models import IAMBackend

    def profile_arn(self):
        association = self.ec2_backend.iam_instance_profile_associations.get(self.id)
        if association is not None:
            return association.iam_instance_profile.arn
        profile = self.iam_instance_profile
        return profile.get("Arn") if isinstance(profile, dict) else None

    Instance.iam_instance_profile_arn = property(profile_arn)
    utils.filter_dict_attribute_mapping["iam-instance-profile.arn"] = "iam_instance_profile_arn"

    put = IAMBackend.put_role_policy

    def put_role_policy(self, role_name, policy_name, policy_json):
        policies = {**self.get_role(role_name).policies, policy_name: policy_json}
        if sum(len("".join(str(text).split())) for text in policies.values()) > ROOM:
            raise LimitExceededException(f"Maximum policy size of {ROOM} bytes exceeded for role {role_name}")
        put(self, role_name, policy_name, policy_json)

    IAMBackend.put_role_policy = put_role_policy
