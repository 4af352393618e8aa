"""Community models in small, of random weights, as their own constructors make them."""

import warnings
from collections.abc import Callable

import torch
from torch import nn

SMALL: dict[str, Callable[[], nn.Module]] = {}
"""Networks by the name of their architecture; imported when first asked for, as that takes seconds."""


def _small(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    SMALL[make.__name__] = make
    return make


@_small
def ESRGAN():
    from spandrel.architectures.ESRGAN import ESRGAN

    return ESRGAN(num_filters=16, num_blocks=1)


@_small
def Compact():
    from spandrel.architectures.Compact import Compact

    return Compact(num_feat=16, num_conv=3, upscale=2)


@_small
def SPAN():
    from spandrel.architectures.SPAN import SPAN

    return SPAN(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2)


@_small
def PLKSR():
    from spandrel.architectures.PLKSR import PLKSR

    return PLKSR(dim=16, n_blocks=2, upscaling_factor=2, kernel_size=9)


@_small
def DAT():
    from spandrel.architectures.DAT import DAT

    return DAT(embed_dim=32, split_size=[4, 8], depth=[2], num_heads=[2], expansion_factor=2.0, upscale=2)


@_small
def SwinIR():
    from spandrel.architectures.SwinIR import SwinIR

    return SwinIR(
        embed_dim=24, depths=[2], num_heads=[2], window_size=8, mlp_ratio=2.0, upscale=2, upsampler="pixelshuffle"
    )


@_small
def OmniSR():
    from spandrel.architectures.OmniSR import OmniSR

    return OmniSR(num_feat=16, res_num=1, up_scale=2)


@_small
def HAT():
    from spandrel.architectures.HAT import HAT

    return HAT(
        embed_dim=24,
        depths=(2,),
        num_heads=(2,),
        window_size=8,
        mlp_ratio=2,
        compress_ratio=4,
        squeeze_factor=8,
        upscale=2,
    )


@_small
def RealCUGAN():
    from spandrel.architectures.RealCUGAN import UpCunet2x

    return UpCunet2x()


@_small
def SAFMN():
    from spandrel.architectures.SAFMN import SAFMN

    return SAFMN(dim=16, n_blocks=2, upscaling_factor=2)


def random(name: str) -> nn.Module:
    """A network of an architecture, the same each time, with nothing left at zero."""
    torch.manual_seed(5)
    with warnings.catch_warnings(action="ignore"):  # of torch, about their manners
        made = SMALL[name]().eval()
    for parameter in made.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return made
