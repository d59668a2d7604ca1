"""Every network in shards against the same network whole, for torchrun; says which part of the weights a process holds."""

import copy
import sys

import torch

from score_sde.training.ranks import processes
from score_sde.training.sharding import local, shard, shard_like, whole
from tests.laws.test_networks import EVERY, SHAPE, labels_for, randomized


def main():
    with processes() as here:
        for name in list(EVERY)[:: max(1, len(EVERY) // 30)]:
            torch.manual_seed(0)
            plain = randomized(EVERY[name]())
            network = copy.deepcopy(plain)
            shard(network, here)
            x, labels = torch.randn(4, *SHAPE), labels_for(name)[[0, 1, 2, 0]]
            out, mine = plain(x, labels), network(x[here.rank :: here.world], labels[here.rank :: here.world])
            close(mine, out[here.rank :: here.world])
            out.square().mean().backward()
            mine.square().mean().backward()
            for own, weight in zip(network.parameters(), plain.parameters(), strict=True):
                assert torch.equal(whole(own), weight) and torch.equal(whole(shard_like(own, weight)), weight), name
                if weight.grad is not None:
                    close(whole(own.grad), weight.grad)
            held, there = (sum(part(p).numel() for p in network.parameters()) for part in (local, whole))
            assert held / there < 0.55 + 0.5 * here.rank, (name, held, there)
            if here.rank == 0:
                sys.stdout.write(f"{name}: holds {held / there:.2f}\n")


def close(one, other):
    assert torch.allclose(one, other, rtol=1e-4, atol=1e-6 + 1e-5 * float(other.abs().max())), (one - other).abs().max()


if __name__ == "__main__":
    main()
