"""The fused operators equal the plain modules: values, gradients, running statistics."""

import copy
import logging
import random
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.models import DyClotNet, dyclotnet
from nas.models.dct import DCT
from nas.models.native import build as kernels
from nas.models.native import fused, operators
from nas.models.reference import mobilenet_v2
from nas.space.arch import table2_arch
from nas.space.space import SearchSpace
from nas.threads import cpu_threads

pytestmark = pytest.mark.skipif(not kernels.available(), reason="no C++ compiler")
SPACE = SearchSpace.from_yaml(Path(__file__).parents[3] / "search_spaces" / "dyclotnet.yaml")
SHAPES = [
    # images, channels, height, width: odd ones, narrow ones, one pixel, several chunks
    (4, 3, 5, 4),
    (2, 1, 3, 3),
    (5, 4, 1, 1),
    (3, 8, 7, 7),
    (6, 16, 8, 8),
    (16, 20, 16, 16),
]


def feature_map(*shape: int, dtype: torch.dtype = torch.float64, mean: float = 1) -> Tensor:
    x = (mean + 2 * torch.randn(*shape, dtype=dtype)).to(memory_format=torch.channels_last)
    return x.requires_grad_()


def random_norm(width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    nn.init.normal_(norm.running_mean)
    return norm.double()


def assert_same(
    ours: Tensor, theirs: Tensor, leaves: list[Tensor], plain_leaves: list[Tensor] | None = None
) -> None:
    """Equal values, and equal gradients of all leaves for a random upstream gradient."""
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    upstream = torch.randn_like(theirs)
    before = upstream.clone()
    gradients = torch.autograd.grad(ours, leaves, upstream)
    expected = torch.autograd.grad(theirs, plain_leaves or leaves, upstream)
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)
    assert torch.equal(upstream, before)


def assert_same_state(one: nn.Module, other: nn.Module) -> None:
    state = other.state_dict()
    assert one.state_dict().keys() == state.keys()
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("beside", ["nothing", "relu", "residual"])
def test_batch_norm_is_the_plain_one(shape, beside):
    torch.manual_seed(0)
    norm = random_norm(shape[1])
    plain = copy.deepcopy(norm)
    x = feature_map(*shape)
    residual = feature_map(*shape) if beside == "residual" else None
    ours = operators.batch_norm(x, norm, beside == "relu", residual)
    theirs = plain(x)
    theirs = theirs.relu() if beside == "relu" else theirs
    theirs = theirs if residual is None else theirs + residual
    assert type(ours.grad_fn).__name__ == "BatchNormBackward"
    leaves = [x] if residual is None else [x, residual]
    assert_same(ours, theirs, [*leaves, *norm.parameters()], [*leaves, *plain.parameters()])
    assert_same_state(norm, plain)


@pytest.mark.parametrize("shape", [*SHAPES, (3, 29, 3, 5), (17, 45, 4, 2)], ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_depthwise_batch_norm_is_the_plain_one(shape, memory_format):
    torch.manual_seed(0)
    width = shape[1]
    conv = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False).double()
    conv.to(memory_format=memory_format)  # weights occur in both formats
    norm = random_norm(width)
    plain_conv, plain = copy.deepcopy(conv), copy.deepcopy(norm)
    x = feature_map(*shape)
    ours = operators.depthwise_batch_norm(x, conv, norm)
    theirs = plain(plain_conv(x)).relu()
    assert type(ours.grad_fn).__name__ == "DepthwiseBatchNormBackward"
    assert_same(
        ours,
        theirs,
        [x, *conv.parameters(), *norm.parameters()],
        [x, *plain_conv.parameters(), *plain.parameters()],
    )
    assert_same_state(norm, plain)


def test_depthwise_of_stride_2_fuses_what_follows():
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6, bias=False).double()
    norm = random_norm(6)
    x = feature_map(3, 6, 5, 5)
    ours = operators.depthwise_batch_norm(x, conv, norm)
    assert type(ours.grad_fn).__name__ == "BatchNormBackward"
    assert_same(ours, copy.deepcopy(norm)(conv(x)).relu(), [x, *conv.parameters()])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("p", [1, 2, 3, 8])
