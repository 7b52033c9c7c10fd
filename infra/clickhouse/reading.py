"""What whoever reads the audit has to set: our own clients, an auditor's, a dashboard's."""

from __future__ import annotations

from collections.abc import Mapping

# ClickHouse remembers for each condition which granules hold nothing for it. What a join's runtime filter has removed
# counts as that, and so after one question another one silently misses rows [seen, 26.9; ClickHouse/ClickHouse#119823].
# Older servers have neither that cache nor the setting.
READER_SETTINGS: Mapping[str, int] = {"use_query_condition_cache": 0}
