"""A related CA signs with another key: what units show and what clients are told, hook by hook."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping

import ops
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from ops import testing

from charmed_mlops import ServiceCharm, ServingCertificate, Waiting, certificates
from charms.tls_double import CA, ENDPOINT, authority, request

META = {
    "name": "server",
    "requires": {ENDPOINT: {"interface": "tls-certificates"}},
    "provides": {"clients": {"interface": "server"}},
}
DAY = 24 * 60
KEPT = "certificate-in-use"


class Server(ServiceCharm):
    """Shows its certificate, and its leader tells clients the CA."""

    shown: certificates.Certificate
    reason: str

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container=None)
        self.certificate = ServingCertificate(self)

    def reconcile(self) -> None:
        Server.reason = ""
        Server.shown = self.certificate.current()
        if self.unit.is_leader():
            for relation in self.model.relations["clients"]:
                relation.data[self.app]["ca"] = Server.shown.ca
        self.certificate.told()
        try:
            self.certificate.require_given()
        except Waiting as reason:
            Server.reason = str(reason)


class Unit:
    """One unit through its hooks."""

    def __init__(self, number: int = 0, leader: bool = True):
        self._context = testing.Context(Server, meta=META, unit_id=number)
        relations = [
            testing.Relation(ENDPOINT, remote_app_name=CA),
            testing.Relation("clients", remote_app_name="client"),
        ]
        self.state = testing.State(
            leader=leader, model=testing.Model("shop"), relations=relations, planned_units=3
        )
        found = self.state.get_relations(ENDPOINT)[0]
        self.state = self._context.run(self._context.on.relation_changed(found), self.state)

    def hook(self, **changes) -> Unit:
        self.state = dataclasses.replace(self.state, **changes)
        self.state = self._context.run(self._context.on.update_status(), self.state)
        assert self.state.unit_status == testing.ActiveStatus()
        self.leaf = x509.load_pem_x509_certificates(Server.shown.chain.encode())[0]
        return self

    def signed(self, by: tuple) -> Unit:
        """After the CA has given the unit another certificate."""
        ca, key = by
        wanted = request(self.state)
        leaf = wanted.sign(ca=ca, ca_private_key=key, validity=datetime.timedelta(days=90))
        entry = {"certificate_signing_request": str(wanted), "certificate": str(leaf),
                 "ca": str(ca), "chain": [str(leaf), str(ca)]}  # fmt: skip
        (found,) = self.state.get_relations(ENDPOINT)
        changed = dataclasses.replace(found, remote_app_data={"certificates": json.dumps([entry])})
        others = [each for each in self.state.relations if each.id != found.id]
        return self.hook(relations=[*others, changed])

    def taken_back(self) -> Unit:
        """After the CA's answer has gone from the relation, as when a unit asks anew."""
        (found,) = self.state.get_relations(ENDPOINT)
        changed = dataclasses.replace(found, remote_app_data={})
        others = [each for each in self.state.relations if each.id != found.id]
        return self.hook(relations=[*others, changed])

    @property
    def told(self) -> str:
        """What the unit's application has told clients."""
        return self.state.get_relations("clients")[0].local_app_data["ca"]

    @property
    def kept(self) -> Mapping[str, str] | None:
        return self.state.get_secret(label=KEPT).latest_content

    def is_trusted(self, told: str) -> bool:
        """By a client that was told so."""
        for ca in x509.load_pem_x509_certificates(told.encode()):
            try:
                self.leaf.verify_directly_issued_by(ca)
            except (ValueError, InvalidSignature):
                continue
            return True
        return False


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch):
    """Sets the clock, in minutes from now: the CA of the tests signs from now on."""
    start = datetime.datetime.now(datetime.timezone.utc)

    def set_clock(minutes: float) -> None:
        moment = start + datetime.timedelta(minutes=minutes)
        monkeypatch.setattr(certificates, "now", lambda: moment)

    set_clock(0)
    return set_clock


@pytest.fixture(scope="module")
def cas() -> list[tuple]:
    """Three CAs with keys of their own."""
    return [authority() for _ in range(3)]


def names(cas: list[tuple], told: str) -> list[int]:
    """Which of the CAs a text holds, in its order."""
    known = [x509.load_pem_x509_certificate(str(ca).encode()) for ca, _ in cas]
    return [known.index(each) for each in x509.load_pem_x509_certificates(told.encode())]


def test_clients_are_told_first_then_the_new_one_is_shown_then_the_old_ca_dropped(at, cas):
    unit = Unit().signed(cas[0])
    old = unit.leaf
    for minutes, shows_old, told in (
        (10, True, [0, 1]),
        (14, True, [0, 1]),
        (15, False, [1, 0]),
        (15 + DAY - 1, False, [1, 0]),
        (15 + DAY, False, [1]),
    ):
        at(minutes)
        unit = unit.signed(cas[1]) if minutes == 10 else unit.hook()
        assert (unit.leaf == old, names(cas, unit.told)) == (shows_old, told), minutes
        assert unit.is_trusted(unit.told)


