"""The grammar of secret references."""

from __future__ import annotations

import pytest

from app.effective import MalformedReference, parse_template, transit_reference
from app.model import TRANSIT, Reference, Template


def test_reference_is_taken_apart() -> None:
    text = "${vault:kv/services/pay/prod/db#password@12}"
    reference = Reference("kv", "services/pay/prod/db", "password", 12, text)
    assert parse_template(text) == Template((reference,))


SEGMENT = "s" * 128


@pytest.mark.parametrize(
    "text",
    [
        "${vault:a/b#c}",
        "${vault:kv_2-x/a#k}",
        "${vault:" + "a" * 32 + "/a#k}",
        "${vault:kv" + "/a" * 15 + "#k}",
        "${vault:kv/" + SEGMENT + "#" + "k" * 128 + "}",
        "${vault:kv/_a.b-c/a..b#.k-}",
        "${vault:kv/a#k@1}",
        "${vault:kv/a#k@9999999999}",
    ],
)
def test_legal_reference_is_recognised(text: str) -> None:
    template = parse_template(text)
    assert isinstance(template, Template)
    assert [reference.text for reference in template.references] == [text]
    assert parse_template(f"x{text}y{text}") == Template(("x", *template.parts, "y", *template.parts))


@pytest.mark.parametrize(
    "text",
    [
        "${vault:}",
        "${vault:kv}",
        "${vault:kv#k}",
        "${vault:kv/a}",
        "${vault:kv/a#}",
        "${vault:/a#k}",
        "${vault:Kv/a#k}",
        "${vault:1kv/a#k}",
        "${vault:" + "a" * 33 + "/a#k}",
        "${vault:kv" + "/a" * 16 + "#k}",
        "${vault:kv/" + SEGMENT + "s#k}",
        "${vault:kv/a#" + "k" * 129 + "}",
        "${vault:kv/../b#k}",
        "${vault:kv/a/../b#k}",
        "${vault:kv/./b#k}",
        "${vault:kv/a/.#k}",
        "${vault:kv/.a#k}",
        "${vault:kv//b#k}",
        "${vault:kv/a/#k}",
        "${vault:kv/-a#k}",
        "${vault:kv/%2e%2e/b#k}",
        "${vault:kv/a%2fb#k}",
        "${vault:kv/a b#k}",
        "${vault: kv/a#k}",
        "${vault:kv/a#k }",
        "${vault:kv/a\n#k}",
        "${vault:kv/a#k\n}",
        "${vault:kv/ä#k}",
        "${vault:kv/a#ключ}",
        "${vault:kv/a#k@0}",
        "${vault:kv/a#k@01}",
        "${vault:kv/a#k@}",
        "${vault:kv/a#k@-1}",
        "${vault:kv/a#k@1.0}",
        "${vault:kv/a#k@10000000000}",
        "${vault:kv/a#k@٣}",
        "${vault:kv/a#k",
        "${vault:kv/a#k#l}",
        "${vault:kv/a?version=1#k}",
        "${vault:kv/${env}/x#k}",
        "${vault:kv/a#${key}}",
        "${vault:kv\\a#k}",
        "${vault:kv/a\x00#k}",
        "fine ${vault:kv/a#k} and ${vault:no}",
    ],
)
def test_malformed_reference_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(MalformedReference) as caught:
        parse_template(text)
    assert text not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "vault:kv/a#k", "${Vault:x}", "${ vault:x}", "$${vault:kv/a#k}", "$${vault:no", "${a}${b:c}", "{vault:x}"],
)
def test_other_text_is_left_alone(text: str) -> None:
    assert parse_template(text) == text


def test_escape_is_read_from_the_left() -> None:
    assert parse_template("$$${vault:no}") == "$$${vault:no}"
    assert isinstance(parse_template("$${${vault:kv/a#k}"), Template)


SEALED = "vault:v12:" + "a+/9" * 10


@pytest.mark.parametrize("end", ["", "ab==", "abc="])
def test_a_transit_reference_names_its_key_and_what_is_encrypted(end: str) -> None:
    text = f"${{transit:pay-1#{SEALED}{end}}}"
    reference = Reference(TRANSIT, "pay-1", f"{SEALED}{end}", None, text)
    assert parse_template(text) == Template((reference,))
    assert parse_template(f"a{text}b") == Template(("a", reference, "b"))
    assert transit_reference("pay-1", f"{SEALED}{end}") == reference


@pytest.mark.parametrize(
    ("key", "encrypted"),
    [
        ("", SEALED),
        ("a/b", SEALED),
        ("..", SEALED),
        ("ä", SEALED),
        ("pay", ""),
        ("pay", "vault:v1:"),
        ("pay", "vault:v1:abcd"),
        ("pay", SEALED.replace("v12", "v0")),
        ("pay", SEALED.replace("vault", "other")),
        ("pay", f"{SEALED}a"),
        ("pay", f"{SEALED}===="),
        ("pay", f"{SEALED}-_-_"),
        ("pay", f"{SEALED}@1"),
        ("pay", f"{SEALED}}}${{x}}"),
    ],
)
def test_a_malformed_transit_reference_is_refused_and_not_quoted(key: str, encrypted: str) -> None:
    with pytest.raises(MalformedReference) as caught:
        transit_reference(key, encrypted)
    assert SEALED not in str(caught.value)


def test_the_start_of_a_transit_reference_is_one_or_is_refused_and_can_be_escaped() -> None:
    for text in ("${transit:pay}", "${transit:", "x ${transit:pay#vault:v1:y}"):
        with pytest.raises(MalformedReference):
            parse_template(text)
    assert parse_template("$${transit:pay}") == "$${transit:pay}"
