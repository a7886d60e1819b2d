"""The packages of the distribution: `nas`, and the folder `search_spaces/` as a part of it."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["nas", "nas.*"]), "nas.search_spaces"],
    package_dir={"nas.search_spaces": "search_spaces"},
)
