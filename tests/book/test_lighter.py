"""A figure that is lighter to load is the same figure."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import matplotlib.pyplot as plt

from flexlib.book import lighter

NUMBER = re.compile(r"-?\d+\.?\d*")
SVG = "{http://www.w3.org/2000/svg}"


def test_nothing_moves_by_more_than_a_hundredth_of_a_point():
    figure, ax = plt.subplots()
    ax.plot([1, 2, 3], [0.1, 1 / 3, 1e-3], marker="o", label="a curve")
    ax.set_ylabel("turned text")
    ax.set_title("$y_1 + x$")  # glyphs off the line
    ax.legend()
    text = io.StringIO()
    figure.savefig(text, format="svg")
    plt.close(figure)
    before, after = text.getvalue(), lighter(text.getvalue())
    assert len(after) < 0.85 * len(before)
    for (old_tag, old), (tag, new) in zip(drawn(before), drawn(after), strict=True):
        assert tag == old_tag and old.keys() == new.keys()
        for name in old:
            assert NUMBER.sub("", new[name]).split() == NUMBER.sub("", old[name]).split()
            for was, now in zip(NUMBER.findall(old[name]), NUMBER.findall(new[name]), strict=True):
                assert abs(float(was) - float(now)) < 0.01
                if abs(float(was)) < 1:
                    assert float(was) == float(now)


def drawn(svg: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each element that is drawn or refers to one, with its attributes; where a glyph stands is one of them,
    however it is written."""
    root = ET.fromstring(svg)
    referred = set(re.findall(r"#([\w.-]+)", svg))
    for element in root.iter():
        if not element.tag.startswith(SVG) or element.tag == f"{SVG}metadata":
            continue
        attributes = dict(element.attrib)
        if attributes.get("id") not in referred:
            attributes.pop("id", None)
        if element.tag == f"{SVG}use":
            shift = re.fullmatch(r"translate\((\S+) (\S+)\)", attributes.get("transform", ""))
            if shift:
                del attributes["transform"]
            x, y = shift.groups() if shift else (attributes.pop("x", "0"), attributes.pop("y", "0"))
            attributes["at"] = f"{x} {y}"
        yield element.tag, attributes
