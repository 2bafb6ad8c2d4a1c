"""AWS Organizations as members see it.

- A delegated administrator, whatever the service, reads the organization as the management account does; any member may ask DescribeOrganization;
  other members are denied; an account of no organization is told so.
- Security Hub, Inspector and others take delegated administrators too.
- Seeds accounts with ids of our choice: {"AccountId", "AccountName", "Email", "ParentId", "State", "Tags"}.
"""

import threading

seeding = threading.Lock()
READS = {
    "DescribeAccount", "DescribeOrganization", "DescribeOrganizationalUnit", "DescribePolicy", "ListAWSServiceAccessForOrganization",
    "ListAccounts", "ListAccountsForParent", "ListChildren", "ListDelegatedAdministrators", "ListDelegatedServicesForAccount",
    "ListOrganizationalUnitsForParent", "ListParents", "ListPolicies", "ListPoliciesForTarget", "ListRoots", "ListTagsForResource",
    "ListTargetsForPolicy",
}
SERVICES = [
    "cloudtrail.amazonaws.com", "config.amazonaws.com", "detective.amazonaws.com", "inspector2.amazonaws.com",
    "member.org.stacksets.cloudformation.amazonaws.com", "securityhub.amazonaws.com", "stacksets.cloudformation.amazonaws.com",
]


def mend() -> None:
    from moto.core.exceptions import JsonRESTError
    from moto.organizations import models, responses
    from moto.organizations.exceptions import AWSOrganizationsNotInUseException

    supported = models.FakeDelegatedAdministrator.SUPPORTED_SERVICES
    supported += [service for service in SERVICES if service not in supported]

    def organizations_backend(self):
        own = models.organizations_backends[self.current_account][self.partition]
        action = self._get_action()
        if own.org is not None or action == "CreateOrganization":
            return own
        management = management_of(self.current_account)
        if management is None:
            raise AWSOrganizationsNotInUseException
        if action == "DescribeOrganization":
            return own
        if action in READS and delegations(self.current_account):
            return management
        raise JsonRESTError("AccessDeniedException", "You don't have permissions to access this resource.")

    responses.OrganizationsResponse.organizations_backend = property(organizations_backend)


def management_of(account: str):
    """The backend of the management account of the account's organization, or None."""
    from moto.organizations.models import organizations_backends

    found = organizations_backends.master_accounts.get(account)
    if found is None:
        own = organizations_backends[account]["aws"]
        return own if own.org is not None else None
    return organizations_backends[found[0]][found[1]]


def delegations(account: str) -> set:
    """The services for which an account is a delegated administrator."""
    management = management_of(account)
    if management is None:
        return set()
    return {service for admin in management.admins if admin.account.id == account for service in admin.services}


def members_seen_by(account: str, service: str) -> list:
    """The other accounts whose findings an account sees: all of its organization if it administers the service, else none."""
    if service not in delegations(account):
        return []
    return [member.id for member in management_of(account).accounts if member.id != account]


def seed(account: str, region: str, items: list) -> None:
    from moto.organizations import utils
    from moto.organizations.models import organizations_backends

    backend = organizations_backends[account]["aws"]
    for item in items:
        with seeding:
            random_id = utils.make_random_account_id
            utils.make_random_account_id = lambda item=item: item["AccountId"]
            try:
                backend.create_account(AccountName=item["AccountName"], Email=item["Email"], Tags=item.get("Tags", []))
            finally:
                utils.make_random_account_id = random_id
        new = backend.get_account_by_id(item["AccountId"])
        new.parent_id = item.get("ParentId") or new.parent_id
        new.state = item.get("State", "ACTIVE")
        new.status = {"PENDING_ACTIVATION": "ACTIVE", "CLOSED": "SUSPENDED"}.get(new.state, new.state)
