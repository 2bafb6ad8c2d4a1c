"""EBS snapshots as AWS has them.

- A snapshot is `pending` for a moment, then `completed`. The tag `cordon-lab:snapshot` of its volume gives it another fate: `error`, or
  `slow` (pending for some seconds).
- CreateSnapshots leaves out the volumes that it is told to; a snapshot is encrypted with its volume's key.
- A locked snapshot cannot be deleted; a lock's time runs from completion.
- Who sees a snapshot: its owner, and whom it is shared with; tags are the owner's. A snapshot under the AWS managed key cannot be shared.
- A copy is of a completed snapshot, has a volume id that means nothing, and fails when the source's key is another account's.
"""

import copy
import datetime
import threading
import time
from types import SimpleNamespace

from .ec2 import error

MOMENT = 0.4
SECONDS = 4.0
FATE = "cordon-lab:snapshot"
NO_VOLUME = "vol-ffffffff"

shared_lock = threading.Lock()
# Region -> snapshot id -> snapshot, of those that are shared with anybody.
shared: dict = {}


def mend() -> None:
    mend_state()
    mend_creation()
    mend_sharing()
    mend_copies()
    add_locks()


# --- state ----------------------------------------------------------------------------------------------------------------------------------


def mend_state() -> None:
    from moto.ec2.models.elastic_block_store import Snapshot

    def get(self):
        until = self.__dict__.get("pending_until")
        fate = self.__dict__.get("fate", "completed")
        if until is None:
            return self.__dict__.get("kept_status", "completed")
        if time.monotonic() < until:
            return "pending"
        return "error" if fate == "error" else "completed"

    def put(self, value):
        self.__dict__["kept_status"] = value

    Snapshot.status = property(get, put)
    Snapshot.state = property(get)
    Snapshot.progress = property(lambda self: "100%" if self.status == "completed" else "0%")
    Snapshot.status_message = property(lambda self: self.__dict__.get("why") if self.status == "error" else None)
    Snapshot.state_message = Snapshot.status_message


def begin(snapshot, fate: str = "completed", why: str = "An internal error has occurred.") -> None:
    snapshot.pending_until = time.monotonic() + (SECONDS if fate == "slow" else MOMENT)
    snapshot.fate = fate
    snapshot.why = why


# --- creation -------------------------------------------------------------------------------------------------------------------------------


def mend_creation() -> None:
    from moto.ec2.models.elastic_block_store import EBSBackend

    create = EBSBackend.create_snapshot

    def create_snapshot(self, volume_id, description, owner_id=None, from_ami=None):
        snapshot = create(self, volume_id, description, owner_id, from_ami)
        volume = self.get_volume(volume_id)
        snapshot.kms_key_id = volume.kms_key_id
        if from_ami is None:
            begin(snapshot, {tag["key"]: tag["value"] for tag in volume.get_tags()}.get(FATE, "completed"))
        return snapshot

    def create_snapshots(self, instance_spec, description, tags):
        instance = self.get_instance(instance_spec["InstanceId"])
        if instance.state in ("terminated", "shutting-down"):
            raise error("IncorrectInstanceState", f"The instance '{instance.id}' is not in a state from which it can be snapshotted.")
        without_root = str(instance_spec.get("ExcludeBootVolume", False)).lower() == "true"
        without = instance_spec.get("ExcludeDataVolumeIds") or instance_spec.get("ExcludeDataVolumeId") or []
        attached = [(device, mapping.volume_id) for device, mapping in instance.get_block_device_mapping if mapping.volume_id]
        roots = {volume for device, volume in attached if device == instance.root_device_name}
        if roots & set(without):
            raise error("InvalidParameterValue", "The root volume cannot be excluded by its ID. Use ExcludeBootVolume.")
        if set(without) - {volume for _, volume in attached}:
            raise error("InvalidParameterValue", "A volume to exclude is not attached to the instance.")
        wanted = [volume for _, volume in attached if volume not in without and not (without_root and volume in roots)]
        if not wanted:
            raise error("InvalidParameterValue", f"The instance '{instance.id}' has no volume to snapshot.")
        snapshots = [self.create_snapshot(volume, description=description) for volume in wanted]
        for snapshot in snapshots:
            snapshot.add_tags(tags)
        return snapshots

    EBSBackend.create_snapshot = create_snapshot
    EBSBackend.create_snapshots = create_snapshots


