"""The catalogue: importing this page fills it. Adding an action is its file and one line here."""

from __future__ import annotations

import actions.evict_store_leaders
import actions.remove_tombstones
import actions.transfer_region_leader  # noqa: F401
