"""An evaluation as one HTML file that needs nothing else: to read on a phone, to print, to keep beside the bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eyespot.accuracy.abstain import curve
from eyespot.accuracy.dataset import Example
from eyespot.accuracy.evaluation import Evaluation
from eyespot.accuracy.mistakes import worst
from eyespot.pages import html
from eyespot.pages.charts import coverage_chart, curve_chart, reliability_chart, whisker
from eyespot.pages.tables import classes, confused, matrix
from eyespot.pages.views import View, views
from eyespot.run.many import Failure
from eyespot.run.predict import Model

_LISTED = 100  # pictures that could not be read, named


def check_page(path: Path) -> None:
    """UsageError when no page can be written there; called before the work, so that none is done for nothing."""
    html.check_place(path, option="--report")


def write_page(
    path: Path, result: Evaluation, about: Mapping[str, Any], *, model: Model, data: Sequence[Example]
) -> None:
    """Writes the page whole, or leaves what was there. about: from ``eyespot.pages.about``; data: what was evaluated.

    The worst mistakes are read again, from ``data``, and shown with what the network looked at. UsageError when the
    file cannot be written.
    """
    check_page(path)
    html.save(path, page(result, about, views(model, data, worst(result))), option="--report")


def page(result: Evaluation, about: Mapping[str, Any], shown: Sequence[View]) -> str:
    """The text of the page. shown: the pictures of ``worst(result)``."""
    figures = result.to_json()
    sections = [
        _head(figures, about, result.overlap.sentences if result.overlap else ()),
        _what_is_taken_for_what(result),
        html.section("Each class", classes(figures["classes"]), id="classes") if figures["classes"] else "",
        _two_classes(result, figures),
        _calibration(result, figures) if result.pictures else "",
        _abstaining(result, figures) if result.pictures else "",
        _mistakes(figures["mistakes"], shown, about["data"]["path"]),
        _unreadable(result.failures),
        _about(about),
    ]
    return html.page(f"{result.model} on {about['data']['path']}", filter(None, sections))


def _head(figures: Mapping[str, Any], about: Mapping[str, Any], warnings: Sequence[str]) -> str:
    count, lost = figures["pictures"], len(figures["unreadable"])
    said = f"{html.count(count, key='pictures')} pictures of {about['data']['classes']:,} classes"
    place, date = html.name(about["data"]["path"]), about["date"][:16].replace("T", " ")
    lines = [
        f"<h1>{html.name(figures['model'])}</h1>",
        f'<p class="quiet">Evaluated on {said} in {place}, {html.text(date)} UTC</p>',
    ]
    if lost:
        word = "picture" if lost == 1 else "pictures"
        lines.append(
            f'<p class="warning">{lost:,} {word} could not be read and <a href="#unreadable">count nowhere</a>.</p>'
        )
    if count:
        lines.append(f'<dl class="cards">{"".join(_cards(figures))}</dl>')
        lines.append('<p class="quiet">Ranges are 95&#8239;% intervals.</p>')
        lines += [f'<p class="warning">{html.text(warning)}</p>' for warning in warnings]
    else:
        lines.append('<p class="warning">No picture could be read, so there are no figures.</p>')
    return "<header>\n" + "\n".join(lines) + "\n</header>"


def _cards(figures: Mapping[str, Any]) -> Iterator[str]:
    yield _share_card("Top-1", "the first answer is right", figures, "top1")
    if len(figures["classes"]) > 5:
        yield _share_card("Top-5", "one of the first five is right", figures, "top5")
    macro = figures["macro"]
    precision, recall = (html.percent(macro[key], key=f"macro.{key}") for key in ("precision", "recall"))
    more = f"precision {precision}, recall {recall}"
    yield _card("Macro F1", html.percent(macro["f1"], key="macro.f1"), more, "every class counts the same")
    if "curves" in figures:
        curves = figures["curves"]
        low, high = curves["auc_interval"]
        yield _card(
            "AUC", html.value(curves["auc"], f"{curves['auc']:.3f}", key="curves.auc"), f"{low:.3f} to {high:.3f}"
        )
    error = figures["ece"]
    yield _card("Calibration error", html.percent(error, key="ece"), "between how sure and how right (ECE)")
    abstain = figures["abstain"]
    chosen, wanted = abstain["chosen_here"], abstain["wanted_precision"]
    if chosen is None:
        yield _card(f"Answers {wanted:.4g} right", "none", "no threshold reaches that")
    else:
        low, high = chosen["coverage_interval"]
        yield _card(
            f"Answered at {100 * wanted:.4g}&#8239;% right",
            html.percent(chosen["coverage"], key="abstain.chosen_here.coverage"),
            html.interval(low, high) + " of the pictures",
            drawing=whisker(chosen["coverage"], low, high),
        )


def _share_card(title: str, meaning: str, figures: Mapping[str, Any], key: str) -> str:
    low, high = figures[f"{key}_interval"]
    drawing = whisker(figures[key], low, high)
    return _card(title, html.percent(figures[key], key=key), html.interval(low, high), meaning, drawing=drawing)


def _card(title: str, figure: str, *small: str, drawing: str = "") -> str:
    lines = "".join(f'<dd class="small">{line}</dd>' for line in small)
    drawn = f"<dd>{drawing}</dd>" if drawing else ""
    return f'<div><dt>{title}</dt><dd class="big">{figure}</dd>{drawn}{lines}</div>'


def _what_is_taken_for_what(result: Evaluation) -> str:
    if not result.pictures:
        return ""
    if not result.confused:
        return html.section("What is taken for what", "<p>Every answer was right.</p>", id="confusion")
    drawn = matrix(result) if result.matrix is not None else ""
    return html.section("What is taken for what", drawn, confused(result), id="confusion")


def _two_classes(result: Evaluation, figures: Mapping[str, Any]) -> str:
    if result.curves is None:
        return ""
    first, second = result.curves
    names = [html.name(name) for name in result.labels.names]
    area = figures["curves"]
    average = area["average_precision"]
    roc = curve_chart(
        "ROC curve",
        list(zip(second.false_positives.tolist(), second.recall.tolist(), strict=True)),
        across="false positives",
        upwards="true positives",
    )
    both = [list(zip(c.recall.tolist(), c.precision.tolist(), strict=True)) for c in (first, second)]
    pr = curve_chart("Precision and recall", both[0], both[1], across="recall", upwards="precision")
    low, high = area["auc_interval"]
    return html.section(
        "Every threshold between the two classes",
        '<div class="charts">',
        html.figure(
            roc,
            f"ROC, {names[1]} against {names[0]}. The area below it is {area['auc']:.4f} ({low:.4f} to {high:.4f}): "
            "how often a picture of the one is told from a picture of the other.",
        ),
        html.figure(
            pr,
            f'<span class="key"></span>{names[0]}, average precision {average[0]:.4f}<br>'
            f'<span class="key other"></span>{names[1]}, average precision {average[1]:.4f}',
        ),
        "</div>",
        id="curves",
    )


def _calibration(result: Evaluation, figures: Mapping[str, Any]) -> str:
    data = figures["calibration"]
    temperature, best = data["temperature"], data["fitted_temperature"]
    untempered, fitted = (html.percent(data[k], key=f"calibration.{k}") for k in ("ece_untempered", "fitted_ece"))
    before = f"Without the bundle's temperature of {temperature:.3g} it would be {untempered}."
    if temperature == 1:
        before = "The bundle has no temperature (it is 1)."
    return html.section(
        "Does sure mean right?",
        f"<p>The probabilities are off by {html.percent(figures['ece'])} on average (expected calibration error over "
        f"15 bins). {before} A temperature of {best:.3g}, fitted to pictures like these, gives {fitted}; each half of "
        "the pictures is judged with the temperature of the other half.</p>",
        html.figure(
            reliability_chart(result.bins),
            "Columns: how many answers are right among those that are so sure, with 95&#8239;% intervals. On the "
            "dashed line sure means right; below it the network is too sure, above it not sure enough.",
        ),
        id="calibration",
    )


def _abstaining(result: Evaluation, figures: Mapping[str, Any]) -> str:
    chosen, card = figures["abstain"]["chosen_here"], figures["abstain"]["card"]
    wanted = f"{100 * result.wanted:.4g}&#8239;%"
    rows = [_threshold_row(f'<span class="dot"></span>chosen here for {wanted}', chosen)] if chosen else []
    rows += [_threshold_row('<span class="dot open"></span>of the bundle', card)] if card else []
    steps = curve(result.answers.confidences, result.answers.right)
    note = "A threshold chosen on the pictures that it is counted on flatters itself a little."
    if not chosen:
        note = f"No threshold makes {wanted} of the answers right."
    head = [">From", "", ">answered", ">95&#8239;% interval", ">right of these", ">95&#8239;% interval"]
    return html.section(
        "Saying nothing when not sure",
        html.figure(
            coverage_chart(steps, chosen=result.abstention, stored=result.certain),
            "From right to left the threshold rises: fewer pictures get an answer, and more of the answers are right. "
            "The band is the 95&#8239;% interval.",
        ),
        html.table(head, rows) if rows else "",
        f"<p>{note}</p>",
        id="abstain",
    )


def _threshold_row(name: str, data: Mapping[str, Any]) -> str:
    cells = [html.value(data["threshold"], f"{data['threshold']:.4f}")]
    for key in ("coverage", "precision"):
        cells += [html.percent(data[key]), html.interval(*data[f"{key}_interval"])]
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells[1:])
    return f'<td class="number">{cells[0]}</td><td class="what">{name}</td>{numbers}'


def _mistakes(mistakes: Sequence[Mapping[str, Any]], shown: Sequence[View], where: str) -> str:
    if not mistakes:
        return ""
    figures = "\n".join(_mistake(m, view, where) for m, view in zip(mistakes, shown, strict=True))
    mapped = any(view.given for view in shown)
    note = (
        "In colour: what spoke for the label in the picture as the network sees it (class activation map); the line "
        "surrounds what spoke at least half as loud as the loudest."
        if mapped
        else "This network does not end in pooling and one linear layer, so there is no map of what it looked at."
    )
    return html.section(
        "Worst mistakes",
        f'<p>The wrong answers it was most sure of. <span class="quiet">{note}</span></p>',
        f'<div class="mistakes">\n{figures}\n</div>',
        id="mistakes",
    )


def _mistake(mistake: Mapping[str, Any], view: View, where: str) -> str:
    given, right = mistake["predicted"], mistake["label"]
    images = []
    if view.photograph:
        images.append(f"<div>{html.picture(view.photograph, f'photograph of {right}')}the picture</div>")
    if view.given and view.right:
        images.append(f"<div>{html.picture(view.given, f'what spoke for {given}')}for {html.name(given)}</div>")
        images.append(f"<div>{html.picture(view.right, f'what spoke for {right}')}for {html.name(right)}</div>")
    css = "views" if len(images) > 1 else "views one"
    drawn = f'<div class="{css}">{"".join(images)}</div>' if images else '<p class="quiet">cannot be read again</p>'
    return (
        f"<figure>{drawn}<figcaption>said <strong>{html.name(given)}</strong> {html.percent(mistake['probability'])}, "
        f"is <strong>{html.name(right)}</strong> {html.percent(mistake['probability_of_label'])}<br>"
        f'<span class="quiet">{html.name(mistake["image"].removeprefix(f"{where}/"))}</span></figcaption></figure>'
    )


def _unreadable(failures: Sequence[Failure]) -> str:
    if not failures:
        return ""
    lines = "\n".join(f"<li>{html.name(failure)}</li>" for failure in failures[:_LISTED])
    more = f"<p>and {len(failures) - _LISTED:,} more</p>" if len(failures) > _LISTED else ""
    return html.section("Pictures that could not be read", f"<ul>\n{lines}\n</ul>", more, id="unreadable")


def _about(about: Mapping[str, Any]) -> str:
    data, bundle, machine = about["data"], about["bundle"], about["machine"]
    preprocess = ", ".join(f"{key} {value}" for key, value in bundle["preprocess"].items())
    threshold = "none" if bundle["threshold"] is None else f"{bundle['threshold']:.6g}"
    pictures = f"{data['pictures']:,} in {data['classes']:,} classes"
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    cores = f"{machine['cores']} {'core' if machine['cores'] == 1 else 'cores'}"
    memory = f", {machine['memory_bytes'] / 2**30:.0f} GiB" if machine["memory_bytes"] else ""
    rows = [
        ("Data", f"{html.name(data['path'])}: {pictures}"),
        ("Names and labels", f"sha256 <code>{html.text(data['digest'])}</code>"),
        ("Bundle", html.name(bundle["name"])),
        ("Card", f"sha256 <code>{html.text(bundle['sha256'])}</code>"),
        *((html.text(name), f"sha256 <code>{html.text(digest)}</code>") for name, digest in bundle["files"].items()),
        ("Description", html.name(bundle["description"] or "none")),
        ("Labels", f"{bundle['labels']:,}, {html.name(bundle['labels_source'] or 'source not stated')}"),
        ("Licence", html.name(bundle["licence"] or "not stated")),
        ("Source", html.name(bundle["source"] or "not stated")),
        ("Numbers", html.text(bundle["precision"])),
        ("Preparation", html.text(preprocess)),
        ("Temperature", f"{bundle['temperature']:.6g}, threshold {threshold}"),
        ("Machine", f"{html.name(machine['processor'])}, {cores}{memory}, {html.text(machine['system'])}"),
        ("Runtime", html.text(about["runtime"])),
        ("Versions", html.text(versions)),
    ]
    return html.section("What was evaluated, and on what", html.facts(rows), id="about")
