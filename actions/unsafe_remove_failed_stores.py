"""Forbidden: give up the data of stores that are lost, so that the rest serves again."""

from __future__ import annotations

from pydantic import Field

from actions.forbidden import Forbidden
from schemas.values import StoreId


class UnsafeRemoveFailedStores(Forbidden):
    """Never done here: make regions without a majority serve again from what is left, and lose what was not.

    PD's online unsafe recovery. For the day on which stores are destroyed, and regions that had most of their replicas
    on them can be neither read nor written.

    What the call does (POST /pd/api/v1/admin/unsafe/remove-failed-stores): the named stores are Tombstone at once and
    can never come back, good disks or not. PD halts its scheduling, the repair of replicas and splits included. It
    collects what the other stores have, forces a leader where there is no majority, demotes the lost voters, and puts
    an empty region where every replica is lost. "Request has been accepted." says that it has begun, not how it ends.

    What clients notice: what could not be served is served again: older than what was acknowledged, or empty. Indexes
    may not agree with their tables any more. While it runs, nothing is split or balanced.

    Why no machine does it: it loses data by design, and how much is known only afterwards. It can't be undone, and no
    release from 6.5 to 8.5 can stop it. A machine sees that a store does not answer; whether it is destroyed, or
    without power or network, or still starting, a person finds out. Where it would have come back, this is the loss.

    What a person checks first:
    1. Can one of the stores come back? Look at process, node, disk and network of each. Where two of three replicas
       are away, one store that returns gives its regions their majority back, and nothing is lost.
    2. Have regions really lost their majority? pd-ctl region store 4, then 5: those with most of their peers on lost
       stores have. (They are not among the down-peer ones: without a leader they report nothing.) Where a minority
       is lost, PD makes the replicas again by itself once max-store-down-time has passed.
    3. Is restoring a backup better? Who owns the data, and do they accept the loss? Keep the lost disks as they are.
    4. Are all the lost stores named, in one call, and no other? PD refuses only one that is Up ("is up and
       connected"): one that has been silent for 20 s, or is Offline and still serves, it takes.
    5. Does nothing else change the cluster meanwhile: no tidb-operator, no scaling, no other repair?

    By hand: pd-ctl unsafe remove-failed-stores 4,5 --timeout 600
    Then, until it says "Unsafe recovery Finished" or "Unsafe recovery Failed" and why (older PDs in small letters):
             pd-ctl unsafe remove-failed-stores show
    It lists the stages so far, what each store was told, and at the end what was affected. That history is in the PD
    leader's memory: keep a copy. If the PD leader changes meanwhile the recovery is broken off, with the stores
    already Tombstone, and has to be asked for again. Until it is over PD allows no split, runs no scheduler
    or checker and refuses a second recovery (ErrUnsafeRecoveryIsRunning), and Steward does nothing on this cluster
    (`unsafe_recovery`). Afterwards: ADMIN CHECK TABLE for every table affected, new stores, and the old ones never
    started again with their old data.
    """

    name = "unsafe_remove_failed_stores"
    because = "it gives up data for good, can't be stopped or undone, and only a person can say that a store is lost"
    check_first = (
        "whether one of the stores can come back, whether regions have really lost their majority, whether a backup is"
        " better, and who may give the data up"
    )

    store_ids: tuple[StoreId, ...] = Field(
        min_length=1, max_length=100, description="Every store that is lost for good, by id."
    )
    timeout_s: int = Field(300, ge=60, le=3600, description="After so many seconds PD breaks off, undoing nothing.")
