"""Run a simulated cluster on a loopback port: `python -m pdsim --slow-store 4`."""

from __future__ import annotations

import argparse
import threading
import time

from pdsim.http import serve
from pdsim.model import Cluster
from pdsim.world import Timing


def main() -> None:
    """Print the URL, then serve until interrupted."""
    parse = argparse.ArgumentParser(prog="python -m pdsim", description=__doc__, epilog=_EPILOG)
    parse.add_argument("--stores", type=int, default=5, help="number of TiKV stores (default 5)")
    parse.add_argument("--regions", type=int, default=200, help="number of regions (default 200)")
    parse.add_argument("--replicas", type=int, default=3, help="replicas of each region (default 3)")
    parse.add_argument("--slow-store", type=int, metavar="ID", help="this store reports slow_score 90")
    parse.add_argument(
        "--slow-score", type=int, default=90, help="the score it reports (default 90; 100 is taken in by PD)"
    )
    parse.add_argument("--dead-store", type=int, metavar="ID", help="this store sends no heartbeats")
    parse.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    parse.add_argument("--heartbeat-s", type=float, default=1.0, help="store heartbeat interval in seconds (default 1)")
    parse.add_argument("--cluster-id", type=int, default=7168243901123456789, help="the PD cluster id")
    parse.add_argument("--seed", type=int, default=0, help="what all chance comes from (default 0)")
    chosen = parse.parse_args()
    for name in ("slow_store", "dead_store"):
        store = getattr(chosen, name)
        if store is not None and not 1 <= store <= chosen.stores:
            parse.error(f"--{name.replace('_', '-')} {store}: stores are 1 to {chosen.stores}")
    if not 1 <= chosen.replicas <= chosen.stores:
        parse.error(f"--replicas {chosen.replicas}: must be between 1 and --stores {chosen.stores}")
    cluster = Cluster.healthy(
        cluster_id=chosen.cluster_id,
        stores=chosen.stores,
        regions=chosen.regions,
        replicas=chosen.replicas,
        now=time.time(),
        seed=chosen.seed,
        timing=Timing(store_heartbeat_s=chosen.heartbeat_s, region_heartbeat_s=chosen.heartbeat_s * 6),
    )
    if chosen.slow_store is not None:
        cluster.set_slow(chosen.slow_store, chosen.slow_score)
    if chosen.dead_store is not None:
        cluster.kill_store(chosen.dead_store)
    with serve(cluster, port=chosen.port) as served:
        print(f"{served.url}  (try {served.url}/pd/api/v1/stores)", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopped", flush=True)


_EPILOG = "example: python -m pdsim --stores 5 --slow-store 4 --port 2379"

if __name__ == "__main__":
    main()
