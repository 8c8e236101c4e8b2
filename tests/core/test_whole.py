"""A file is there whole or not at all."""

import stat

import pytest

from eyespot.core.whole import whole


@pytest.mark.parametrize("durable", [False, True])
def test_the_name_appears_with_the_bytes(tmp_path, durable):
    path = tmp_path / "a.bin"
    with whole(path, durable=durable) as file:
        file.write(b"half")
        assert not path.exists()
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_what_was_there_stays_when_writing_fails(tmp_path, failure):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")

    def fail():
        with whole(path) as file:
            file.write(b"after")
            raise failure

    with pytest.raises(failure):
        fail()
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError), whole(tmp_path / "no" / "a.bin"):
        pass
