"""What Steward needs of a Kubernetes API: nothing. Pure.

No module calls it, so no role gets a Role or a binding there. What can be given least of is the token that Kubernetes
puts into every pod unless told not to: each role has a service account of its own, without one.
"""

from __future__ import annotations

from streams.pipeline import EDGES, PROCESSORS

_HEAD = """\
# TiKV Steward calls nothing in Kubernetes: there is no Role and no RoleBinding here, and none is needed.
# A service account a role, whose token is not put into the pod. Name it in the pod as serviceAccountName.
"""
_ACCOUNT = """\
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: steward-{role}
automountServiceAccountToken: false
"""


def render() -> str:
    """YAML for `kubectl apply -f -`, in the namespace that is chosen there."""
    return _HEAD + "".join(_ACCOUNT.format(role=line.role) for line in (*EDGES, *PROCESSORS))
