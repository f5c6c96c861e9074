"""Prints how many lines of code the packages have, without blanks, comments and docstrings.

Run: python tests/size.py [ROOT]
"""

import ast
import io
import re
import sys
import tokenize
from pathlib import Path

PACKAGES = ("mopoe", "sweep", "search_spaces")
NO_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
    *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
}


def python_lines(text: str) -> int:
    r"""Return the lines of a Python module that hold code.

    >>> python_lines("'Doc.'\n\n# why\nx = [\n    1,  # one\n]\n")
    3
    """
    docs: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                docs |= set(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docs)


def other_lines(text: str) -> int:
    r"""Return the lines of JavaScript, CSS or C that hold code.

    >>> other_lines("/* why\n   so */\na { b: c }\n\n// no\n")
    1
    """
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return sum(1 for line in text.splitlines() if line.strip() and not line.strip().startswith("//"))


def main() -> None:
    """Print a row per package, and the sum."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    counts = {".py": python_lines, ".js": other_lines, ".css": other_lines, ".c": other_lines}
    sums = [0, 0, 0]
    print(f"{'':<15}{'files':>7}{'Python':>9}{'other':>8}")  # noqa: T201 - the answer
    for package in PACKAGES:
        files = [path for path in (root / package).rglob("*") if path.suffix in counts]
        lines = {path: counts[path.suffix](path.read_text(encoding="utf-8")) for path in files}
        python = sum(n for path, n in lines.items() if path.suffix == ".py")
        row = (len(files), python, sum(lines.values()) - python)
        sums = [a + b for a, b in zip(sums, row, strict=True)]
        print(f"{package:<15}{row[0]:>7}{row[1]:>9}{row[2]:>8}")  # noqa: T201 - the answer
    print(f"{'in all':<15}{sums[0]:>7}{sums[1]:>9}{sums[2]:>8}")  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
