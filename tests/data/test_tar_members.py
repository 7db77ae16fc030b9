"""Members of a sample out of a tar, as Python's tarfile wrote it."""

import io
import tarfile

import pytest

from fieldforge.data.tar_members import split_members


def tar(format: int = tarfile.USTAR_FORMAT, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(content)
            if format == tarfile.PAX_FORMAT:
                info.mtime = 0.5  # which takes an extended header
            file.addfile(info, io.BytesIO(content))
        return buffer.getvalue()[: file.offset]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_contents_come_back_by_suffix(format: int):
    members = split_members(tar(format, a__npy=b"1" * 600, a__meta__json=b"{}", a__png=b""), "a")
    assert {suffix: bytes(content) for suffix, content in members.items()} == {
        "npy": b"1" * 600,
        "meta.json": b"{}",
        "png": b"",
    }


def test_members_of_another_sample_are_refused():
    with pytest.raises(ValueError, match=r"'b\.npy' is not a plain one of sample 'a'"):
        split_members(tar(a__npy=b"1", b__npy=b"2"), "a")


def test_links_and_cut_members_are_refused():
    link = bytearray(tar(a__npy=b"1"))
    link[156:157] = b"2"
    whole = tar(a__npy=b"1" * 600)
    for block in (bytes(link), whole[:700]):
        with pytest.raises(ValueError, match="not a plain one"):
            split_members(block, "a")