@pytest.mark.parametrize("with_residual", [False, True])
def test_dct_batch_norm_is_the_plain_one(shape, p, with_residual):
    torch.manual_seed(0)
    images, width = shape[:2]
    dct, norm = DCT(width, p, 3).double(), random_norm(width * p)
    plain_dct, plain = copy.deepcopy(dct), copy.deepcopy(norm)
    x = feature_map(*shape)
    residual = feature_map(images, width * p, *shape[2:]) if with_residual else None
    ours = operators.dct_batch_norm(x, dct, norm, residual)
    theirs = plain(plain_dct(x))
    theirs = theirs if residual is None else theirs + residual
    assert type(ours.grad_fn).__name__ == "DCTBatchNormBackward"
    leaves = [x] if residual is None else [x, residual]
    assert_same(
        ours,
        theirs,
        [*leaves, *dct.parameters(), *norm.parameters()],
        [*leaves, *plain_dct.parameters(), *plain.parameters()],
    )
    assert_same_state(norm, plain)


@pytest.mark.parametrize("width", [16, 20])  # whole cache lines, and not
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("with_residual", [False, True])
def test_large_maps_are_written_past_the_cache_and_alike(with_residual, dtype, width):
    torch.manual_seed(0)
    dct, norm = DCT(width, 4, 3).to(dtype), random_norm(4 * width).to(dtype)
    plain = copy.deepcopy(norm)
    x = feature_map(8, width, 64, 64, dtype=dtype)
    residual = feature_map(8, 4 * width, 64, 64, dtype=dtype) if with_residual else None
    assert x.nbytes * dct.p >= 8 << 20  # `kStreaming` in native/rows.hpp

    def expected(norm: nn.BatchNorm2d) -> Tensor:
        return norm(dct(x)) + (0 if residual is None else residual)

    near = 1e-4 if dtype == torch.float32 else 1e-10
    ours = operators.dct_batch_norm(x, dct, norm, residual)
    torch.testing.assert_close(ours, expected(plain), rtol=near, atol=near)
    with torch.no_grad():
        folded = operators.dct_batch_norm(x, dct, norm.eval(), residual)
        torch.testing.assert_close(folded, expected(plain.eval()), rtol=near, atol=near)


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    x, residual = feature_map(3, 2, 2, 3), feature_map(3, 4, 2, 3)
    dct, norm = DCT(2, 2, 3).double(), random_norm(4)
    leaves = (x, residual, *dct.parameters(), *norm.parameters())
    # Parameters are leaves that the modules hold: gradcheck perturbs them in place.
    assert torch.autograd.gradcheck(
        lambda x, residual, *rest: operators.dct_batch_norm(x, dct, norm, residual), leaves
    )
    conv, norm = nn.Conv2d(2, 2, 3, padding=1, groups=2, bias=False).double(), random_norm(2)
    assert torch.autograd.gradcheck(
        lambda x, *rest: operators.depthwise_batch_norm(x, conv, norm),
        (x, *conv.parameters(), *norm.parameters()),
    )
    wide, norm = feature_map(4, 3, 2, 2), random_norm(3)
    for relu in (False, True):
        assert torch.autograd.gradcheck(
            lambda x, *rest, relu=relu: operators.batch_norm(x, norm, relu),
            (wide, *norm.parameters()),
        )


@pytest.mark.parametrize("p", [2, 8])
def test_evaluation_folds_the_norm(p):
    torch.manual_seed(0)
    dct, norm = DCT(4, p, 3).double(), random_norm(4 * p).eval()
    x, residual = feature_map(3, 4, 5, 5), feature_map(3, 4 * p, 5, 5)
    before = copy.deepcopy(norm.state_dict())
    with torch.no_grad():
        ours = operators.dct_batch_norm(x, dct, norm, residual)
        torch.testing.assert_close(ours, norm(dct(x)) + residual)
    # With gradients, as in fine-tuning with frozen statistics, the plain modules run.
    assert_same(operators.dct_batch_norm(x, dct, norm), norm(dct(x)), [x, *dct.parameters()])
    for name, value in norm.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("seed", range(4))
