"""Encrypted values: Spring's own example, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.secrets import Cipher, Undecipherable, without_prefixes

EXAMPLE = "682bc583f4641835fa2db009355293665d2647dade3375c0ee201de2a49f7bda"
CIPHER = Cipher("foo")


def test_the_example_of_springs_documentation_is_decrypted() -> None:
    assert CIPHER.decrypt(EXAMPLE) == "mysecret"


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_what_is_encrypted_is_decrypted_again(text: str) -> None:
    encrypted = CIPHER.encrypt(text)
    assert CIPHER.decrypt(encrypted) == text
    assert CIPHER.encrypt(text) != encrypted


@pytest.mark.parametrize(
    "text", ["", "00", "zz", EXAMPLE[:-2], EXAMPLE[:32], EXAMPLE[:-1], EXAMPLE[:-2] + "ff", "{key:a}" + EXAMPLE]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Undecipherable):
        CIPHER.decrypt(text)


def test_another_key_is_another_cipher() -> None:
    assert Cipher("bar").id != CIPHER.id
    with pytest.raises(Undecipherable):
        Cipher("bar").decrypt(EXAMPLE)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("abc", "abc"),
        ("{key:one}abc", "abc"),
        ("{key:one}{secret:two}abc", "abc"),
        ("{key:one}{plain}{key:x}abc", "{key:x}abc"),
        ("{plain}{cipher}abc", "{cipher}abc"),
        ('{"json": 1}', '{"json": 1}'),
        ("{key:open", "{key:open"),
    ],
)
def test_names_of_keys_are_passed_over_and_plain_ends_them(text: str, rest: str) -> None:
    assert without_prefixes(text) == rest
