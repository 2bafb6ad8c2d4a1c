"""What moto lacks or does differently from AWS and the lab needs, put into the running server.

Each module here says what it mends. Nothing of it is in `--plain` mode, and what is tested there must not lean on it.
"""

import threading

from . import (
    balancing,
    cloudtrail,
    ec2,
    ec2_instance,
    events,
    guardduty,
    iam,
    iam_user,
    interfaces,
    logs,
    organizations,
    roles,
    scaling,
    securityhub,
    snapshots,
    web,
)


def install(application):
    """Mends moto in place and wraps its WSGI application with the operations that moto does not have."""
    remember_accounts()
    balancing.mend()
    ec2.mend()
    ec2_instance.mend()
    events.mend()
    iam.mend()
    interfaces.mend()
    iam_user.mend()
    logs.mend()
    organizations.mend()
    roles.mend()
    scaling.mend()
    securityhub.mend()
    snapshots.mend()
    wrapped = web.Application(application)
    wrapped.add_operations("guardduty", guardduty.ROUTES)
    wrapped.add_operations("securityhub", securityhub.ROUTES)
    wrapped.add_targets("cloudtrail", cloudtrail.TARGETS)
    wrapped.add_seed("cloudtrail-events", cloudtrail.seed)
    wrapped.add_seed("guardduty-findings", guardduty.seed)
    wrapped.add_seed("securityhub-findings", securityhub.seed)
    wrapped.add_seed("organizations-accounts", organizations.seed)
    wrapped.add_seed("events", events.seed)
    wrapped.add_seed("ec2-attributes", interfaces.seed)
    wrapped.add_seed("iam-dates", iam_user.seed_dates)
    wrapped.add_seed("iam-root-keys", iam_user.seed_root_keys)
    return wrapped


def remember_accounts() -> None:
    """moto looks through every account for an access key at each call; a key never changes its account."""
    from moto.iam import models

    look_up = models.get_account_id_from
    known: dict[str, str] = {}
    lock = threading.Lock()

    def get_account_id_from(access_key: str) -> str:
        account = known.get(access_key)
        if account is None:
            account = look_up(access_key)
            if account != models.DEFAULT_ACCOUNT_ID:
                with lock:
                    known[access_key] = account
        return account

    models.get_account_id_from = get_account_id_from
