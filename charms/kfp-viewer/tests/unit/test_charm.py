"""The viewer controller: its flags, its kind, its rights."""

from __future__ import annotations


def test_it_runs_with_the_flags_of_its_image(charm):
    assert charm.service(charm.settled()).command == (
        "/bin/controller -logtostderr=true -max_num_viewers=50 --namespace="
    )


def test_there_may_be_fewer_viewers(charm):
    out = charm.settled(config={"max-viewers": 3})
    assert "-max_num_viewers=3 " in charm.service(out).command


def test_no_viewers_at_all_is_a_wrong_option(charm):
    out = charm.settled(config={"max-viewers": 0})
    assert out.unit_status.message == "config max-viewers=0: must be from 1 to 10000"


def test_it_defines_viewers_without_a_status(charm):
    spec = charm.manifest(charm.settled(), "CustomResourceDefinition")["spec"]
    assert spec["names"]["shortNames"] == ["vi"]
    assert set(spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]) == {"spec"}


def test_its_rights_name_each_group(charm):
    rules = charm.manifest(charm.settled(), "ClusterRole")["rules"]
    assert [each["apiGroups"] for each in rules] == [["apps"], [""], ["kubeflow.org"]]
