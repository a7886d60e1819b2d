"""Networks of the DyClotNet family.

Networks to compare them with are in `nas.models.reference`, which imports torchvision.
"""

from nas.models.bottleneck import Bottleneck
from nas.models.dct import DCT, MultiPathLinear, Recalibrator
from nas.models.dyclotnet import DyClotNet, dyclotnet

__all__ = ["DCT", "Bottleneck", "DyClotNet", "MultiPathLinear", "Recalibrator", "dyclotnet"]
