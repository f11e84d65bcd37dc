# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""A one-step (or few-step) generator as a pipeline of diffusers: noise in, images out."""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import PIL.Image
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput

BATCH = 64  # images that are computed at a time


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Compute without TensorFloat-32 convolutions, which keep 10 bits of float32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


class GDDPipeline(DiffusionPipeline):
    """Make images in as many network calls as the generator was trained for, usually one.

    Args:
        unet: The network, a `GDDUNet`; its configuration holds the noise levels.
    """

    def __init__(self, unet: torch.nn.Module) -> None:
        super().__init__()
        self.register_modules(unet=unet.to(memory_format=torch.channels_last))

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        class_labels: int | Sequence[int] | None = None,
        seeds: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        output_type: str = 'pil',
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Make images.

        Args:
            batch_size:   Number of images; with `seeds` their number counts.
            class_labels: Class of all images, or one per image; None draws them.
            seeds:        One per image; a seed fixes noise and class, so these are the images of generate.py.
            generator:    Where noise and classes come from if there are no seeds.
            output_type:  'pil', 'np' (float [N, H, W, C], 0..1) or 'pt' (float [N, C, H, W], 0..1).
            return_dict:  Return an ImagePipelineOutput rather than a tuple.
        """
        count = batch_size if seeds is None else len(seeds)
        if seeds is None:
            noise, labels = self.draw(count, generator)
        else:
            drawn = [self.draw(1, self.seeded(seed)) for seed in seeds]
            noise, labels = (torch.cat(parts) for parts in zip(*drawn))  # [N, C, H, W], [N]
        if class_labels is not None:
            labels = torch.as_tensor(class_labels).expand(count).to(labels)
        parts = [self.sample(noise[i : i + BATCH], labels[i : i + BATCH]) for i in range(0, count, BATCH)]
        pixels = np.concatenate([self.to_pixels(part) for part in parts])  # uint8 [N, H, W, C]
        images = self.to_output(pixels, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def seeded(self, seed: int) -> torch.Generator:
        """Return the random generator of a seed; those of CPU and GPU differ."""
        return torch.Generator(self.unet.device).manual_seed(int(seed) % (1 << 32))

    def draw(self, count: int, generator: torch.Generator | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw noise [N, C, H, W] and then classes, int64 [N] (zeros without classes)."""
        net, device = self.unet.net, self.unet.device
        where = device if generator is None else generator.device
        shape = [count, net.img_channels, net.img_resolution, net.img_resolution]
        noise = torch.randn(shape, generator=generator, device=where)
        labels = torch.zeros([count], dtype=torch.int64)
        if net.label_dim:
            labels = torch.randint(net.label_dim, [count], generator=generator, device=where)
        return noise.to(device), labels.to(device)

    def sample(self, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Turn noise [N, C, H, W] and classes [N] into images, float64 [N, C, H, W], -1..1.

        Jumps from noise level to noise level; the state between them is float64.
        """
        net, levels = self.unet.net, self.unet.config.levels
        one_hot = torch.eye(net.label_dim, device=noise.device)[labels] if net.label_dim else None  # [N, K]
        x = noise.to(torch.float64) * levels[0]
        for current, following in zip(levels, [*levels[1:], None]):
            sigma = torch.full([len(x), 1, 1, 1], current, device=x.device, dtype=x.dtype)
            with full_precision():
                denoised = self.unet(x, sigma, one_hot).to(torch.float64)
            if following is not None:
                x = x + (denoised - x) / current * (current - following)
        return denoised

    @staticmethod
    def to_pixels(images: torch.Tensor) -> np.ndarray:
        """Return images [N, C, H, W], -1..1, as bytes [N, H, W, C]."""
        scaled = (images * 127.5 + 128).clip(0, 255).to(torch.uint8)
        return scaled.permute(0, 2, 3, 1).cpu().numpy()

    @staticmethod
    def to_output(pixels: np.ndarray, output_type: str) -> list[PIL.Image.Image] | np.ndarray | torch.Tensor:
        """Return bytes [N, H, W, C] as the caller wants them.

        Raises:
            ValueError: An unknown kind.
        """
        if output_type == 'pil':
            return [PIL.Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image) for image in pixels]
        if output_type not in ('np', 'pt'):
            raise ValueError(f"output_type={output_type!r} is unknown; use 'pil', 'np' or 'pt'")
        images = pixels.astype(np.float32) / 255
        return images if output_type == 'np' else torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
