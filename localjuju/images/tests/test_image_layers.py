"""What layers an image of a catalogue has; the base of all comes from Debian's archive."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from localjuju.images import Catalogue, layers
from localjuju.images.entries import PathEntry
from localkube.images.image import Image, pack

# The base takes a minute to make where it is not in the cache.
pytestmark = pytest.mark.localkube

_REFERENCE = "registry.example.com/team/trainer:2"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A user's folder, and beside it one that its programs need."""
    folder = tmp_path / "trainer"
    for name in ("bin/train", "srv/data/model"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(name)
    (tmp_path / "needed").mkdir()
    (tmp_path / "needed" / "library").write_text("")
    return folder


def _image(tree: Path, user: str = "trainer") -> Image:
    needed = tree.with_name("needed")
    entry = PathEntry(
        reference=_REFERENCE, kind="path", path=str(tree), binds=(str(needed),),
        entrypoint=("/bin/train",), users={"trainer": "584:585"}, user=user,
        writable=("/srv/data", "/home/trainer"), env={"HOME": "/home/trainer"},
    )  # fmt: skip
    return layers.catalogue_image(Catalogue([entry]), _REFERENCE)


def _members(image: Image, kept: Path) -> dict[str, tarfile.TarInfo]:
    """What a container sees: of each path what the last layer has."""
    found: dict[str, tarfile.TarInfo] = {}
    for blob in pack(image, kept)[1][1:]:
        with tarfile.open(fileobj=io.BytesIO(b"".join(blob.read()))) as tar:
            found.update({member.name: member for member in tar})
    return found


def test_what_a_tree_needs_of_this_machine_finds_the_usual_libraries(tree: Path, tmp_path: Path):
    found = _members(_image(tree), tmp_path / "kept")
    assert str(tree.with_name("needed") / "library").lstrip("/") in found
    assert any(Path(name).name.startswith("libssl.so") for name in found)


def test_a_user_s_folder_lies_over_the_base_and_its_programs_below_usr(tree: Path, tmp_path: Path):
    image = _image(tree)
    found = _members(image, tmp_path / "kept")
    assert image.entrypoint == ("/bin/train",)
    assert found["bin"].linkname == "usr/bin"
    assert {"usr/bin/train", "usr/bin/dash", "usr/lib/os-release"} <= found.keys()
    assert f"{tree.with_name('needed')}/library".lstrip("/") in found


@pytest.mark.parametrize("user", ["trainer", "584"])
def test_what_the_image_s_user_may_write_is_the_user_s(tree: Path, tmp_path: Path, user: str):
    image = _image(tree, user)
    found = _members(image, tmp_path / "kept")
    assert image.user == user
    for name in ("srv/data", "srv/data/model", "home/trainer"):
        assert (found[name].uid, found[name].gid) == (584, 585)
    assert (found["srv"].uid, found["home"].uid) == (0, 0)
    (users,) = [one.folder for one in image.layers if one.name.startswith("users-")]
    rows = (users / "etc" / "passwd").read_text().splitlines()
    assert rows[0].startswith("root:")
    assert rows[-1] == "trainer:x:584:585::/home/trainer:/usr/sbin/nologin"


def test_an_image_lies_over_its_base_and_has_its_variables(tree: Path, tmp_path: Path):
    own = tmp_path / "own"
    (own / "opt").mkdir(parents=True)
    (own / "opt" / "extra").write_text("")
    needed = tree.with_name("needed")
    below = PathEntry(
        reference="registry.example.com/below:1", kind="path", path=str(tree),
        binds=(str(needed),), env={"HOME": "/home/trainer", "LEVEL": "1"},
    )  # fmt: skip
    entry = PathEntry(
        reference=_REFERENCE, kind="path", path=str(own), base=below.reference, env={"LEVEL": "2"}
    )
    catalogue = Catalogue([below, entry])
    under = layers.catalogue_image(catalogue, below.reference)
    image = layers.catalogue_image(catalogue, _REFERENCE)
    shared = len(under.layers)
    assert [one.name for one in image.layers[:shared]] == [one.name for one in under.layers]
    assert image.environment == {**under.environment, "LEVEL": "2"}
    assert {"usr/bin/train", "opt/extra"} <= _members(image, tmp_path / "kept").keys()


def test_a_user_s_folder_is_read_again_once_it_has_changed(tree: Path, tmp_path: Path):
    before = pack(_image(tree), tmp_path / "kept")[0].digest
    assert pack(_image(tree), tmp_path / "kept")[0].digest == before
    (tree / "bin" / "train").write_text("better")
    assert pack(_image(tree), tmp_path / "kept")[0].digest != before


def test_a_reference_without_an_entry_has_no_image():
    assert layers.find("registry.example.com/team/nothing:1") is None
