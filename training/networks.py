# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""EDM U-Nets (DDPM++, NCSN++, ADM) and the preconditioners around them.

The text of this file travels inside every snapshot, because EDM's own loader rebuilds
networks from it. It therefore imports nothing but numpy, torch and the persistence
decorator, and keeps to Python 3.8 and the API of torch 1.12. Names of parameters and
buffers are part of the EDM file format.

Shapes: N batch, C channels, H W pixels, E embedding, K classes, S noise-embedding width.
Images are float32 [N, C, H, W] in -1..1; sigma is the noise level, > 0.
"""
import numpy as np
import torch
from torch.nn.functional import conv2d, conv_transpose2d, dropout, group_norm, silu

from torch_utils import persistence


def init_tensor(shape, mode, fan_in, fan_out):
    """Draw an initial weight from the global torch generator.

    Args:
        shape:   Sequence of ints.
        mode:    'xavier_uniform', 'xavier_normal', 'kaiming_uniform' or 'kaiming_normal'.
        fan_in:  Inputs of one output unit.
        fan_out: Outputs of one input unit.
    Returns:
        float32 tensor of the given shape.
    Raises:
        ValueError: Unknown mode.
    """
    gains = {
        'xavier_uniform': 6 / (fan_in + fan_out), 'xavier_normal': 2 / (fan_in + fan_out),
        'kaiming_uniform': 3 / fan_in, 'kaiming_normal': 1 / fan_in,
    }
    if mode not in gains:
        raise ValueError('init mode %r is unknown; use one of %s' % (mode, sorted(gains)))
    gain = float(np.sqrt(gains[mode]))
    if mode.endswith('uniform'):
        return gain * (torch.rand(*shape) * 2 - 1)
    return gain * torch.randn(*shape)


@persistence.persistent_class
class Linear(torch.nn.Module):
    """Fully connected layer: x [N, in] -> [N, out], computed in the dtype of x."""

    def __init__(self, in_features, out_features, bias=True, init_mode='kaiming_normal', init_weight=1,
                 init_bias=0):
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        init = dict(mode=init_mode, fan_in=in_features, fan_out=out_features)
        self.weight = torch.nn.Parameter(init_tensor([out_features, in_features], **init) * init_weight)
        self.bias = torch.nn.Parameter(init_tensor([out_features], **init) * init_bias) if bias else None

    def forward(self, x):
        x = x @ self.weight.to(x.dtype).t()                                  # [N, out]
        return x if self.bias is None else x + self.bias.to(x.dtype)


@persistence.persistent_class
class Conv2d(torch.nn.Module):
    """Convolution with optional x2 resampling by a fixed separable filter; kernel=0 only resamples."""

    def __init__(self, in_channels, out_channels, kernel, bias=True, up=False, down=False,
                 resample_filter=[1, 1], fused_resample=False, init_mode='kaiming_normal', init_weight=1,
                 init_bias=0):
        if up and down:
            raise ValueError('Conv2d: up and down exclude each other; set one of them to False')
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.up = up
        self.down = down
        self.fused_resample = fused_resample
        init = dict(mode=init_mode, fan_in=in_channels * kernel * kernel,
                    fan_out=out_channels * kernel * kernel)
        shape = [out_channels, in_channels, kernel, kernel]
        self.weight = torch.nn.Parameter(init_tensor(shape, **init) * init_weight) if kernel else None
        self.bias = (torch.nn.Parameter(init_tensor([out_channels], **init) * init_bias)
                     if kernel and bias else None)
        taps = torch.as_tensor(resample_filter, dtype=torch.float32)
        taps = taps.ger(taps)[None, None] / taps.sum().square()              # [1, 1, L, L]
        self.register_buffer('resample_filter', taps if up or down else None)

    def forward(self, x):
        w = None if self.weight is None else self.weight.to(x.dtype)
        f = None if self.resample_filter is None else self.resample_filter.to(x.dtype)
        # int(): while TorchScript traces, a size is a tensor, which torch 2.6 does not take as padding.
        w_pad = 0 if w is None else int(w.shape[-1]) // 2
        f_pad = 0 if f is None else (int(f.shape[-1]) - 1) // 2
        fused = self.fused_resample and w is not None

        if fused and self.up:
            x = self._upsample(x, f, max(f_pad - w_pad, 0))                  # [N, in, 2H, 2W]
            x = conv2d(x, w, padding=max(w_pad - f_pad, 0))
        elif fused and self.down:
            x = conv2d(x, w, padding=w_pad + f_pad)
            x = self._downsample(x, f, 0)                                    # [N, out, H/2, W/2]
        else:
            if self.up:
                x = self._upsample(x, f, f_pad)                              # [N, in, 2H, 2W]
            if self.down:
                x = self._downsample(x, f, f_pad)                            # [N, in, H/2, W/2]
            if w is not None:
                x = conv2d(x, w, padding=w_pad)                              # [N, out, H', W']
        return x if self.bias is None else x + self.bias.to(x.dtype).reshape(1, -1, 1, 1)

    @staticmethod
    def _upsample(x, f, padding):
        c = x.shape[1]
        return conv_transpose2d(x, f.mul(4).expand(c, -1, -1, -1), groups=c, stride=2, padding=padding)

    @staticmethod
    def _downsample(x, f, padding):
        c = x.shape[1]
        return conv2d(x, f.expand(c, -1, -1, -1), groups=c, stride=2, padding=padding)


@persistence.persistent_class
class GroupNorm(torch.nn.Module):
    """Group normalisation in float32 whatever the dtype of x (as GDD; equal to EDM in float32)."""

    def __init__(self, num_channels, num_groups=32, min_channels_per_group=4, eps=1e-5):
        super().__init__()
        self.num_groups = min(num_groups, num_channels // min_channels_per_group)
        self.eps = eps
        self.weight = torch.nn.Parameter(torch.ones(num_channels))
        self.bias = torch.nn.Parameter(torch.zeros(num_channels))

    def forward(self, x):
        return group_norm(x.float(), self.num_groups, self.weight, self.bias, self.eps).to(x.dtype)


def attention(q, k, v):
    """Attend over pixels, with the weights computed in float32 (EDM, appendix B).

    Args:
        q, k, v: [B, C, P], B = batch times heads, P = pixels.
    Returns:
        [B, C, P] in the dtype of v.
    """
    k = (k / float(np.sqrt(k.shape[1]))).float()
    w = torch.einsum('bcq,bck->bqk', q.float(), k).softmax(dim=2)            # [B, P, P]
    return torch.einsum('bqk,bck->bcq', w.to(v.dtype), v)                    # [B, C, P]


@persistence.persistent_class
class UNetBlock(torch.nn.Module):
    """Residual block of the U-Nets: two convolutions, modulation by the embedding, optional attention."""

    def __init__(self, in_channels, out_channels, emb_channels, up=False, down=False, attention=False,
                 num_heads=None, channels_per_head=64, dropout=0, skip_scale=1, eps=1e-5,
                 resample_filter=[1, 1], resample_proj=False, adaptive_scale=True, init=dict(),
                 init_zero=dict(init_weight=0), init_attn=None):
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.emb_channels = emb_channels
        heads = out_channels // channels_per_head if num_heads is None else num_heads
        self.num_heads = heads if attention else 0
        self.dropout = dropout
        self.skip_scale = skip_scale
        self.adaptive_scale = adaptive_scale

        resample = dict(up=up, down=down, resample_filter=resample_filter)
        self.norm0 = GroupNorm(num_channels=in_channels, eps=eps)
        self.conv0 = Conv2d(in_channels=in_channels, out_channels=out_channels, kernel=3, **resample, **init)
        self.affine = Linear(in_features=emb_channels,
                             out_features=out_channels * (2 if adaptive_scale else 1), **init)
        self.norm1 = GroupNorm(num_channels=out_channels, eps=eps)
        self.conv1 = Conv2d(in_channels=out_channels, out_channels=out_channels, kernel=3, **init_zero)
        self.skip = None
        if out_channels != in_channels or up or down:
            kernel = 1 if resample_proj or out_channels != in_channels else 0
            self.skip = Conv2d(in_channels=in_channels, out_channels=out_channels, kernel=kernel, **resample,
                               **init)
        if self.num_heads:
            init_qkv = init if init_attn is None else init_attn
            self.norm2 = GroupNorm(num_channels=out_channels, eps=eps)
            self.qkv = Conv2d(in_channels=out_channels, out_channels=out_channels * 3, kernel=1, **init_qkv)
            self.proj = Conv2d(in_channels=out_channels, out_channels=out_channels, kernel=1, **init_zero)

    def forward(self, x, emb):
        h = self.conv0(silu(self.norm0(x)))                                  # [N, out, H', W']
        params = self.affine(emb)[:, :, None, None].to(x.dtype)              # [N, out or 2 out, 1, 1]
        if self.adaptive_scale:
            scale, shift = params.chunk(2, dim=1)
            h = silu(torch.addcmul(shift, self.norm1(h), scale + 1))
        else:
            h = silu(self.norm1(h + params))
        h = self.conv1(dropout(h, p=self.dropout, training=self.training))   # [N, out, H', W']
        h = (h + (x if self.skip is None else self.skip(x))) * self.skip_scale
        if self.num_heads:
            n, c = h.shape[:2]
            qkv = self.qkv(self.norm2(h)).reshape(n * self.num_heads, c // self.num_heads, 3, -1)
            a = attention(*qkv.unbind(2)).reshape(h.shape)                   # [N, out, H', W']
            h = (self.proj(a) + h) * self.skip_scale
        return h


@persistence.persistent_class
class PositionalEmbedding(torch.nn.Module):
    """Sinusoidal embedding of scalars: [N] -> [N, S] as [cos | sin]."""

    def __init__(self, num_channels, max_positions=10000, endpoint=False):
        super().__init__()
        self.num_channels = num_channels
        self.max_positions = max_positions
        self.endpoint = endpoint

    def forward(self, x):
        half = self.num_channels // 2
        exponent = (torch.arange(half, dtype=torch.float32, device=x.device)
                    / (half - (1 if self.endpoint else 0)))
        x = x.ger(((1 / self.max_positions) ** exponent).to(x.dtype))        # [N, S/2]
        return torch.cat([x.cos(), x.sin()], dim=1)                          # [N, S]


@persistence.persistent_class
class FourierEmbedding(torch.nn.Module):
    """Random Fourier embedding of scalars: [N] -> [N, S] as [cos | sin]; the weights hold the frequencies."""

    def __init__(self, num_channels, scale=16):
        super().__init__()
        self.register_buffer('freqs', torch.randn(num_channels // 2) * scale)

    def forward(self, x):
        x = x.ger((2 * float(np.pi) * self.freqs).to(x.dtype))               # [N, S/2]
        return torch.cat([x.cos(), x.sin()], dim=1)                          # [N, S]


def embed_labels(layer, class_labels, label_dropout, training, scale=1.0):
    """Project one-hot labels [N, K] to the embedding, dropping whole rows in training (label_dropout)."""
    if training and label_dropout:
        keep = torch.rand([class_labels.shape[0], 1], device=class_labels.device) >= label_dropout
        class_labels = class_labels * keep.to(class_labels.dtype)
    return layer(class_labels * scale)


@persistence.persistent_class
class SongUNet(torch.nn.Module):
    """DDPM++ and NCSN++ (Song et al. 2021) as reparametrised by EDM, table 1.

    Args:
        img_resolution:     Image side in pixels.
        in_channels, out_channels: Image channels of input and output.
        label_dim:          Classes; 0 = unconditional.
        augment_dim:        Width of augmentation labels; 0 = none.
        model_channels:     Base width.
        channel_mult:       Width multiplier of each resolution.
        channel_mult_emb:   Embedding width / model_channels.
        num_blocks:         Residual blocks of each resolution.
        attn_resolutions:   Resolutions with attention.
        dropout:            Dropout probability inside the blocks, 0..1.
        label_dropout:      Probability of dropping the label in training, 0..1.
        embedding_type:     'positional' (DDPM++) or 'fourier' (NCSN++).
        channel_mult_noise: Noise-embedding width / model_channels: 1 (DDPM++), 2 (NCSN++).
        encoder_type:       'standard' (DDPM++), 'residual' (NCSN++) or 'skip'.
        decoder_type:       'standard' or 'skip'.
        resample_filter:    [1, 1] (DDPM++) or [1, 3, 3, 1] (NCSN++).
    Raises:
        ValueError: Unknown type name.
    """

    def __init__(self, img_resolution, in_channels, out_channels, label_dim=0, augment_dim=0,
                 model_channels=128, channel_mult=[1, 2, 2, 2], channel_mult_emb=4, num_blocks=4,
                 attn_resolutions=[16], dropout=0.10, label_dropout=0, embedding_type='positional',
                 channel_mult_noise=1, encoder_type='standard', decoder_type='standard',
                 resample_filter=[1, 1]):
        for value, known in [(embedding_type, ('positional', 'fourier')),
                             (decoder_type, ('standard', 'skip')),
                             (encoder_type, ('standard', 'skip', 'residual'))]:
            if value not in known:
                raise ValueError('SongUNet: %r is not one of %s' % (value, ', '.join(known)))
        super().__init__()
        self.label_dropout = label_dropout
        emb_channels = model_channels * channel_mult_emb
        noise_channels = model_channels * channel_mult_noise
        init = dict(init_mode='xavier_uniform')
        block_kwargs = dict(
            emb_channels=emb_channels, num_heads=1, dropout=dropout, skip_scale=float(np.sqrt(0.5)), eps=1e-6,
            resample_filter=resample_filter, resample_proj=True, adaptive_scale=False, init=init,
            init_zero=dict(init_mode='xavier_uniform', init_weight=1e-5),
            init_attn=dict(init_mode='xavier_uniform', init_weight=float(np.sqrt(0.2))))

        if embedding_type == 'positional':
            self.map_noise = PositionalEmbedding(num_channels=noise_channels, endpoint=True)
        else:
            self.map_noise = FourierEmbedding(num_channels=noise_channels)
        self.map_label = (Linear(in_features=label_dim, out_features=noise_channels, **init)
                          if label_dim else None)
        self.map_augment = (Linear(in_features=augment_dim, out_features=noise_channels, bias=False, **init)
                            if augment_dim else None)
        self.map_layer0 = Linear(in_features=noise_channels, out_features=emb_channels, **init)
        self.map_layer1 = Linear(in_features=emb_channels, out_features=emb_channels, **init)

        widths = [model_channels * mult for mult in channel_mult]
        layout = [(img_resolution >> level, width) for level, width in enumerate(widths)]
        skips = self._build_encoder(layout, in_channels, model_channels, num_blocks, attn_resolutions,
                                    encoder_type, resample_filter, init, block_kwargs)
        self._build_decoder(layout, out_channels, num_blocks, attn_resolutions, decoder_type, resample_filter,
                            init, skips, block_kwargs)

    def _build_encoder(self, layout, in_channels, model_channels, num_blocks, attn_resolutions, encoder_type,
                       resample_filter, init, block_kwargs):
        """Create `enc` in the order of execution; return the channels of its skip connections."""
        self.enc = torch.nn.ModuleDict()
        skips = []
        cout = caux = in_channels
        for level, (res, width) in enumerate(layout):
            name = '%dx%d_' % (res, res)
            if level == 0:
                self.enc[name + 'conv'] = Conv2d(in_channels=cout, out_channels=model_channels, kernel=3,
                                                 **init)
                cout = model_channels
                skips.append(cout)
            else:
                self.enc[name + 'down'] = UNetBlock(in_channels=cout, out_channels=cout, down=True,
                                                    **block_kwargs)
                skips.append(cout)
                aux = dict(down=True, resample_filter=resample_filter)
                if encoder_type == 'skip':
                    self.enc[name + 'aux_down'] = Conv2d(in_channels=caux, out_channels=caux, kernel=0, **aux)
                    self.enc[name + 'aux_skip'] = Conv2d(in_channels=caux, out_channels=cout, kernel=1,
                                                         **init)
                elif encoder_type == 'residual':
                    self.enc[name + 'aux_residual'] = Conv2d(in_channels=caux, out_channels=cout, kernel=3,
                                                             fused_resample=True, **aux, **init)
                    caux = cout
            for idx in range(num_blocks):
                self.enc[name + 'block%d' % idx] = UNetBlock(
                    in_channels=cout, out_channels=width, attention=res in attn_resolutions, **block_kwargs)
                cout = width
                skips.append(cout)
        return skips

    def _build_decoder(self, layout, out_channels, num_blocks, attn_resolutions, decoder_type,
                       resample_filter, init, skips, block_kwargs):
        """Create `dec` in the order of execution."""
        self.dec = torch.nn.ModuleDict()
        cout = skips[-1]
        last = len(layout) - 1
        for level, (res, width) in reversed(list(enumerate(layout))):
            name = '%dx%d_' % (res, res)
            same = dict(in_channels=cout, out_channels=cout, **block_kwargs)
            if level == last:
                self.dec[name + 'in0'] = UNetBlock(attention=True, **same)
                self.dec[name + 'in1'] = UNetBlock(**same)
            else:
                self.dec[name + 'up'] = UNetBlock(up=True, **same)
            for idx in range(num_blocks + 1):
                attn = idx == num_blocks and res in attn_resolutions
                self.dec[name + 'block%d' % idx] = UNetBlock(
                    in_channels=cout + skips.pop(), out_channels=width, attention=attn, **block_kwargs)
                cout = width
            if decoder_type == 'skip' or level == 0:
                if decoder_type == 'skip' and level < last:
                    self.dec[name + 'aux_up'] = Conv2d(in_channels=out_channels, out_channels=out_channels,
                                                       kernel=0, up=True, resample_filter=resample_filter)
                self.dec[name + 'aux_norm'] = GroupNorm(num_channels=cout, eps=1e-6)
                self.dec[name + 'aux_conv'] = Conv2d(in_channels=cout, out_channels=out_channels, kernel=3,
                                                     init_mode='xavier_uniform', init_weight=1e-5)

    def embed(self, noise_labels, class_labels, augment_labels=None):
        """Return the embedding [N, E] of noise labels [N], one-hot labels [N, K] and augmentation labels."""
        emb = self.map_noise(noise_labels)                                   # [N, S] as [cos | sin]
        emb = torch.cat(emb.chunk(2, dim=1)[::-1], dim=1)                    # [N, S] as [sin | cos]
        if self.map_label is not None:
            scale = float(np.sqrt(self.map_label.in_features))
            emb = emb + embed_labels(self.map_label, class_labels, self.label_dropout, self.training, scale)
        if self.map_augment is not None and augment_labels is not None:
            emb = emb + self.map_augment(augment_labels)
        return silu(self.map_layer1(silu(self.map_layer0(emb))))             # [N, E]

    def encode(self, x, emb):
        """Return the maps [N, C_l, H_l, W_l] that the decoder takes, in the order of execution."""
        skips = []
        aux = x
        for name, layer in self.enc.items():
            if 'aux_down' in name:
                aux = layer(aux)
            elif 'aux_skip' in name:
                x = skips[-1] = x + layer(aux)
            elif 'aux_residual' in name:
                x = skips[-1] = aux = (x + layer(aux)) / float(np.sqrt(2))
            else:
                x = layer(x, emb) if isinstance(layer, UNetBlock) else layer(x)
                skips.append(x)                                              # [N, C_l, H_l, W_l]
        return skips

    def forward(self, x, noise_labels, class_labels, augment_labels=None):
        emb = self.embed(noise_labels, class_labels, augment_labels)         # [N, E]
        skips = self.encode(x, emb)
        x = skips[-1]

        aux = None
        for name, layer in self.dec.items():
            if 'aux_up' in name:
                aux = layer(aux)
            elif 'aux_norm' in name:
                out = silu(layer(x))
            elif 'aux_conv' in name:
                out = layer(out)                                             # [N, out, H_l, W_l]
                aux = out if aux is None else aux + out
            else:
                if x.shape[1] != layer.in_channels:
                    x = torch.cat([x, skips.pop()], dim=1)
                x = layer(x, emb)                                            # [N, C_l, H_l, W_l]
        return aux                                                           # [N, out, H, W]


@persistence.persistent_class
class DhariwalUNet(torch.nn.Module):
    """ADM (Dhariwal and Nichol 2021) as reparametrised by EDM, table 1. Arguments as in SongUNet.

    A block whose width is below 64 channels gets no attention (width // 64 heads), as in EDM.
    """

    def __init__(self, img_resolution, in_channels, out_channels, label_dim=0, augment_dim=0,
                 model_channels=192, channel_mult=[1, 2, 3, 4], channel_mult_emb=4, num_blocks=3,
                 attn_resolutions=[32, 16, 8], dropout=0.10, label_dropout=0):
        super().__init__()
        self.label_dropout = label_dropout
        emb_channels = model_channels * channel_mult_emb
        third = float(np.sqrt(1 / 3))
        init = dict(init_mode='kaiming_uniform', init_weight=third, init_bias=third)
        init_zero = dict(init_mode='kaiming_uniform', init_weight=0, init_bias=0)
        block_kwargs = dict(emb_channels=emb_channels, channels_per_head=64, dropout=dropout, init=init,
                            init_zero=init_zero)

        self.map_noise = PositionalEmbedding(num_channels=model_channels)
        self.map_augment = (Linear(in_features=augment_dim, out_features=model_channels, bias=False,
                                   **init_zero)
                            if augment_dim else None)
        self.map_layer0 = Linear(in_features=model_channels, out_features=emb_channels, **init)
        self.map_layer1 = Linear(in_features=emb_channels, out_features=emb_channels, **init)
        self.map_label = (Linear(in_features=label_dim, out_features=emb_channels, bias=False,
                                 init_mode='kaiming_normal', init_weight=float(np.sqrt(label_dim)))
                          if label_dim else None)

        layout = [(img_resolution >> level, model_channels * mult) for level, mult in enumerate(channel_mult)]
        self.enc = torch.nn.ModuleDict()
        skips = []
        cout = in_channels
        for level, (res, width) in enumerate(layout):
            name = '%dx%d_' % (res, res)
            if level == 0:
                self.enc[name + 'conv'] = Conv2d(in_channels=cout, out_channels=width, kernel=3, **init)
                cout = width
            else:
                self.enc[name + 'down'] = UNetBlock(in_channels=cout, out_channels=cout, down=True,
                                                    **block_kwargs)
            skips.append(cout)
            for idx in range(num_blocks):
                self.enc[name + 'block%d' % idx] = UNetBlock(
                    in_channels=cout, out_channels=width, attention=res in attn_resolutions, **block_kwargs)
                cout = width
                skips.append(cout)

        self.dec = torch.nn.ModuleDict()
        for level, (res, width) in reversed(list(enumerate(layout))):
            name = '%dx%d_' % (res, res)
            same = dict(in_channels=cout, out_channels=cout, **block_kwargs)
            if level == len(layout) - 1:
                self.dec[name + 'in0'] = UNetBlock(attention=True, **same)
                self.dec[name + 'in1'] = UNetBlock(**same)
            else:
                self.dec[name + 'up'] = UNetBlock(up=True, **same)
            for idx in range(num_blocks + 1):
                self.dec[name + 'block%d' % idx] = UNetBlock(
                    in_channels=cout + skips.pop(), out_channels=width, attention=res in attn_resolutions,
                    **block_kwargs)
                cout = width
        self.out_norm = GroupNorm(num_channels=cout)
        self.out_conv = Conv2d(in_channels=cout, out_channels=out_channels, kernel=3, **init_zero)

    def embed(self, noise_labels, class_labels, augment_labels=None):
        """Return the embedding [N, E] of noise labels [N], one-hot labels [N, K] and augmentation labels."""
        emb = self.map_noise(noise_labels)                                   # [N, S]
        if self.map_augment is not None and augment_labels is not None:
            emb = emb + self.map_augment(augment_labels)
        emb = self.map_layer1(silu(self.map_layer0(emb)))                    # [N, E]
        if self.map_label is not None:
            emb = emb + embed_labels(self.map_label, class_labels, self.label_dropout, self.training)
        return silu(emb)

    def encode(self, x, emb):
        """Return the maps [N, C_l, H_l, W_l] that the decoder takes, in the order of execution."""
        skips = []
        for layer in self.enc.values():
            x = layer(x, emb) if isinstance(layer, UNetBlock) else layer(x)  # [N, C_l, H_l, W_l]
            skips.append(x)
        return skips

    def forward(self, x, noise_labels, class_labels, augment_labels=None):
        emb = self.embed(noise_labels, class_labels, augment_labels)         # [N, E]
        skips = self.encode(x, emb)
        x = skips[-1]
        for layer in self.dec.values():
            if x.shape[1] != layer.in_channels:
                x = torch.cat([x, skips.pop()], dim=1)
            x = layer(x, emb)                                                # [N, C_l, H_l, W_l]
        return self.out_conv(silu(self.out_norm(x)))                         # [N, out, H, W]


class Preconditioner(torch.nn.Module):
    """What all preconditioners share: D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), EDM Eq. (7).

    Subclasses give the four coefficients. `use_fp16` takes effect on CUDA only, in `low_dtype`.
    """

    low_dtype = torch.float16
    cast_input = True

    def _create(self, img_resolution, img_channels, label_dim, use_fp16, model_type, model_kwargs,
                out_channels=None):
        if model_type not in ('SongUNet', 'DhariwalUNet'):
            raise ValueError('model_type %r is unknown; use SongUNet or DhariwalUNet' % (model_type,))
        self.img_resolution = img_resolution
        self.img_channels = img_channels
        self.label_dim = label_dim
        self.use_fp16 = use_fp16
        unet = SongUNet if model_type == 'SongUNet' else DhariwalUNet
        self.model = unet(img_resolution=img_resolution, in_channels=img_channels,
                          out_channels=img_channels if out_channels is None else out_channels,
                          label_dim=label_dim, **model_kwargs)

    def coefficients(self, sigma):
        """Return c_skip, c_out, c_in, c_noise, each float32 [N, 1, 1, 1], for sigma of that shape."""
        raise NotImplementedError

    def round_sigma(self, sigma):
        """Return the noise level the network really uses: here sigma itself, as a tensor."""
        return torch.as_tensor(sigma)

    def _denoise(self, x, sigma, class_labels, force_fp32, model_kwargs):
        if self.cast_input:
            x = x.to(torch.float32)
        sigma = sigma.to(torch.float32).reshape(-1, 1, 1, 1)                 # [N, 1, 1, 1]
        if self.label_dim == 0:
            class_labels = None
        elif class_labels is None:
            class_labels = torch.zeros([1, self.label_dim], device=x.device)
        else:
            class_labels = class_labels.to(torch.float32).reshape(-1, self.label_dim)   # [N, K]
        low = self.use_fp16 and not force_fp32 and x.device.type == 'cuda'
        dtype = self.low_dtype if low else torch.float32
        c_skip, c_out, c_in, c_noise = self.coefficients(sigma)
        out = self.model((c_in * x).to(dtype), c_noise.flatten(), class_labels, **model_kwargs)
        out = out[:, :self.img_channels].to(torch.float32)                   # [N, C, H, W]
        return c_skip * x + c_out * out                                      # [N, C, H, W]

    def forward(self, x, sigma, class_labels=None, force_fp32=False, **model_kwargs):
        return self._denoise(x, sigma, class_labels, force_fp32, model_kwargs)


@persistence.persistent_class
class EDMPrecond(Preconditioner):
    """Preconditioning of EDM, table 1, last column."""

    def __init__(self, img_resolution, img_channels, label_dim=0, use_fp16=False, sigma_min=0,
                 sigma_max=float('inf'), sigma_data=0.5, model_type='DhariwalUNet', **model_kwargs):
        super().__init__()
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self.sigma_data = sigma_data
        self._create(img_resolution, img_channels, label_dim, use_fp16, model_type, model_kwargs)

    def coefficients(self, sigma):
        norm = sigma ** 2 + self.sigma_data ** 2
        return (self.sigma_data ** 2 / norm, sigma * self.sigma_data / norm.sqrt(), 1 / norm.sqrt(),
                sigma.log() / 4)


@persistence.persistent_class
class GDDPrecond(Preconditioner):
    """Preconditioning of the one-step generator: EDM's with the boundary condition D(x; eps) = x.

    As in the official code eps shifts sigma in c_skip and in the numerator of c_out only, x is
    not cast (a float64 x keeps a float64 skip path), and low precision is bfloat16.
    """

    low_dtype = torch.bfloat16
    cast_input = False

    def __init__(self, img_resolution, img_channels, label_dim=0, use_fp16=False, sigma_min=0,
                 sigma_max=float('inf'), sigma_data=0.5, model_type='DhariwalUNet', **model_kwargs):
        super().__init__()
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self.sigma_data = sigma_data
        self.eps = 0.002
        self.counter = 0
        self._create(img_resolution, img_channels, label_dim, use_fp16, model_type, model_kwargs)

    def coefficients(self, sigma):
        shifted = sigma - self.eps
        c_skip = self.sigma_data ** 2 / (shifted ** 2 + self.sigma_data ** 2)
        norm = (sigma ** 2 + self.sigma_data ** 2).sqrt()
        return c_skip, shifted * self.sigma_data / norm, 1 / norm, sigma.log() / 4

    def forward(self, x, sigma, class_labels=None, augment_labels=None, force_fp32=False, **model_kwargs):
        model_kwargs = dict(model_kwargs, augment_labels=augment_labels)
        return self._denoise(x, sigma, class_labels, force_fp32, model_kwargs)


@persistence.persistent_class
class VPPrecond(Preconditioner):
    """Preconditioning of variance-preserving diffusion, EDM table 1, first column."""

    def __init__(self, img_resolution, img_channels, label_dim=0, use_fp16=False, beta_d=19.9, beta_min=0.1,
                 M=1000, epsilon_t=1e-5, model_type='SongUNet', **model_kwargs):
        super().__init__()
        self.beta_d = beta_d
        self.beta_min = beta_min
        self.M = M
        self.epsilon_t = epsilon_t
        # The official range is a float32 result: sigma(1e-5) is exactly 2**-10 there.
        self.sigma_min = float(self.sigma(torch.tensor(float(epsilon_t), device='cpu')))
        self.sigma_max = float(self.sigma(torch.tensor(1.0, device='cpu')))
        self._create(img_resolution, img_channels, label_dim, use_fp16, model_type, model_kwargs)

    def sigma(self, t):
        """Noise level at time t (tensor, 0..1)."""
        return ((0.5 * self.beta_d * (t ** 2) + self.beta_min * t).exp() - 1).sqrt()

    def sigma_inv(self, sigma):
        """Time at which the noise level is sigma (tensor)."""
        # torch's vectorised float32 square root is not always correctly rounded, and samplers amplify that.
        root = (self.beta_min ** 2
                + 2 * self.beta_d * (1 + sigma ** 2).log()).to(torch.float64).sqrt().to(sigma.dtype)
        return (root - self.beta_min) / self.beta_d

    def coefficients(self, sigma):
        c_in = 1 / (sigma ** 2 + 1).sqrt()
        return torch.ones_like(sigma), -sigma, c_in, (self.M - 1) * self.sigma_inv(sigma)


@persistence.persistent_class
class VEPrecond(Preconditioner):
    """Preconditioning of variance-exploding diffusion, EDM table 1, second column."""

    def __init__(self, img_resolution, img_channels, label_dim=0, use_fp16=False, sigma_min=0.02,
                 sigma_max=100, model_type='SongUNet', **model_kwargs):
        super().__init__()
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self._create(img_resolution, img_channels, label_dim, use_fp16, model_type, model_kwargs)

    def coefficients(self, sigma):
        one = torch.ones_like(sigma)
        return one, sigma, one, (0.5 * sigma).log()


@persistence.persistent_class
class iDDPMPrecond(Preconditioner):
    """Preconditioning of improved DDPM, EDM table 1, third column; the predicted variance is unused."""

    def __init__(self, img_resolution, img_channels, label_dim=0, use_fp16=False, C_1=0.001, C_2=0.008,
                 M=1000, model_type='DhariwalUNet', **model_kwargs):
        super().__init__()
        self.C_1 = C_1
        self.C_2 = C_2
        self.M = M
        self._create(img_resolution, img_channels, label_dim, use_fp16, model_type, model_kwargs,
                     img_channels * 2)
        u = torch.zeros(M + 1, device='cpu')
        for j in range(M, 0, -1):
            ratio = (self.alpha_bar(j - 1) / self.alpha_bar(j)).clip(min=C_1)
            u[j - 1] = ((u[j] ** 2 + 1) / ratio - 1).sqrt()
        self.register_buffer('u', u)
        self.sigma_min = float(u[M - 1])
        self.sigma_max = float(u[0])

    def alpha_bar(self, j):
        """Signal power left after j of M steps (Nichol and Dhariwal 2021, cosine schedule), float32."""
        j = torch.tensor(j, device='cpu')
        return (0.5 * float(np.pi) * j / self.M / (self.C_2 + 1)).sin() ** 2

    def coefficients(self, sigma):
        c_noise = self.M - 1 - self.round_sigma(sigma, return_index=True).to(torch.float32)
        return torch.ones_like(sigma), -sigma, 1 / (sigma ** 2 + 1).sqrt(), c_noise

    def round_sigma(self, sigma, return_index=False):
        """Return the nearest entry of the table u (or its index), shaped like sigma; first one on ties."""
        sigma = torch.as_tensor(sigma)
        flat = sigma.to(self.u.device).to(torch.float32).reshape(1, -1, 1)
        index = torch.cdist(flat, self.u.reshape(1, -1, 1)).argmin(2)        # [1, numel]
        result = index if return_index else self.u[index.flatten()].to(sigma.dtype)
        return result.reshape(sigma.shape).to(sigma.device)
