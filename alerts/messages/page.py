"""Lays an incident out as one HTML page: the mail's body, and the page beside a rendered message."""

from __future__ import annotations

from html import escape

from alerts.messages.content import Content
from alerts.messages.plain import as_make_command
from alerts.text import cut, printable_lines, quote_url

# Mail programs drop style sheets and know little CSS: tables and inline styles, and colours of its own.
_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_CODE = (
    "background:#f3f5f7;color:#1f2933;border:1px solid #d9dfe5;border-radius:6px;padding:12px;font-size:13px;"
    "line-height:1.45;white-space:pre-wrap;word-break:break-word;margin:6px 0 16px 0;"
    "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace"
)


def render_page(content: Content, *, chart_src: str | None, news: str | None) -> str:
    """A whole HTML document.

    `chart_src` is the chart's address: a file beside it, or `cid:…` in a mail. `news` says above the incident what has
    just changed.
    """
    parts = [] if news is None else [f'<p style="font-size:17px;font-weight:600;margin:0 0 16px 0">{_text(news)}</p>']
    parts.append(
        f'<h1 style="font-size:22px;line-height:1.3;margin:0 0 12px 0;color:#1f2933">{_text(content.headline)}</h1>'
    )
    if content.description:
        parts.append(_paragraph(_text(cut(content.description, 600))))
    if content.error:
        parts.append(_code(content.error))
    if content.fields:
        parts.append(_table([(_text(name), _text(value)) for name, value in content.fields]))
    if chart_src is not None:
        parts.append(
            f'<img src="{escape(chart_src)}" alt="{_text("Chart: " + content.headline)}" width="640" '
            'style="display:block;width:100%;max-width:640px;height:auto;border:1px solid #d9dfe5;border-radius:6px;'
            'margin:4px 0 16px 0">'
        )
    if content.lines:
        rows = []
        for line in content.lines:
            name = f" <b>{_text(cut(line.name, 120))}</b>" if line.name is not None else ""
            rows.append((f"{_text(line.label)}{name}", _text(cut(line.text, 300))))
        parts.append(_table(rows))
    where = []
    if content.owner:
        where.append(("Owner", _text(content.owner)))
    if content.runbook:
        where.append(("Runbook", _link(content.runbook)))
    where += [(_text(label.capitalize()), _link(url)) for label, url in content.links]
    if where:
        parts.append(_table(where))
    if content.sql:
        parts.append(_paragraph("To look further:"))
        parts.append(_code(as_make_command(content.sql)))
    parts.append(f'<p style="font-size:12px;color:#52606d;margin:16px 0 0 0">{_text(content.context)}</p>')
    body = "\n".join(parts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<title>{_text(content.headline)}</title>
</head>
<body style="margin:0;background:#eef1f4;{_FONT};color:#1f2933">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0"><tr><td align="center" style="padding:16px">
<table role="presentation" cellpadding="0" cellspacing="0" style="width:100%;max-width:688px;background:#ffffff">
<tr><td style="padding:24px;text-align:left;{_FONT};font-size:15px;line-height:1.5;color:#1f2933">
{body}
</td></tr></table>
</td></tr></table>
</body>
</html>
"""


def _text(value: str) -> str:
    return escape(printable_lines(value))


def _paragraph(html: str) -> str:
    return f'<p style="margin:0 0 12px 0">{html}</p>'


def _code(text: str) -> str:
    return f'<pre style="{_CODE}">{_text(text)}</pre>'


def _table(rows: list[tuple[str, str]]) -> str:
    cells = "\n".join(
        f'<tr><td style="padding:4px 16px 4px 0;color:#52606d;vertical-align:top;width:34%">{name}</td>'
        f'<td style="padding:4px 0;vertical-align:top;word-break:break-word">{value}</td></tr>'
        for name, value in rows
    )
    return (
        '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="margin:0 0 16px 0;'
        f'font-size:15px">\n{cells}\n</table>'
    )


def _link(target: str) -> str:
    text = _text(cut(target, 300))
    url = quote_url(target)
    if url is not None:
        return f'<a href="{escape(url)}" style="color:#1f4e79">{text}</a>'
    return f'<code style="font-size:13px">{text}</code>'
