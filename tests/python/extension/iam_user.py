"""IAM's users: AWS's own policies can be attached, the quotas of a user's policies hold, a login profile has its own date, there are
service-specific credentials, and an account knows its own access keys only. What can be seeded: dates of what a user has (`iam-dates`), access
keys of the root user (`iam-root-keys`), which no API makes."""

import datetime
import json
import random
import string

AWS_POLICIES: dict = {}


def mend() -> None:
    mend_policies()
    mend_login_profiles()
    mend_keys()
    add_service_credentials()


def aws_policy(backend, arn: str) -> None:
    """Makes a policy of AWS's known to an account when it is first named: all of them for every account would take long."""
    from moto.iam import models

    mark = ":iam::aws:policy/"
    if mark not in arn or arn in backend.managed_policies:
        return
    if not AWS_POLICIES:
        AWS_POLICIES.update(json.loads(models.aws_managed_policies_data))
    data = AWS_POLICIES.get(arn.rsplit("/", 1)[-1])
    if data is not None:
        policy = models.AWSManagedPolicy.from_data(arn.rsplit("/", 1)[-1], backend.account_id, backend.region_name, data)
        backend.managed_policies[policy.arn] = policy


def mend_policies() -> None:
    from moto.iam.exceptions import LimitExceededException
    from moto.iam.models import IAMBackend

    attach, get, put = IAMBackend.attach_user_policy, IAMBackend.get_policy, IAMBackend.put_user_policy

    def attach_user_policy(self, policy_arn, user_name):
        aws_policy(self, policy_arn)
        attached = self.get_user(user_name).managed_policies
        quota = self.account_summary._attached_policies_per_user_quota
        if policy_arn not in attached and len(attached) >= quota:
            raise LimitExceededException(f"Cannot exceed quota for PoliciesPerUser: {quota}")
        attach(self, policy_arn, user_name)

    def get_policy(self, policy_arn):
        aws_policy(self, policy_arn)
        return get(self, policy_arn)

    def put_user_policy(self, user_name, policy_name, policy_json):
        others = [text for name, text in self.get_user(user_name).policies.items() if name != policy_name]
        quota = self.account_summary._user_policy_size_quota
        if sum(len("".join(text.split())) for text in [*others, policy_json]) > quota:
            raise LimitExceededException(f"Maximum policy size of {quota} bytes exceeded for user {user_name}")
        put(self, user_name, policy_name, policy_json)

    IAMBackend.attach_user_policy, IAMBackend.get_policy, IAMBackend.put_user_policy = attach_user_policy, get_policy, put_user_policy


def mend_login_profiles() -> None:
    from moto.core.responses import ActionResult
    from moto.core.utils import utcnow
    from moto.iam.models import IAMBackend
    from moto.iam.responses import IamResponse

    create = IAMBackend.create_login_profile

    def create_login_profile(self, user_name, password):
        user = create(self, user_name, password)
        user.login_made = utcnow()
        return user

    def shown(user):
        made, reset = getattr(user, "login_made", user.create_date), user.password_reset_required
        return ActionResult({"LoginProfile": {"UserName": user.name, "CreateDate": made, "PasswordResetRequired": reset}})

    def respond_create(self):
        user = self.backend.create_login_profile(self._get_param("UserName"), self._get_param("Password"))
        user.password_reset_required = bool(self._get_bool_param("PasswordResetRequired", False))
        return shown(user)

    IAMBackend.create_login_profile = create_login_profile
    IamResponse.create_login_profile = respond_create
    IamResponse.get_login_profile = lambda self: shown(self.backend.get_login_profile(self._get_param("UserName")))


def mend_keys() -> None:
    from moto.iam.models import IAMBackend

    def get_all_access_keys_for_all_users(self):
        return [key for name in list(self.users) for key in self.list_access_keys(name)] + getattr(self, "root_keys", [])

    IAMBackend.get_all_access_keys_for_all_users = get_all_access_keys_for_all_users


# --- credentials for one service each -------------------------------------------------------------------------------------------------------


def add_service_credentials() -> None:
    from moto.core.responses import ActionResult, EmptyResult
    from moto.core.utils import utcnow
    from moto.iam.exceptions import NotFoundException
    from moto.iam.responses import IamResponse

    def held(user) -> list:
        if not hasattr(user, "service_credentials"):
            user.service_credentials = []
        return user.service_credentials

    def find(response):
        identifier = response._get_param("ServiceSpecificCredentialId")
        user = response.backend.get_user(response._get_param("UserName"))
        for item in held(user):
            if item["ServiceSpecificCredentialId"] == identifier:
                return user, item
        raise NotFoundException(f"Service specific credential {identifier} not found.")

    def create(self):
        user, service = self.backend.get_user(self._get_param("UserName")), self._get_param("ServiceName")
        identifier = "ACCA" + "".join(random.choices(string.ascii_uppercase + string.digits, k=16))
        item = {
            "UserName": user.name, "ServiceName": service, "Status": "Active", "CreateDate": utcnow(),
            "ServiceUserName": f"{user.name}-at-{user.account_id}", "ServiceSpecificCredentialId": identifier,
        }
        held(user).append(item)
        return ActionResult({"ServiceSpecificCredential": {**item, "ServicePassword": "of the lab"}})

    def list_all(self):
        service = self._get_param("ServiceName")
        items = held(self.backend.get_user(self._get_param("UserName")))
        found = [item for item in items if service in (None, item["ServiceName"])]
        return ActionResult({"ServiceSpecificCredentials": found, "IsTruncated": False})

    def update(self):
        find(self)[1]["Status"] = self._get_param("Status")
        return EmptyResult()

    def delete(self):
        user, item = find(self)
        held(user).remove(item)
        return EmptyResult()

    IamResponse.create_service_specific_credential = create
    IamResponse.list_service_specific_credentials = list_all
    IamResponse.update_service_specific_credential = update
    IamResponse.delete_service_specific_credential = delete


def seed_root_keys(account: str, region: str, items: list) -> None:
    """Access keys of the root user: each item is an id."""
    from moto.iam.models import AccessKey, iam_backends

    backend = iam_backends[account]["aws"]
    for item in items:
        key = AccessKey(None, prefix="AKIA", account_id=account)
        key.access_key_id = item
        backend.root_keys = [*getattr(backend, "root_keys", []), key]


def seed_dates(account: str, region: str, items: list) -> None:
    """Dates: each item names a user, what it has (an access key, a certificate, a serial number, `login-profile`), and when that was made."""
    from moto.iam.models import iam_backends

    for item in items:
        user = iam_backends[account]["aws"].get_user(item["user"])
        at = datetime.datetime.fromisoformat(item["at"].replace("Z", "+00:00")).replace(tzinfo=None)
        wanted = item["of"]
        if wanted == "login-profile":
            user.login_made = at
        for key in user.access_keys:
            if key.access_key_id == wanted:
                key.create_date = at
        for key in user.ssh_public_keys:
            if key.ssh_public_key_id == wanted:
                key.upload_date = at
        if wanted in user.signing_certificates:
            user.signing_certificates[wanted].upload_date = at
        if wanted in user.mfa_devices:
            user.mfa_devices[wanted].enable_date = at
        for credential in getattr(user, "service_credentials", []):
            if credential["ServiceSpecificCredentialId"] == wanted:
                credential["CreateDate"] = at
