"""Collects the texts that users meet, from the sources alone, so that they can be read in one go.

Run: python tests/sentences.py --write      writes tests/sentences.txt
"""

import ast
import re
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[1]
STORED = Path(__file__).with_name("sentences.txt")
PACKAGES = ("mopoe", "sweep", "search_spaces")
HEAD = """\
Every text of two words and more that a user may see: errors, messages, help, findings of the report.
In the order of the sources, with {NAME} where a value is put in.
Written by `python tests/sentences.py --write`.
"""

# Calls whose arguments are patterns, types, code or names of random streams; keywords of drawing libraries;
# tables of names.
NOT_SHOWN = {
    *("compile", "match", "fullmatch", "search", "findall", "finditer", "sub", "split", "filterwarnings"),
    *("cast", "strftime", "replace", "removeprefix", "removesuffix", "generator", "sample_noise", "define"),
    *("loc", "textcoords", "textposition", "position", "_COLUMNS", "_KEY"),
}
_WORD = re.compile(r"[A-Za-z]{2,}")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_CODE = re.compile(r"^\s*[<.#\\]|[{;]\s*\\n|</|=>|\\[a-z]+\{|^use strict$|^system-ui|Tensor")
_JS_TEXT = re.compile(r"\"((?:[^\"\\\n]|\\.)*)\"|`([^`]*)`")


def value_name(node: ast.expr) -> str:  # noqa: C901, PLR0911 - one case per kind of expression
    """Return a name for a value that is put into a text, or the texts that it may be.

    >>> [value_name(ast.parse(code, mode="eval").body) for code in ("a.b", "f(x)[0]", "'one' if x else y")]
    ['a.b', 'f', 'one|y']
    """
    match node:
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name != "self":
            return f"{name}.{attribute}"
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_")
        case ast.Constant(value=value):
            return str(value)
        case ast.JoinedStr() | ast.BinOp(op=ast.Add()) if (text := text_of(node)) is not None:
            return text
        case ast.IfExp(body=body, orelse=other) | ast.BoolOp(values=[body, *_, other]):
            return f"{value_name(body)}|{value_name(other)}"
        case ast.Call(func=ast.Attribute(value=ast.Constant()), args=[inner, *_]):  # ", ".join(names)
            return value_name(inner)
        case ast.Call(func=ast.Name(id="str"), args=[inner]):
            return value_name(inner)
        case ast.Call(func=ast.Attribute(value=inner, attr=method)) if hasattr(str, method):
            return value_name(inner)
        case ast.Call(func=inner) | ast.Subscript(value=inner) | ast.UnaryOp(operand=inner):
            return value_name(inner)
        case ast.BinOp(left=inner) | ast.Starred(value=inner) | ast.NamedExpr(value=inner):
            return value_name(inner)
        case ast.GeneratorExp(elt=inner) | ast.ListComp(elt=inner):
            return value_name(inner)
    return "..."


def text_of(node: ast.expr) -> str | None:
    """Return an expression's text with its values as {NAME}; None if it is no text.

    >>> text_of(ast.parse("f'{a.b!r} of ' + f'{len(x):>3} files'", mode="eval").body)
    '{a.b} of {len} files'
    """
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(text_of(part) or "" for part in parts)
        case ast.FormattedValue(value=value):
            return f"{{{value_name(value)}}}"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            found = text_of(left), text_of(right)
            if found == (None, None):
                return None
            return "".join(
                f"{{{value_name(side)}}}" if text is None else text
                for side, text in zip((left, right), found, strict=True)
            )
    return None


def texts(node: ast.AST) -> Iterator[str]:
    """Give the texts of a syntax tree in the order of its source, without docstrings and annotations."""
    if isinstance(node, ast.expr) and (text := text_of(node)) is not None:
        yield text
        # A text within a value of the text, as in f"{', '.join(f'{a} is {b}' for ...)}".
        for part in ast.walk(node):
            if isinstance(part, ast.FormattedValue) and not isinstance(part.value, ast.Constant):
                yield from texts(part.value)
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            if field in ("annotation", "returns"):  # of types; but help stands in calls there
                calls = (n for n in ast.walk(child) if isinstance(n, ast.Call))
                yield from chain.from_iterable(map(texts, calls))
            elif not _hidden(node, field):
                yield from texts(child)


def _hidden(node: ast.AST, field: str) -> bool:
    """Return whether no text in this field of a syntax tree is for people."""
    match node:
        case ast.keyword(arg=name):
            return name in NOT_SHOWN
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name in NOT_SHOWN and field == "args"
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name in NOT_SHOWN
        case ast.Attribute(attr="split"):  # "a b c".split()
            return True
    return False


def commands() -> set[tuple[str, str]]:
    """Return the command line's functions, each as its module in `sweep/commands` and its name."""
    tree = ast.parse((ROOT / "sweep" / "cli.py").read_text(encoding="utf-8"))
    (listed,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMMANDS"
    )
    return {
        (ast.unparse(node.value), node.attr) for node in ast.walk(listed) if isinstance(node, ast.Attribute)
    }


def module_texts(path: Path) -> Iterator[str]:
    """Give the texts of a module, a command's docstring before those of its function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = commands() if path.parent == ROOT / "sweep" / "commands" else set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            decorated = any("app." in ast.unparse(decorator) for decorator in node.decorator_list)
            if decorated or (path.stem, node.name) in known:
                yield ast.get_docstring(node) or ""
        yield from texts(node)


def shown(text: str) -> bool:
    """Return whether a text is one for people: words with a blank between, and neither HTML nor LaTeX.

    >>> [shown(text) for text in ("no file {path}", "{n} files", "a/{b}.parquet", "<b>x</b> y", "utf-8")]
    [True, True, False, False, False]
    """
    words = len(_WORD.findall(_PLACEHOLDER.sub("", text)))
    return " " in text.strip() and words + ("{" in text) > 1 and words > 0 and not _CODE.search(text)


def listing() -> str:
    """Return all texts, a line each, below the names of their modules."""
    parts = [HEAD]
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.*")):
        if path.suffix == ".py":
            found = module_texts(path)
        elif path.suffix == ".js":
            found = ("".join(match) for match in _JS_TEXT.findall(path.read_text(encoding="utf-8")))
        else:
            continue
        lines = dict.fromkeys(text.strip().replace("\n", "\\n") for text in found if shown(text))
        if lines:
            parts.append("\n".join([f"## {path.relative_to(ROOT).as_posix()}", *lines, ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        STORED.write_text(listing(), encoding="utf-8")
    else:
        print(listing())  # noqa: T201 - the answer