def test_a_network_trains_alike(seed):
    torch.manual_seed(seed)
    arch = SPACE.sample(random.Random(seed))
    plain = DyClotNet(arch, 1, 10).double().to(memory_format=torch.channels_last)
    quick = copy.deepcopy(plain)
    assert fused.use_fused(quick)
    y = torch.arange(6) % 10
    for _ in range(2):
        x = torch.randn(6, 1, 8, 8, dtype=torch.float64)
        x = x.to(memory_format=torch.channels_last)
        for network in (plain, quick):
            network.zero_grad()
            F.cross_entropy(network(x), y).backward()
            torch.optim.SGD(network.parameters(), 0.01).step()
    state = plain.state_dict()
    for name, value in quick.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=1e-6, atol=1e-8, msg=name)
    plain.eval()
    quick.eval()
    with torch.no_grad():
        torch.testing.assert_close(quick(x), plain(x), rtol=1e-6, atol=1e-8)


def test_state_loads_into_the_other_form():
    one, other = dyclotnet(0.25), dyclotnet(0.25)
    fused.use_fused(one)
    other.load_state_dict(one.state_dict())
    one.load_state_dict(other.state_dict())
    assert fused.use_fused(copy.deepcopy(one))


@pytest.mark.parametrize("mean", [0, 300])
def test_single_precision_is_as_exact_as_the_plain_modules(mean):
    """Errors against double precision; a large mean is where sums of squares cancel."""
    torch.manual_seed(0)
    dct, norm = DCT(8, 4, 8).double(), random_norm(32)
    x = feature_map(32, 8, 16, 16, mean=mean)
    upstream = torch.randn(32, 32, 16, 16, dtype=torch.float64)

    def results(operator, dtype: torch.dtype) -> list[Tensor]:
        layers = copy.deepcopy(dct).to(dtype), copy.deepcopy(norm).to(dtype)
        leaf = x.detach().to(dtype).requires_grad_()
        y = operator(leaf, *layers)
        leaves = [leaf, *layers[0].parameters(), *layers[1].parameters()]
        gradients = torch.autograd.grad(y, leaves, upstream.to(dtype))
        return [y.detach(), *gradients, layers[1].running_var]

    def plain(x: Tensor, dct: DCT, norm: nn.BatchNorm2d) -> Tensor:
        return norm(dct(x))

    exact = results(plain, torch.float64)
    for ours, theirs, truth in zip(
        results(operators.dct_batch_norm, torch.float32), results(plain, torch.float32), exact,
        strict=True,
    ):  # fmt: skip
        error = (ours - truth).abs().max()
        assert error <= 2 * (theirs - truth).abs().max() + 5e-6 * truth.abs().max()


def test_results_do_not_depend_on_the_number_of_threads():
    results = []
    for count in (1, 2, 3):
        with cpu_threads(count):
            torch.manual_seed(0)
            x = feature_map(16, 16, 16, 16, dtype=torch.float32)
            conv = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
            dct, norm, wide = DCT(16, 4, 8), nn.BatchNorm2d(16), nn.BatchNorm2d(64)
            y = operators.depthwise_batch_norm(x, conv, nn.BatchNorm2d(16))
            y = operators.dct_batch_norm(operators.batch_norm(y, norm, relu=True), dct, wide)
            y.square().sum().backward()
            results.append([y, x.grad, conv.weight.grad, norm.weight.grad, wide.running_var])
    for several in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(several, results[0], strict=True))


