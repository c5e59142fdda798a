"""Locust's own statistics, told of a pump's answers.

All is measured in our histograms. Locust gets the answers once a tick, as counts by rounded milliseconds, because
`events.request.fire` for each would cost more than the request. Users' requests are there by themselves.
"""

from __future__ import annotations

# Locust first: importing it replaces sockets, threads and timers, which others must not have taken before.
from locust.stats import RequestStats, StatsError, bucket_response_time

# isort: split
import collections
from collections.abc import Mapping

from harness.measure.histogram import Histogram


def add_to_stats(
    stats: RequestStats,
    method: str,
    name: str,
    response: Histogram,
    *,
    unanswered: int,
    errors: Mapping[str, int],
    second: int,
) -> None:
    """Add many operations to Locust's statistics at once.

    Args:
        method, name: under which Locust shows them.
        response: of those that were answered.
        unanswered: how many were not.
        errors: how many went wrong, by reason.
        second: of the time of day, under which Locust counts them.
    """
    values_us, counts = response.distribution()
    if values_us.size:
        # One in Locust's own way, which keeps its clocks and caches; the rest by their counts.
        stats.log_request(method, name, int(values_us[0]) / 1000, 0)
        counts[0] -= 1
    rounded: collections.Counter[int] = collections.Counter()
    for value_us, count in zip(values_us.tolist(), counts.tolist(), strict=True):
        rounded[bucket_response_time(value_us / 1000)] += count
    total = int(counts.sum())
    for entry in (stats.total, stats.get(name, method)):
        entry.num_requests += total + unanswered
        entry.num_none_requests += unanswered
        entry.num_reqs_per_sec[second] += total + unanswered
        entry.total_response_time += float((values_us * counts).sum()) / 1000
        if values_us.size:
            entry.max_response_time = max(entry.max_response_time, int(values_us[-1]) / 1000)
        for value_ms, count in rounded.items():
            entry.response_times[value_ms] += count
        entry.num_failures += sum(errors.values())
        if errors:
            entry.num_fail_per_sec[second] += sum(errors.values())
    for reason, count in errors.items():
        key = StatsError.create_key(method, name, reason)
        known = stats.errors.setdefault(key, StatsError(method, name, reason))
        known.occurrences += count
