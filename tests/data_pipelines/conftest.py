"""A sound set on the disk."""

import pytest

from tests.data_pipelines import coco_files


@pytest.fixture
def sound(tmp_path):
    """The content of a file for tests to break; its pictures are in tmp_path / "images"."""
    content = coco_files.content()
    coco_files.write_images(tmp_path / "images", content)
    return content
