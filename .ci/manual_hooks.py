"""What `mkdocs` does to a page before it renders it."""

import re


def on_page_markdown(markdown: str, **_: object) -> str:
    r"""Write `<\|image\|>` in a table's row as `<|image|>`: GitHub needs the escape there, and MkDocs would show it."""
    return re.sub(
        r"^\|.*$",
        lambda row: re.sub(r"`[^`]*`", lambda code: code[0].replace(r"\|", "|"), row[0]),
        markdown,
        flags=re.M,
    )
