"""Trains a toy denoiser on an export: python examples/train_toy.py demo/dataset

It is no model that anybody wants; it shows what a trainer does with the loader. At 1/8 of the size
the network learns to tell the clean image from a noisy one (flow matching: it predicts the
direction from noise to image), told the time and SDXL's micro-conditioning. Ctrl-C at any time:
with --resume the same command goes on at the very next batch.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import fastbucket

SCALE = 8
"""The images are made smaller by this."""


class Denoiser(nn.Module):
    """A few convolutions; time and micro-conditioning shift the features of each."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.inner = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=2**n, dilation=2**n) for n in range(4)
        )
        self.last = nn.Conv2d(width, 3, 3, padding=1)
        self.told = nn.Sequential(nn.Linear(7, width), nn.SiLU(), nn.Linear(width, width * 4))

    def forward(self, noisy: torch.Tensor, time: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        told = self.told(torch.cat([time[:, None], ids / 1024], 1))[:, :, None, None].chunk(4, 1)
        features = self.first(noisy)
        for layer, shift in zip(self.inner, told, strict=True):
            features = features + functional.silu(layer(features) + shift)
        return self.last(features)


def loss_of(model: Denoiser, batch: dict) -> torch.Tensor:
    images = functional.avg_pool2d(batch["jpg"].float() / 127.5 - 1, SCALE)
    noise, when = torch.randn_like(images), torch.rand(len(images))
    mix = when[:, None, None, None]
    ids = torch.as_tensor(batch["time_ids"], dtype=torch.float32)
    found = model(mix * images + (1 - mix) * noise, when, ids)
    return functional.mse_loss(found, images - noise)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset", help="an export of fastbucket")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--steps", type=int, default=10**9, help="stop after so many")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--workers", type=int, default=0, help="of the DataLoader")
    parser.add_argument("--resume", type=Path, help="file to save to at the end, and to go on from")
    told = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the tensors are small, and more would wait for one another
    loader = fastbucket.Loader(told.dataset, told.batch_size, images="torchrgb8")
    model = Denoiser()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    step, epoch, batches = 0, 0, 0
    if told.resume and told.resume.is_file():
        saved = torch.load(told.resume)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, epoch, batches = saved["step"], saved["epoch"], saved["batches"]
        loader.load_state_dict(saved["loader"])
    print(f"{loader.samples} samples, {len(loader)} batches an epoch, from step {step}")
    data = loader.dataloader(told.workers)
    last, end, losses = step + told.steps, time.monotonic() + told.seconds, list[float]()
    try:
        while step < last and time.monotonic() < end:
            for batch in data:
                loss = loss_of(model, batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step, batches = step + 1, batches + 1
                losses.append(loss.item())
                if step % 50 == 0 or step == last:
                    mean = sum(losses) / len(losses)
                    print(f"step {step}, epoch {epoch}, {batch['bucket_id']}: loss {mean:.4f}")
                    losses.clear()
                if step >= last or time.monotonic() >= end:
                    break
            else:
                epoch, batches = epoch + 1, 0
    except KeyboardInterrupt:
        print("interrupted")
    if told.resume:
        # Counted here and not by the loader: workers of a DataLoader are ahead of what is heard.
        position = loader.position(epoch, batches)
        saved = {"step": step, "epoch": epoch, "batches": batches, "loader": position}
        saved |= {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(saved, told.resume)


if __name__ == "__main__":
    main()
