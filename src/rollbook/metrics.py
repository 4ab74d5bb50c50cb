"""Prometheus metrics from observations, on a listener of their own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from rollbook.observations import (
    ConnectionRefused,
    Observation,
    Observe,
    RequestAnswered,
    RequestFailed,
    StorageUnavailable,
)
from rollbook.settings import SettingError

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def serve_metrics(host: str, port: int, version: str) -> Observe:
    """Listen for Prometheus on `/metrics`, and return the observer that counts.

    Raises SettingError where the port is taken.
    """
    registry = CollectorRegistry()
    requests = Counter(
        "rollbook_requests", "Requests answered.", ["method", "route", "status"], registry=registry
    )
    seconds = Histogram(
        "rollbook_request_seconds", "Time to an answer.", ["route"], buckets=BUCKETS, registry=registry
    )
    failures = Counter("rollbook_failures", "Errors that nobody expected.", registry=registry)
    unavailable = Counter(
        "rollbook_storage_unavailable", "Requests that the database could not serve.", registry=registry
    )
    refused = Counter(
        "rollbook_connections_refused", "Connections refused before a request.", registry=registry
    )
    Gauge("rollbook_info", "The version that runs.", ["version"], registry=registry).labels(version).set(1)

    def observe(observation: Observation) -> None:
        match observation:
            case RequestAnswered(method=method, route=route, status=status, seconds=taken):
                requests.labels(method, route, str(status)).inc()
                seconds.labels(route).observe(taken)
            case RequestFailed():
                failures.inc()
            case StorageUnavailable():
                unavailable.inc()
            case ConnectionRefused():
                refused.inc()

    try:
        start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise SettingError(
            f"Cannot serve metrics on {host}, port {port}: {error.strerror}. Choose another with "
            "ROLLBOOK_METRICS_PORT."
        ) from None
    return observe
