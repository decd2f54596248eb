# SPDX-License-Identifier: Apache-2.0
"""usage: code_blocks.py PAGE LANGUAGE FOLDER

Writes each code block of PAGE in LANGUAGE to FOLDER/<page>_<number>.<language> and prints the paths
as a CMake list.
"""

import re
import sys
from pathlib import Path


def main(page: str, language: str, folder: str) -> None:
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", Path(page).read_text(), re.M | re.S)
    if not blocks:
        sys.exit(f"{page}: no {language} block")
    paths = []
    for number, block in enumerate(blocks, 1):
        path = Path(folder) / f"{Path(page).stem.lower()}_{number}.{language}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != block:
            path.write_text(block)
        paths.append(str(path))
    print(";".join(paths), end="")


main(*sys.argv[1:])