def test_what_was_told_is_not_changed_by_a_hook_without_a_change(at, cas):
    unit = Unit().signed(cas[0])
    assert unit.told == str(cas[0][0])
    told, kept = unit.signed(cas[1]).told, unit.kept
    at(4)
    assert (unit.hook().told, unit.kept) == (told, kept)


def test_another_certificate_by_the_same_key_is_shown_at_once(at, cas):
    unit = Unit().signed(cas[0])
    old, told = unit.leaf, unit.told
    assert unit.signed(cas[0]).leaf != old
    assert unit.told == told


@pytest.mark.parametrize(("left", "at_once"), [(61, False), (50, True), (-10, True)])
def test_one_that_ends_within_an_hour_is_not_kept(at, cas, left: int, at_once: bool):
    unit = Unit().signed(cas[0])
    at(90 * DAY - left)
    unit.signed(cas[1])
    assert names(cas, unit.told) == (([1, 0] if left > 0 else [1]) if at_once else [0, 1])
    assert unit.is_trusted(str(cas[1][0])) is at_once
    at(90 * DAY + 60)  # after its end, which is sooner than a day
    assert names(cas, unit.hook().told) == [1]


def test_a_third_ca_in_between_is_told_for_as_long(at, cas):
    unit = Unit().signed(cas[0]).signed(cas[1])
    at(4)
    assert names(cas, unit.signed(cas[2]).told) == [0, 2]
    at(8)
    assert names(cas, unit.hook().told) == [0, 2]
    at(9)
    assert names(cas, unit.hook().told) == [2, 0]
    assert unit.is_trusted(str(cas[2][0]))


@pytest.mark.parametrize("leaders", [(0, 0, 0), (0, 1, 1), (0, 0, 2)])
def test_three_units_and_any_leader_in_between_fail_no_client(at, cas, leaders):
    """A client knows what it was told before a round of hooks, or after it, or in between."""
    units = [Unit(number, leader=number == 0).signed(cas[0]) for number in range(3)]
    known = [units[0].told]
    for minutes, leader in ((10, leaders[0]), (13, leaders[1]), (16, leaders[2])):
        at(minutes)
        # the last unit's hook comes first, the first leader's last
        for each in reversed(units):
            leads = each is units[leader]
            each.hook(leader=leads) if minutes > 10 else each.signed(cas[1])
            if leads:
                known.append(each.told)
            lately = known[-1:] if minutes > 10 else known
            assert all(unit.is_trusted(told) for unit in units for told in lately)
    assert all(each.is_trusted(str(cas[1][0])) for each in units)
    at(16 + DAY)
    assert names(cas, units[leaders[2]].hook().told) == [1]


def test_a_unit_of_a_revision_that_kept_none_goes_on_with_what_it_shows(at, cas):
    unit = Unit().signed(cas[0])
    leaf, told = unit.leaf, unit.told
    before = [each for each in unit.state.secrets if each.label != KEPT]
    unit.hook(secrets=before)
    assert (unit.leaf, unit.told) == (leaf, told)
    assert unit.signed(cas[1]).leaf == leaf
    assert names(cas, unit.told) == [0, 1]


def test_while_the_ca_has_not_answered_a_unit_goes_on_with_what_it_shows_and_says_so(at, cas):
    unit = Unit().signed(cas[0])
    leaf, told = unit.leaf, unit.told
    assert Server.reason == ""
    unit.taken_back()
    assert (unit.leaf, unit.told) == (leaf, told)
    assert Server.reason == f"waiting for {CA} to give a certificate"
    assert unit.signed(cas[0]).leaf != leaf
    assert Server.reason == ""


def test_one_that_has_ended_is_not_gone_on_with(at, cas):
    unit = Unit().signed(cas[0])
    at(90 * DAY + 60)  # it was signed a while after the clock was set
    with pytest.raises(AssertionError, match="Waiting"):
        unit.taken_back()


def test_the_notice_of_another_ca_begins_anew_when_its_certificate_was_taken_back(at, cas):
    unit = Unit().signed(cas[0]).signed(cas[1])
    assert names(cas, unit.told) == [0, 1]
    at(4)
    assert names(cas, unit.taken_back().told) == [0]
    for minutes, told in ((6, [0, 1]), (10, [0, 1]), (11, [1, 0])):
        at(minutes)
        unit = unit.signed(cas[1]) if minutes == 6 else unit.hook()
        assert names(cas, unit.told) == told
