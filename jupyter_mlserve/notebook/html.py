"""A card as HTML: no script, light and dark by the front end's own colours.

The colours are JupyterLab's ``--jp-*`` variables, then VS Code's, then what the page inherits,
so that a card can be read wherever a notebook is shown. Everything a service's author or data
wrote is escaped here, in one place: ``_e``.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import urlsplit

from .document import Beside, Card, Cell, Code, Facts, Link, Meter, Mono, Note, Part, Section, Table

_MARKS = {"ok": "✓", "info": "i", "warning": "!", "error": "✕"}
_SPOKEN = {"ok": "Done", "info": "Information", "warning": "Warning", "error": "Error"}

# The class is repeated where JupyterLab's own rules for rendered HTML would otherwise win.
STYLE = """
.jp-mlserve{
--mls-text:var(--jp-content-font-color1,var(--vscode-editor-foreground,inherit));
--mls-dim:var(--jp-content-font-color2,var(--vscode-descriptionForeground,inherit));
--mls-line:var(--jp-border-color2,rgba(128,128,128,.35));
--mls-soft:var(--jp-layout-color2,rgba(128,128,128,.1));
--mls-link:var(--jp-content-link-color,var(--vscode-textLink-foreground,#1976d2));
--mls-ok:var(--jp-success-color1,#2e7d32);--mls-info:var(--jp-info-color1,#0288d1);
--mls-warning:var(--jp-warn-color1,#ed6c02);--mls-error:var(--jp-error-color1,#d32f2f);
--mls-code:var(--jp-code-font-family,ui-monospace,SFMono-Regular,Menlo,Consolas,monospace);
max-width:58rem;margin:2px 0 6px;border:1px solid var(--mls-line);border-radius:6px;
color:var(--mls-text);font-family:var(--jp-ui-font-family,system-ui,sans-serif);
font-size:13px;line-height:1.5;overflow:hidden}
.jp-mlserve *{box-sizing:border-box}
.jp-mlserve .mls-head{display:flex;flex-wrap:wrap;align-items:center;gap:4px 10px;
padding:9px 14px;border-bottom:1px solid var(--mls-line)}
.jp-mlserve .mls-mark{flex:none;width:20px;height:20px;border-radius:50%;color:#fff;
font-size:12px;font-weight:700;line-height:20px;text-align:center}
.jp-mlserve .mls-title{font-size:15px;font-weight:600;overflow-wrap:anywhere}
.jp-mlserve .mls-badge{padding:0 8px;border:1px solid var(--mls-line);border-radius:10px;
background:var(--mls-soft);font-family:var(--mls-code);font-size:12px;line-height:19px;
overflow-wrap:anywhere}
.jp-mlserve .mls-state{margin-left:auto;color:var(--mls-dim);font-size:12px}
.jp-mlserve .mls-sub{flex-basis:100%;padding-left:30px;color:var(--mls-dim);
overflow-wrap:anywhere}
.jp-mlserve .mls-body{padding:10px 14px 4px}
.jp-mlserve .mls-body>*{margin:0 0 10px}
.jp-mlserve a{color:var(--mls-link)}
.jp-mlserve.jp-mlserve.jp-mlserve :is(code,pre){margin:0;padding:0;border:0;background:none;
color:inherit;font-family:var(--mls-code);font-size:12px;line-height:1.5;overflow-wrap:anywhere;
word-break:normal}
.jp-mlserve.jp-mlserve.jp-mlserve code{white-space:normal}
.jp-mlserve.jp-mlserve.jp-mlserve pre{padding:7px 10px;border-radius:4px;background:var(--mls-soft);
white-space:pre-wrap}
.jp-mlserve pre{max-height:26em;overflow:auto}
.jp-mlserve .mls-whole{user-select:all;-webkit-user-select:all}
.jp-mlserve .mls-facts{display:grid;grid-template-columns:auto 1fr;gap:3px 14px}
.jp-mlserve .mls-facts dt{min-width:6em;margin:0;padding:0;font-weight:400;white-space:nowrap;
color:var(--mls-dim)}
.jp-mlserve .mls-facts dd{margin:0;min-width:0;overflow-wrap:anywhere}
.jp-mlserve .mls-facts dd>*+*{margin-left:14px}
.jp-mlserve .mls-note{padding:5px 10px;border-left:3px solid var(--mls-tone);
background:var(--mls-soft);border-radius:0 4px 4px 0;overflow-wrap:anywhere}
.jp-mlserve .mls-ok{--mls-tone:var(--mls-ok)}.jp-mlserve .mls-info{--mls-tone:var(--mls-info)}
.jp-mlserve .mls-warning{--mls-tone:var(--mls-warning)}
.jp-mlserve .mls-error{--mls-tone:var(--mls-error)}
.jp-mlserve .mls-mark{background:var(--mls-tone)}
.jp-mlserve .mls-wide{overflow-x:auto}
.jp-mlserve.jp-mlserve table{width:auto;min-width:40%;margin:0;border:0;border-collapse:collapse;
table-layout:auto;font-size:12px;color:inherit}
.jp-mlserve.jp-mlserve :is(th,td){max-width:none;padding:4px 16px 4px 0;border:0;
border-bottom:1px solid var(--mls-line);background:none;line-height:1.5;text-align:left;
vertical-align:baseline;white-space:normal}
.jp-mlserve.jp-mlserve tr{background:none!important}
.jp-mlserve.jp-mlserve tbody tr:last-child td{border-bottom:0}
.jp-mlserve.jp-mlserve th{font-weight:500;color:var(--mls-dim);white-space:nowrap}
.jp-mlserve.jp-mlserve .mls-num{padding-right:16px;text-align:right;white-space:nowrap;
font-variant-numeric:tabular-nums}
.jp-mlserve.jp-mlserve.jp-mlserve td code{white-space:nowrap}
.jp-mlserve caption{caption-side:top;padding:0 0 3px;text-align:left;color:var(--mls-dim)}
.jp-mlserve details{border-top:1px solid var(--mls-line)}
.jp-mlserve .mls-body>details{margin:0 -14px;padding:0 14px}
.jp-mlserve .mls-body>details:last-child{margin-bottom:-4px}
.jp-mlserve .mls-body>:not(details)+details{margin-top:2px}
.jp-mlserve summary{padding:6px 0;font-weight:600;cursor:pointer}
.jp-mlserve summary:focus-visible{outline:2px solid var(--mls-link);outline-offset:-2px}
.jp-mlserve summary .mls-brief{margin-left:8px;font-weight:400;color:var(--mls-dim)}
.jp-mlserve details>:not(summary){margin:0 0 10px}
.jp-mlserve details details{margin:0;border-top:0}
.jp-mlserve details details summary{padding:2px 0 4px;font-weight:500}
.jp-mlserve .mls-beside{display:flex;flex-wrap:wrap;align-items:flex-start;gap:10px 44px}
.jp-mlserve .mls-beside>*{min-width:0;max-width:100%;margin:0}
.jp-mlserve .mls-beside>.mls-facts{flex:1 1 20rem}
.jp-mlserve .mls-finding{font-size:14px;overflow-wrap:anywhere}
.jp-mlserve .mls-scale{position:relative;max-width:34rem;height:6px;margin:9px 6px 4px;
border-radius:3px;background:var(--mls-line)}
.jp-mlserve .mls-scale span{position:absolute;top:-4px;width:14px;height:14px;margin-left:-7px;
border:3px solid var(--jp-layout-color0,Canvas);border-radius:50%;background:var(--mls-ok)}
.jp-mlserve .mls-ends{display:flex;justify-content:space-between;max-width:calc(34rem + 12px)}
.jp-mlserve .mls-label{margin:0 0 3px;font-weight:500;color:var(--mls-dim)}
.jp-mlserve .mls-small{margin:3px 0 0;font-size:12px;color:var(--mls-dim)}
"""


def card_html(card: Card) -> str:
    """The text/html form of a card."""
    badge = f'<span class="mls-badge">{_e(card.badge)}</span>' if card.badge else ""
    state = f'<span class="mls-state">{_e(card.state)}</span>' if card.state else ""
    subtitle = f'<div class="mls-sub">{_e(card.subtitle)}</div>' if card.subtitle else ""
    body = "".join(_part(part) for part in card.parts)
    label = " ".join(filter(None, (card.title, card.badge, card.state)))
    return (
        f'<style>{STYLE}</style><section class="jp-mlserve" aria-label="{_e(label)}">'
        f'<div class="mls-head mls-{card.tone}">'
        f'<span class="mls-mark" role="img" aria-label="{_SPOKEN[card.tone]}">'
        f"{_MARKS[card.tone]}</span>"
        f'<span class="mls-title" role="heading" aria-level="3">{_e(card.title)}</span>'
        f"{badge}{state}{subtitle}</div>"
        + (f'<div class="mls-body">{body}</div>' if body else "")
        + "</section>"
    )


def _part(part: Part) -> str:
    if isinstance(part, Facts):
        rows = "".join(f"<dt>{_e(label)}</dt><dd>{_cells(cell)}</dd>" for label, cell in part.rows)
        return f'<dl class="mls-facts">{rows}</dl>'
    if isinstance(part, Note):
        role = ' role="alert"' if part.tone in ("warning", "error") else ""
        return f'<div class="mls-note mls-{part.tone}"{role}>{_e(part.text)}</div>'
    if isinstance(part, Code):
        return _code(part)
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Meter):
        return _meter(part)
    if isinstance(part, Beside):
        return f'<div class="mls-beside">{"".join(map(_part, part.parts))}</div>'
    return _section(part)


def _section(part: Section) -> str:
    brief = f'<span class="mls-brief">{_e(part.brief)}</span>' if part.brief else ""
    inner = "".join(_part(one) for one in part.parts)
    opened = " open" if part.open else ""
    return f"<details{opened}><summary>{_e(part.title)}{brief}</summary>{inner}</details>"


def _code(part: Code) -> str:
    label = f'<div class="mls-label">{_e(part.label)}</div>' if part.label else ""
    note = f'<div class="mls-small">{_e(part.note)}</div>' if part.note else ""
    whole = ' class="mls-whole"' if part.whole else ""
    return f"<div>{label}<pre{whole}>{_e(part.text)}</pre>{note}</div>"


def _table(table: Table) -> str:
    classes = [' class="mls-num"' if name in table.numeric else "" for name in table.columns]
    head = "".join(
        f'<th scope="col"{kind}>{_e(name)}</th>'
        for name, kind in zip(table.columns, classes, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{_cells(cell)}</td>" for cell, kind in zip(row, classes, strict=True))
        + "</tr>"
        for row in table.rows
    )
    caption = f"<caption>{_e(table.caption)}</caption>" if table.caption else ""
    more = f'<div class="mls-small">{_e(table.more)}</div>' if table.more else ""
    return (
        f'<div class="mls-wide"><table>{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table>{more}</div>"
    )


def _meter(part: Meter) -> str:
    share = round(100 * min(max(part.share, 0.0), 1.0), 1)
    spoken = (
        f'role="meter" aria-label="{_e(part.label)}" aria-valuemin="0" aria-valuemax="100"'
        f' aria-valuenow="{share}" aria-valuetext="{_e(part.text)}"'
    )
    return (
        f'<div class="mls-proof"><div class="mls-finding">{_e(part.text)}</div>'
        f'<div class="mls-scale" {spoken}><span style="left:{share}%"></span></div>'
        f'<div class="mls-ends mls-small" aria-hidden="true"><span>{_e(part.low)}</span>'
        f"<span>{_e(part.high)}</span></div></div>"
    )


def _cells(cells: Cell | Sequence[Cell]) -> str:
    if isinstance(cells, list | tuple):
        return "".join(f"<span>{_cell(cell)}</span>" for cell in cells)
    return _cell(cells)  # type: ignore[arg-type]


def _cell(cell: Cell) -> str:
    if isinstance(cell, Mono):
        return f"<code>{_e(cell.text)}</code>"
    if isinstance(cell, Link):
        text = _e(cell.label or cell.url)
        if urlsplit(cell.url).scheme not in ("http", "https"):
            return text
        return f'<a href="{_e(cell.url)}" target="_blank" rel="noopener">{text}</a>'
    return _e(cell)


def _e(text: str) -> str:
    return escape(text, quote=True)
