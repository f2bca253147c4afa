"""Owns the `yaml` format: block style that YAML 1.1 and 1.2 readers understand alike."""

from __future__ import annotations

import re

import yaml

from app.model import Json

# Whatever begins like a number, or is a word that some version resolves (y and n in YAML 1.1, 0o7 and .5 in 1.2),
# is quoted; so is all that is not printable ASCII without surprises. The rest is left to PyYAML's own judgement.
_AMBIGUOUS = re.compile(r"[-+.0-9=<~!&*?|>%@`].*|(?i:y|n|yes|no|on|off|true|false|null|nan|inf)|", re.DOTALL)
_TAME = re.compile(r"[ -~\u00a1-\u024f]*")


class _Dumper(yaml.CSafeDumper):
    """A dumper of its own, so that representers registered elsewhere do not reach in."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    if not _TAME.fullmatch(text):
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
    style = "'" if _AMBIGUOUS.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def render_yaml(document: Json) -> str:
    """Block style, key order kept, no anchors, no folded lines."""
    text: str = yaml.dump(
        document, Dumper=_Dumper, default_flow_style=False, sort_keys=False, allow_unicode=True, width=1 << 30
    )
    return text.removesuffix("...\n")
