# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Frozen projected features: normalise, resize, backbone, random projection.

Nothing here is trained, and everything is always in eval mode. The random projection (with the
transformers' post-processing) is the only part that no weight file holds; it is saved with the
training state and must be the same on every process, see docs/differences_from_official.md.

Letters in shape comments: N batch, C channels, H W pixels of the image, S side of the resized image.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from dnnlib.errors import ArgumentError
from training.adversarial.diffaugment import apply_draws, draw
from training.backbones.spec import BackboneSpec, backbone_key
from training.backbones.stages import fold_batch_norms, get_spec, move_statistics
from training.backbones.teacher import TEACHER, TeacherStages
from training.backbones.weights import build_stages
from training.sampling.noise_levels import SIGMA_MIN

CCM_CHANNELS = (64, 128, 256, 512)  # after cross-channel mixing, per stage
FEATURE_CHANNELS = (64, 64, 128, 256)  # after cross-scale mixing: what the discriminator sees
READOUT_CHANNELS = (96, 192, 384, 768)  # after the transformers' post-processing


class TokenReadout(nn.Module):
    """Turn the four equally large maps of a transformer into a pyramid, by frozen random layers.

    Args:
        channels: Token width of the transformer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        a, b, c, d = READOUT_CHANNELS
        # The keys 3 and 4 are the official layer numbers, which the golden numbers use.
        self.post1 = nn.ModuleDict(
            {'3': nn.Conv2d(channels, a, 1), '4': nn.ConvTranspose2d(a, a, 4, stride=4)}
        )
        self.post2 = nn.ModuleDict(
            {'3': nn.Conv2d(channels, b, 1), '4': nn.ConvTranspose2d(b, b, 2, stride=2)}
        )
        self.post3 = nn.ModuleDict({'3': nn.Conv2d(channels, c, 1)})
        self.post4 = nn.ModuleDict(
            {'3': nn.Conv2d(channels, d, 1), '4': nn.Conv2d(d, d, 3, stride=2, padding=1)}
        )

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        pyramid = []
        for x, post in zip(maps, (self.post1, self.post2, self.post3, self.post4)):
            for layer in post.values():
                x = layer(x)
            pyramid.append(x)
        return pyramid  # [N, 96, 56, 56] .. [N, 768, 7, 7]


class RandomProjection(nn.Module):
    """Mix channels within each stage (CCM), then stages from coarse to fine (CSM), by 1x1 convolutions.

    Sauer et al. 2021, "Projected GANs Converge Faster", section 3.2. Random weights
    by PyTorch's default initialisation, no activation.

    Args:
        in_channels: Channels of the four maps, fine to coarse.
        fused:       Convolve before upsampling. Bilinear weights sum to one, so a 1x1 convolution
                     commutes with upsampling up to rounding, and then needs a quarter of the work.
    """

    def __init__(self, in_channels: Sequence[int], fused: bool = False) -> None:
        super().__init__()
        self.fused = fused
        for level in range(4):
            self.add_module(f'ccm{level}', nn.Conv2d(in_channels[level], CCM_CHANNELS[level], 1))
        for level in reversed(range(4)):
            self.add_module(f'csm{level}', nn.Conv2d(CCM_CHANNELS[level], FEATURE_CHANNELS[level], 1))

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        features = []
        x = None
        for level in reversed(range(4)):
            mixed = self.get_submodule(f'ccm{level}')(maps[level])  # [N, CCM_CHANNELS, s, s]
            x = mixed if x is None else x + mixed
            convolve = self.get_submodule(f'csm{level}')  # [N, FEATURE_CHANNELS, s, s]
            x = _upsample(convolve(x)) if self.fused else convolve(_upsample(x))
            features.insert(0, x)  # [N, FEATURE_CHANNELS, 2s, 2s]
        return features


def _upsample(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2, mode='bilinear', align_corners=True)


def nominal_resolutions(input_size: int, interpolate: bool = True) -> list[int]:
    """Return the four map sizes that the discriminator is built for, fine to coarse.

    They do not look at the backbone (official rule): r = 256 for images resized to 224, whose
    true maps are 112 .. 14 (VGG: 224 .. 28).

    Args:
        input_size:  Side of the images that the convolutional backbones get, pixels.
        interpolate: True: r is the next power of two. False: r is `input_size` itself.
    Returns:
        [r/2, r/4, r/8, r/16].
    """
    size = 1 << (input_size - 1).bit_length() if interpolate else input_size
    return [size // 2, size // 4, size // 8, size // 16]


class ProjectedFeatures(nn.Module):
    """Compute frozen multi-scale features of images with one or more backbones.

    The random layers are drawn from the global torch generator with PyTorch's default
    initialisation, backbones in the given order.

    Args:
        names:            Backbone names, see `training.backbones.stages.get_spec`.
        input_size:       Side that images are resized to for convolutional backbones, a multiple of
                          32 (official 224). Without `interpolate`: the side that the images have.
        interpolate:      Resize (bilinear, no antialiasing). Transformers always resize to 224, or
                          about that, see `timm_models.transformer_size`.
        weights:          'pretrained', 'random', or {backbone key: state dict}.
        moved_statistics: Reproduce the official accident that moves batch-norm statistics, see
                          `stages.move_statistics`.
        pretrained_dir:   Folder searched first for weight files.
        diffaugment:      Augment the images, with draws of its own for every backbone.
        fused:            Merge batch norms into convolutions and reorder linear layers. The same
                          function up to rounding, nearly twice as fast on a CPU. Rounding still
                          flips a few ReLUs, so single gradients then differ from the official
                          code's by up to 1e-2; keep it off to compare numbers.
        teacher:          What the name 'teacher' stands for; it sees the images as they are, with noise.
    Raises:
        ArgumentError: Unknown backbone (BackboneError), no weights (WeightsError), `input_size` is no
            multiple of 32, or 'teacher' is named and there is none.
    """

    def __init__(
        self,
        names: Sequence[str],
        input_size: int,
        interpolate: bool,
        weights: str | dict[str, dict[str, torch.Tensor]] = 'pretrained',
        moved_statistics: bool = False,
        pretrained_dir: str = 'pretrained',
        diffaugment: bool = False,
        fused: bool = False,
        teacher: TeacherStages | None = None,
    ) -> None:
        super().__init__()
        _require_valid(names, input_size, teacher)
        specs = [teacher.spec if name == TEACHER else get_spec(name, input_size) for name in names]
        self.names = [spec.key for spec in specs]
        self.specs = dict(zip(self.names, specs))
        self.input_size, self.interpolate, self.diffaugment = input_size, interpolate, diffaugment
        self.channels = list(FEATURE_CHANNELS)
        self.resolutions = nominal_resolutions(input_size, interpolate)
        # The teacher sees images of its own size, whatever the others get.
        self.own_resolutions = {TEACHER: [2 * size for size in teacher.sizes]} if TEACHER in names else {}
        self.weights_report = []
        self.map_type = None  # of backbones and random layers, where it is not that of the images
        self.backbones, self.readouts, self.projections = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for spec in specs:
            if spec.key == TEACHER:
                stages, report = teacher, f'{TEACHER}: its own frozen encoder'
            else:
                chosen = weights if isinstance(weights, str) else weights[spec.key]
                stages, report = build_stages(spec.name, chosen, pretrained_dir)
            if moved_statistics:
                move_statistics(stages, spec.input_size or 256)
            if fused and spec.family in ('efficientnet', 'vgg'):  # convolutions followed by their norms
                fold_batch_norms(stages.eval())
            self.weights_report.append(report)
            self.backbones[spec.key] = stages
            self._register_normalisation(spec)
            if spec.is_transformer:
                self.readouts[spec.key] = TokenReadout(spec.channels[0])
            self.projections[spec.key] = RandomProjection(
                READOUT_CHANNELS if spec.is_transformer else spec.channels, fused
            )
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> 'ProjectedFeatures':
        """Stay in eval mode: the features must not depend on the batch."""
        return super().train(False)

    def forward(
        self,
        x: torch.Tensor,
        draws: dict[str, dict[str, torch.Tensor]] | None = None,
        noise: dict[str, torch.Tensor] | None = None,
        labels: torch.Tensor | None = None,
    ) -> dict[str, list[torch.Tensor]]:
        """Compute the features.

        Args:
            x:     Images, float32 [N, C, H, W], -1..1; C = 1 is repeated to 3.
            draws: {backbone key: parameters of DiffAugment}, see `diffaugment.draw`; None for fresh
                   ones. Not looked at without `diffaugment`.
            noise: sigma and noise for the teacher's encoder, see `teacher_noise.draw_noise`; for it alone.
            labels: One-hot labels [N, K], for the encoder of a teacher with classes alone.
        Returns:
            Dict of backbone key -> list of four maps, fine to coarse, [N, 64, S/2, S/2] ..
            [N, 256, S/16, S/16] (VGG: twice as large; teacher: twice its own sizes).
        Raises:
            ValueError: C is neither 1 nor 3, the images have the wrong size and may not be resized, or the
                teacher's encoder lacks what it needs.
        """
        rgb = self._as_rgb(x)  # [N, 3, H, W]
        features = {}
        for name in self.names:
            augmented = apply_draws(rgb, draws[name] if draws else draw(rgb)) if self.diffaugment else rgb
            maps = self.stage_maps(name, augmented[:, : x.shape[1]], noise, labels)
            if name in self.readouts:
                maps = self.readouts[name](maps)
            features[name] = self.projections[name](maps)
        return features

    def stage_maps(
        self,
        name: str,
        x: torch.Tensor,
        noise: dict[str, torch.Tensor] | None = None,
        labels: torch.Tensor | None = None,
    ) -> list[torch.Tensor]:
        """Return the maps of one backbone, before the random layers; arguments as for `forward`."""
        if name != TEACHER:
            resized = self._resized(name, self._as_rgb(x))
            return self.backbones[name](resized if self.map_type is None else resized.to(self.map_type))
        if noise is None:
            raise ValueError("the teacher's encoder looks at noisy images: give sigma and noise")
        return self.backbones[name](x, noise['sigma'], noise['noise'], labels)

    def pooled(
        self,
        name: str,
        x: torch.Tensor,
        noise: dict[str, torch.Tensor] | None = None,
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the spatial means of the last map of one backbone, of the teacher those of every resolution.

        Arguments as for `forward`. Returns [N, D], before any random layer, with the gradient for `x`.
        """
        if name != TEACHER:
            return self.stage_maps(name, x)[-1].mean(dim=[2, 3])
        maps = self.backbones[name].levels(x, **noise, labels=labels)
        return torch.cat([m.mean(dim=[2, 3]) for m in maps], dim=1)

    @torch.no_grad()
    def pooled_features(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Return the spatial mean of the last stage of one backbone, for class tables.

        It is the first EfficientNet of the official sets, whose width is that of the official table,
        else the first backbone that is no transformer and not the teacher, else the first. The teacher's
        encoder gets the images without noise, at the lowest level.

        Args:
            x:      Images as for `forward`.
            labels: As for `forward`.
        Returns:
            [N, C], before any projection; C = 320 for an official EfficientNet.
        """

        def preference(name: str) -> tuple[bool, bool]:
            spec = self.specs[name]
            return spec.family != 'efficientnet', spec.is_transformer or name == TEACHER

        name = min(self.names, key=preference)
        clean = dict(sigma=torch.full_like(x[:, :1, :1, :1], SIGMA_MIN), noise=torch.zeros_like(x))
        return self.pooled(name, x, clean, labels)

    def projection_state(self) -> dict[str, torch.Tensor]:
        """Return a copy of the random layers, {'BACKBONE.LAYER.weight': tensor} on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self._random_layers().items()}

    def load_projection_state(self, state: dict[str, torch.Tensor]) -> None:
        """Fill the random layers.

        Args:
            state: Tensors as `projection_state` returned them, on any device.
        Raises:
            ValueError: A tensor is missing, unknown, or has another shape.
        """
        own = self._random_layers()
        wrong = sorted(own.keys() ^ state.keys()) + [
            n for n in own if n in state and own[n].shape != state[n].shape
        ]
        if wrong:
            raise ValueError(
                f'projection state does not fit the backbones {", ".join(self.names)}: '
                f'{len(wrong)} missing, unknown or misshapen tensors, such as {wrong[0]}'
            )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state[name])

    def _random_layers(self) -> dict[str, torch.Tensor]:
        parts = {}
        for name in self.names:
            modules = [self.projections[name]] + ([self.readouts[name]] if name in self.readouts else [])
            for module in modules:
                parts.update({f'{name}.{key}': tensor for key, tensor in module.named_parameters()})
        return parts

    def _register_normalisation(self, spec: BackboneSpec) -> None:
        for kind, values in (('mean', spec.mean), ('std', spec.std)):
            self.register_buffer(
                f'{kind}_{spec.key}', torch.tensor(values).reshape(1, 3, 1, 1), persistent=False
            )

    def _as_rgb(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise ValueError(f'images of shape {list(x.shape)}: expected [N, C, H, W] with C = 1 or 3')
        return x.expand(-1, 3, -1, -1)

    def _resized(self, name: str, x: torch.Tensor) -> torch.Tensor:
        spec = self.specs[name]
        # Normalised before the resize, as in the official code.
        x = ((x + 1) / 2 - self.get_buffer(f'mean_{name}')) / self.get_buffer(f'std_{name}')
        size = spec.input_size or self.input_size
        if x.shape[2:] != (size, size):
            if spec.input_size is None and not self.interpolate:
                raise ValueError(
                    f'images of {x.shape[2]}x{x.shape[3]} pixels, but interpolate=False and '
                    f'input_size={size}; use interpolate=True to resize them'
                )
            x = functional.interpolate(x, size=(size, size), mode='bilinear', align_corners=False)
        return x


def _require_valid(names: Sequence[str], input_size: int, teacher: TeacherStages | None) -> None:
    if not names:
        raise ArgumentError('no backbone is named; give at least one, such as tf_efficientnet_lite0')
    if len({backbone_key(name) for name in names}) != len(names):
        raise ArgumentError(f'{",".join(names)} names a backbone twice; each may be used once')
    if TEACHER in names and teacher is None:
        raise ArgumentError(
            f'{TEACHER} stands for the encoder of the teacher, and there is none; give a teacher, or another '
            'backbone, such as tf_efficientnet_lite0'
        )
    if set(names) != {TEACHER} and (input_size < 32 or input_size % 32):
        raise ArgumentError(
            f'the backbones would get images of {input_size} pixels, and the side must be a multiple of 32 '
            f'(four stages halve it exactly); try {max(32, round(input_size / 32) * 32)}'
        )
