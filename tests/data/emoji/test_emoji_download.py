"""The package of npm: another digest is refused before anything is looked at."""

from dataclasses import replace

import pytest

from vqlearn.data.emoji.download import TWEMOJI, fetched, integrity, read_members


def test_the_digest_is_that_of_npm(tmp_path):
    """That of the three bytes is an example of FIPS 180: ddaf35a1... in hexadecimal digits."""
    (tmp_path / "abc").write_bytes(b"abc")
    assert integrity(tmp_path / "abc") == (
        "sha512-3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw=="
    )


def test_the_archive_is_there_for_the_block(package):
    with fetched(package) as archive:
        assert integrity(archive) == package.integrity
        assert sorted(read_members(archive, ("img/",))) == sorted(
            f"img/twitter/64/{name}.png"
            for name in (
                *("grinning", "apple", "green-heart", "one", "woman-surfing"),
                *(f"woman-surfing-1F3F{tone}" for tone in "BCDEF"),
            )
        )
        assert read_members(archive, ("LICENSE", "nothing")) == {"LICENSE": b"MIT, by somebody"}
    assert not archive.exists()


def test_another_digest_is_refused(package):
    wrong = replace(package, integrity=TWEMOJI.integrity)
    with pytest.raises(ValueError, match=r"the digest of .* is sha512-.*; allowed: sha512-7F"):
        with fetched(wrong):
            raise AssertionError("looked into it")


def test_what_cannot_be_fetched_is_named(package, tmp_path):
    missing = replace(package, url=(tmp_path / "no.tgz").as_uri())
    with pytest.raises(OSError, match=r"no\.tgz cannot be fetched: "), fetched(missing):
        raise AssertionError("looked into it")
