"""The types of the page: what the API is asked and answers, as TypeScript, from the API's own description.

They are committed, so that an editor knows them, and no browser loads them.

    python scripts/page_types.py            write mmsearch/serve/page/messages.d.ts
    python scripts/page_types.py --check    fail where that file is not what the API describes now, and where a script
                                            of the page is wrong by it; the latter needs TypeScript's tsc
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from mmsearch.serve.app import make_app
from mmsearch.serve.service import Service

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "mmsearch" / "serve" / "page"
TYPES = PAGE / "messages.d.ts"

_HEAD = "// Written by scripts/page_types.py from the description of the API. Do not edit.\n"
_NAMES = {"integer": "number", "number": "number", "string": "string", "boolean": "boolean", "null": "null"}


def page_types() -> str:
    """The text of messages.d.ts: an interface a schema, and what each route answers."""
    # Routes are described without a gallery: they use their service when they are called, not before.
    description = make_app(cast(Service, None)).openapi()
    schemas = description["components"]["schemas"]
    bodies = [_declared(name, schema) for name, schema in sorted(schemas.items())]
    return "\n".join([_HEAD, *bodies, _answers(description["paths"])])


def _declared(name: str, schema: dict[str, Any]) -> str:
    if schema.get("type") != "object":
        return f"{_comment(schema)}export type {name} = {_type(schema)};\n"
    required = schema.get("required", [])
    lines = [f"{_comment(schema)}export interface {name} {{"]
    for field, field_schema in schema["properties"].items():
        mark = "" if field in required else "?"
        lines.append(f"{_comment(field_schema, '  ')}  {field}{mark}: {_type(field_schema)};")
    return "\n".join([*lines, "}\n"])


def _type(schema: dict[str, Any]) -> str:
    """A schema as a type. Raises KeyError for what no message of the API uses so far."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(map(_type, schema["anyOf"])))
    if "enum" in schema:
        return " | ".join(map(_literal, schema["enum"]))
    if schema["type"] == "array":
        return f"Array<{_type(schema['items'])}>"
    if schema["type"] == "object":
        return f"Record<string, {_type(schema['additionalProperties'])}>"
    return _NAMES[schema["type"]]


def _literal(value: str | int) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _comment(schema: dict[str, Any], indent: str = "") -> str:
    """The description of a schema, as a comment above it."""
    lines = schema.get("description", "").splitlines()
    if not lines:
        return ""
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */\n"
    return "\n".join([f"{indent}/**", *(f"{indent} * {line}".rstrip() for line in lines), f"{indent} */\n"])


def _answers(paths: dict[str, dict[str, Any]]) -> str:
    """By route, the type of what it answers where all went well."""
    lines = ["/** What each route answers, where that is JSON. */", "export interface Answers {"]
    lines += [f'  "{route}": {answer};' for route, answer in _routes(paths)]
    return "\n".join([*lines, "}\n"])


def _routes(paths: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for path, methods in sorted(paths.items()):
        for method, operation in sorted(methods.items()):
            answer = operation["responses"]["200"].get("content", {}).get("application/json")
            if answer is not None:
                yield f"{method.upper()} {path}", _type(answer["schema"])


def find_tsc() -> str | None:
    """The TypeScript compiler of the system, or of the project's folder; None where there is none."""
    local = shutil.which("tsc", path=str(PROJECT / ".typescript" / "node_modules" / ".bin"))
    return local or shutil.which("tsc")


def check_scripts(tsc: str, page: Path) -> subprocess.CompletedProcess[str]:
    """Have TypeScript check the scripts of a page; it exits with 0 where nothing is wrong."""
    return subprocess.run([tsc, "--project", str(page), "--pretty", "false"], capture_output=True, text=True)


def _check() -> int:
    if not TYPES.is_file() or TYPES.read_text("utf-8") != page_types():
        print(f"{TYPES.relative_to(PROJECT)} is not what the API describes now: python scripts/page_types.py writes it")
        return 1
    tsc = find_tsc()
    if tsc is None:
        print(
            "The scripts of the page are not checked, for want of tsc: apt install node-typescript, "
            "or npm install --prefix .typescript typescript"
        )
        return 0
    checked = check_scripts(tsc, PAGE)
    print(checked.stdout + checked.stderr, end="")
    return checked.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something is wrong")
    if parser.parse_args().check:
        return _check()
    TYPES.write_text(page_types(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