def test_a_nan_is_not_hidden_by_the_relu():
    x = feature_map(2, 4, 3, 3).detach()
    x[0, 1, 2, 2] = float("nan")
    y = operators.batch_norm(x, random_norm(4), relu=True)
    assert y.isnan().any(0).flatten(1).all(1).tolist() == [False, True, False, False]


def test_inputs_are_left_as_they_were():
    x, residual = feature_map(3, 4, 5, 5), feature_map(3, 8, 5, 5)
    before = x.detach().clone(), residual.detach().clone()
    y = operators.dct_batch_norm(x, DCT(4, 2, 3).double(), random_norm(8), residual)
    y.sum().backward()
    assert torch.equal(x, before[0])
    assert torch.equal(residual, before[1])


FUSED = ("BatchNormBackward", "DepthwiseBatchNormBackward", "DCTBatchNormBackward")


def assert_plain(y: Tensor) -> None:
    node = y.grad_fn
    while node is not None:
        assert type(node).__name__ not in FUSED
        node = node.next_functions[0][0] if node.next_functions else None


def test_what_the_kernels_cannot_read_goes_the_plain_way():
    torch.manual_seed(0)
    x, norm, dct = feature_map(3, 4, 5, 5), random_norm(4), DCT(4, 1, 2).double()
    for input_map, layer in [
        (x.detach().clone(memory_format=torch.contiguous_format), norm),
        (x.detach()[:, :, ::2], norm),
        (x.detach().bfloat16(), copy.deepcopy(norm).bfloat16()),
        (x, nn.BatchNorm2d(4, momentum=None).double()),
        (x, nn.BatchNorm2d(4, affine=False).double()),
        (x, nn.BatchNorm2d(4, track_running_stats=False).double()),
        (x, copy.deepcopy(norm).eval()),
    ]:
        plain = copy.deepcopy(layer)
        y = operators.batch_norm(input_map, layer)
        assert torch.equal(y, plain(input_map))
        assert_plain(y)
    assert_plain(operators.batch_norm(x, norm, residual_BCHW=torch.zeros(3, 4, 5, 5)))
    nchw = x.detach().clone(memory_format=torch.contiguous_format)
    assert_plain(operators.dct_batch_norm(nchw, dct, norm))


def test_wrong_shapes_fail_as_in_the_plain_modules():
    x = feature_map(3, 4, 5, 5)
    with pytest.raises(RuntimeError, match="running_mean should contain 4 elements"):
        operators.batch_norm(x, random_norm(8))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        operators.batch_norm(feature_map(1, 4, 1, 1), random_norm(4))


def test_pointwise_is_the_convolution():
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 4, 1, bias=False).double()
    for memory_format in (torch.channels_last, torch.contiguous_format):
        x = feature_map(3, 6, 5, 4).detach().contiguous(memory_format=memory_format)
        x.requires_grad_()
        y, expected = operators.pointwise(x, conv), conv(x)
        assert y.is_contiguous(memory_format=memory_format)
        for ours, theirs in zip(
            (y, *torch.autograd.grad(y.sum(), [x, conv.weight])),
            (expected, *torch.autograd.grad(expected.sum(), [x, conv.weight])),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs)


def test_a_network_without_such_parts_stays_as_it_is():
    assert not fused.use_fused(mobilenet_v2(0.25))


def test_without_a_compiler_the_plain_network_trains_and_says_so_once(
    monkeypatch, tmp_path, caplog
):
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    kernels._load.cache_clear()
    kernels._cache_folder.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            network = DyClotNet(table2_arch(0.25), 1, 10).to(memory_format=torch.channels_last)
            assert not fused.use_fused(network)
            assert not fused.use_fused(network)
        loss = network(torch.randn(2, 1, 8, 8)).sum()
        loss.backward()
        assert torch.isfinite(loss)
        assert [record.message for record in caplog.records] == [
            "training with PyTorch's own operators, which are slower: no C++ compiler found "
            "(set CXX, or install g++ or clang++)"
        ]
    finally:
        kernels._load.cache_clear()
        kernels._cache_folder.cache_clear()
