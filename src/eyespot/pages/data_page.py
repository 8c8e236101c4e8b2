"""What ``eyespot data check`` found, as one HTML file that needs nothing else: counts, doubts, and the pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path

from PIL import Image

from eyespot.data import duplicates, odd, similarity, suspects
from eyespot.data.check import Report
from eyespot.data.containers import Skipped
from eyespot.data.source import Sample, Source
from eyespot.errors import EyespotError
from eyespot.image.decode import decode
from eyespot.pages import html
from eyespot.run.overlap import overlapped

SIDE = 112  # pixels of a picture's longer side
_SHOWN = 48  # findings of one kind that are shown as pictures
_SETS = 24  # sets of duplicates of one kind
_OF_A_SET = 8
_LISTED = 100  # names
_SHEETS = 720  # pictures on all contact sheets together
_SHEET = (4, 24)  # of one class, at least and at most
_OPEN_SHEETS = 12  # classes whose sheets are shown at once

Shown = Mapping[str, Image.Image]


def check_page(path: Path) -> None:
    """UsageError when no page can be written there; called before the work, so that none is done for nothing."""
    html.check_place(path, option="--html")


def write_page(path: Path, report: Report) -> None:
    """Writes the page whole, or leaves what was there; the pictures on it are read again. UsageError when it cannot."""
    check_page(path)
    html.save(path, page(report, _pictures(report.source, _wanted(report))), option="--html")


def page(report: Report, shown: Shown) -> str:
    """The text of the page. shown: small pictures by name; one that is not there is named only."""
    style = (resources.files("eyespot.pages") / "data_page.css").read_text(encoding="utf-8")
    sections = [
        f"<style>\n{style}</style>",
        _head(report),
        _classes(report),
        _suspects(report, shown),
        _duplicates(report, shown),
        _odd(report, shown),
        _named("Files that cannot be read", report.unreadable, "unreadable"),
        _named("Left out", report.left_out, "left-out"),
        _sheets(report, shown),
        _method(report),
    ]
    return html.page(f"{report.source.root.name}: data check", filter(None, sections))


def _wanted(report: Report) -> list[Sample]:
    """The pictures that the page shows, each once."""
    names = [name for sets in _kinds(report).values() for one in sets[:_SETS] for name in one[:_OF_A_SET]]
    names += [s.name for s in report.suspicion.suspects[:_SHOWN]] if report.suspicion else []
    names += [o.name for kind in odd.MEANING for o in _of_kind(report, kind)[:_SHOWN]]
    names += [sample.name for samples in _sheet_samples(report).values() for sample in samples]
    return [report.samples[name] for name in dict.fromkeys(names)]


def _pictures(source: Source, samples: Sequence[Sample]) -> dict[str, Image.Image]:
    def small(sample: Sample) -> Image.Image | None:
        try:
            image = decode(source.read(sample), at_least=(SIDE, SIDE))
        except EyespotError:
            return None
        image.thumbnail((SIDE, SIDE), Image.Resampling.BOX if max(image.size) > 4 * SIDE else Image.Resampling.LANCZOS)
        return image

    outcomes = zip(samples, overlapped(small, samples), strict=True)
    return {sample.name: image for sample, image in outcomes if image is not None}


def _head(report: Report) -> str:
    source, sets = report.source, report.duplicates.together
    several = "" if len(source.labels) == 1 else "es"
    kind = {"folder": "a folder", "csv": "a CSV", "zip": "a zip", "tar": "a tar"}[source.kind]
    cards = [
        _card("Pictures", len(source), f"in {len(source.labels):,} class{several}"),
        _card("Unreadable", len(report.unreadable), "files", link="unreadable"),
        _card("Duplicates", len(sets), f"sets of {sum(map(len, sets)):,} pictures", link="duplicates"),
        _card("Odd", len({o.name for o in report.odd}), "blank, dark, blurred, odd size or shape", link="odd"),
    ]
    if report.suspicion is not None:
        cards.insert(3, _card("Wrong labels?", len(report.suspicion.suspects), "suspected", link="suspects"))
    advice = "".join(f"<li>{html.text(line)}</li>" for line in _advice(report))
    return (
        f"<header>\n<h1>{html.name(source.root.name or source.root)}</h1>\n"
        f'<p class="quiet">What is in these labelled pictures, and what looks wrong with them. '
        f"Read from {kind}, {html.name(source.root)}</p>\n"
        f'<dl class="cards">{"".join(cards)}</dl>\n<ul class="advice">{advice}</ul>\n</header>'
    )


def _advice(report: Report) -> list[str]:
    lines = [line.replace("on the page (--html)", "below") for line in report.advice]
    return lines or ["Nothing stands in the way of training."]


def _card(title: str, figure: int, small: str, *, link: str = "") -> str:
    number = html.count(figure)
    if link and figure:
        number = f'<a href="#{link}">{number}</a>'
    return f'<div><dt>{title}</dt><dd class="big">{number}</dd><dd class="small">{small}</dd></div>'


def _classes(report: Report) -> str:
    names, whole = report.source.labels.names, len(report.source)
    largest = max(count["all"] for count in report.counts.values())
    head = ["Class", *(f">{part}" for part in report.parts), ">Pictures", ">Share"]
    rows = []
    for label, count in report.counts.items():
        numbers = "".join(f'<td class="number">{html.count(count[part])}</td>' for part in (*report.parts, "all"))
        bar = f'<span class="bar" style="--v:{count["all"] / largest:.4f}"></span>'
        share = f'<td class="number">{html.percent(count["all"] / whole)}{bar}</td>'
        rows.append(f'<th scope="row">{html.name(names[label])}</th>{numbers}{share}')
    note = f'<p class="quiet">The largest class has {report.imbalance:.1f} times the pictures of the smallest one.</p>'
    table = html.table(head, rows, css="wide")
    if len(rows) > 40:
        table = html.table(head, rows[:10], caption="The ten largest", css="wide") + (
            f"<details><summary>All {len(rows):,} classes</summary>\n{table}</details>"
        )
    return html.section("Classes", note if len(rows) > 1 else "", table, id="classes")


def _suspects(report: Report, shown: Shown) -> str:
    found = report.suspicion
    if found is None or not found.suspects:
        return ""
    names = report.source.labels.names
    said = (
        f"A linear classifier on the answers of {html.name(found.model)} learnt from all other pictures, and was sure "
        f"of another class. So it finds {found.agreement:.1%} of all labels. This is a suspicion: look, and keep "
        "the label where it is right."
    )
    tiles = [
        _tile(
            s.name,
            shown,
            f'labelled {html.name(names[s.label])}<br>looks like <strong class="other">{html.name(names[s.other])}'
            f'</strong><br><span class="quiet">by {s.margin:.2f}</span>',
        )
        for s in found.suspects[:_SHOWN]
    ]
    return html.section("Labels that look wrong", f"<p>{said}</p>", _grid(tiles, len(found.suspects)), id="suspects")


def _kinds(report: Report) -> dict[str, Sequence[duplicates.Set]]:
    """Sets of duplicates under their headings, each set once."""
    crossing = list(dict.fromkeys([*report.across_classes, *report.across_parts]))
    found = {
        "With several labels": list(report.across_classes),
        "On several sides of the split": [s for s in report.across_parts if s not in report.across_classes],
        "The same picture": [s for s in report.duplicates.exact if s not in crossing],
        "Nearly the same picture": [s for s in report.duplicates.near if s not in crossing],
    }
    return {heading: sets for heading, sets in found.items() if sets}


def _duplicates(report: Report, shown: Shown) -> str:
    kinds = _kinds(report)
    if not kinds:
        return ""
    parts = []
    for heading, sets in kinds.items():
        rows = [_set(report, names, shown) for names in sets[:_SETS]]
        parts.append(
            f'<h3>{heading} <span class="quiet">({len(sets):,})</span></h3>\n<div class="sets">{"".join(rows)}</div>'
        )
        parts.append(_more(len(sets), _SETS))
    return html.section("Duplicates", *parts, id="duplicates")


def _set(report: Report, names: duplicates.Set, shown: Shown) -> str:
    labels = report.source.labels.names
    tiles = []
    for name in names[:_OF_A_SET]:
        sample = report.samples[name]
        part = f" · {sample.part}" if sample.part else ""
        tiles.append(_tile(name, shown, f"{html.name(labels[sample.label])}{part}"))
    more = f'<p class="quiet">and {len(names) - _OF_A_SET:,} more</p>' if len(names) > _OF_A_SET else ""
    return f'<div class="set">{"".join(tiles)}{more}</div>'


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _of_kind(report: Report, kind: str) -> list[odd.Odd]:
    return [one for one in report.odd if one.kind == kind]


def _odd(report: Report, shown: Shown) -> str:
    titles = {"blank": "Blank", "dark": "Dark", "blurred": "Blurred", "size": "Odd sizes", "shape": "Odd shapes"}
    parts = []
    for kind, meaning in odd.MEANING.items():
        found = _of_kind(report, kind)
        if found:
            tiles = [_tile(one.name, shown, html.text(one.text)) for one in found[:_SHOWN]]
            parts += [f'<h3>{titles[kind]} <span class="quiet">({len(found):,})</span></h3>']
            parts += [f'<p class="quiet">{html.text(_sentence(meaning))}</p>', _grid(tiles, len(found))]
    return html.section("Odd pictures", *parts, id="odd") if parts else ""


def _named(heading: str, found: Sequence[Skipped], id: str) -> str:
    if not found:
        return ""
    rows = "\n".join(f"<li>{html.name(one.name)}: {html.text(one.error)}</li>" for one in found[:_LISTED])
    listed = f'<ul class="names">\n{rows}\n</ul>{_more(len(found), _LISTED)}'
    if len(found) > 10:
        listed = f"<details><summary>{len(found):,} files</summary>\n{listed}</details>"
    return html.section(heading, listed, id=id)


def _sheet_samples(report: Report) -> dict[int, list[Sample]]:
    """The pictures of each class's contact sheet, evenly spread over its names; the largest class first."""
    least, most = _SHEET
    room = min(max(_SHEETS // len(report.counts), least), most)
    by_label: dict[int, list[Sample]] = {label: [] for label in report.counts}
    for sample in report.looks.samples:
        by_label[sample.label].append(sample)
    return {label: found[:: max(-(-len(found) // room), 1)] for label, found in by_label.items()}


def _sheets(report: Report, shown: Shown) -> str:
    names = report.source.labels.names
    parts = []
    for number, (label, samples) in enumerate(_sheet_samples(report).items()):
        images = "".join(f'<span title="{html.text(s.name)}">{_image(s.name, shown)}</span>' for s in samples)
        count = report.counts[label]["all"]
        title = f'{html.name(names[label])} <span class="quiet">{len(samples):,} of {count:,}</span>'
        is_open = " open" if number < _OPEN_SHEETS else ""
        parts.append(f'<details{is_open}><summary>{title}</summary>\n<div class="sheet">{images}</div></details>')
    return html.section("Contact sheets", *parts, id="sheets")


def _method(report: Report) -> str:
    rows = [
        ("Same picture", "Equal bytes, or equal pixels when decoded."),
        (
            "Nearly the same",
            f"64-bit hashes of low frequencies that differ in at most {duplicates.HASH_BITS} bits, and fine structure "
            f"at {similarity.SIDE}×{similarity.SIDE} pixels that correlates at {similarity.SAME_IMAGE:g} or more once "
            "a small crop is undone. Brightness, contrast, size and compression do not count; mirror images are not "
            "found. A set holds an image and those that are near to it.",
        ),
        *((kind.capitalize(), html.text(_sentence(meaning))) for kind, meaning in odd.MEANING.items()),
    ]
    if report.suspicion is not None:
        rows.append(
            (
                "Wrong labels",
                f"Another class scores {suspects.MARGIN:g} or more above the label's, in a ridge regression on the "
                f"logits of {html.name(report.suspicion.model)} that did not see the picture; classes of fewer than "
                f"{suspects.FEWEST} pictures are not judged. {report.suspicion.judged:,} were, and "
                f"{report.suspicion.agreement:.1%} of their labels found.",
            )
        )
    rows.append(("Digest", f"<code>{report.source.digest}</code>"))
    return html.section("How it was found", html.facts(rows), id="method")


def _grid(tiles: Iterable[str], total: int) -> str:
    return f'<div class="tiles">{"".join(tiles)}</div>{_more(total, _SHOWN)}'


def _more(total: int, limit: int) -> str:
    return f'<p class="quiet">and {total - limit:,} more; --json lists them all</p>' if total > limit else ""


def _tile(name: str, shown: Shown, caption: str) -> str:
    return (
        f'<figure class="tile">{_image(name, shown)}<figcaption>{caption}'
        f'<span class="file" title="{html.text(name)}">{html.name(_short(name))}</span></figcaption></figure>'
    )


def _image(name: str, shown: Shown) -> str:
    return html.picture(shown[name], name) if name in shown else f'<span class="none">{html.name(_short(name))}</span>'


def _short(name: str, length: int = 36) -> str:
    """The last part of a name, its end rather than its beginning."""
    last = name.rpartition("/")[2]
    return last if len(last) <= length else "…" + last[-length:]
