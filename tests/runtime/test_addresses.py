"""Passwords and tokens of addresses are hidden, and what only looks like some is not."""

from __future__ import annotations

import pickle

import pytest

from edgeport import ArtifactError, InputError, OptionError
from edgeport.addresses import hide_secrets


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("ftp://u:s3cret@host/day/x.csv", "ftp://u:***@host/day/x.csv"),
        ("https://u:s3/cr@et@host/x.csv", "https://u:***@host/x.csv"),
        ("sftp://:s3cret@host/x.csv", "sftp://:***@host/x.csv"),
        ("https://host/x.csv?token=s3cret&v=1", "https://host/x.csv?token=***&v=1"),
        ("https://host/x?a=1&X-Amz-Signature=s3cret", "https://host/x?a=1&X-Amz-Signature=***"),
        ("https://a.net/x?sv=2&sig=s3%2Fcret%3D", "https://a.net/x?sv=2&sig=***"),
        ("https://host/x?key=s3cret", "https://host/x?key=***"),
        ("simplecache::ftp://u:s3cret@h/x", "simplecache::ftp://u:***@h/x"),
        ("https://h/x?SharedAccessSignature=s3cret", "https://h/x?SharedAccessSignature=***"),
        ("https://h/x?a=1#access_token=s3cret", "https://h/x?a=1#access_token=***"),
        ("https://[::1]:8000/a@2.csv", "https://[::1]:8000/a@2.csv"),
        ("https://u:s3cret@[::1]/x", "https://u:***@[::1]/x"),
        ("http://host:8000/a@2.csv", "http://host:8000/a@2.csv"),
        ("https://host/x?design=1&monkey=2", "https://host/x?design=1&monkey=2"),
        ("s3://bucket/a@b/x-[0-9]?.csv", "s3://bucket/a@b/x-[0-9]?.csv"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
    ],
)
def test_secrets_of_an_address_are_hidden_and_nothing_else(address: str, shown: str) -> None:
    assert hide_secrets(address) == shown
    sentence = f"'{address}' cannot be read (url='{address}'): ask bob@example.com"
    assert hide_secrets(sentence) == sentence.replace(address, shown)


def test_secrets_are_hidden_outside_of_their_address_too() -> None:
    said = hide_secrets("530 for s3cret/1, in a query s3cret%2F1", "ftp://u:s3cret%2F1@h/x")
    assert said == "530 for ***, in a query ***"


@pytest.mark.parametrize("kind", [OptionError, InputError, ArtifactError])
def test_no_error_shows_a_secret(kind: type[Exception]) -> None:
    error = pickle.loads(pickle.dumps(kind("'ftp://u:s3cret@h/x' is no file")))  # noqa: S301
    assert str(error) == "'ftp://u:***@h/x' is no file"
    placed = ArtifactError("the artifact is missing", path="ftp://u:s3cret@h/x")
    assert str(placed) == "'ftp://u:***@h/x' is missing"
