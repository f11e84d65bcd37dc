# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Training of an EDM teacher: what one iteration of `--loss=edm` does."""
import torch

from torch_utils import training_stats
from training import networks
from training.config import ConfigError
from training.gradients import finish_gradients
from training.loss import EDMLoss


class TeacherTask:
    """A denoiser, its loss and its optimizer (EDM, training recipe).

    The objective is the mean over the images of the whole batch of the loss summed over pixels;
    the learning rate rises linearly over `lr_rampup_nimg` images from 0, as in EDM, and falls
    linearly to 0 over the last `lr_rampdown_nimg` images (0 in EDM), which saves short runs the
    noise of their last steps.

    Args:
        config: Resolved options (training/config.py).
        device: Device to train on.
    Raises:
        ConfigError: The architecture options do not give a network.
    """

    def __init__(self, config, device):
        check_network(config['network_kwargs'])
        layout = torch.channels_last if config['channels_last'] else torch.contiguous_format
        self.net = networks.EDMPrecond(**config['network_kwargs']).to(device, memory_format=layout).train()
        self.trained = self.net
        self.loss_fn = EDMLoss()
        self.micro_batch = config['micro_batch']
        self.lr = config['optimizer_kwargs']['lr']
        self.lr_rampup_nimg, self.lr_rampdown_nimg = config['lr_rampup_nimg'], config['lr_rampdown_nimg']
        self.total_nimg = config['total_nimg']
        self.optimizer = torch.optim.Adam(self.net.parameters(), **config['optimizer_kwargs'])

    def step(self, images, labels, rng, iteration):
        """Run one iteration.

        Args:
            images:    Images of this process, float32 [N, C, H, W], -1..1.
            labels:    One-hot labels [N, K], K may be 0.
            rng:       BatchRandom of this iteration.
            iteration: Index of the iteration, from 0 (unused: every iteration is alike).
        """
        level = rng.randn([images.shape[0], 1, 1, 1], 'D')
        noise = rng.randn(images.shape, 'noise')
        self.optimizer.zero_grad(set_to_none=True)
        micro = [t.split(self.micro_batch) for t in (images, labels, level, noise)]
        for x, y, lev, eps in zip(*micro):
            loss = self.loss_fn(self.net, x, y, lev, eps)                    # [n, C, H, W]
            training_stats.report('Loss/loss', loss)
            (loss.sum() / images.shape[0]).backward()
        for group in self.optimizer.param_groups:
            group['lr'] = self.lr * self.lr_factor(rng.nimg)
        bad, norm = finish_gradients(list(self.net.parameters()))
        training_stats.report('Grad/nonfinite', bad)
        training_stats.report('Grad/norm', norm)
        self.optimizer.step()

    def lr_factor(self, nimg):
        """Return the learning rate after `nimg` images as a fraction of --lr, 0..1."""
        up = nimg / self.lr_rampup_nimg if self.lr_rampup_nimg else 1.0
        down = (self.total_nimg - nimg) / self.lr_rampdown_nimg if self.lr_rampdown_nimg else 1.0
        return max(min(up, down, 1.0), 0.0)

    def snapshot_networks(self):
        """Return the networks to store beside the EMA (EDM stores none)."""
        return {}

    def state_dict(self):
        """Return everything a resume needs."""
        return dict(net=self.net.state_dict(), optimizer=self.optimizer.state_dict())

    def load_state_dict(self, state):
        """Continue from `state_dict()`."""
        self.net.load_state_dict(state['net'])
        self.optimizer.load_state_dict(state['optimizer'])

    def summary(self):
        """Return lines that describe what is trained."""
        return [f'Teacher: {sum(p.numel() for p in self.net.parameters()):,} parameters, all trained']


def check_network(kwargs):
    """Try an architecture on the meta device, where a forward pass costs nearly nothing.

    Args:
        kwargs: Constructor arguments of EDMPrecond.
    Raises:
        ConfigError: It cannot be built or cannot process its images.
    """
    size = kwargs['img_resolution']
    try:
        with torch.device('meta'):
            net = networks.EDMPrecond(**kwargs)
            net(torch.zeros([1, kwargs['img_channels'], size, size]), torch.ones([1]),
                torch.zeros([1, kwargs['label_dim']]))
    except (RuntimeError, ValueError, ZeroDivisionError) as error:
        mult = ','.join(str(mult) for mult in kwargs['channel_mult'])
        raise ConfigError(f"--cbase={kwargs['model_channels']} --cres={mult} give no working network for {size}x{size} "
                          f"images ({' '.join(str(error).split())[:120]}); widths must be multiples of 32, and each entry "
                          'of --cres after the first halves the image: try --cbase=32 --cres=1,2') from error
