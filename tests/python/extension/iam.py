"""IAM: a role's inline policies that CloudFormation gives it are JSON, where moto keeps Python's own text of them."""

import json


def mend() -> None:
    from moto.iam.models import Role

    put_policy = Role.put_policy

    def put_policy_as_json(self, policy_name, policy_json):
        put_policy(self, policy_name, policy_json if isinstance(policy_json, str) else json.dumps(policy_json))

    Role.put_policy = put_policy_as_json
