"""Figures that results/ holds, as files of the site: each is kept in one place."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

RESULTS = Path(__file__).parents[1] / "results"
FIGURES = {
    "figures/comparison.png": "reference-fashion-mnist/comparison.png",
    "figures/sampler.png": "benchmarks/sampler.png",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the figures before links are checked."""
    for page_path, source in FIGURES.items():
        files.append(File.generated(config, page_path, abs_src_path=str(RESULTS / source)))
    return files