# --- sharing --------------------------------------------------------------------------------------------------------------------------------


def shown_to(backend) -> list:
    """The snapshots of a Region that an account sees: those of others without their tags."""
    account = backend.account_id
    seen = list(backend.snapshots.values())
    with shared_lock:
        others = list(shared.get(backend.region_name, {}).values())
    for snapshot in others:
        allowed = "all" in snapshot.create_volume_permission_groups or account in snapshot.create_volume_permission_userids
        if allowed and snapshot.ec2_backend.account_id != account:
            view = copy.copy(snapshot)
            view.ec2_backend = backend
            seen.append(view)
    return seen


def mend_sharing() -> None:
    from moto.core.responses import ActionResult
    from moto.ec2.exceptions import InvalidSnapshotIdError
    from moto.ec2.models.elastic_block_store import EBSBackend
    from moto.ec2.responses.elastic_block_store import ElasticBlockStore
    from moto.ec2.utils import generic_filter

    def describe_snapshots(self):
        filters = self._filters_from_querystring()
        wanted, owners = self._get_param("SnapshotIds", []), self._get_param("OwnerIds", [])
        owners = {self.ec2_backend.account_id if owner == "self" else owner for owner in owners}
        found = shown_to(self.ec2_backend)
        if wanted:
            found = [snapshot for snapshot in found if snapshot.id in wanted]
            if len(found) < len(set(wanted)):
                raise InvalidSnapshotIdError()
        if owners:
            found = [snapshot for snapshot in found if snapshot.owner_id in owners]
        return ActionResult({"Snapshots": generic_filter(filters, found) if filters else found})

    ElasticBlockStore.describe_snapshots = describe_snapshots

    add, remove, delete = EBSBackend.add_create_volume_permission, EBSBackend.remove_create_volume_permission, EBSBackend.delete_snapshot

    def add_create_volume_permission(self, snapshot_id, user_ids, groups):
        snapshot = self.get_snapshot(snapshot_id)
        if snapshot.encrypted and (groups or snapshot.kms_key_id in (None, self.default_kms_key_id)):
            raise error("InvalidParameter", "Encrypted snapshots with EBS default key cannot be shared")
        add(self, snapshot_id, user_ids, groups)
        with shared_lock:
            shared.setdefault(self.region_name, {})[snapshot_id] = snapshot

    def remove_create_volume_permission(self, snapshot_id, user_ids=None, groups=None):
        remove(self, snapshot_id, user_ids, groups or [])

    def delete_snapshot(self, snapshot_id):
        snapshot = self.snapshots.get(snapshot_id)
        if snapshot is not None and getattr(snapshot, "lock", None):
            raise error("SnapshotLocked", f"The snapshot {snapshot_id} is locked and can't be deleted.")
        with shared_lock:
            shared.get(self.region_name, {}).pop(snapshot_id, None)
        return delete(self, snapshot_id)

    EBSBackend.add_create_volume_permission = add_create_volume_permission
    EBSBackend.remove_create_volume_permission = remove_create_volume_permission
    EBSBackend.delete_snapshot = delete_snapshot


# --- copies ---------------------------------------------------------------------------------------------------------------------------------


