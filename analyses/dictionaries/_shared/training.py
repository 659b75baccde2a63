"""Training by sae-lens' own trainer, fed from the activation set."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor

from analyses.dictionaries._shared.step_costs import WHOLE, StepCosts
from workbench.models.devices import choose_device
from workbench.shapes import read_shaped

if TYPE_CHECKING:
    from analyses.dictionaries.sparse_autoencoder import SparseAutoencoder
    from workbench.analysis import Context

LOG_EVERY = 10


def train(
    options: SparseAutoencoder, context: Context, rows: np.ndarray
) -> tuple[tuple[dict[str, Tensor], dict[str, Any]], pd.DataFrame]:
    """Train and return the exported weights and configuration, and the losses: ``samples, mse, dead``."""
    steps = max(1, options.samples // options.batch_size)
    # A latent is dead when a tenth of the training has gone by without it.
    window = max(10, steps // 10)
    # sae-lens takes some seconds to import.
    context.progress(0, WHOLE, f"training {options.d_sae:,} latents")
    trainer, scale = _trainer(options, context, rows, steps, window)
    costs, losses, mse, dead = StepCosts(steps, window), [], float("nan"), 0
    for step in range(steps):
        began, revives = time.perf_counter(), bool(trainer.dead_neurons.any())
        output = trainer.step(next(trainer.data_provider))
        trainer.n_training_steps += 1
        # A latent that was silent for half of what makes one dead is likely to become so.
        soon = int(trainer.n_forward_passes_since_fired.max()) > min(window, step + 1) / 2
        costs.add(time.perf_counter() - began, revives=revives, revives_soon=soon)
        if step % LOG_EVERY == 0 or step == steps - 1:
            mse, dead = float(output.losses["mse_loss"].detach()), int(trainer.dead_neurons.sum())
            losses.append({"samples": (step + 1) * options.batch_size, "mse": mse, "dead": dead})
        context.progress(*costs.progress(), f"training {options.d_sae:,} latents, loss {mse:.3f}, {dead} dead")
    trainer.sae.fold_activation_norm_scaling_factor(scale)
    return _exported(trainer.sae), pd.DataFrame(losses)


def _trainer(options: SparseAutoencoder, context: Context, rows: np.ndarray, steps: int, window: int) -> tuple[Any, float]:
    """sae-lens' trainer, and the factor by which it scales activations."""
    # sae-lens imports wandb, which must neither prompt nor contact a server.
    os.environ.setdefault("WANDB_MODE", "disabled")
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    acts, device = context.activations, choose_device()
    torch.manual_seed(context.seed)
    config = TopKTrainingSAEConfig(
        d_in=acts.width(),
        d_sae=options.d_sae,
        k=options.k,
        aux_loss_coefficient=options.aux,
        normalize_activations="expected_average_only_in",
        device=device,
    )
    config.metadata.hook_name = str(acts.sites[0])
    config.metadata.model_name = acts.manifest.request.model
    sae = TopKTrainingSAE(config)
    sample = torch.from_numpy(acts.read(np.sort(np.random.default_rng(context.seed).permutation(rows)[:20_000])))
    scale = float(acts.width() ** 0.5 / sample.norm(dim=-1).mean())
    # Latents start from the data's mean, so that none is spent on it.
    sae.b_dec.data = (sample.mean(0) * scale).to(device)
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=steps * options.batch_size,
            train_batch_size_samples=options.batch_size,
            lr=options.lr,
            device=device,
            # sae-lens decays from lr_end to zero; anything but lr itself would be a jump.
            lr_end=options.lr,
            lr_scheduler_name="constant",
            lr_warm_up_steps=min(20, steps // 5),
            lr_decay_steps=steps // 3,
            dead_feature_window=window,
            logger=LoggingConfig(log_to_wandb=False),
        ),
        sae,
        (batch.to(device) for batch in _batches(options, context, rows)),
    )
    trainer.activation_scaler.scaling_factor = scale
    return trainer, scale


def _batches(options: SparseAutoencoder, context: Context, rows: np.ndarray) -> Iterator[Tensor]:
    return context.activations.batches(options.batch_size, seed=context.seed, rows=rows, epochs=None)


def _exported(sae: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    # What is kept and measured is the inference model that sae-lens writes, not the one in training.
    with tempfile.TemporaryDirectory() as folder:
        sae.save_inference_model(folder)
        config = read_shaped(Path(folder) / "cfg.json", dict[str, Any])
        # The device is not part of the dictionary: another machine may not have it.
        return load_file(Path(folder) / "sae_weights.safetensors"), config | {"device": "cpu"}
