"""A tree that is quick to work through."""

import pytest

from demo.running import FILES, FOLDERS

SOURCE = "class Box:\n    def open(self):\n        pass\n\nasync def close():\n    return {number}\n"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Ten files in each of four folders: half Python, half text; two of the texts are equal."""
    root = tmp_path_factory.mktemp("tree")
    for number in range(FILES):
        folder = root / f"folder{number % FOLDERS}"
        folder.mkdir(exist_ok=True)
        if number < FILES // 2:
            (folder / f"{number}.py").write_text(SOURCE.format(number=number))
        else:
            (folder / f"{number}.txt").write_text(f"{max(number, FILES // 2 + 1)} of these " * 500)
    return root