def mend_copies() -> None:
    from moto.core.responses import ActionResult
    from moto.ec2.exceptions import InvalidParameterDependency, InvalidSnapshotIdError
    from moto.ec2.models import ec2_backends
    from moto.ec2.models.elastic_block_store import Snapshot
    from moto.ec2.responses.elastic_block_store import ElasticBlockStore
    from moto.ec2.utils import random_snapshot_id

    def copy_snapshot(self):
        backend = self.ec2_backend
        source_id, region = self._get_param("SourceSnapshotId"), self._get_param("SourceRegion")
        key, encrypted = self._get_param("KmsKeyId"), self._get_bool_param("Encrypted", False)
        tags = self._parse_tag_specification().get("snapshot", {})
        self.error_on_dryrun()
        if key and not encrypted:
            raise InvalidParameterDependency("KmsKeyId", "Encrypted")
        source = next((one for one in shown_to(ec2_backends[backend.account_id][region]) if one.id == source_id), None)
        if source is None:
            raise InvalidSnapshotIdError()
        if source.status != "completed":
            raise error("IncorrectState", f"Snapshot is in invalid state - {source.status}")
        if source.encrypted and not key:
            key = backend.default_kms_key_id or backend._create_default_encryption_key()
        volume = SimpleNamespace(id=NO_VOLUME, size=source.volume_size)
        snapshot = Snapshot(
            backend, random_snapshot_id(), volume=volume, description=self._get_param("Description") or "", encrypted=encrypted or source.encrypted,
            kms_key_id=key,
        )
        theirs = source.owner_id != backend.account_id and source.encrypted
        # Whoever may encrypt with a key may decrypt with it.
        usable = source.kms_key_id == key or f":{backend.account_id}:" in (source.kms_key_id or "")
        if theirs and not usable:
            begin(snapshot, "error", "Given key ID is not accessible")
        else:
            begin(snapshot)
        backend.snapshots[snapshot.id] = snapshot
        snapshot.add_tags(tags)
        return ActionResult({"SnapshotId": snapshot.id, "Tags": snapshot.tag_set})

    ElasticBlockStore.copy_snapshot = copy_snapshot


# --- locks ----------------------------------------------------------------------------------------------------------------------------------


def add_locks() -> None:
    from moto.core.responses import ActionResult
    from moto.ec2.responses.elastic_block_store import ElasticBlockStore

    def own(self):
        return self.ec2_backend.get_snapshot(self._get_param("SnapshotId"))

    def lock_snapshot(self):
        snapshot, mode, days = own(self), self._get_param("LockMode"), self._get_param("LockDuration")
        self.error_on_dryrun()
        if mode not in ("governance", "compliance"):
            raise error("InvalidParameterValue", f"Value ({mode}) for parameter LockMode is invalid.")
        if days is None or not 1 <= int(days) <= 36500:
            raise error("InvalidParameterValue", "LockDuration must be between 1 and 36500 days.")
        if snapshot.status not in ("pending", "completed"):
            raise error("IncorrectState", f"The snapshot {snapshot.id} is not in the pending or completed state.")
        snapshot.lock = {"mode": mode, "days": int(days), "at": datetime.datetime.now(datetime.timezone.utc)}
        return ActionResult(lock_of(snapshot))

    def unlock_snapshot(self):
        snapshot = own(self)
        self.error_on_dryrun()
        lock = getattr(snapshot, "lock", None)
        if not lock:
            raise error("SnapshotNotLocked", f"The snapshot {snapshot.id} is not locked.")
        if lock["mode"] == "compliance":
            raise error("SnapshotLocked", f"The snapshot {snapshot.id} is locked in compliance mode.")
        snapshot.lock = None
        return ActionResult({"SnapshotId": snapshot.id})

    def describe_locked_snapshots(self):
        wanted = self._get_param("SnapshotIds", [])
        own_ones = self.ec2_backend.snapshots
        chosen = [self.ec2_backend.get_snapshot(one) for one in wanted] if wanted else list(own_ones.values())
        found = [{"OwnerId": one.owner_id, **lock_of(one)} for one in chosen if getattr(one, "lock", None) and one.status != "error"]
        return ActionResult({"Snapshots": found})

    ElasticBlockStore.lock_snapshot = lock_snapshot
    ElasticBlockStore.unlock_snapshot = unlock_snapshot
    ElasticBlockStore.describe_locked_snapshots = describe_locked_snapshots


def lock_of(snapshot) -> dict:
    lock = snapshot.lock
    shown = {"SnapshotId": snapshot.id, "LockState": lock["mode"], "LockDuration": lock["days"], "LockCreatedOn": lock["at"]}
    if snapshot.status == "completed":
        shown["LockDurationStartTime"] = lock["at"]
        shown["LockExpiresOn"] = lock["at"] + datetime.timedelta(days=lock["days"])
    return shown
