"""Compilation of the kernels: the cache, and machines without a working compiler."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nas.models.native import build as kernels

PROBE = "from nas.models import kernels; print(kernels.available())"


@pytest.fixture
def fresh_cache(monkeypatch, tmp_path):
    """An empty cache folder; this process forgets the loaded kernels, before and after."""
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path))
    kernels._load.cache_clear()
    kernels._cache_folder.cache_clear()
    yield tmp_path
    kernels._load.cache_clear()
    kernels._cache_folder.cache_clear()


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("no-such-compiler", "no C++ compiler found"),
        ("false", "false failed (exit code 1)"),
        ("true", "cannot open shared object file|file too short"),
    ],
)
def test_a_bad_compiler_is_reported_in_one_line(fresh_cache, monkeypatch, caplog, compiler, reason):
    monkeypatch.setenv("CXX", compiler)
    assert not kernels.available()
    (record,) = caplog.records
    assert any(part in record.message for part in reason.split("|"))
    assert "\n" not in record.message
    assert not list(fresh_cache.glob("*.so"))


def test_a_folder_that_cannot_be_written_gives_way_to_a_temporary_one(
    fresh_cache, monkeypatch, tmp_path
):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("NAS_CACHE_DIR", str(blocked / "inside"))
    folder = kernels._cache_folder()
    assert folder.is_dir()
    assert not folder.is_relative_to(blocked)


@pytest.mark.slow
def test_the_library_is_compiled_once(fresh_cache):
    assert kernels.available()
    (library,) = fresh_cache.glob("*.so")
    written = library.stat().st_mtime_ns
    kernels._load.cache_clear()
    assert kernels.available()
    assert library.stat().st_mtime_ns == written


@pytest.mark.slow
def test_a_damaged_library_is_compiled_again(fresh_cache, caplog):
    library = kernels._library()
    library.write_bytes(b"\x7fELF damaged")
    assert kernels.available()
    assert not caplog.records


@pytest.mark.slow
def test_processes_that_start_together_all_get_it(fresh_cache):
    root = Path(__file__).parents[3]
    started = [
        subprocess.Popen([sys.executable, "-c", PROBE], stdout=subprocess.PIPE, cwd=root)
        for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in started] == [b"True"] * 3
    assert len(list(fresh_cache.glob("*.so"))) == 1


def test_only_dense_channels_last_maps_on_the_cpu_are_read():
    x = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert kernels.supports(x)
    assert kernels.supports(x.double())
    assert not kernels.supports(x.half())
    assert not kernels.supports(x.to("meta"))
    assert not kernels.supports(x[:, :2])
    assert not kernels.supports(x[:0])
    assert not kernels.supports(x.contiguous())
