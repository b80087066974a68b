"""Parts of files, as a download asks for them that goes on where it was cut (RFC 9110, section 14)."""

import re
from typing import NamedTuple

from starlette.requests import Request

from tests.hub.models import File
from tests.hub.refusals import Refusal, Refused


class Part(NamedTuple):
    """The bytes from `start` to before `end`; `status` tells whether a part was asked for or the whole."""

    start: int
    end: int
    status: int


def asked_part(request: Request, size: int) -> Part:
    """Return which part of a file of this size is asked for.

    Raises:
        Refused: the file has no such part.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
    if match is None or not any(match.groups()):
        return Part(0, size, 200)
    first, last = match.groups()
    if first:
        start, end = int(first), int(last) + 1 if last else size
    else:
        start, end = max(0, size - int(last)), size
    if start >= min(end, size):
        raise Refused(Refusal(416, "Range Not Satisfiable", headers={"Content-Range": f"bytes */{size}"}))
    return Part(start, min(end, size), 206)


def part_headers(part: Part, file: File) -> dict[str, str]:
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(part.end - part.start),
        "Content-Disposition": f'inline; filename="{file.name.rsplit("/")[-1]}"',
    }
    if part.status == 206:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{file.true_size}"
    return headers
