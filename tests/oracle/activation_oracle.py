"""Networks of transformers whose matrices read int8 activations (docs/numerics.md, "Activations q8"),
and texts at which those have one right value.

An activation that lies as near to the middle between two codes as f32 rounding is large may become
either of them, and a text that has one differs from then on by about a step of 1/127. So texts are
made of tokens without such activations, and all their logits must agree to f32 rounding.
"""
import contextlib

import numpy as np


@contextlib.contextmanager
def one_thread():
    """For products as small as these: threads that wait for each other where other processes have the
    cores took 20 times as long."""
    import torch
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(threads)


class A8:
    """int8 per token, or per `block` columns of it, in the order that `orders` has for a matrix:
    d = max |x| / 127, a = rint(x (127 / max |x|)), 0 where all are below 2^-100. Notes how near each
    row came to a tie, in codes."""

    def __init__(self, block=None, orders=None):
        self.block, self.orders, self.distances = block, orders or {}, []

    def __call__(self, x, name):
        order = self.orders.get(name, np.arange(x.shape[-1]))
        blocks = x[..., order].unflatten(-1, (-1, self.block or x.shape[-1]))
        largest = blocks.abs().amax(-1, keepdim=True)
        codes = blocks * (127 / largest).where(largest >= 2.0**-100, 0)
        self.distances.append(((codes.abs() % 1) - 0.5).abs().amin((-1, -2)).numpy())
        return (codes.round() * (largest / 127)).flatten(-2)[..., np.argsort(order)]


def quantise_inputs(model, activations, takes=lambda name: True):
    """What each matrix of `model` reads goes through `activations`, where it `takes` the matrix."""
    import torch
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and takes(name):
            module.register_forward_pre_hook(lambda _, args, name=name: (activations(args[0], name),))
    return model


def torch_logits(model, texts):
    import torch
    with one_thread():
        return np.concatenate([model(torch.tensor([text]), use_cache=False).logits[0].numpy()
                               for text in texts])


def texts_without_ties(model, noted, lengths, vocab_size, margin=1e-4):
    """Texts at which `model` comes nowhere within `margin` codes of a tie. Codes go up to 127 and
    activations are off by some 1e-7 of a row's largest, so the rounding of f32 moves them by 1e-5."""
    import torch
    rng = np.random.default_rng(7)
    texts = []
    for length in lengths:
        text = []
        while len(text) < length:
            candidates = rng.choice(np.arange(3, vocab_size), 16, replace=False).tolist()
            noted.distances.clear()
            with one_thread():
                model(torch.tensor([text + [token] for token in candidates]), use_cache=False)
            nearest = np.min([distances[:, -1] for distances in noted.distances], axis=0)
            assert nearest.max() > margin, f"after {text} every token comes near a tie"
            text.append(candidates[nearest.argmax()])
        texts.append(text)
    return texts
