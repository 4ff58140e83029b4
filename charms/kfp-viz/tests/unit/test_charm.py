"""The visualization server: its command, and who reaches it."""

from __future__ import annotations

from charmed_mlops.testing import relation


def test_it_runs_where_its_image_has_it(charm):
    service = charm.service(charm.settled())
    assert (service.command, service.working_dir) == ("python3 server.py", "/src")


def test_nobody_reaches_it_until_somebody_is_related(charm):
    assert charm.manifest(charm.settled(), "NetworkPolicy")["spec"]["ingress"] == []


def test_who_is_related_reaches_it_and_is_told_where(charm):
    out = charm.settled(relation("visualization", "kfp-api"))
    (rule,) = charm.manifest(out, "NetworkPolicy")["spec"]["ingress"]
    assert rule["from"] == [
        {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "kfp-api"}}}
    ]
    assert charm.published(out, "visualization")["port"] == "8888"


def test_it_has_no_rights(charm):
    kinds = {each["kind"] for each in charm.manifests(charm.settled())}
    assert kinds == {"NetworkPolicy", "Service"}
