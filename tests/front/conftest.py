"""A photograph that needs no file."""

import pytest
from PIL import Image
from sklearn.datasets import load_sample_images


@pytest.fixture(scope="session")
def photo():
    return Image.fromarray(load_sample_images().images[0])
